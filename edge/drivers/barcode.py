"""Serial and USB-CDC barcode scanners: one scan a line, ended by CR, LF, both, or by silence."""

from collections import Counter
from datetime import datetime
from typing import ClassVar, Final, Literal

from msgspec import Struct

from core.errors import CodeError
from edge.drivers.observations import Fault, Observation, Scan
from edge.drivers.protocol import DeviceOptions, ReaderDriver

MAX_SCAN_BYTES: Final = 4096
_ENDS: Final = frozenset(b"\r\n")


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`character_set` in which the scanner sends; GB18030 holds GBK and GB2312, in which Chinese scanners send 2D codes."""

    character_set: Literal["utf-8", "gb18030", "latin-1"] = "utf-8"


class Driver(ReaderDriver):
    """Reads scans as they come: AIM identifier (`]d2`) and group separators (0x1D) are kept in the text."""

    default_baud: ClassVar[int] = 9600
    Options: ClassVar[type[Struct]] = Options

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self._character_set = (options.own if isinstance(options.own, Options) else Options()).character_set
        self.counts: Counter[str] = Counter()
        self._line = bytearray()
        self._too_long = False

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """Scans whose line ended here. A line over MAX_SCAN_BYTES is dropped whole and counted."""
        found: list[Observation] = []
        for byte in data:
            if byte in _ENDS:
                found.extend(self.flush(read_at))
            elif len(self._line) >= MAX_SCAN_BYTES:
                self._too_long = True
            else:
                self._line.append(byte)
        return found

    def flush(self, read_at: datetime) -> list[Observation]:
        """The scan of a scanner that sends no line ending."""
        line, too_long = bytes(self._line), self._too_long
        self._line.clear()
        self._too_long = False
        if too_long:
            self.counts["too_long"] += 1
            return [Fault("too_long", f"a scan over {MAX_SCAN_BYTES} bytes, beginning {line[:16].hex()}", read_at)]
        if not line:
            return []
        try:
            return [Scan(line.decode(self._character_set), read_at)]
        except UnicodeDecodeError as error:
            self.counts["undecodable"] += 1
            what = f"byte {error.start} of a scan is not {self._character_set}: {line[:64].hex()}"
            return [Fault("undecodable", f"{what}; set the scanner, or character_set, to what it sends", read_at)]

    def pending_bytes(self) -> int:
        """What is held of a scan."""
        return len(self._line)

    def encode(self, observation: Observation) -> bytes:
        """The text and a CR. Raises CodeError for an empty or too long text, or one that holds a line ending."""
        if not isinstance(observation, Scan):
            raise CodeError(f"a barcode scanner cannot send {type(observation).__name__}")
        try:
            line = observation.text.encode(self._character_set)
        except UnicodeEncodeError as error:
            raise CodeError(f"scan {observation.text[:64]!r} cannot be sent in {self._character_set}") from error
        if not 1 <= len(line) <= MAX_SCAN_BYTES or _ENDS & set(line):
            raise CodeError(f"scan {observation.text[:64]!r} is empty, over {MAX_SCAN_BYTES} bytes, or holds a line ending")
        return line + b"\r"
