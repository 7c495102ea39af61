"""What an LLRP reader is asked to do: the driver's options, what the reader can do, and the bodies of the messages between."""

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from core.errors import CodeError
from edge.drivers import llrp_frames as llrp
from edge.drivers.llrp_frames import Parameter, custom, number, parameter, parameters, text_at
from edge.drivers.observations import SettingValue

ROSPEC_ID: Final = 5084
POWER_STEP_DBM: Final = 1.0
"""A wanted power is met by the next lower level when that is nearer than this."""
C1G2: Final = 1
GPI_EVENTS, BUFFER_EVENTS, EXCEPTION_EVENTS, ROSPEC_EVENTS, ANTENNA_EVENTS = 1, 3, 4, 2, 8
_SELECTED: Final = 0x1780
"""Antenna, peak RSSI, first seen, last seen, seen count (TagReportContentSelector, LLRP 1.1, 14.2.1)."""
_ON: Final = 0x80

Port = Annotated[int, Meta(ge=1, le=255)]


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """`[devices.options]` of a reader that speaks LLRP.

    `antennas` empty means all. Power is in dBm or an index of the reader's own table, not both; neither leaves the reader's own.
    `tag_population` is about how many tags are in view at once. `mode_index` is an RF mode of the reader's table. A report is
    sent every `report_every` reads. `gpis` are the inputs whose changes are told. `channel_index` counts where it must not hop.
    """

    antennas: Annotated[tuple[Port, ...], Meta(max_length=64)] = ()
    tx_power_dbm: Annotated[float, Meta(ge=-10, le=40)] | None = None
    tx_power_index: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    session: Literal["S0", "S1", "S2", "S3"] = "S0"
    tag_population: Annotated[int, Meta(ge=1, le=32_768)] = 32
    mode_index: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    channel_index: Annotated[int, Meta(ge=1, le=65_535)] = 1
    keepalive_s: Annotated[float, Meta(ge=0.5, le=60)] = 5.0
    report_every: Annotated[int, Meta(ge=1, le=1000)] = 1
    gpis: Annotated[tuple[Port, ...], Meta(max_length=32)] = ()
    impinj_extensions: bool = True

    def __post_init__(self) -> None:
        if self.tx_power_dbm is not None and self.tx_power_index is not None:
            raise ValueError("tx_power_dbm and tx_power_index are both given; leave one out")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a reader says it is. `powers` holds the transmit power in hundredths of a dBm by index; the law's own limits apply."""

    vendor: int = 0
    model: int = 0
    firmware: str = ""
    antennas: int = 0
    gpis: int = 0
    powers: dict[int, int] = field(default_factory=dict)
    hop_table: int | None = None

    @property
    def offered(self) -> str:
        """The powers, for people."""
        if not self.powers:
            return "the reader tells no power table"
        low, high = min(self.powers.values()), max(self.powers.values())
        return f"the reader offers index {min(self.powers)} to {max(self.powers)}, {low / 100:g} to {high / 100:g} dBm"


def read_capabilities(found: list[Parameter]) -> Capabilities | None:
    """From the parameters of a GET_READER_CAPABILITIES_RESPONSE; None when it does not tell what it is."""
    general = next((each.body for each in found if each.kind == llrp.GENERAL_CAPABILITIES), None)
    if general is None:
        return None
    firmware, end = text_at(general, 12)
    gpio = next((each.body for each in parameters(general, end)[0] if each.kind == llrp.GPIO_CAPABILITIES), b"")
    powers: dict[int, int] = {}
    hop_table: int | None = None
    for band in _inside(_inside(found, llrp.REGULATORY_CAPABILITIES, 4), llrp.UHF_BAND_CAPABILITIES, 0):
        if band.kind == llrp.POWER_LEVEL:
            powers[number(band.body, 0)] = int.from_bytes(band.body[2:4], "big", signed=True)
        elif band.kind == llrp.FREQUENCY_INFORMATION and band.body[0] & _ON:
            tables = [each.body[0] for each in parameters(band.body, 1)[0] if each.kind == llrp.HOP_TABLE]
            hop_table = tables[0] if tables else 0
    return Capabilities(
        vendor=number(general, 4, 4),
        model=number(general, 8, 4),
        firmware=firmware,
        antennas=number(general, 0),
        gpis=number(gpio, 0),
        powers=powers,
        hop_table=hop_table,
    )


