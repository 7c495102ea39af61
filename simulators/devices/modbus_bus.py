"""A Modbus bus: several units at one line (RTU) or behind one socket (TCP), some of which are absent, late or refuse."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from edge.drivers.modbus_frame import (
    COIL_ON,
    EXCEPTION,
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    MAX_BITS,
    MAX_WORDS,
    READ_COILS,
    READ_INPUTS,
    TCP_HEAD_BYTES,
    WRITE_COIL,
    Framing,
    crc,
    framed,
)
from simulators.devices.line import Connection

RTU_REQUEST_BYTES: Final = 8
MAX_REQUEST_BYTES: Final = 256


@dataclass(slots=True)
class Unit:
    """One slave: `words` are registers by (function 3 or 4, address), `bits` coils and inputs by (function 1 or 2, address)."""

    words: dict[tuple[int, int], int] = field(default_factory=dict)
    bits: dict[tuple[int, int], bool] = field(default_factory=dict)
    absent: bool = False
    late_s: float = 0.0
    stuck_coils: bool = False
    """True when it says that it switched a coil and does not."""

    def answer(self, body: bytes) -> bytes:
        """The body of the answer to a request's body; an exception for what it does not have."""
        unit, function = body[0], body[1]
        address, count = int.from_bytes(body[2:4], "big"), int.from_bytes(body[4:6], "big")
        try:
            data = self._data(function, address, count)
        except _RefusedError as refused:
            return bytes((unit, function | EXCEPTION, refused.code))
        return body if function == WRITE_COIL else bytes((unit, function, len(data))) + data

    def _data(self, function: int, address: int, count: int) -> bytes:
        if function == WRITE_COIL:
            return self._write_coil(address, count)
        if function not in (1, 2, 3, 4):
            raise _RefusedError(ILLEGAL_FUNCTION)
        if not 1 <= count <= (MAX_BITS if function in (READ_COILS, READ_INPUTS) else MAX_WORDS):
            raise _RefusedError(ILLEGAL_VALUE)
        places = [(function, address + each) for each in range(count)]
        held: dict[tuple[int, int], bool] | dict[tuple[int, int], int] = self.bits if function <= READ_INPUTS else self.words
        if any(place not in held for place in places):
            raise _RefusedError(ILLEGAL_ADDRESS)
        if function > READ_INPUTS:
            return b"".join(self.words[place].to_bytes(2, "big") for place in places)
        packed = sum(self.bits[place] << number for number, place in enumerate(places))
        return packed.to_bytes((count + 7) // 8, "little")

    def _write_coil(self, address: int, value: int) -> bytes:
        if (READ_COILS, address) not in self.bits:
            raise _RefusedError(ILLEGAL_ADDRESS)
        if value not in (0, COIL_ON):
            raise _RefusedError(ILLEGAL_VALUE)
        if not self.stuck_coils:
            self.bits[READ_COILS, address] = value == COIL_ON
        return b""


class _RefusedError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ModbusBus:
    """The units of one line, by address. `echo` is a two-wire adapter that hears itself; `asked` notes each request's unit."""

    def __init__(self, units: dict[int, Unit], *, framing: Framing = "rtu", echo: bool = False) -> None:
        self.units = units
        self.asked: list[int] = []
        self._framing: Framing = framing
        self._echo = echo
        self._late: set[asyncio.Task[None]] = set()

    async def attend(self, connection: Connection) -> None:
        """Answers until the line breaks."""
        waiting = b""
        try:
            while data := await connection.reader.read(MAX_REQUEST_BYTES):
                waiting = self.take(waiting + data, connection.send)
        finally:
            for task in self._late:
                task.cancel()

    def take(self, waiting: bytes, send: Callable[[bytes], object]) -> bytes:
        """Answers the whole requests among the bytes and returns the rest. Late answers need a running loop."""
        while frame := self._first(waiting):
            waiting = waiting[len(frame) :]
            body, transaction = self._opened(frame)
            self.asked.append(body[0])
            if self._echo:
                send(frame)
            unit = self.units.get(body[0])
            if unit is None or unit.absent:
                continue
            answer = framed(unit.answer(body), self._framing, transaction)
            if unit.late_s:
                task = asyncio.get_running_loop().create_task(self._send_later(unit.late_s, answer, send))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
            else:
                send(answer)
        return waiting[-MAX_REQUEST_BYTES:]

    async def _send_later(self, delay_s: float, answer: bytes, send: Callable[[bytes], object]) -> None:
        await asyncio.sleep(delay_s)
        send(answer)

    def _first(self, waiting: bytes) -> bytes:
        """The first whole request; empty when there is none."""
        if self._framing == "tcp":
            size = 6 + int.from_bytes(waiting[4:6], "big")
            return waiting[:size] if TCP_HEAD_BYTES <= len(waiting) >= size else b""
        frame = waiting[:RTU_REQUEST_BYTES]
        return frame if len(frame) == RTU_REQUEST_BYTES and crc(frame[:-2]) == frame[-2:] else b""

    def _opened(self, frame: bytes) -> tuple[bytes, int]:
        if self._framing == "tcp":
            return frame[6:], int.from_bytes(frame[:2], "big")
        return frame[:-2], 0
