"""An input of two states at a pin of the gateway itself: a door contact, a mains relay, a photo-eye.

The kernel shows the pin as a file that holds 0 or 1 (`file:///sys/class/gpio/gpio<N>/value`). The pin is looked at often; a contact
that bounces is believed once it is found the same so often in a row.
"""

from collections import Counter
from datetime import datetime
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from core.errors import CodeError
from core.messages import Input
from edge.drivers.observations import Fault, Observation, Switched
from edge.drivers.protocol import DeviceOptions, ReaderDriver

MAX_LINE_BYTES: Final = 64
STATES: Final = {b"0": False, b"1": True}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`input`: what the pin tells. `invert`: 0 is on, as with a contact to ground. `debounce`: equal looks that are believed."""

    input: Input
    invert: bool = False
    debounce: Annotated[int, Meta(ge=1, le=100)] = 1


class Driver(ReaderDriver):
    """Looks at the pin ten times a second unless told otherwise."""

    polled: ClassVar[bool] = True
    default_interval_s: ClassVar[float] = 0.1
    Options: ClassVar[type[Struct]] = Options

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.own = options.own if isinstance(options.own, Options) else Options(input="door_open")
        self.counts: Counter[str] = Counter()
        self._line = bytearray()
        self._is_answered = False
        self._believed: bool | None = None
        self._found: bool | None = None
        self._times = 0

    def poll(self) -> bytes:
        """Nothing is said to a file; what is left of the last answer is forgotten."""
        self._line.clear()
        self._is_answered = False
        return b""

    def is_answered(self, *, observed: bool) -> bool:  # noqa: ARG002
        """True once the pin was read, though it may still bounce."""
        return self._is_answered

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """The state believed, once for each look; a Fault for what is neither 0 nor 1."""
        found: list[Observation] = []
        for byte in data:
            if byte == ord("\n"):
                found.extend(self.flush(read_at))
            elif len(self._line) < MAX_LINE_BYTES:
                self._line.append(byte)
            else:
                self.counts["noise_bytes"] += 1
        return found

    def flush(self, read_at: datetime) -> list[Observation]:
        """The state of a file whose line has no end."""
        line = bytes(self._line).strip()
        self._line.clear()
        if not line:
            return []
        self._is_answered = True
        level = STATES.get(line)
        if level is None:
            self.counts["bad_value"] += 1
            return [Fault("bad_value", f"the pin's file holds {line[:20]!r}, not 0 or 1: is it a GPIO value file?", read_at)]
        on = level is not self.own.invert
        if on is not self._found:
            self.counts.update(("bounces",) if self._found is not self._believed else ())
            self._found, self._times = on, 0
        self._times += 1
        if self._times >= self.own.debounce:
            self._believed = on
        return [] if self._believed is None else [Switched(self.own.input, self._believed, read_at)]

    def pending_bytes(self) -> int:
        """What is held of a line."""
        return len(self._line)

    def encode(self, observation: Observation) -> bytes:
        """The file of a pin in that state. Raises CodeError."""
        if not isinstance(observation, Switched) or observation.input != self.own.input:
            raise CodeError(f"an input for {self.own.input} cannot send {observation!r}")
        return b"1\n" if observation.on is not self.own.invert else b"0\n"
