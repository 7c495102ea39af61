"""Chafon UHF readers that speak UHFReader18 (RU5102, RRU9803) or UHFReader288 (RU6402, MU804): 57600 baud, or TCP 6000 and 27011.

A frame is `length | address | command | data | CRC`, the length counting what follows it; an answer carries a status before its
data. There is no head byte: a frame is known by its length, its command and its CRC-16/MCRF4XX. An answer to inventory holds
`tags | (length | EPC)...`; UHFReader288 puts the antenna's bit before it and a signal byte behind each EPC.
Frames and statuses after wabson/chafon-rfid (MIT), tests/test_uhfreader18.py and test_uhfreader288.py, and pedrozc90/chafon.
"""

from collections import Counter, deque
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta, Struct

from core.errors import CodeError
from edge.drivers.crc16 import MCRF4XX, crc16
from edge.drivers.observations import Fault, Identity, Observation, Setting, TagRead
from edge.drivers.protocol import DeviceOptions, ReaderDriver

INVENTORY, READER_INFO = 0x01, 0x21
COMMANDS: Final = frozenset({INVENTORY, READER_INFO})
BROADCAST: Final = 0xFF
DONE, TIMEOUT, MORE, MEMORY_FULL = 0x01, 0x02, 0x03, 0x04
STATISTICS: Final = 0x26
ANTENNA_ERROR, NO_TAG = 0xF8, 0xFB
WITH_TAGS: Final = frozenset({DONE, TIMEOUT, MORE, MEMORY_FULL})
REFUSALS: Final = {
    ANTENNA_ERROR: "antenna check failed",
    0xF9: "operation failed",
    0xFA: "tag answers too weakly",
    0xFC: "tag refuses",
    0xFD: "wrong command length",
    0xFE: "unknown command",
    0xFF: "wrong parameter",
}
MODELS: Final = {0x09: "UHFReader18", 0x0C: "UHFReader288M", 0x0F: "UHFReader86", 0x10: "UHFReader86"}
MIN_LENGTH, MAX_LENGTH = 4, 255
MAX_EPC_BYTES: Final = 62
DEFAULT_RSSI_DBM: Final = -60.0