def _inside(found: list[Parameter], kind: int, at: int) -> list[Parameter]:
    return [inner for each in found if each.kind == kind for inner in parameters(each.body, at)[0]]


@dataclass(frozen=True, slots=True)
class Step:
    """One message of the set-up. An `optional` one may be refused."""

    kind: int
    body: bytes = b""
    optional: bool = False


def steps(options: Options, reader: Capabilities) -> list[Step]:
    """What to send once the reader has told what it can do, in this order. Raises CodeError when it cannot do what is wanted."""
    missing = [port for port in options.antennas if reader.antennas and port > reader.antennas]
    if missing:
        raise CodeError(f"antennas: the reader has {reader.antennas} antenna ports, there is no {missing[0]}")
    missing = [port for port in options.gpis if port > reader.gpis]
    if missing:
        raise CodeError(f"gpis: the reader has {reader.gpis} inputs, there is no {missing[0]}")
    index = power_index(options, reader)
    is_extended = reader.vendor == llrp.IMPINJ and options.impinj_extensions
    extensions = llrp.IMPINJ.to_bytes(4, "big") + bytes((llrp.IMPINJ_ENABLE_EXTENSIONS, 0, 0, 0, 0))
    every, ours = bytes(4), ROSPEC_ID.to_bytes(4, "big")
    return [
        *([Step(llrp.CUSTOM_MESSAGE, extensions)] if is_extended else []),
        Step(llrp.DELETE_ROSPEC, every),
        Step(llrp.DELETE_ACCESSSPEC, every, optional=True),
        Step(llrp.SET_READER_CONFIG, reader_config(options)),
        *([Step(llrp.GET_READER_CONFIG, bytes((0, 0, 9, 0, 0, 0, 0)))] if options.gpis else []),
        Step(llrp.ADD_ROSPEC, rospec(options, reader, power=index, is_extended=is_extended)),
        Step(llrp.ENABLE_ROSPEC, ours),
        Step(llrp.START_ROSPEC, ours),
    ]


def power_index(options: Options, reader: Capabilities) -> int | None:
    """The index for the wanted power: of the highest level not above it. Raises CodeError when none is near."""
    if options.tx_power_dbm is None:
        return options.tx_power_index
    wanted = round(options.tx_power_dbm * 100)
    fitting = [(level, index) for index, level in reader.powers.items() if level <= wanted < level + POWER_STEP_DBM * 100]
    if not fitting:
        raise CodeError(f"tx_power_dbm {options.tx_power_dbm:g} is not possible: {reader.offered}")
    return max(fitting)[1]


def reader_config(options: Options) -> bytes:
    """Body of SET_READER_CONFIG: events, keepalives, inputs; nothing is held back after a new connection."""
    wanted = {
        GPI_EVENTS: bool(options.gpis),
        ROSPEC_EVENTS: True,
        BUFFER_EVENTS: True,
        EXCEPTION_EVENTS: True,
        ANTENNA_EVENTS: True,
    }
    states = b"".join(
        parameter(llrp.EVENT_STATE, kind.to_bytes(2, "big") + bytes((_ON if on else 0,))) for kind, on in sorted(wanted.items())
    )
    period = round(options.keepalive_s * 1000).to_bytes(4, "big")
    inputs = b"".join(parameter(llrp.GPI_STATE, port.to_bytes(2, "big") + bytes((_ON, 2))) for port in sorted(set(options.gpis)))
    return b"".join(
        (
            b"\x00",
            parameter(llrp.EVENT_SPEC, states),
            parameter(llrp.KEEPALIVE_SPEC, b"\x01" + period),
            inputs,
            parameter(llrp.EVENTS_AND_REPORTS, b"\x00"),
        )
    )


