"""Every message between edge and hub: one tagged union, JSON on the wire.

Times are aware (UTC) and written as RFC 3339, except in `Readings`, whose columns are
integers of microseconds since 1970-01-01T00:00Z so that a hub can take them in bulk.
"""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from core.errors import MessageRejected

MAX_BATCH_BYTES: Final = 1_048_576
MAX_BATCH_ITEMS: Final = 5_000

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?\Z")]
AwareTime = Annotated[datetime, Meta(tz=True)]
EpcHex = Annotated[str, Meta(pattern=r"^([0-9A-F]{4}){1,62}\Z")]
Quantity = Literal["celsius", "humidity_percent", "pressure_pa", "battery_volts", "battery_percent"]
Input = Literal["door_open", "mains_power", "photo_eye", "water_leak", "alarm_output"]
Direction = Literal["in", "out", "none"]
SeriesIndex = Annotated[int, Meta(ge=0)]
Microseconds = Annotated[int, Meta(ge=-62_135_596_800_000_000, le=253_402_300_799_999_999)]  # the years 1 to 9999


class Series(Struct, frozen=True, array_like=True):
    """What one column of readings measures: a device of the agent's site, and a quantity with its unit."""

    device: Name
    quantity: Quantity


class Readings(Struct, frozen=True, tag="readings", tag_field="kind"):
    """Measured values, as columns of equal length.

    `which[i]` is an index into `series`; `at_us[i]` is the moment of measuring in microseconds since the epoch; `values[i]`
    is in the unit the quantity names, finite.
    """

    series: list[Series]
    which: list[SeriesIndex]
    at_us: list[Microseconds]
    values: list[float]


class TagPassage(Struct, frozen=True, tag="passage", tag_field="kind"):
    """One tag passed one portal: many reads smoothed into one fact.

    `group` names the tags that went through together (a pallet and its cases).
    """

    portal: Name
    epc: EpcHex
    direction: Direction
    first_seen: AwareTime
    last_seen: AwareTime
    reads: Annotated[int, Meta(ge=1)]
    peak_rssi_dbm: float | None
    confidence: Annotated[float, Meta(ge=0, le=1)]
    group: Annotated[str, Meta(min_length=1, max_length=64)]


class BarcodeScan(Struct, frozen=True, tag="barcode", tag_field="kind"):
    """One barcode read at a place. `text` is what the scanner sent without line ending: AIM id and group separators kept."""

    read_point: Name
    text: Annotated[str, Meta(min_length=1, max_length=4096)]
    at: AwareTime


class Position(Struct, frozen=True, tag="position", tag_field="kind"):
    """Where a vehicle's tracker was. `hdop` has no unit; `course_deg` is clockwise from true north.

    Latitude and longitude are degrees in `coordinate_system`; `accuracy_m` is the radius the tracker itself claims.
    """

    tracker: Name
    at: AwareTime
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    speed_mps: Annotated[float, Meta(ge=0)] | None = None
    course_deg: Annotated[float, Meta(ge=0, lt=360)] | None = None
    satellites: Annotated[int, Meta(ge=0)] | None = None
    hdop: Annotated[float, Meta(ge=0)] | None = None
    coordinate_system: Literal["wgs84", "gcj02"] = "wgs84"
    accuracy_m: Annotated[float, Meta(ge=0)] | None = None


class DeviceStatus(Struct, frozen=True, tag="device_status", tag_field="kind"):
    """A device changed its state, or its fault counters changed. `counts` are totals since the agent began."""

    device: Name
    at: AwareTime
    state: Literal["online", "offline", "fault"]
    detail: Annotated[str, Meta(max_length=1000)] = ""
    counts: dict[str, int] = msgspec.field(default_factory=dict)


class StateChange(Struct, frozen=True, tag="state", tag_field="kind"):
    """Something with two states at a device, at a moment: `on` is true while the door is open, the mains are there, the eye is
    interrupted, water stands, the alarm sounds. Told when it changes, and when the agent begins.
    """

    device: Name
    input: Input
    on: bool
    at: AwareTime


