"""How the address of a line is written: a device file, or a URL that edge.ports or pyserial can open."""

import re
from typing import Final
from urllib.parse import urlsplit

from core.errors import ConfigurationError

NETWORK: Final = ("socket", "rfc2217")
"""Schemes that lead to a host and a port."""
LOCAL: Final = ("alt", "cp2110", "hwgrep", "loop", "spy")
"""Other schemes that pyserial knows."""
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.%]*:[0-9A-Za-z:.%]*")
_HOW: Final = "write /dev/..., socket://<host>:<port> or rfc2217://<host>:<port>"


def check_port(text: str) -> None:
    """Says what is wrong with a line's address before anything is opened. Raises ConfigurationError."""
    if "://" not in text:
        if not text.startswith("/"):
            hint = f"did you mean '/dev/{text}'?" if re.fullmatch(r"tty\w+|serial/.+", text) else _HOW
            raise ConfigurationError(f"{text!r} is neither a device file nor a URL; {hint}")
        return
    scheme = text.partition("://")[0]
    if scheme in LOCAL:
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
