"""What a scenario file may say: the world, its devices and what happens when."""

import tomllib
from datetime import date, datetime, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from core.errors import ConfigurationError, NotFound

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?\Z")]
Minutes = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Gtin = Annotated[str, Meta(pattern=r"^[0-9]{14}\Z")]
Point = tuple[float, float]
Document: TypeAlias = Any
"""A value of TOML."""

MINUTES_SUFFIX: Final = "_min"
DAYS_SUFFIX: Final = "_in_days"
DEFAULT_SCENARIO: Final = "depot-day"


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a scenario file; a key it does not know is refused."""


class Heading(Part, frozen=True):
    """`speed` is scenario seconds a real second; `company_prefix` is the GS1 prefix length of the GTINs on the tags."""

    name: Name
    title: str
    seed: int
    speed: Positive
    duration_min: Positive
    company_prefix_digits: Annotated[int, Meta(ge=6, le=12)] = 7


class Agent(Part, frozen=True):
    """An edge agent, named uniquely over all sites."""

    name: Name
    site: Name


class Lying(Part, frozen=True):
    """How a device's line misbehaves: chances for each frame sent, 0 to 1."""

    noise: Share = 0.0
    cut: Share = 0.0
    drop: Share = 0.0


class Reader(Part, frozen=True, tag="r200", tag_field="driver"):
    """A UHF reader at a gate. `rounds` inventory rounds make one pass; `strays` tags lie about near it."""

    name: Name
    agent: Name
    portal: Name
    baud: int = 115_200
    rounds: Annotated[int, Meta(ge=4, le=200)] = 12
    strays: Annotated[int, Meta(ge=0, le=50)] = 0
    lying: Lying = Lying()


class FixedReader(Reader, frozen=True, tag="llrp", tag_field="driver"):
    """A fixed reader at a gate that speaks LLRP; `baud` is of no use to it."""


class Scanner(Part, frozen=True, tag="barcode", tag_field="driver"):
    """A 2D barcode scanner at a read point."""

    name: Name
    agent: Name
    read_point: Name
    baud: int = 9_600
    lying: Lying = Lying()


class Probe(Part, frozen=True, tag="xymd02", tag_field="driver"):
    """A temperature and humidity probe in a room; an absent one never answers."""

    name: Name
    agent: Name
    room: Name
    unit_id: Annotated[int, Meta(ge=1, le=247)] = 1
    interval_s: Positive = 30.0
    baud: int = 9_600
    absent: bool = False
    lying: Lying = Lying()


class Tracker(Part, frozen=True, tag="nmea", tag_field="driver"):
    """A GPS receiver in a van."""

    name: Name
    agent: Name
    vehicle: Name
    interval_s: Positive = 15.0
    baud: int = 9_600
    lying: Lying = Lying()


Device = Reader | FixedReader | Scanner | Probe | Tracker


class Portal(Part, frozen=True):
    """Where an agent turns reads into passages. Seconds are scenario seconds; left out, they follow the speed of time."""

    name: Name
    agent: Name
    default_direction: Literal["in", "out", "none"] = "in"
    absent_after_s: Positive | None = None
    min_reads: Annotated[int, Meta(ge=1)] = 2
    min_rssi_dbm: float = -70.0


class Room(Part, frozen=True):
    """A cooled room: warmed towards `ambient` and, with its compressor on, cooled towards `coldest`, with one time constant."""

    name: Name
    set_point: float
    band: Positive = 0.5
    ambient: float = 25.0
    coldest: float = -20.0
    time_constant_min: Positive = 27.0
    humidity: Share = 0.55
    noise: Annotated[float, Meta(ge=0)] = 0.08


class Van(Part, frozen=True):
    """A vehicle. With no plan to follow it drives `route`, points of (latitude, longitude), stopping `service_min` at each."""

    name: Name
    site: Name
    start: Point
    speed_mps: Positive
    road_factor: Annotated[float, Meta(ge=1)] = 1.3
    route: list[Point] = []
    service_min: Minutes = 2.0


class DeliveryPasses(Part, frozen=True, tag="delivery_passes", tag_field="kind"):
    """A shipment's cartons go through a gate, `missing` of the first line left out, with cartons nobody ordered."""

    at_min: Minutes
    gate: Name
    shipment: str
    missing: Annotated[int, Meta(ge=0)] = 0
    wrong: list[Gtin] = []
    foreign_tags: Annotated[int, Meta(ge=0)] = 0

    @property
    def is_as_announced(self) -> bool:
        """Whether just what was announced goes through."""
        return not (self.missing or self.wrong or self.foreign_tags)


class CompressorFails(Part, frozen=True, tag="compressor_fails", tag_field="kind"):
    """A room's compressor stands still until `until_min`."""

    at_min: Minutes
    room: Name
    until_min: Positive


class HoldUp(Part, frozen=True, tag="hold_up", tag_field="kind"):
    """A van stands in a jam until `until_min`."""

    at_min: Minutes
    vehicle: Name
    until_min: Positive


