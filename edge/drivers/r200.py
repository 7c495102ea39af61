"""R200 family UHF modules (R200, M100, YRM100, JRD-4035): the BB...7E frames of their serial line, 115200 baud.

A frame is `BB | type | command | length u16 | parameters | checksum | 7E`; the checksum is the sum from type to the last
parameter, modulo 256. A tag notice holds `RSSI i8 | PC u16 | EPC | CRC u16`, the CRC being the tag's own (EPC Gen2: polynomial
1021, preset FFFF, inverted, over PC and EPC), which is checked as well. 7E may stand inside a frame.
"""

import binascii
from collections import Counter
from datetime import datetime
from typing import ClassVar, Final

from core.errors import CodeError
from edge.drivers.observations import Observation, TagRead
from edge.drivers.protocol import DeviceOptions, ReaderDriver

HEAD: Final = 0xBB
END: Final = 0x7E
COMMAND, RESPONSE, NOTICE = 0x00, 0x01, 0x02
INVENTORY: Final = 0x22
MULTI_POLL: Final = 0x27
FAILED: Final = 0xFF
NO_TAG: Final = 0x15
MAX_PARAMETERS: Final = 96  # a notice of the longest EPC (31 words) and its XPC is 73 bytes
ISO_TOGGLE: Final = 0x0100
FALLBACK_RSSI_DBM: Final = -60.0


def frame(kind: int, command: int, parameters: bytes) -> bytes:
    """A whole frame around the parameters."""
    body = bytes((kind, command)) + len(parameters).to_bytes(2, "big") + parameters
    return bytes((HEAD,)) + body + bytes((sum(body) & 0xFF, END))


def gen2_crc(data: bytes) -> int:
    """The CRC-16 a tag sends over its PC and EPC (ISO/IEC 18000-63, annex F)."""
    return binascii.crc_hqx(data, 0xFFFF) ^ 0xFFFF


class Driver(ReaderDriver):
    """Reads tag notices. Keeps at most one frame of MAX_PARAMETERS."""

    default_baud: ClassVar[int] = 115_200
    restart_after_s: ClassVar[float | None] = 3.0

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        self._window = bytearray()

    def start_commands(self) -> list[bytes]:
        """Inventory 10,000 rounds; a module that has done them, or has lost power, is silent and is started again."""
        return [frame(COMMAND, MULTI_POLL, bytes((INVENTORY,)) + (10_000).to_bytes(2, "big"))]

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """Tag reads that these bytes complete. A good notice is found even behind a false or cut-off frame head."""
        found: list[Observation] = []
        for byte in data:
            self._window.append(byte)
            if byte == END and (body := self._take_frame()) is not None:
                found.extend(self._understand(body, read_at))
            else:
                self._drop_false_heads()
        return found

    def pending_bytes(self) -> int:
        """What is held behind a frame head."""
        return len(self._window)

    def encode(self, observation: Observation) -> bytes:
        """A tag notice. Raises CodeError when the EPC is not 1 to 31 words of hex or the RSSI does not fit in a byte."""
        if not isinstance(observation, TagRead):
            raise CodeError(f"an R200 reader cannot send {type(observation).__name__}")
        try:
            epc = bytes.fromhex(observation.epc)
        except ValueError as error:
            raise CodeError(f"EPC {observation.epc!r} is not hex") from error
        rssi = round(FALLBACK_RSSI_DBM if observation.rssi_dbm is None else observation.rssi_dbm)
        if len(epc) % 2 or not 2 <= len(epc) <= 62 or not -128 <= rssi <= 127:
            raise CodeError(f"EPC {observation.epc!r} at {rssi} dBm does not fit a notice: 1 to 31 words, -128 to 127 dBm")
        answer = (len(epc) // 2 << 11).to_bytes(2, "big") + epc
        return frame(NOTICE, INVENTORY, rssi.to_bytes(1, "big", signed=True) + answer + gen2_crc(answer).to_bytes(2, "big"))

    def _take_frame(self) -> bytes | None:
        """The frame that ends with the last byte, from type to last parameter; takes it out of the window."""
        window = self._window
        start = window.find(HEAD)
        while 0 <= start <= len(window) - 7:
            body = bytes(window[start + 1 : -2])
            whole = int.from_bytes(body[2:4], "big") == len(body) - 4 and sum(body) & 0xFF == window[-2]
            # Behind an unfinished head only a frame with two checks is believed: it may lie inside that head's frame.
            if whole and (start == 0 or (_is_notice(body) and _notice_fault(body) is None)):
                self.counts.update({"noise_bytes": start} if start else ())
                window.clear()
                return body
            start = window.find(HEAD, start + 1)
        self._drop_false_heads()
        return None

    def _drop_false_heads(self) -> None:
        """Removes from the front what cannot become a frame, byte by byte, so that the next head is tried."""
        window = self._window
        while window:
            if window[0] != HEAD:
                fault = "noise_bytes"
            elif len(window) >= 2 and window[1] > NOTICE:
                fault = "bad_type"
            elif len(window) >= 5 and (length := int.from_bytes(window[3:5], "big")) > MAX_PARAMETERS:
                fault = "bad_length"
            elif len(window) >= 5 and len(window) >= length + 7:
                fault = "bad_end" if window[length + 6] != END else "bad_checksum"
            else:
                return
            self.counts[fault] += 1
            del window[0]

    def _understand(self, body: bytes, read_at: datetime) -> list[Observation]:
        if not _is_notice(body):
            if body[0] == RESPONSE and body[1] == FAILED and body[4:5] != bytes((NO_TAG,)):
                self.counts["reader_error"] += 1
            return []
        if (fault := _notice_fault(body)) is not None:
            self.counts[fault] += 1
            return []
        control = int.from_bytes(body[5:7], "big")
        if control & ISO_TOGGLE:
            self.counts["iso_tag"] += 1  # still reported: its bits are the tag's name, though not a GS1 one
        rssi = int.from_bytes(body[4:5], "big", signed=True)
        epc = body[7 : 7 + (control >> 11) * 2].hex().upper()
        return [TagRead(epc, self.options.antenna, float(rssi), read_at)]


def _is_notice(body: bytes) -> bool:
    return body[0] == NOTICE and body[1] == INVENTORY


def _notice_fault(body: bytes) -> str | None:
    """What is wrong with a notice, None when nothing is."""
    answer, crc = body[5:-2], body[-2:]
    words = answer[0] >> 3 if len(answer) >= 2 else 0
    if len(body) < 9 or words == 0 or len(answer) < 2 + words * 2:
        return "bad_epc_length"
    return None if gen2_crc(answer) == int.from_bytes(crc, "big") else "bad_epc_crc"
