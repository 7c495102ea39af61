"""What a device has seen, in values with units; nothing about bytes, sites or messages."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.messages import Input, Quantity


@dataclass(frozen=True, slots=True)
class TagRead:
    """One tag answered once. `epc` is upper-case hex of whole 16-bit words; `antenna` counts from 1 where the reader tells.

    `first_seen` is the reader's own time, where it tells one; `phase_deg` is the phase of the answer, 0 to 360.
    """

    epc: str
    antenna: int | None
    rssi_dbm: float | None
    read_at: datetime
    phase_deg: float | None = None
    first_seen: datetime | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """One barcode, as the scanner sent it without line ending: AIM identifier and group separators (0x1D) kept."""

    text: str
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of a sensor. `quantity` names the unit."""

    quantity: Quantity
    value: float
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Fix:
    """One position (degrees in `coordinate_system`) at the receiver's own time `at`.

    `course_deg` is clockwise from true north, below 360; `accuracy_m` is the radius the receiver claims.
    """

    at: datetime
    latitude: float
    longitude: float
    speed_mps: float | None
    course_deg: float | None
    satellites: int | None
    hdop: float | None
    read_at: datetime
    accuracy_m: float | None = None
    coordinate_system: Literal["wgs84", "gcj02"] = "wgs84"


@dataclass(frozen=True, slots=True)
class NoFix:
    """The receiver works and has no position now. `at` is its own time, None when it does not know that either."""

    at: datetime | None
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Switched:
    """An input of two states is found on or off: a door contact, the mains. Also told when it did not change."""

    input: Input
    on: bool
    read_at: datetime


@dataclass(frozen=True, slots=True)
class PortChanged:
    """A digital input (GPI) of a reader is found high (`on`) or low; what it means is the portal's to say. Ports count from 1."""

    port: int
    on: bool
    read_at: datetime


SettingValue = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """The device tells what one of its settings is, under the name and in the unit that firmware-config gives it."""

    name: str
    value: SettingValue
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """The device tells what it is."""

    model: str
    firmware: str
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Online:
    """Whoever watches over the device (its bridge, the broker by its last will) says that it can be reached."""

    read_at: datetime


@dataclass(frozen=True, slots=True)
class Fault:
    """The device answered, and what it said cannot be a measurement. `code` is short and stable, `detail` is for people."""

    code: str
    detail: str
    read_at: datetime


Observation = TagRead | Scan | Measured | Fix | NoFix | Fault | Switched | PortChanged | Setting | Identity | Online
