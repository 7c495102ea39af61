"""How the address of a line is written: a device file, or a URL that edge.ports or pyserial can open."""

import re
from typing import Final
from urllib.parse import urlsplit

from core.errors import ConfigurationError

NETWORK: Final = ("socket", "rfc2217")
"""Schemes that lead to a host and a port."""
LOCAL: Final = ("alt", "cp2110", "hwgrep", "loop", "spy")
"""Other schemes that pyserial knows."""
WEB: Final = ("http", "https")
"""Schemes of a stream that a device serves over HTTP."""
FILE_SCHEME: Final = "file://"
"""A file of the kernel that stands for a device, read anew at each poll."""
TOPIC_SCHEME: Final = "mqtt:"
"""What stands before the topic of a device that speaks MQTT at the site's own broker."""
_TOPIC: Final = re.compile(r"[^/#+\x00][^#+\x00]{0,500}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.%]*:[0-9A-Za-z:.%]*")
_HOW: Final = (
    "write /dev/..., socket://<host>:<port>, rfc2217://<host>:<port>, http://<host>/<path>, file:///<path> or mqtt:<topic>"
)


def is_topic(text: str) -> bool:
    """True when the address is a topic at the site's own broker."""
    return text.startswith(TOPIC_SCHEME) and not text.startswith(f"{TOPIC_SCHEME}//")


def is_web(text: str) -> bool:
    """True when the address is that of a stream over HTTP."""
    return text.startswith(tuple(f"{scheme}://" for scheme in WEB))


def check_port(text: str) -> None:
    """Says what is wrong with a line's address before anything is opened. Raises ConfigurationError."""
    if is_topic(text):
        if not _TOPIC.fullmatch(text.removeprefix(TOPIC_SCHEME)):
            raise ConfigurationError(f"{text!r} is not mqtt:<topic>, the topic without '#', '+' and a leading '/'")
        return
    if text.startswith(FILE_SCHEME):
        if not text.startswith(f"{FILE_SCHEME}/"):
            raise ConfigurationError(f"{text!r} must name its file from the root; write file:///<path>")
        return
    if "://" not in text:
        if not text.startswith("/"):
            hint = f"did you mean '/dev/{text}'?" if re.fullmatch(r"tty\w+|serial/.+", text) else _HOW
            raise ConfigurationError(f"{text!r} is neither a device file nor a URL; {hint}")
        return
    scheme = text.partition("://")[0]
    if scheme in LOCAL:
        return
    if scheme in WEB:
        _check_web(text, scheme)
        return
    if scheme not in NETWORK:
        raise ConfigurationError(f"{text!r} begins with {scheme!r}, which nobody here can open; {_HOW}")
    _check_network(text, scheme)


def _check_network(text: str, scheme: str) -> None:
    try:
        parts = urlsplit(text)
        host, number = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"{text!r}: {error}; {_HOW}") from error
    if not host or not _HOST.fullmatch(host):
        raise ConfigurationError(f"{text!r} names no host; write {scheme}://<host>:<port>")
    if not number:
        raise ConfigurationError(f"{text!r} names no port of the host; write {scheme}://{host}:<port>, 1 to 65535")
    # RFC 2217 options such as ?ign_set_control are pyserial's own.
    if parts.username is not None or parts.path or (parts.query and scheme == "socket"):
        raise ConfigurationError(f"{text!r} says more than host and port; write {scheme}://{host}:{number}")


def _check_web(text: str, scheme: str) -> None:
    try:
        parts = urlsplit(text)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{text!r}: {error}; {_HOW}") from error
    if not host or not _HOST.fullmatch(host):
        raise ConfigurationError(f"{text!r} names no host; write {scheme}://<host>/<path>")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{text!r}: name and password do not belong into an address; they are options of the device")
