"""Any Modbus slave whose register map is written as data (`[devices.options]`): RTU on a line, or TCP.

Without options it is an XY-MD02 probe. Registers are read in as few requests as their addresses allow, one after the other; values
that mean "no measurement", exceptions and a slave that falls silent half-way are Faults, never readings.
"""

from collections import Counter, deque
from datetime import datetime
from typing import ClassVar, Final

from msgspec import Struct

from core.errors import CodeError
from edge.drivers import modbus_map
from edge.drivers.modbus_frame import EXCEPTION, MAX_BITS, MAX_WORDS, TCP_HEAD_BYTES, crc, framed, refusal, reply_bytes, request
from edge.drivers.modbus_map import BITS, Group, Register
from edge.drivers.observations import Fault, Measured, Observation, Switched
from edge.drivers.protocol import DeviceOptions, ReaderDriver

REQUEST_BODY_BYTES: Final = 6
REFUSAL_BODY_BYTES: Final = 3
_TYPICAL: Final = {
    "celsius": 20.0,
    "humidity_percent": 50.0,
    "pressure_pa": 101_325.0,
    "battery_volts": 3.0,
    "battery_percent": 90.0,
}


class Driver(ReaderDriver):
    """Asks group by group and reads the answers; tolerates its own requests echoed. Keeps at most one frame.

    A capture that holds requests is read by them; one of replies alone by the first group they fit.
    """

    default_baud: ClassVar[int] = 9600
    polled: ClassVar[bool] = True
    reply_timeout_s: ClassVar[float] = 1.0
    Options: ClassVar[type[Struct]] = modbus_map.Options

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        own = self.own = options.own if isinstance(options.own, modbus_map.Options) else modbus_map.Options()
        self.counts: Counter[str] = Counter()
        self._groups = modbus_map.groups(own)
        self._replies = {reply_bytes(group.function, group.count): None for group in self._groups}
        self._window = bytearray()
        self._transaction = 0
        self._asked: Group | None = None
        self._is_polling = False
        self._left: deque[Group] = deque()
        self._waiting: list[bytes] = []
        self._answers = 0
        self._encoded: dict[str, float] = {}

    def poll(self) -> bytes:
        """The request for the first group; the others follow as `replies`. What is left of an earlier answer is noise now."""
        self._forget()
        self._left = deque(self._groups)
        self._is_polling = True
        self._answers = 0
        self._waiting.clear()
        return self._next_request()

    def replies(self) -> list[bytes]:
        """The request for the next group, once the last one is answered."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def is_answered(self, *, observed: bool) -> bool:  # noqa: ARG002
        """True when every group was answered."""
        return not self._is_polling

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """What the registers say; a Fault for an exception and for values that are no measurement."""
        found: list[Observation] = []
        for byte in data:
            self._window.append(byte)
            body = self._take_rtu() if self.own.framing == "rtu" else self._take_tcp()
            if body is not None:
                found.extend(self._understand(body, read_at))
        return found

    def flush(self, read_at: datetime) -> list[Observation]:
        """A Fault when some groups were answered and the next one was not; silence ends a frame."""
        self._forget()
        was_polling, self._is_polling = self._is_polling, False
        if was_polling and self._answers and self._asked is not None:
            return self._fault("partial_answer", f"no answer for {_place(self._asked)}, after {self._answers} answers", read_at)
        return []

    def pending_bytes(self) -> int:
        """What is held of a frame."""
        return len(self._window)

    def encode(self, observation: Observation) -> bytes:
        """The answer with that value; other registers as last encoded, at first something typical. Raises CodeError."""
        match observation:
            case Measured(name, value, _):
                pass
            case Switched(name, on, _):
                value = float(on)
            case _:
                raise CodeError(f"a Modbus device cannot send {type(observation).__name__}")
        register = next((each for each in self.own.registers if each.name == name), None)
        if register is None:
            raise CodeError(f"this Modbus device has no register for {name}")
        values = {**self._encoded, name: value}
        group = next(each for each in self._groups if _holds(each, register))
        data = self._data(group, values)
        self._encoded = values
        return framed(bytes((self.options.unit_id, group.function, len(data))) + data, self.own.framing, self._transaction)

    def _data(self, group: Group, values: dict[str, float]) -> bytes:
        data = bytearray(reply_bytes(group.function, group.count))
        for register in self.own.registers:
            if not _holds(group, register):
                continue
            place = register.address - group.address
            if register.quantity is not None:
                data[2 * place : 2 * (place + register.size)] = register.data(values.get(register.name, _TYPICAL[register.name]))
            elif bool(values.get(register.name, 0.0)) is not register.invert:
                number = (
                    place if group.function in BITS else 8 * (2 * place + 1 - (register.bit or 0) // 8) + (register.bit or 0) % 8
                )
                data[number // 8] |= 1 << number % 8
        return bytes(data)

    def _next_request(self) -> bytes:
        group = self._asked = self._left.popleft()
        self._transaction = (self._transaction + 1) & 0xFFFF
        return framed(self._request(group), self.own.framing, self._transaction)

    def _request(self, group: Group) -> bytes:
        return request(self.options.unit_id, group.function, group.address, group.count)

    def _lengths(self) -> list[int]:
        """Bytes of the RTU frames that may come: answers, the longest first, then a request (echoed or captured), an exception."""
        answers = {5 + count for count in self._replies}
        if self._asked is not None:
            answers.add(5 + reply_bytes(self._asked.function, self._asked.count))
        return sorted(answers | {REQUEST_BODY_BYTES + 2, REFUSAL_BODY_BYTES + 2}, reverse=True)

    def _take_rtu(self) -> bytes | None:
        """The frame that ends with the last byte, without its CRC; takes it out of the window."""
        window, lengths = self._window, self._lengths()
        for length in lengths:
            start = len(window) - length
            if start < 0 or not _has_shape(window, start, length):
                continue
            frame = bytes(window[start:])
            if crc(frame[:-2]) != frame[-2:] or (length == REQUEST_BODY_BYTES + 2 and not self._may_ask(frame[:-2])):
                continue
            self._drop(start)
            window.clear()
            return frame[:-2]
        while len(window) >= lengths[0]:
            is_answer = window[0] == self.options.unit_id and _has_shape(window, 0, lengths[0])
            self._drop(1, "bad_crc" if is_answer else "noise_bytes")
        return None

    def _may_ask(self, body: bytes) -> bool:
        """True when six bytes are a request and not the beginning of an answer, whose CRC then fits by chance.

        While polling only our own request is echoed. In a capture an address whose high byte is the length of an answer is doubted
        unless the map knows it.
        """
        if self._is_polling:
            return self._asked is not None and body == self._request(self._asked)
        address = int.from_bytes(body[2:4], "big")
        known = any(group.function == body[1] and group.address == address for group in self._groups)
        return known or body[2] not in self._replies

    def _take_tcp(self) -> bytes | None:
        """The body of the frame at the front, once it is whole; what is no header is passed over byte by byte."""
        window = self._window
        while window:
            length = int.from_bytes(window[4:6], "big")
            if any(window[2:4]) or (len(window) >= 6 and not 3 <= length <= 254):
                self._drop(1)
                continue
            if len(window) < TCP_HEAD_BYTES or len(window) < 6 + length:
                return None
            transaction, body = int.from_bytes(window[:2], "big"), bytes(window[6 : 6 + length])
            del window[: 6 + length]
            if self._is_polling and transaction != self._transaction:
                self.counts["late_answer"] += 1
                continue
            return body
        return None

    def _understand(self, body: bytes, read_at: datetime) -> list[Observation]:
        unit, function = body[0], body[1]
        if unit != self.options.unit_id:
            self.counts["other_unit"] += 1
            return []
        if function & EXCEPTION and len(body) == REFUSAL_BODY_BYTES:
            where = _place(self._asked) if self._asked is not None else f"function {function & 0x7F}"
            self._go_on()
            return self._fault("exception_reply", f"unit {unit} refuses {where}: {refusal(body[2])}", read_at)
        if _is_request(body):
            self._note_request(body)
            return []
        group = self._answered(body)
        if group is None:
            return []
        self._go_on()
        return self._read(group, body[3:], read_at)

    def _note_request(self, body: bytes) -> None:
        """A request: our own, echoed by the adapter, or one in a capture, which says what the next answer holds."""
        self.counts["echo"] += 1
        count = int.from_bytes(body[4:6], "big")
        if not self._is_polling and 1 <= count <= (MAX_BITS if body[1] in BITS else MAX_WORDS):
            self._asked = Group(body[1], int.from_bytes(body[2:4], "big"), count)

    def _answered(self, body: bytes) -> Group | None:
        """The registers that an answer holds; None, and counted, when it is not the answer to what was asked."""
        function, size = body[1], len(body) - 3
        asked = [self._asked] if self._asked is not None else list(self._groups)
        if body[2:3] != bytes((size & 0xFF,)):
            self.counts["wrong_byte_count"] += 1
            return None
        same = [group for group in asked if group.function == function]
        fitting = [group for group in same if reply_bytes(group.function, group.count) == size]
        if not fitting:
            self.counts["wrong_byte_count" if same else "wrong_function"] += 1
            return None
        return fitting[0]

    def _go_on(self) -> None:
        """After an answer the next group is asked."""
        if not self._is_polling:
            self._asked = None
            return
        self._answers += 1
        if self._left:
            self._waiting.append(self._next_request())
        else:
            self._is_polling = False

    def _read(self, group: Group, data: bytes, read_at: datetime) -> list[Observation]:
        wanted = [each for each in self.own.registers if _holds(group, each)]
        raws = {each.name: _raw(each, group, data) for each in wanted}
        if broken := _chip_fault(wanted, raws):
            return self._fault("sensor_fault", broken, read_at)
        found: list[Observation] = []
        for register in wanted:
            raw = raws[register.name]
            if register.input is not None:
                found.append(Switched(register.input, (raw != 0) is not register.invert, read_at))
            elif (value := register.value(raw)) is not None and register.quantity is not None:
                found.append(Measured(register.quantity, value, read_at))
            else:
                digits = 4 * register.size
                found += self._fault(
                    "sensor_fault", f"{register.name}: register {register.address} holds {raw:0{digits}X}", read_at
                )
        return found

    def _fault(self, code: str, detail: str, read_at: datetime) -> list[Observation]:
        self.counts[code] += 1
        return [Fault(code, detail, read_at)]

    def _drop(self, count: int, reason: str = "noise_bytes") -> None:
        self.counts.update({reason: count} if count else ())
        del self._window[:count]

    def _forget(self) -> None:
        self._drop(len(self._window))


def _holds(group: Group, register: Register) -> bool:
    """True when the whole register is among those of the group."""
    first, end = register.address, register.address + register.size
    return group.function == register.function and group.address <= first and end <= group.address + group.count


def _bit_place(place: int, bit: int) -> int:
    """Where a bit of a register stands, counted from the lowest of the first byte; the high byte goes first."""
    return 8 * (2 * place + 1 - bit // 8) + bit % 8


def _raw(register: Register, group: Group, data: bytes) -> int:
    place = register.address - group.address
    if group.function in BITS:
        return data[place // 8] >> place % 8 & 1
    raw = register.raw(data[2 * place : 2 * (place + register.size)])
    return raw if register.bit is None else raw >> register.bit & 1


def _chip_fault(wanted: list[Register], raws: dict[str, int]) -> str:
    """Why neither temperature nor humidity of a probe is believed, whose one chip measures both; empty when they are."""
    if not {"celsius", "humidity_percent"} <= raws.keys():
        return ""
    register = next(each for each in wanted if each.name == "celsius")
    celsius, humidity = raws["celsius"], raws["humidity_percent"]
    is_broken = celsius in register.faults or (celsius == 0 and humidity == 0)
    return f"temperature register {celsius:0{4 * register.size}X}, humidity register {humidity:04X}" if is_broken else ""


def _is_request(body: bytes) -> bool:
    """Six bytes ask, unless they answer: an answer's third byte counts the three behind it, which no answer of registers can."""
    return len(body) == REQUEST_BODY_BYTES and body[1] <= 4 and (body[2] != 3 or body[1] not in BITS)


def _has_shape(window: bytearray, start: int, length: int) -> bool:
    """True when the bytes from `start` may be an answer, a request or an exception of that length."""
    function = window[start + 1]
    if length == REFUSAL_BODY_BYTES + 2:
        return 1 <= function & 0x7F <= 4 and bool(function & EXCEPTION)
    return 1 <= function <= 4 and (length == REQUEST_BODY_BYTES + 2 or window[start + 2] == length - 5)


def _place(group: Group) -> str:
    return f"function {group.function}, {group.count} from {group.address}"
