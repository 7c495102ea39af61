"""XY-MD02 temperature and humidity probe (SHT20/SHT40) on Modbus RTU, 9600 baud, half duplex.

Input register 1 is the temperature in tenths of a degree (signed), register 2 the relative humidity in tenths of a percent.
The CRC-16 (polynomial A001 reflected, preset FFFF) covers all before it and is sent low byte first.
"""

import math
from collections import Counter
from datetime import datetime
from typing import ClassVar, Final

from core.errors import CodeError
from edge.drivers.modbus_frame import (
    EXCEPTION,
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    READ_HOLDING,
    READ_INPUT,
    crc,
    sealed,
)
from edge.drivers.observations import Fault, Measured, Observation
from edge.drivers.protocol import DeviceOptions, ReaderDriver

FUNCTIONS: Final = frozenset({READ_HOLDING, READ_INPUT})
FIRST_REGISTER: Final = 1
REGISTERS: Final = 2
REPLY_BYTES: Final = 9
BROKEN: Final = frozenset({0x7FFF, 0x8000})
"""Register values of a sensor chip that does not answer the probe."""
COLDEST_DECI, HOTTEST_DECI = -400, 1250
"""Tenths of a degree: -40.0 is what the probe says of a missing chip, 125.0 is the end of its scale."""


