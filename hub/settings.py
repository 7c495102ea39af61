"""What the hub, the API and the tools are told by their environment; every variable is checked before anything starts."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from core.errors import ConfigurationError
from core.timescale import REAL_TIME, TimeScale, parse_time_scale

DEFAULT_API_BIND: Final = "127.0.0.1:8080"
_MQTT_URL: Final = "use mqtt://user:password@host:port, or mqtts:// for TLS"
_GROUP: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where the broker is. `share` names the group of a shared subscription, when several hubs take turns."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    share: str | None = None
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class InfluxSettings:
    """Where readings are mirrored to."""

    url: str
    token: str = field(repr=False)
    org: str
    bucket: str


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Everything from the environment. `mqtt` and `influx` are None when not configured."""

    database_uri: str = field(repr=False)
    mqtt: MqttSettings | None = None
    influx: InfluxSettings | None = None
    time_scale: TimeScale = REAL_TIME
    api_host: str = "127.0.0.1"
    api_port: int = 8080
    replan_policy: Literal["propose", "apply"] = "propose"

    def require_mqtt(self) -> MqttSettings:
        """The broker's settings. Raises ConfigurationError when there are none."""
        if self.mqtt is None:
            raise ConfigurationError(
                "QM_MQTT_URL is not set: the hub needs a broker, for example mqtt://hub:password@127.0.0.1:1883"
            )
        return self.mqtt


def read_settings(environ: Mapping[str, str]) -> HubSettings:
    """The settings in an environment. A variable NAME may be given as NAME_FILE, the path of a file that holds the value.

    Raises ConfigurationError naming the variable.
    """
    uri = _value(environ, "QM_DATABASE_URI")
    if uri is None:
        raise ConfigurationError(
            "QM_DATABASE_URI is not set: name the database, for example postgresql://hub:password@127.0.0.1/quartermaster"
        )
    host, port = _bind(_value(environ, "QM_API_BIND") or DEFAULT_API_BIND)
    return HubSettings(
        database_uri=uri,
        mqtt=_mqtt(environ),
        influx=_influx(environ),
        time_scale=_time_scale(environ),
        api_host=host,
        api_port=port,
        replan_policy=_policy(_value(environ, "QM_REPLAN_POLICY") or "propose"),
    )


def _value(environ: Mapping[str, str], name: str) -> str | None:
    """A variable's value, from itself or its file; empty counts as not set."""
    own, path = environ.get(name) or None, environ.get(f"{name}_FILE") or None
    if own is not None and path is not None:
        raise ConfigurationError(f"{name} and {name}_FILE are both set: keep one")
    if path is None:
        return own
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name}_FILE: cannot read {path}: {error}") from error


def _mqtt(environ: Mapping[str, str]) -> MqttSettings | None:
    url = _value(environ, "QM_MQTT_URL")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"QM_MQTT_URL: {error}; {_MQTT_URL}") from error
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or parts.path not in {"", "/"}:
        raise ConfigurationError(f"QM_MQTT_URL: {_MQTT_URL}")
    share = _value(environ, "QM_MQTT_SHARE")
    if share is not None and not _GROUP.fullmatch(share):
        raise ConfigurationError(f"QM_MQTT_SHARE {share!r}: use 1 to 64 of A-Z, a-z, 0-9, '-' and '_'")
    return MqttSettings(
        host=parts.hostname,
        port=port or (8883 if parts.scheme == "mqtts" else 1883),
        tls=parts.scheme == "mqtts",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        share=share,
        client_id=_value(environ, "QM_MQTT_CLIENT_ID") or f"quartermaster-hub-{socket.gethostname()}",
    )


def _influx(environ: Mapping[str, str]) -> InfluxSettings | None:
    names = ("QM_INFLUX_URL", "QM_INFLUX_TOKEN", "QM_INFLUX_ORG", "QM_INFLUX_BUCKET")
    values = [_value(environ, name) for name in names]
    missing = [name for name, value in zip(names, values, strict=True) if value is None]
    if len(missing) == len(names):
        return None
    if missing:
        raise ConfigurationError(f"{', '.join(missing)} not set: InfluxDB needs all of {', '.join(names)}, or none")
    url, token, org, bucket = [value or "" for value in values]
    return InfluxSettings(url=url, token=token, org=org, bucket=bucket)


def _time_scale(environ: Mapping[str, str]) -> TimeScale:
    text = _value(environ, "QM_TIME_SCALE")
    try:
        return REAL_TIME if text is None else parse_time_scale(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"QM_TIME_SCALE: {error}") from error


def _bind(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65_535:
        raise ConfigurationError(f"QM_API_BIND {text!r}: use host:port, for example {DEFAULT_API_BIND}")
    return host.strip("[]"), int(port)


def _policy(text: str) -> Literal["propose", "apply"]:
    if text == "propose":
        return "propose"
    if text == "apply":
        return "apply"
    raise ConfigurationError(f"QM_REPLAN_POLICY {text!r}: use propose or apply")
