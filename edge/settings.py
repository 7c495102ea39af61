"""What an agent is told: one TOML file, every mistake refused with its path."""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from core.errors import CodeError, ConfigurationError
from core.messages import Direction, Name
from core.timescale import TimeScale
from core.topics import AgentAddress
from edge.alarm_settings import LimitTable, OutputTable, bind_address, describe_alarms, local_limits
from edge.alarms import LocalLimit
from edge.clock import choose_scale
from edge.drivers import load_driver
from edge.drivers.observations import Observation, Scan, TagRead
from edge.drivers.protocol import DeviceOptions, ReaderDriver, WebAccess
from edge.port_url import TOPIC_SCHEME, check_port, is_topic, is_web
from edge.presence import EPOCH, PortalRule

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
MAX_CONFIG_BYTES: Final = 1_000_000
PLACEHOLDER: Final = "change-me"
"""A password that somebody was to replace."""

Text = Annotated[str, Meta(min_length=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Antenna = Annotated[int, Meta(ge=0, le=255)]


class AgentTable(Struct, frozen=True, kw_only=True):
    """`[agent]`. `outbox_max_mb` caps what waits for the hub; telemetry is dropped first, business facts never."""

    site: Name
    name: Name
    state_dir: Text
    outbox_max_mb: Annotated[int, Meta(ge=1, le=100_000)] = 256


class BrokerTable(Struct, frozen=True, kw_only=True):
    """How to reach a broker."""

    url: Text
    username: Text | None = None
    password: str | None = None
    password_file: Text | None = None
    ca_file: Text | None = None


class UplinkTable(BrokerTable, frozen=True, kw_only=True):
    """`[uplink]`. `replay_per_s`: batches of telemetry that waited while offline, sent in a real second beside live ones."""

    replay_per_s: Annotated[float, Meta(ge=1, le=100_000)] = 500.0


class LocalBrokerTable(BrokerTable, frozen=True, kw_only=True):
    """`[local_broker]`: where devices of this site that speak MQTT publish (ports `mqtt:<topic>`)."""


class MetricsTable(Struct, frozen=True, kw_only=True):
    """`[metrics]`: where Prometheus may read this agent, as <address>:<port>."""

    bind: Annotated[str, Meta(pattern=r"^[0-9A-Za-z.:\[\]-]+:[0-9]{1,5}\Z")]


class ClockTable(Struct, frozen=True, kw_only=True):
    """`[clock]`, simulations only."""

    time_scale: Text | None = None


class DeviceTable(Struct, frozen=True, kw_only=True):
    """One of `[[devices]]`. `baud` and `interval_s` (scenario seconds between polls) have the driver's defaults.

    `options` are the driver's own; see its `Options`.
    """

    name: Name
    driver: Text
    port: Text
    baud: Annotated[int, Meta(ge=50, le=4_000_000)] | None = None
    portal: str | None = None
    read_point: Name | None = None
    unit_id: Annotated[int, Meta(ge=1, le=247)] = 1
    antenna: Antenna | None = None
    interval_s: Seconds | None = None
    options: dict[str, Any] = {}


class PortalTable(Struct, frozen=True, kw_only=True):
    """One of `[[portals]]`; see `edge.presence.PortalRule`."""

    name: Name
    inside_antennas: list[Antenna] = []
    outside_antennas: list[Antenna] = []
    default_direction: Direction = "none"
    absent_after_s: Seconds = 2.0
    min_reads: Annotated[int, Meta(ge=1, le=1000)] = 2
    min_rssi_dbm: Annotated[float, Meta(ge=-128, le=0)] | None = None


class Document(Struct, frozen=True, kw_only=True):
    """The whole file."""

    agent: AgentTable
    uplink: UplinkTable
    local_broker: LocalBrokerTable | None = None
    clock: ClockTable = ClockTable()
    metrics: MetricsTable | None = None
    outputs: list[OutputTable] = []
    limits: list[LimitTable] = []
    devices: list[DeviceTable] = []
    portals: list[PortalTable] = []


class Broker(Struct, frozen=True, kw_only=True):
    """Where to reach the broker. `password` never appears in a repr."""

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None
    ca_file: Path | None

    def __repr__(self) -> str:
        return f"Broker({'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port})"


class Device(Struct, frozen=True, kw_only=True):
    """One device, its driver found and its defaults filled in."""

    name: str
    driver: str
    port: str
    baud: int
    polled: bool
    interval_s: float
    options: DeviceOptions
    portal: str | None
    read_point: str | None
    web: WebAccess | None = None


class EdgeSettings(Struct, frozen=True, kw_only=True):
    """What the agent is made of."""

    address: AgentAddress
    state_dir: Path
    outbox_cap_bytes: int
    broker: Broker
    local_broker: Broker | None
    replay_per_s: float
    metrics: tuple[str, int] | None
    outputs: tuple[OutputTable, ...]
    limits: tuple[LocalLimit, ...]
    scale: TimeScale
    devices: tuple[Device, ...]
    portals: tuple[PortalRule, ...]


def read_settings(path: Path, environ: Mapping[str, str] | None = None) -> EdgeSettings:
    """The settings in a TOML file. Raises ConfigurationError naming the file, and in it the path of what is wrong."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
        if len(raw) > MAX_CONFIG_BYTES:
            raise ConfigurationError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes; this is no agent configuration")
        table = tomllib.loads(raw.decode())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from error
    try:
        return parse_settings(table, os.environ if environ is None else environ)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def parse_settings(table: dict[str, Any], environ: Mapping[str, str]) -> EdgeSettings:
    """The settings in a parsed TOML table. Raises ConfigurationError with the path of what is wrong."""
    _refuse_unknown_keys(table, Document, "")
    try:
        document = msgspec.convert(table, Document)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_with_path_first(str(error))) from error
    _refuse_doubles("devices", [device.name for device in document.devices])
    _refuse_doubles("portals", [portal.name for portal in document.portals])
    _refuse_doubles("limits", [limit.name for limit in document.limits])
    _refuse_doubles("outputs", [output.name for output in document.outputs])
    portals = {portal.name for portal in document.portals}
    devices = tuple(_device(f"devices[{index}]", each, portals) for index, each in enumerate(document.devices))
    _check_shared_ports(devices)
    local_broker = None if document.local_broker is None else _broker("local_broker", document.local_broker)
    _check_local_broker(devices, has_broker=local_broker is not None)
    return EdgeSettings(
        address=AgentAddress(document.agent.site, document.agent.name),
        state_dir=Path(document.agent.state_dir),
        outbox_cap_bytes=document.agent.outbox_max_mb * 1024 * 1024,
        broker=_broker("uplink", document.uplink),
        local_broker=local_broker,
        replay_per_s=document.uplink.replay_per_s,
        metrics=None if document.metrics is None else bind_address("metrics.bind", document.metrics.bind),
        outputs=tuple(document.outputs),
        limits=local_limits(document.limits, document.outputs, [device.name for device in devices]),
        scale=choose_scale(document.clock.time_scale, environ),
        devices=devices,
        portals=tuple(_portal(f"portals[{index}]", each) for index, each in enumerate(document.portals)),
    )


_TABLES: Final[dict[str, type[Struct]]] = {
    "agent": AgentTable,
    "uplink": UplinkTable,
    "local_broker": LocalBrokerTable,
    "clock": ClockTable,
    "metrics": MetricsTable,
    "outputs": OutputTable,
    "limits": LimitTable,
    "devices": DeviceTable,
    "portals": PortalTable,
}


def _refuse_unknown_keys(table: Mapping[str, Any], kind: type[Struct], path: str) -> None:
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key, value in table.items():
        where = f"{path}.{key}" if path else key
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            raise ConfigurationError(f"{where}: unknown key; {hint}")
        if kind is not Document:
            continue
        if isinstance(value, dict):
            _refuse_unknown_keys(value, _TABLES[key], where)
        elif isinstance(value, list):
            for index, each in enumerate(value):
                if isinstance(each, dict):
                    _refuse_unknown_keys(each, _TABLES[key], f"{where}[{index}]")


def _with_path_first(message: str) -> str:
    """msgspec's "what - at `$.path`", the other way round."""
    what, found, path = message.rpartition(" - at `$")
    if not found:
        what, path = message, ""
    if what.startswith("Object missing required field `"):
        field = what.removeprefix("Object missing required field `").rstrip("`")
        return f"{path.rstrip('`').lstrip('.')}{'.' if path.strip('`.') else ''}{field}: missing; it must be given"
    return f"{path.rstrip('`').lstrip('.')}: {what}"


def _refuse_doubles(path: str, names: Iterable[str]) -> None:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in first:
            raise ConfigurationError(f"{path}[{index}].name: {name!r} is also the name of {path}[{first[name]}]; names must differ")
        first[name] = index


def _device(path: str, table: DeviceTable, portals: set[str]) -> Device:
    try:
        driver = load_driver(table.driver)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}.driver: {error}") from error
    try:
        check_port(table.port)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}.port: {error}") from error
    options = DeviceOptions(
        unit_id=table.unit_id,
        antenna=table.antenna,
        topic=table.port.removeprefix(TOPIC_SCHEME) if is_topic(table.port) else "",
        own=_own_options(path, table, driver),
    )
    _check_kind_of_port(path, table, driver)
    web = _web_access(path, table, driver(options))
    _check_place(path, table, driver(options), portals)
    if table.interval_s is not None and not driver.polled:
        raise ConfigurationError(f"{path}.interval_s: driver {table.driver!r} speaks by itself and is not polled; leave it out")
    return Device(
        name=table.name,
        driver=table.driver,
        port=table.port,
        baud=table.baud or driver.default_baud,
        polled=driver.polled,
        interval_s=table.interval_s or driver.default_interval_s,
        options=options,
        portal=table.portal,
        read_point=table.read_point,
        web=web,
    )