Antenna = Annotated[int, Meta(ge=1, le=4)]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`address` 255 asks whoever hears. `antennas` are asked in turn.

    With `antennas`, inventory carries `q`, `session`, `target` and `scan_time_s` (tenths count), as UHFReader288 wants it; without,
    it carries nothing, as UHFReader18 does. `rssi_offset_db` is added to the signal byte: -129 is what the R2000 chip's byte means.
    """

    address: Annotated[int, Meta(ge=0, le=255)] = BROADCAST
    antennas: tuple[Antenna, ...] = ()
    q: Annotated[int, Meta(ge=0, le=15)] = 4
    session: Annotated[int, Meta(ge=0, le=3)] = 0
    target: Literal["A", "B"] = "A"
    scan_time_s: Annotated[float, Meta(ge=0.3, le=2.0)] = 1.0
    rssi_offset_db: Annotated[float, Meta(ge=-256, le=0)] = -129.0


def frame(address: int, command: int, data: bytes) -> bytes:
    """A whole frame around the data."""
    body = bytes((len(data) + MIN_LENGTH, address, command)) + data
    return body + crc16(body, MCRF4XX)


class Driver(ReaderDriver):
    """Asks for tags again and again; the first question of a line is who is there. Keeps at most one frame's bytes."""

    default_baud: ClassVar[int] = 57_600
    polled: ClassVar[bool] = True
    reply_timeout_s: ClassVar[float] = 3.0
    default_interval_s: ClassVar[float] = 0.1
    Options: ClassVar[type[Struct]] = Options

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.own = options.own if isinstance(options.own, Options) else Options()
        self.counts: Counter[str] = Counter()
        self._window = bytearray()
        self._taken = 0
        self._ends: dict[int, deque[int]] = {}
        self._is_known = False
        self._turn = 0
        self._awaited: int | None = None

    def poll(self) -> bytes:
        """Who are you, once; then an inventory, of the next antenna where antennas are named."""
        self._forget()
        self._awaited = INVENTORY if self._is_known else READER_INFO
        if not self._is_known:
            self._is_known = True
            return frame(self.own.address, READER_INFO, b"")
        return frame(self.own.address, INVENTORY, self._inventory_parameters())

    def _inventory_parameters(self) -> bytes:
        """Q, session, the EPC bank and a mask of no bits, target, antenna, tenths of a second; nothing for UHFReader18."""
        own = self.own
        if not own.antennas:
            return b""
        antenna = own.antennas[self._turn % len(own.antennas)]
        self._turn += 1
        mask = bytes((0x01, 0x00, 0x00, 0x00))
        return bytes((own.q, own.session)) + mask + bytes((own.target == "B", 0x7F + antenna, round(own.scan_time_s * 10)))

    def is_answered(self, *, observed: bool) -> bool:  # noqa: ARG002
        """True after the last frame of an answer, whether it holds a tag or not."""
        return self._awaited is None

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """Tag reads, and what the reader says of itself. A good frame is found behind noise and false lengths."""
        found: list[Observation] = []
        for byte in data:
            self._window.append(byte)
            self._taken += 1
            if byte >= MIN_LENGTH + 1:
                self._ends.setdefault(self._taken + byte, deque()).append(self._taken - 1)
            if (body := self._take_frame()) is not None:
                found.extend(self._understand(body, read_at))
            elif len(self._window) > MAX_LENGTH:
                self._drop(1)
        return found

    def flush(self, read_at: datetime) -> list[Observation]:  # noqa: ARG002
        """Nothing: what is left of a frame is noise, and an answer that did not end is given up."""
        self._forget()
        self._awaited = None
        return []

    def pending_bytes(self) -> int:
        """What is held of a frame."""
        return len(self._window)

    def encode(self, observation: Observation) -> bytes:
        """An answer to inventory with one tag, antenna and signal when the read tells them. Raises CodeError."""
        if not isinstance(observation, TagRead):
            raise CodeError(f"a UHFReader18 cannot send {type(observation).__name__}")
        return answer(DONE, [observation], self.own.rssi_offset_db)

    def _take_frame(self) -> bytes | None:
        """The frame that ends with the last byte, from address to the last of its data; takes it out of the window."""
        begin = self._taken - len(self._window)
        for start in self._ends.pop(self._taken, ()):
            if start < begin:
                continue
            whole = bytes(self._window[start - begin :])
            if whole[2] not in COMMANDS or self.own.address not in (BROADCAST, whole[1]):
                continue
            if crc16(whole[:-2], MCRF4XX) != whole[-2:]:
                self.counts["bad_crc"] += 1
                continue
            self._drop(start - begin)
            self._window.clear()
            self._ends.clear()
            return whole[1:-2]
        return None

    def _drop(self, count: int) -> None:
        self.counts.update({"noise_bytes": count} if count else ())
        del self._window[:count]

    def _forget(self) -> None:
        self._drop(len(self._window))
        self._ends.clear()

    def _understand(self, body: bytes, read_at: datetime) -> list[Observation]:
        command, status, data = body[1], body[2], body[3:]
        if self._awaited not in (None, command):
            self.counts["late_answer"] += 1
            return []
        if command == READER_INFO:
            self._awaited = None
            return self._identity(status, data, read_at)
        if status != MORE:
            self._awaited = None
        if status == MEMORY_FULL:
            self.counts["memory_full"] += 1
        if status in WITH_TAGS:
            return self._tags(data, read_at)
        if status in (NO_TAG, STATISTICS):
            return []
        return self._refused(status, read_at)

    def _refused(self, status: int, read_at: datetime) -> list[Observation]:
        self.counts["refused"] += 1
        code = "antenna" if status == ANTENNA_ERROR else "refused"
        return [Fault(code, f"reader status {status:02X}: {REFUSALS.get(status, 'not in the manual')}", read_at)]

    def _identity(self, status: int, data: bytes, read_at: datetime) -> list[Observation]:
        """`version (2) | type | protocols | highest and lowest channel | power in dBm | tenths of a second of a scan`."""
        if status != 0 or len(data) < 8:
            return self._refused(status, read_at)
        model = MODELS.get(data[2], f"Chafon type {data[2]:02X}")
        return [
            Identity(model, f"{data[0]}.{data[1]}", read_at),
            Setting("power_dbm", data[6], read_at),
            Setting("scan_time_s", data[7] / 10, read_at),
        ]

    def _tags(self, data: bytes, read_at: datetime) -> list[Observation]:
        """The tags of one frame; a frame whose lengths do not add up is counted, and nothing of it is believed.

        EPCs are of even length, so both layouts never fit: with antenna and signals the data is even, and without them it is even
        only for an odd number of tags, which is then 1 and longer than the data can hold.
        """
        plain = _split(data, behind=0)
        if plain is not None:
            return [TagRead(epc.hex().upper(), self.options.antenna, None, read_at) for epc, _ in plain]
        told = _split(data[1:], behind=1)
        if told is None:
            self.counts.update(("bad_tags",) if data else ())
            return []
        antenna = _antenna(data[0]) or self.options.antenna
        offset = self.own.rssi_offset_db
        return [TagRead(epc.hex().upper(), antenna, signal[0] + offset, read_at) for epc, signal in told]


