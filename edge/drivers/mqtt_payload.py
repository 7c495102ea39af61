"""What drivers of sensors that speak MQTT share: JSON payloads, words of presence, times, and values that can be true."""

import re
from abc import abstractmethod
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from core.messages import Quantity
from edge.drivers.json_stream import JsonStream, number, whole
from edge.drivers.observations import Fault, Measured, Observation, Online
from edge.drivers.protocol import DeviceOptions, ReaderDriver

FUTURE_TOLERANCE_S: Final = 120.0
"""How far a device's clock may run ahead of ours before its time is not believed."""
_LIMITS: Final[dict[Quantity, tuple[float, float]]] = {
    "celsius": (-90.0, 125.0),
    "humidity_percent": (0.0, 100.0),
    "pressure_pa": (30_000.0, 120_000.0),
    "battery_volts": (0.0, 60.0),
    "battery_percent": (0.0, 100.0),
}
_WORDS: Final = (b"online", b"offline")
_LINE: Final = re.compile(rb"[^\n]*\n?")


def measured(quantity: Quantity, value: object, read_at: datetime, counts: Counter[str]) -> Measured | Fault:
    """The value, or a Fault when there is none (`no_value`) or when it cannot be true (`impossible_value`)."""
    found = number(value)
    if found is None:
        counts["no_value"] += 1
        return Fault("no_value", f"{quantity}: {value!r:.80} is no number: the sensor does not answer", read_at)
    low, high = _LIMITS[quantity]
    if not low <= found <= high:
        counts["impossible_value"] += 1
        return Fault("impossible_value", f"{quantity}: {found:g} is not within {low:g} to {high:g}", read_at)
    return Measured(quantity, found, read_at)


def moment_of(value: object) -> datetime | None:
    """The moment of seconds or milliseconds since 1970, as number or text, or of ISO 8601 with a zone; else None."""
    seconds = number(value)
    try:
        if seconds is not None:
            return datetime.fromtimestamp(seconds / 1000 if abs(seconds) >= 1e11 else seconds, UTC)
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None
    return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None


class PayloadDriver(ReaderDriver):
    """Reads JSON objects, and `online` or `offline` on a line of its own. Keeps one partial object and one partial word."""

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        self._stream = JsonStream(self.counts)
        self._word = bytearray()
        self._at_line_begin = True

    @abstractmethod
    def read_event(self, event: dict[str, Any], read_at: datetime) -> list[Observation]:
        """What one payload says."""

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """What these bytes complete, of payloads one behind the other."""
        found: list[Observation] = []
        for line in _LINE.findall(bytes(self._word) + data):
            self._word.clear()
            if self._at_line_begin and not self._stream.pending_bytes() and _may_be_word(line):
                if not line.endswith(b"\n"):
                    self._word += line
                    break
                found += self._presence(line.strip().lower() == b"online", read_at)
            elif line:
                self._at_line_begin = line.endswith(b"\n")
                found += self._read_all(self._stream.feed(line), read_at)
        return found

    def flush(self, read_at: datetime) -> list[Observation]:
        """A word without line ending, and what the stream gives up."""
        word = bytes(self._word)
        if word.strip().lower() in _WORDS:
            self._word.clear()
            return self._presence(word.strip().lower() == b"online", read_at)
        found = self._read_all(self._stream.flush(), read_at)
        self._at_line_begin = self._at_line_begin or not self._stream.pending_bytes()
        return found

    def pending_bytes(self) -> int:
        """What is held of a payload that is not finished."""
        return self._stream.pending_bytes() + len(self._word)

    def message(self, topic: str, payload: bytes, read_at: datetime) -> list[Observation]:  # noqa: ARG002
        """What one whole message says. An empty one clears a retained message and says nothing."""
        if not payload.strip():
            self.counts["empty"] += 1
            return []
        if payload.strip().lower() in _WORDS:
            return self._presence(payload.strip().lower() == b"online", read_at)
        return self._read_all(whole(payload, self.counts), read_at)

    def when(self, told: object, read_at: datetime) -> datetime:
        """The moment the device tells, when it can be believed; else that of arrival, and `clock` is counted."""
        at = moment_of(told)
        limit = self.options.believable_age_s
        if at is None or limit is None:
            return at or read_at
        if timedelta(seconds=-FUTURE_TOLERANCE_S) <= read_at - at <= timedelta(seconds=limit):
            return min(at, read_at)
        self.counts["clock"] += 1
        return read_at

    def _presence(self, is_online: bool, read_at: datetime) -> list[Observation]:
        return [presence(is_online, read_at)]

    def _read_all(self, events: list[dict[str, Any]], read_at: datetime) -> list[Observation]:
        return [seen for event in events for seen in self.read_event(event, read_at)]


def presence(is_online: bool, read_at: datetime) -> Observation:
    """That the device can be reached, or cannot."""
    if is_online:
        return Online(read_at)
    return Fault("offline", "its bridge or its last will says that it cannot be reached: look at its power and its radio", read_at)


def _may_be_word(line: bytes) -> bool:
    """Whether the line is a word of presence, or can become one with more bytes."""
    if line.endswith(b"\n"):
        return line.strip().lower() in _WORDS
    text = line.rstrip(b"\r").lower()
    return bool(text) and any(word.startswith(text) for word in _WORDS)