Item = Readings | TagPassage | BarcodeScan | Position | DeviceStatus | StateChange


class Batch(Struct, frozen=True):
    """What an agent sends at once. `(agent, boot, seq)` names it for ever within its site.

    `boot` names the life of the agent's outbox, not of its process: it changes only when the outbox file is made anew,
    and `seq` rises by one with every batch of that life, so a batch sent again is known again.
    """

    agent: Name
    boot: Annotated[str, Meta(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9-]+\Z")]
    seq: Annotated[int, Meta(ge=1, lt=2**53)]
    sent_at: AwareTime
    items: list[Item]


class BatchName(Struct, frozen=True):
    """The envelope alone, to name a batch whose items cannot be read."""

    agent: str
    boot: Annotated[str, Meta(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9-]+\Z")]
    seq: Annotated[int, Meta(ge=1, lt=2**53)]


class Receipt(Struct, frozen=True):
    """Hub to agent, after the commit: these closed ranges of `seq` are safe and may be freed.

    A rejected batch is receipted too (the hub keeps it whole); its `seq` is named in `rejected` as well. `at` is the hub's clock
    when it was sent, by which an agent estimates how far its own is off.
    """

    boot: str
    committed: list[tuple[int, int]]
    rejected: list[int] = msgspec.field(default_factory=list)
    at: AwareTime | None = None


class AgentHealth(Struct, frozen=True):
    """How a gateway does; null is what it cannot know. `clock_skew_s` is how far its clock is ahead of the hub's; `heard` names
    devices and when each last said anything; `counts` are totals since the agent began.
    """

    cpu_celsius: float | None = None
    disk_free_bytes: int | None = None
    memory_bytes: int | None = None
    clock_skew_s: float | None = None
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    heard: dict[str, AwareTime] = msgspec.field(default_factory=dict)


class AgentStatus(Struct, frozen=True):
    """Retained on the agent's status topic; the broker publishes `online=False` as its last will."""

    agent: Name
    online: bool
    at: AwareTime
    boot: str
    version: str = ""
    outbox_batches: int = 0
    outbox_bytes: int = 0
    health: AgentHealth | None = None


_encoder: Final = msgspec.json.Encoder()
_batch_decoder: Final = msgspec.json.Decoder(Batch)
_name_decoder: Final = msgspec.json.Decoder(BatchName)
_receipt_decoder: Final = msgspec.json.Decoder(Receipt)
_status_decoder: Final = msgspec.json.Decoder(AgentStatus)


def encode(message: Batch | Receipt | AgentStatus | Item) -> bytes:
    """A message as it goes on the wire."""
    return _encoder.encode(message)


def decode_batch(payload: bytes) -> Batch:
    """The batch in a payload. Raises MessageRejected with the path of what is wrong."""
    if len(payload) > MAX_BATCH_BYTES:
        raise MessageRejected(f"batch of {len(payload)} bytes is over the limit of {MAX_BATCH_BYTES}")
    try:
        batch = _batch_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MessageRejected(f"batch cannot be read: {error}") from error
    if len(batch.items) > MAX_BATCH_ITEMS:
        raise MessageRejected(f"batch of {len(batch.items)} items is over the limit of {MAX_BATCH_ITEMS}")
    return batch


def decode_batch_name(payload: bytes) -> BatchName:
    """Only who sent a batch and its number. Raises MessageRejected when not even that can be read."""
    try:
        return _name_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MessageRejected(f"envelope cannot be read: {error}") from error


def decode_receipt(payload: bytes) -> Receipt:
    """A receipt from the hub. Raises MessageRejected."""
    try:
        return _receipt_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MessageRejected(f"receipt cannot be read: {error}") from error


def decode_status(payload: bytes) -> AgentStatus:
    """An agent's status. Raises MessageRejected."""
    try:
        return _status_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MessageRejected(f"status cannot be read: {error}") from error