def answer(status: int, reads: list[TagRead], rssi_offset_db: float = -129.0, address: int = 0) -> bytes:
    """An answer to inventory as the reader sends it, of reads of one antenna. Raises CodeError for what does not fit."""
    data = bytes((len(reads),))
    for read in reads:
        try:
            epc = bytes.fromhex(read.epc)
        except ValueError as error:
            raise CodeError(f"EPC {read.epc!r} is not hex") from error
        if len(epc) % 2 or not 2 <= len(epc) <= MAX_EPC_BYTES:
            raise CodeError(f"EPC {read.epc!r} is not 1 to {MAX_EPC_BYTES // 2} words")
        data += bytes((len(epc),)) + epc
        if read.antenna is not None:
            signal = round((DEFAULT_RSSI_DBM if read.rssi_dbm is None else read.rssi_dbm) - rssi_offset_db)
            if not (0 <= signal <= 255 and 1 <= read.antenna <= 4):
                raise CodeError(f"antenna {read.antenna} at {read.rssi_dbm} dBm does not fit: antennas 1 to 4, a byte of signal")
            data += bytes((signal,))
    if reads and reads[0].antenna is not None:
        data = bytes((1 << (reads[0].antenna - 1),)) + data
    if len(data) > MAX_LENGTH - MIN_LENGTH - 1:
        raise CodeError(f"{len(reads)} tags do not fit one frame; send several, all but the last with status {MORE}")
    return frame(address, INVENTORY, bytes((status,)) + data)


def _split(data: bytes, *, behind: int) -> list[tuple[bytes, bytes]] | None:
    """EPCs with `behind` bytes after each; None unless count and lengths fit the data exactly."""
    if not data:
        return None
    found: list[tuple[bytes, bytes]] = []
    place = 1
    for _ in range(data[0]):
        length = data[place] if place < len(data) else 0
        end = place + 1 + length
        if length % 2 or not 2 <= length <= MAX_EPC_BYTES or end + behind > len(data):
            return None
        found.append((data[place + 1 : end], data[end : end + behind]))
        place = end + behind
    return found if place == len(data) else None


def _antenna(bits: int) -> int | None:
    """The antenna of a one-hot byte; None when it names none or several."""
    return bits.bit_length() if bits and bits & (bits - 1) == 0 else None