_SAMPLES: Final[dict[str, Observation]] = {
    "portal": TagRead("3034257BF7194E4000001A85", 1, -50.0, EPOCH),
    "read_point": Scan("4006381333931", EPOCH),
}


def _says(driver: ReaderDriver, sample: Observation) -> bool:
    """True when the device can send such an observation; its driver can then encode one."""
    try:
        driver.encode(sample)
    except CodeError:
        return False
    return True


def _own_options(path: str, table: DeviceTable, driver: type[ReaderDriver]) -> Struct:
    """The driver's own options. Raises ConfigurationError with the path of what is wrong."""
    known = [field.encode_name for field in msgspec.structs.fields(driver.Options)]
    for key in table.options:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"driver {table.driver!r} knows {', '.join(known) or 'none'}"
            raise ConfigurationError(f"{path}.options.{key}: unknown key; {hint}")
    try:
        return msgspec.convert(table.options, driver.Options)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}.options.{_with_path_first(str(error))}") from error


def _check_kind_of_port(path: str, table: DeviceTable, driver: type[ReaderDriver]) -> None:
    if is_topic(table.port) and not driver.topics:
        raise ConfigurationError(f"{path}.port: driver {table.driver!r} does not speak MQTT; name its line")
    if driver.topics and table.port.startswith("/"):
        raise ConfigurationError(f"{path}.port: driver {table.driver!r} speaks MQTT; write {TOPIC_SCHEME}<topic>")


