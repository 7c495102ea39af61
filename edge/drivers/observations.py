"""What a device has seen, in values with units; nothing about bytes, sites or messages."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TagRead:
    """One tag answered once. `epc` is upper-case hex of whole 16-bit words; `antenna` counts from 1 where the reader tells."""

    epc: str
    antenna: int | None
    rssi_dbm: float | None
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Scan:
    """One barcode, as the scanner sent it without line ending: AIM identifier and group separators (0x1D) kept."""

    text: str
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of a sensor. `quantity` names the unit: "celsius" or "humidity_percent"."""

    quantity: str
    value: float
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Fix:
    """One position (WGS 84, degrees) at the receiver's own time `at`; `course_deg` is clockwise from true north, below 360."""

    at: datetime
    latitude: float
    longitude: float
    speed_mps: float | None
    course_deg: float | None
    satellites: int | None
    hdop: float | None
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Fault:
    """The device answered, and what it said cannot be a measurement. `code` is short and stable, `detail` is for people."""

    code: str
    detail: str
    read_at: datetime


Observation = TagRead | Scan | Measured | Fix | Fault