def rospec(options: Options, reader: Capabilities, *, power: int | None, is_extended: bool) -> bytes:
    """Body of ADD_ROSPEC: inventory without end on the wanted antennas, each read reported."""
    antennas = sorted(set(options.antennas)) or [0]
    configured = b"".join(parameter(llrp.ANTENNA_CONFIGURATION, _antenna(each, options, reader, power=power)) for each in antennas)
    inventory = parameter(llrp.INVENTORY_SPEC, b"\x00\x01" + bytes((C1G2,)) + configured)
    ports = len(antennas).to_bytes(2, "big") + b"".join(each.to_bytes(2, "big") for each in antennas)
    ai_spec = parameter(llrp.AI_SPEC, ports + parameter(llrp.AI_STOP_TRIGGER, bytes(5)) + inventory)
    boundary = parameter(llrp.RO_START_TRIGGER, b"\x00") + parameter(llrp.RO_STOP_TRIGGER, bytes(5))
    extras = b""
    if is_extended:
        wanted = custom(llrp.IMPINJ, llrp.IMPINJ_ENABLE_PHASE, b"\x00\x01") + custom(
            llrp.IMPINJ, llrp.IMPINJ_ENABLE_RSSI, b"\x00\x01"
        )
        extras = custom(llrp.IMPINJ, llrp.IMPINJ_SELECTOR, wanted)
    selector = parameter(llrp.REPORT_SELECTOR, _SELECTED.to_bytes(2, "big"))
    report = parameter(llrp.RO_REPORT_SPEC, b"\x01" + options.report_every.to_bytes(2, "big") + selector + extras)
    body = ROSPEC_ID.to_bytes(4, "big") + b"\x00\x00" + parameter(llrp.RO_BOUNDARY_SPEC, boundary) + ai_spec + report
    return parameter(llrp.RO_SPEC, body)


def _antenna(antenna: int, options: Options, reader: Capabilities, *, power: int | None) -> bytes:
    transmitter = b""
    if power is not None:
        hop_table, channel = (reader.hop_table, 0) if reader.hop_table is not None else (0, options.channel_index)
        transmitter = parameter(llrp.RF_TRANSMITTER, b"".join(each.to_bytes(2, "big") for each in (hop_table, channel, power)))
    mode = b"" if options.mode_index is None else parameter(llrp.C1G2_RF_CONTROL, options.mode_index.to_bytes(2, "big") + bytes(2))
    session = bytes((int(options.session[1]) << 6,)) + options.tag_population.to_bytes(2, "big") + bytes(4)
    return (
        antenna.to_bytes(2, "big")
        + transmitter
        + parameter(llrp.C1G2_INVENTORY, b"\x00" + mode + parameter(llrp.C1G2_SINGULATION, session))
    )


def read_rospec(body: bytes, reader: Capabilities) -> dict[str, SettingValue]:
    """What a ROSpec that a reader tells says, under the names of the options; of several antennas the first that says it."""
    found = parameters(body, 6)[0]
    told: dict[str, SettingValue] = {}
    for plan in (each.body for each in found if each.kind == llrp.AI_SPEC):
        end = 2 + 2 * number(plan, 0)
        ports = [number(plan, at) for at in range(2, end, 2)]
        told.setdefault("antennas", tuple(str(port) for port in ports if port))
        for each in _inside(_inside(parameters(plan, end)[0], llrp.INVENTORY_SPEC, 3), llrp.ANTENNA_CONFIGURATION, 2):
            if each.kind == llrp.RF_TRANSMITTER and len(each.body) >= 6:
                index = number(each.body, 4)
                told.setdefault("tx_power_index", index)
                if index in reader.powers:
                    told.setdefault("tx_power_dbm", reader.powers[index] / 100)
            for air in _inside([each], llrp.C1G2_INVENTORY, 1):
                if air.kind == llrp.C1G2_RF_CONTROL and len(air.body) >= 4:
                    told.setdefault("mode_index", number(air.body, 0))
                elif air.kind == llrp.C1G2_SINGULATION and len(air.body) >= 7:
                    told.setdefault("session", f"S{air.body[0] >> 6}")
                    told.setdefault("tag_population", number(air.body, 1))
    reports = [each.body for each in found if each.kind == llrp.RO_REPORT_SPEC]
    if reports and len(reports[0]) >= 3:
        told["report_every"] = number(reports[0], 1)
    return told