def _web_access(path: str, table: DeviceTable, driver: ReaderDriver) -> WebAccess | None:
    """How the device's stream is asked for, None on any other port. Raises ConfigurationError."""
    if not is_web(table.port):
        return None
    access = driver.web_access()
    if access is None:
        raise ConfigurationError(f"{path}.port: driver {table.driver!r} reads no stream over HTTP; name its line or its topic")
    if access.password_file is not None and access.username is None:
        raise ConfigurationError(f"{path}.options.username: missing; a password is given")
    if access.ca_file is not None and table.port.startswith("http://"):
        raise ConfigurationError(f"{path}.options.ca_file: only used with https://; change {path}.port or leave it out")
    for key, name in (("password_file", access.password_file), ("ca_file", access.ca_file)):
        if name is not None and not os.access(name, os.R_OK):
            raise ConfigurationError(f"{path}.options.{key}: {name!r} cannot be read")
    return access


def _check_local_broker(devices: Iterable[Device], *, has_broker: bool) -> None:
    for index, device in enumerate(devices):
        if is_topic(device.port) and not has_broker:
            raise ConfigurationError(f"local_broker: missing; devices[{index}].port is a topic, and no broker is named to hear it")


def _check_place(path: str, table: DeviceTable, driver: ReaderDriver, portals: set[str]) -> None:
    """A reader of tags must name its portal, one of barcodes its read point, one of both either, and nobody else."""
    places = {"portal": table.portal, "read_point": table.read_point}
    can_say = {key: _says(driver, sample) for key, sample in _SAMPLES.items()}
    has_one = any(places[key] is not None for key, can in can_say.items() if can)
    for key, given in places.items():
        wanted = can_say[key]
        if wanted and given is None and not has_one:
            raise ConfigurationError(f"{path}.{key}: missing; driver {table.driver!r} needs one")
        if given is not None and not wanted:
            raise ConfigurationError(f"{path}.{key}: driver {table.driver!r} has no use for one; leave it out")
    if table.portal is not None and table.portal not in portals:
        near = difflib.get_close_matches(table.portal, portals, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"portals are: {', '.join(sorted(portals)) or 'none'}"
        raise ConfigurationError(f"{path}.portal: no portal is named {table.portal!r}; {hint}")


def _check_shared_ports(devices: Iterable[Device]) -> None:
    first: dict[str, tuple[int, Device]] = {}
    for index, device in enumerate(devices):
        other_index, other = first.setdefault(device.port, (index, device))
        if other is device:
            continue
        where = f"devices[{index}].port: {device.port!r} is shared with devices[{other_index}]"
        if not (device.polled and other.polled):
            raise ConfigurationError(f"{where}, but only polled devices can share a port")
        if device.baud != other.baud:
            raise ConfigurationError(f"{where} at another baud rate ({device.baud} and {other.baud})")
    seen: dict[tuple[str, str, int, bytes], int] = {}
    for index, device in enumerate(devices):
        # Two doors at one input board are two devices of one unit, told apart by their options.
        key = (device.port, device.driver, device.options.unit_id, msgspec.json.encode(device.options.own))
        if device.polled and seen.setdefault(key, index) != index:
            raise ConfigurationError(
                f"devices[{index}].unit_id: {device.options.unit_id} is also that of devices[{seen[key]}] on the same port"
            )


def _portal(path: str, table: PortalTable) -> PortalRule:
    both = sorted(set(table.inside_antennas) & set(table.outside_antennas))
    if both:
        raise ConfigurationError(f"{path}.outside_antennas: antenna {both[0]} is also among inside_antennas")
    return PortalRule(
        name=table.name,
        absent_after_s=table.absent_after_s,
        min_reads=table.min_reads,
        min_rssi_dbm=table.min_rssi_dbm,
        inside_antennas=frozenset(table.inside_antennas),
        outside_antennas=frozenset(table.outside_antennas),
        default_direction=table.default_direction,
    )


def _broker(path: str, table: BrokerTable) -> Broker:
    try:
        parts = urlsplit(table.url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"{path}.url: {error}") from error
    if parts.scheme not in PORTS or not host or parts.path not in ("", "/") or parts.query:
        raise ConfigurationError(f"{path}.url: must be mqtt://<host>[:<port>] or mqtts://<host>[:<port>]")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{path}.url: name and password belong into {path}.username and {path}.password_file")
    if table.ca_file is not None and parts.scheme != "mqtts":
        raise ConfigurationError(f"{path}.ca_file: only used with mqtts://; change {path}.url or leave it out")
    if table.ca_file is not None and not Path(table.ca_file).is_file():
        raise ConfigurationError(f"{path}.ca_file: no file {table.ca_file!r}")
    return Broker(
        host=host,
        port=port or PORTS[parts.scheme],
        tls=parts.scheme == "mqtts",
        username=table.username,
        password=_password(path, table),
        ca_file=Path(table.ca_file) if table.ca_file is not None else None,
    )


def _password(path: str, table: BrokerTable) -> str | None:
    if table.password is not None and table.password_file is not None:
        raise ConfigurationError(f"{path}.password_file: {path}.password is given as well; keep one of them")
    if table.username is None and (table.password is not None or table.password_file is not None):
        raise ConfigurationError(f"{path}.username: missing; a password is given")
    key, password = "password", table.password
    if table.password_file is not None:
        try:
            key, password = "password_file", Path(table.password_file).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}.password_file: {table.password_file!r} cannot be read: {error}") from error
    if password is not None and (not password or password == PLACEHOLDER):
        raise ConfigurationError(f"{path}.{key}: {password!r} is no password; give the one this agent has at the broker")
    return password


