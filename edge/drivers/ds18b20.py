"""DS18B20 probe on the kernel's 1-Wire bus, read through its file: `file:///sys/bus/w1/devices/28-<serial>/w1_slave`.

The kernel's w1-therm module answers two lines: the nine bytes of the scratchpad with YES when their CRC holds, and again with the
temperature in thousandths of a degree (Documentation/w1/slaves/w1_therm.rst). Reading takes up to 750 ms: that is the measurement.
"""

import re
from collections import Counter
from datetime import datetime
from typing import ClassVar, Final

from core.errors import CodeError
from edge.drivers.observations import Fault, Measured, Observation
from edge.drivers.protocol import DeviceOptions, ReaderDriver

MAX_LINE_BYTES: Final = 256
POWER_ON: Final = 85_000
"""What the chip holds before its first measurement: it lost its supply, and 85 degrees are in no store."""
FAULTS: Final = frozenset({-127_000, 127_937})
"""What drivers and chips tell of a probe that does not answer."""
COLDEST, HOTTEST = -55_000, 125_000
"""Thousandths of a degree: the scale of the chip's data sheet."""
_CHECK: Final = re.compile(rb"((?:[0-9a-f]{2} ){9}): crc=[0-9a-f]{2} (YES|NO)")
_VALUE: Final = re.compile(rb"(?:[0-9a-f]{2} ){9}t=(-?\d{1,6})")


def crc8(data: bytes) -> int:
    """The 1-Wire CRC: x^8 + x^5 + x^4 + 1, low bit first, from 0 (Maxim application note 27)."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0x8C if value & 1 else value >> 1
    return value


class Driver(ReaderDriver):
    """Asks the file and reads its two lines."""

    polled: ClassVar[bool] = True
    reply_timeout_s: ClassVar[float] = 2.0

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        self._line = bytearray()
        self._scratchpad: bytes | None = None
        self._is_refused = False

    def poll(self) -> bytes:
        """Nothing is said to a file; what is left of the last answer is forgotten."""
        self._line.clear()
        self._scratchpad = None
        return b""

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """One Measured for both lines, or a Fault."""
        found: list[Observation] = []
        for byte in data:
            if byte == ord("\n"):
                line = bytes(self._line)
                self._line.clear()
                found.extend(self._understand(line, read_at))
            elif len(self._line) < MAX_LINE_BYTES:
                self._line.append(byte)
            else:
                self.counts["noise_bytes"] += 1
        return found

    def flush(self, read_at: datetime) -> list[Observation]:
        """The value of a file whose last line has no end."""
        line = bytes(self._line)
        self._line.clear()
        found = self._understand(line, read_at) if line else []
        self._scratchpad = None
        return found

    def pending_bytes(self) -> int:
        """What is held of an answer."""
        return len(self._line)

    def encode(self, observation: Observation) -> bytes:
        """Both lines, as the kernel writes them, in the chip's sixteenths of a degree. Raises CodeError."""
        if not isinstance(observation, Measured) or observation.quantity != "celsius":
            raise CodeError(f"a DS18B20 cannot send {observation!r}")
        if not -55 <= observation.value <= 125:
            raise CodeError(f"{observation.value} degrees: a DS18B20 measures -55 to 125")
        return file_text(round(observation.value * 16))

    def _understand(self, line: bytes, read_at: datetime) -> list[Observation]:
        if check := _CHECK.fullmatch(line):
            self._scratchpad, self._is_refused = None, check[2] == b"NO"
            if self._is_refused:
                return self._fault("bad_crc", "the kernel says crc NO: a loose wire, a long line or a weak pull-up", read_at)
            self._scratchpad = bytes.fromhex(check[1].decode())
            return []
        value = _VALUE.fullmatch(line)
        scratchpad, self._scratchpad = self._scratchpad, None
        if value is None or scratchpad is None:
            if not (value and self._is_refused):
                self.counts["unchecked_value" if value else "malformed"] += 1
            self._is_refused = False
            return []
        if not any(scratchpad):
            # Nine zeros carry the right CRC; a chip's sixth byte is never zero.
            return self._fault("bus_shorted", "the probe's memory is all zeros: its data wire touches ground", read_at)
        return self._measured(int(value[1]), read_at)

    def _measured(self, milli: int, read_at: datetime) -> list[Observation]:
        if milli == POWER_ON:
            return self._fault("power_on_value", "85 degrees: the probe lost its supply before it had measured", read_at)
        if milli in FAULTS or not COLDEST <= milli <= HOTTEST:
            return self._fault("sensor_fault", f"t={milli}: the probe does not answer", read_at)
        return [Measured("celsius", milli / 1000, read_at)]

    def _fault(self, code: str, detail: str, read_at: datetime) -> list[Observation]:
        self.counts[code] += 1
        return [Fault(code, detail, read_at)]


def file_text(sixteenths: int, *, is_good: bool = True) -> bytes:
    """What `w1_slave` holds for a temperature in sixteenths of a degree; with a CRC that fails unless `is_good`."""
    head = sixteenths.to_bytes(2, "little", signed=True) + bytes.fromhex("4b467fff0c10")
    check = crc8(head) ^ (not is_good)
    listed = (head + bytes((check,))).hex(" ")
    milli = int(sixteenths * 1000 / 16)
    return f"{listed} : crc={check:02x} {'YES' if is_good else 'NO'}\n{listed} t={milli}\n".encode()