class Driver(ReaderDriver):
    """Asks for both registers and reads the answer; tolerates its own request echoed by a two-wire adapter."""

    default_baud: ClassVar[int] = 9600
    polled: ClassVar[bool] = True
    reply_timeout_s: ClassVar[float] = 1.0

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        self._window = bytearray()
        self._encoded = {"celsius": 20.0, "humidity_percent": 50.0}

    def poll(self) -> bytes:
        """The request for temperature and humidity; what is left of an earlier answer is noise now."""
        self._forget()
        return sealed(bytes((self.options.unit_id, READ_INPUT, 0, FIRST_REGISTER, 0, REGISTERS)))

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """Two Measured for a good reply, a Fault for an exception reply or for values of a broken sensor."""
        found: list[Observation] = []
        for byte in data:
            self._window.append(byte)
            if (body := self._take_frame()) is not None:
                found.extend(self._understand(body, read_at))
            elif len(self._window) >= REPLY_BYTES:
                self._drop_first()
        return found

    def flush(self, read_at: datetime) -> list[Observation]:  # noqa: ARG002
        """Nothing: silence ends a frame, and an unfinished one says nothing."""
        self._forget()
        return []

    def pending_bytes(self) -> int:
        """What is held of a reply."""
        return len(self._window)

    def encode(self, observation: Observation) -> bytes:
        """A reply with both registers, the other one as last encoded (at first 20.0 degrees, 50.0 percent). Raises CodeError."""
        if not isinstance(observation, Measured) or observation.quantity not in self._encoded:
            raise CodeError(f"an XY-MD02 probe cannot send {observation!r}")
        values = {**self._encoded, observation.quantity: observation.value}
        reply = self._reply(_registers(values["celsius"], values["humidity_percent"]))
        self._encoded = values
        return reply

    def answer(self, request: bytes, celsius: float, humidity_percent: float) -> bytes:
        """What the probe answers to a whole request; empty (silence) for a bad CRC or another unit.

        Raises CodeError for values that do not fit the registers.
        """
        if len(request) < 4 or crc(request[:-2]) != request[-2:] or request[0] != self.options.unit_id:
            return b""
        if request[1] != READ_INPUT:
            return self._refusal(request[1], ILLEGAL_FUNCTION)
        if len(request) != 8:
            return self._refusal(READ_INPUT, ILLEGAL_VALUE)
        first, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        if not 1 <= count <= 125:
            return self._refusal(READ_INPUT, ILLEGAL_VALUE)
        if first < FIRST_REGISTER or first + count > FIRST_REGISTER + REGISTERS:
            return self._refusal(READ_INPUT, ILLEGAL_ADDRESS)
        offset = 2 * (first - FIRST_REGISTER)
        return self._reply(_registers(celsius, humidity_percent)[offset : offset + 2 * count])

    def _reply(self, registers: bytes) -> bytes:
        return sealed(bytes((self.options.unit_id, READ_INPUT, len(registers))) + registers)

    def _refusal(self, function: int, code: int) -> bytes:
        return sealed(bytes((self.options.unit_id, function | EXCEPTION, code)))

    def _take_frame(self) -> bytes | None:
        """The frame that ends with the last byte, without its CRC; takes it out of the window."""
        for length in (REPLY_BYTES, 8, 7, 5):
            start = len(self._window) - length
            if start < 0 or not _has_shape(frame := bytes(self._window[start:])) or crc(frame[:-2]) != frame[-2:]:
                continue
            while len(self._window) > length:
                self._drop_first()
            self._window.clear()
            return frame[:-2]
        return None

    def _understand(self, body: bytes, read_at: datetime) -> list[Observation]:
        unit, function = body[0], body[1]
        if unit != self.options.unit_id:
            self.counts["other_unit"] += 1
        elif function & EXCEPTION:
            return self._fault("exception_reply", f"unit {unit} refuses function {function & 0x7F} with code {body[2]}", read_at)
        elif len(body) == 6:
            self.counts["echo"] += 1
        elif function != READ_INPUT:
            self.counts["wrong_function"] += 1
        elif len(body) != REPLY_BYTES - 2:
            self.counts["wrong_byte_count"] += 1
        else:
            return self._measured(body[3:], read_at)
        return []

    def _measured(self, registers: bytes, read_at: datetime) -> list[Observation]:
        raw, humid = int.from_bytes(registers[:2], "big"), int.from_bytes(registers[2:], "big")
        deci = int.from_bytes(registers[:2], "big", signed=True)
        if raw in BROKEN or not COLDEST_DECI < deci <= HOTTEST_DECI or (deci == 0 and humid == 0):
            return self._fault("sensor_fault", f"temperature register {raw:04X}, humidity register {humid:04X}", read_at)
        celsius = Measured("celsius", deci / 10, read_at)
        if humid > 1000:
            return [celsius, *self._fault("humidity_fault", f"humidity register {humid:04X} is over 100 percent", read_at)]
        return [celsius, Measured("humidity_percent", humid / 10, read_at)]

    def _fault(self, code: str, detail: str, read_at: datetime) -> list[Observation]:
        self.counts[code] += 1
        return [Fault(code, detail, read_at)]

    def _drop_first(self) -> None:
        window = self._window
        whole = len(window) >= REPLY_BYTES and window[0] == self.options.unit_id and window[1:3] == bytes((READ_INPUT, 4))
        self.counts["bad_crc" if whole else "noise_bytes"] += 1
        del window[0]

    def _forget(self) -> None:
        if self._window:
            self.counts["noise_bytes"] += len(self._window)
            self._window.clear()


def _has_shape(frame: bytes) -> bool:
    """True when head and length belong together: a reply of one or two registers, a request, or an exception."""
    if len(frame) == 5:
        return frame[1] & EXCEPTION != 0 and frame[1] & 0x7F in FUNCTIONS
    if len(frame) == 8:
        return frame[1] in FUNCTIONS and frame[2] == 0
    return frame[1] in FUNCTIONS and frame[2] == len(frame) - 5


def _registers(celsius: float, humidity_percent: float) -> bytes:
    if not (math.isfinite(celsius) and math.isfinite(humidity_percent)):
        raise CodeError(f"{celsius} degrees, {humidity_percent} percent: must be numbers")
    deci, humid = round(celsius * 10), round(humidity_percent * 10)
    if not (-0x8000 <= deci <= 0x7FFF and 0 <= humid <= 0xFFFF):
        raise CodeError(f"{celsius} degrees, {humidity_percent} percent: do not fit 16-bit registers of tenths")
    return deci.to_bytes(2, "big", signed=True) + humid.to_bytes(2, "big")