def describe(settings: EdgeSettings) -> str:
    """The settings for people, one line a thing; no secrets."""
    lines = [
        f"agent {settings.address.agent} at site {settings.address.site}, outbox in {settings.state_dir} "
        f"up to {settings.outbox_cap_bytes // 1024 // 1024} MB",
        f"uplink {settings.broker!r} as {settings.broker.username or 'nobody'}",
        f"time scale {settings.scale}" if settings.scale.speed != 1 else "real time",
    ]
    for device in settings.devices:
        place = f", portal {device.portal}" if device.portal else f", read point {device.read_point}" if device.read_point else ""
        asked = f", unit {device.options.unit_id} asked every {device.interval_s:g} s" if device.polled else ""
        speed = "" if is_topic(device.port) or is_web(device.port) else f" at {device.baud} baud"
        lines.append(f"device {device.name}: {device.driver} on {device.port}{speed}{place}{asked}")
    for portal in settings.portals:
        rssi = f", at least {portal.min_rssi_dbm:g} dBm" if portal.min_rssi_dbm is not None else ""
        lines.append(
            f"portal {portal.name}: {portal.min_reads} reads or more{rssi}, gone after {portal.absent_after_s:g} s, "
            f"direction {portal.default_direction} unless antennas tell"
        )
    lines += describe_alarms(settings.limits, settings.outputs)
    if settings.metrics is not None:
        lines.append(f"metrics at http://{settings.metrics[0]}:{settings.metrics[1]}/metrics")
    return "\n".join(lines) + "\n"
