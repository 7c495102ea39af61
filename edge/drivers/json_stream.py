"""JSON objects out of a stream of bytes, as they arrive: one a line, pretty-printed, one behind the other, or in arrays.

Only objects are events. What encloses them at the outermost level (brackets, commas, white space) is passed over, so that each
element of an array is told as soon as it is closed. Anything else outside an object is noise.
"""

import math
import re
from collections import Counter
from typing import Any, Final

import msgspec

MAX_STREAM_BYTES: Final = 65_536
"""Bytes held of one object that is not closed; readers and sensors send hundreds."""
MAX_DEPTH: Final = 32
_SPACE: Final = b" \t\r\n"
_PASSED_OVER: Final = _SPACE + b"[],\x1e"
_OUTSIDE: Final = re.compile(rb'["{}\[\]]')
_IN_STRING: Final = re.compile(rb'[\x00-\x1f"\\]')
_LINE_BEGIN: Final = re.compile(rb"\n(?=\{)")
_CLOSES: Final = {ord("}"): ord("{"), ord("]"): ord("[")}
_BEFORE_OBJECT: Final = b":[,"

Event = dict[str, Any]


def whole(payload: bytes, counts: Counter[str]) -> list[Event]:
    """The objects of one message that is complete, whatever its size."""
    stream = JsonStream(counts, max_bytes=len(payload) + 1)
    return [*stream.feed(payload), *stream.finish()]


def number(value: object) -> float | None:
    """A finite number, None for anything else; a number written as text counts, a truth value does not."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _is_whole(data: bytes) -> bool:
    stream = JsonStream(Counter(), max_bytes=len(data))
    return bool(stream.feed(data)) and not stream.pending_bytes() and not stream.counts


class JsonStream:
    """Splits and parses. `counts` gets noise_bytes (outside objects), bad_json (objects given up) and too_long.

    What comes out does not depend on how the bytes were cut into chunks. After broken JSON it goes on at the next place where an
    object surely begins: a `{` that cannot stand where it stands, or one that begins a line.
    """

    def __init__(self, counts: Counter[str], *, max_bytes: int = MAX_STREAM_BYTES) -> None:
        self.counts = counts
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._mark = 0
        self._restart()

    def feed(self, data: bytes) -> list[Event]:
        """The objects that these bytes close, in order. Never raises."""
        found: list[Event] = []
        start = 0
        while start < len(data):
            # What is held stops growing one byte above the bound, so that too long an object is given up at the same byte always.
            stop = start + self._max_bytes + 1 - len(self._held)
            self._held += data[start:stop]
            start = stop
            found += self._scan()
            while len(self._held) > self._max_bytes:
                self._give_up("too_long", len(self._held))
                found += self._scan()
        return found

    def flush(self) -> list[Event]:
        """What is complete because the stream fell silent.

        An object may only be late, so it is kept, unless since an earlier silence nothing but whole objects came.
        """
        found: list[Event] = []
        behind = bytes(self._held[self._mark :]) if self._mark else b""
        if behind.lstrip(_SPACE).startswith(b"{") and _is_whole(behind):
            self._drop("bad_json", self._mark)
            found = self._scan()
        self._mark = len(self._held)
        return found

    def finish(self) -> list[Event]:
        """What is complete because nothing more will come; the rest is given up."""
        found: list[Event] = []
        while self._held:
            self._give_up("bad_json", len(self._held))
            found += self._scan()
        return found

    def pending_bytes(self) -> int:
        """Bytes held of an object that is not closed."""
        return len(self._held)

    def _restart(self) -> None:
        self._at = 0
        self._open = bytearray()
        self._in_string = False

    def _scan(self) -> list[Event]:
        """Goes on over what is held, until the bytes are used up."""
        found: list[Event] = []
        while self._open or self._begin():
            if not self._go_on():
                break
            if not self._open and (event := self._take()) is not None:
                found.append(event)
        return found

    def _begin(self) -> bool:
        """Passes over what stands before the next object; True when one begins."""
        while self._held:
            start = self._held.find(b"{")
            if start != 0:
                self._skip(start if start > 0 else len(self._held))
                continue
            first = self._held[1:].lstrip(_SPACE)[:1]
            if first and first in b'"}':
                self._at = 1
                self._open += b"{"
                return True
            if not first:
                return False
            self._skip(1)
        return False

    def _go_on(self) -> bool:
        """Looks at the next byte that matters to nesting; False when more bytes are needed first."""
        found = (_IN_STRING if self._in_string else _OUTSIDE).search(self._held, self._at)
        if found is None:
            self._at = len(self._held)
            return False
        place = found.start()
        byte = self._held[place]
        if self._in_string:
            return self._in_text(byte, place)
        self._at = place + 1
        if byte == ord('"'):
            self._in_string = True
        elif byte in _CLOSES:
            if self._open.pop() != _CLOSES[byte]:
                self._give_up("bad_json", place + 1)
        elif byte == ord("{") and self._held[:place].rstrip(_SPACE)[-1] not in _BEFORE_OBJECT:
            self._drop("bad_json", self._next_begin(place) or place)
        else:
            self._open.append(byte)
            if len(self._open) > MAX_DEPTH:
                self._give_up("bad_json", place + 1)
        return True

    def _in_text(self, byte: int, place: int) -> bool:
        if byte == ord("\\"):
            if place + 1 == len(self._held):
                self._at = place
                return False
            self._at = place + 2
        elif byte == ord('"'):
            self._at = place + 1
            self._in_string = False
        else:
            # A text with a control character, most often the end of a line: the object was cut off.
            self._give_up("bad_json", place)
        return True

    def _take(self) -> Event | None:
        """Parses the object that ends where the scan is."""
        if not self._at:  # it was given up
            return None
        try:
            event = msgspec.json.decode(bytes(self._held[: self._at]))
        except (msgspec.DecodeError, ValueError):
            self._give_up("bad_json", self._at)
            return None
        self._forget(self._at)
        return event if isinstance(event, dict) else None

    def _next_begin(self, end: int) -> int | None:
        """Where, inside what is held and up to `end`, an object begins a line or came first after a silence."""
        found = _LINE_BEGIN.search(self._held, 1, end + 1)
        begins = [found.start() + 1] if found is not None else []
        if 0 < self._mark < end and self._held[self._mark] == ord("{"):
            begins.append(self._mark)
        return min(begins, default=None)

    def _give_up(self, fault: str, end: int) -> None:
        """Drops the broken object up to where another begins a line, at most up to `end`."""
        self._drop(fault, self._next_begin(end) or end)

    def _drop(self, fault: str, size: int) -> None:
        self.counts[fault] += 1
        self._forget(size)

    def _skip(self, size: int) -> None:
        noise = len(self._held[:size].translate(None, _PASSED_OVER))
        if noise:
            self.counts["noise_bytes"] += noise
        self._forget(size)

    def _forget(self, size: int) -> None:
        del self._held[:size]
        self._mark = max(0, self._mark - size)
        self._restart()