class ScanCode(Part, frozen=True, tag="scan", tag_field="kind"):
    """Someone scans a GS1 DataMatrix; without `serial` it is a lot's label."""

    at_min: Minutes
    read_point: Name
    gtin: Gtin
    lot: str
    expiry_in_days: int
    serial: str | None = None


class PlanDay(Part, frozen=True, tag="plan_day", tag_field="kind"):
    """The dispatcher has the day planned and accepts it."""

    at_min: Minutes
    site: Name


class UrgentOrder(Part, frozen=True, tag="urgent_order", tag_field="kind"):
    """An order comes in by the API; its times are `*_min`."""

    at_min: Minutes
    order: dict[str, Any]


class Acknowledge(Part, frozen=True, tag="acknowledge_alert", tag_field="kind"):
    """The storekeeper answers the open alerts of a location."""

    at_min: Minutes
    location: Name
    reason: str


Event = DeliveryPasses | CompressorFails | HoldUp | ScanCode | PlanDay | UrgentOrder | Acknowledge


class Scenario(Part, frozen=True):
    """A whole file. `master` is the master data document, its times given as minutes from the start."""

    scenario: Heading
    master: dict[str, Any]
    agents: list[Agent]
    devices: list[Device]
    portals: list[Portal] = []
    rooms: list[Room] = []
    vans: list[Van] = []
    events: list[Event] = []


def at(start: datetime, minutes: float) -> datetime:
    """The moment so many scenario minutes after the start."""
    return start + timedelta(minutes=minutes)


def anchored(value: Document, start: datetime, key: str = "") -> Document:
    """Master data with `<field>_min` turned into moments and `<field>_in_days` into dates, at every depth."""
    if isinstance(value, dict):
        return {_plain(name): anchored(each, start, name) for name, each in value.items()}
    if isinstance(value, list):
        return [anchored(each, start) for each in value]
    if key.endswith(MINUTES_SUFFIX) and isinstance(value, int | float):
        return at(start, value)
    if key.endswith(DAYS_SUFFIX) and isinstance(value, int):
        return expiry(start, value)
    return value


def expiry(start: datetime, days: int) -> date:
    """The date so many days after the start."""
    return start.date() + timedelta(days=days)


def _plain(key: str) -> str:
    return key.removesuffix(MINUTES_SUFFIX).removesuffix(DAYS_SUFFIX)


def scenario_names() -> list[str]:
    """The scenarios that come with the program."""
    return sorted(each.name.removesuffix(".toml") for each in _folder().iterdir() if each.name.endswith(".toml"))


def _folder() -> Traversable:
    return files("simulators").joinpath("scenarios")


def load_scenario(name_or_path: str) -> Scenario:
    """Reads a scenario by name, or from a .toml path. Raises ConfigurationError with the path of what is wrong."""
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"scenario {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"scenario {path}: is not text: {error}") from error
    elif name_or_path in scenario_names():
        text = _folder().joinpath(f"{name_or_path}.toml").read_text(encoding="utf-8")
    else:
        raise NotFound(f"no scenario {name_or_path!r}: there are {', '.join(scenario_names())}, or give the path of a .toml file")
    return parse_scenario(text, name_or_path)


def parse_scenario(text: str, origin: str) -> Scenario:
    """A scenario from TOML text; `origin` names it in messages. Raises ConfigurationError."""
    try:
        scenario = msgspec.convert(tomllib.loads(text), Scenario)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"scenario {origin}: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"scenario {origin}: {error}") from error
    problems = list(_dangling(scenario))
    if problems:
        raise ConfigurationError(f"scenario {origin}: " + "; ".join(problems))
    return scenario


def _dangling(scenario: Scenario) -> list[str]:
    """Names that are used but not defined, and names defined twice."""
    known = {
        "agent": [each.name for each in scenario.agents],
        "room": [each.name for each in scenario.rooms],
        "vehicle": [each.name for each in scenario.vans],
        "portal": [each.name for each in scenario.portals],
        "gate": [each.portal for each in scenario.devices if isinstance(each, Reader)],
        "read_point": [each.read_point for each in scenario.devices if isinstance(each, Scanner)],
        "shipment": [each.get("shipment") for each in scenario.master.get("shipments", [])],
    }
    problems = [
        f"{table}[{index}].{field}: {getattr(part, field)!r} is not defined"
        for table in ("devices", "portals", "events")
        for index, part in enumerate(getattr(scenario, table))
        for field in known
        if hasattr(part, field) and getattr(part, field) not in known[field]
    ]
    for noun in ("agent", "room", "vehicle", "portal"):
        problems += [f"{noun} {name!r} is defined twice" for name in sorted(set(known[noun])) if known[noun].count(name) > 1]
    devices = [f"{each.agent}/{each.name}" for each in scenario.devices]
    problems += [f"device {key!r} is defined twice" for key in sorted(set(devices)) if devices.count(key) > 1]
    return problems
