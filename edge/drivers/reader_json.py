"""What the drivers of readers that send JSON share: events out of bytes or messages, EPCs, times, phases."""

import base64
import binascii
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from edge.drivers.json_stream import Event, JsonStream, number, whole
from edge.drivers.observations import Fault, Observation
from edge.drivers.protocol import DeviceOptions, ReaderDriver

MAX_EPC_BYTES: Final = 62
"""31 words, the most a tag's PC can tell."""
MAX_DETAIL: Final = 200
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)", re.IGNORECASE)


def epc_of_hex(value: object) -> str | None:
    """Upper-case hex of a whole EPC (1 to 31 words of 16 bits), else None."""
    if not isinstance(value, str):
        return None
    try:
        return _whole_words(bytes.fromhex(value))
    except ValueError:
        return None


def epc_of_base64(value: object) -> str | None:
    """The same for base64, of the common alphabet or the URL's (RFC 4648, sections 4 and 5), with padding or without."""
    if not isinstance(value, str):
        return None
    text = value.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _whole_words(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, ValueError):
        return None


def _whole_words(epc: bytes) -> str | None:
    return epc.hex().upper() if 2 <= len(epc) <= MAX_EPC_BYTES and len(epc) % 2 == 0 else None


def moment(value: object) -> datetime | None:
    """An instant in UTC: RFC 3339 text with its offset (`Z`, `+0000`, `-06:00`; up to nanoseconds), or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            return _moment_of_text(value)
        milliseconds = number(value)
        return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _moment_of_text(text: str) -> datetime | None:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    fraction = (found[2] or "0").ljust(6, "0")[:6]
    return datetime.fromisoformat(f"{found[1]}.{fraction}{found[3].upper()}").astimezone(UTC)


def rfc3339(at: datetime) -> str:
    """Text of an instant as readers write it, in UTC to the microsecond."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def phase(value: object) -> float | None:
    """Degrees, 0 to 360, None when there is none."""
    degrees = number(value)
    return None if degrees is None else degrees % 360.0


def port_number(value: object) -> int | None:
    """An antenna or input port, which count from 1; None for anything else."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() and 1 <= found <= 65_535 else None


class JsonReader(ReaderDriver):
    """A reader whose events are JSON objects, in a stream or in messages. Keeps at most one object that is not closed."""

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        self._stream = JsonStream(self.counts)
        self._wrong_clock: Fault | None = None

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """What the events tell that these bytes complete."""
        return self._tell(self._stream.feed(data), read_at)

    def flush(self, read_at: datetime) -> list[Observation]:
        """What a whole event tells that came after one that was cut off."""
        return self._tell(self._stream.flush(), read_at)

    def message(self, topic: str, payload: bytes, read_at: datetime) -> list[Observation]:  # noqa: ARG002  the reader's own topic
        """What the events of one message tell; an event that its end cuts off is lost, and counted."""
        return self._tell(whole(payload, self.counts), read_at)

    def pending_bytes(self) -> int:
        """Bytes held of an event that is not closed."""
        return self._stream.pending_bytes()

    @abstractmethod
    def _understand(self, event: Event, read_at: datetime) -> Iterator[Observation]:
        """What one event tells."""

    def _tell(self, events: Iterable[Event], read_at: datetime) -> list[Observation]:
        self._wrong_clock = None
        found = [observation for event in events for observation in self._understand(event, read_at)]
        # One is enough, however many events the message holds.
        return found if self._wrong_clock is None else [*found, self._wrong_clock]

    def _own_time(self, read_at: datetime, *values: object) -> datetime | None:
        """The first of the values that is an instant; None, and a fault, when the reader's clock is far off."""
        at = next((found for value in values if (found := moment(value)) is not None), None)
        limit_s = self.options.believable_age_s
        if at is None or limit_s is None or abs((read_at - at).total_seconds()) <= limit_s:
            return at
        self.counts["clock"] += 1
        detail = f"the reader says {at.isoformat()}, it is {read_at.isoformat()}; give the reader a time server (NTP)"
        self._wrong_clock = Fault("clock", detail, read_at)
        return None

    def _ignore(self, kind: object, known: frozenset[str]) -> None:
        """Counts an event that tells nothing here, by its kind where that is a known one."""
        self.counts[f"ignored_{kind}" if isinstance(kind, str) and kind in known else "ignored_unknown"] += 1


def detail_of(*values: object) -> str:
    """What an event says of a fault, short enough for a screen."""
    return "; ".join(str(value) for value in values if value not in (None, "", [], {}))[:MAX_DETAIL] or "no detail given"
