"""Messages and parameters of LLRP 1.0.1 and 1.1 (GS1 EPCglobal Low Level Reader Protocol, chapter 17 of 1.1), all big-endian.

A message is `reserved 3 bits, version 3, type 10 | length u32, of all | id u32 | body`. A parameter is TLV, `reserved 6 bits,
type 10 | length u16, of all | body`, or TV, `1, type 7 bits | body of a length that the type fixes`. Types below 128 are TV.
There is no checksum: TCP carries the stream, and a frame is believed when everything in it fits.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

HEAD_BYTES: Final = 10
MAX_MESSAGE_BYTES: Final = 131_072
"""A head that claims more is no head. A report of 2,000 tags is about 80,000 bytes."""
MAX_WRECK_BYTES: Final = 8192
"""Out of step only a shorter message is believed, and only a shorter one is looked into again: so no bytes cost much time."""
VERSIONS: Final = (1, 2)
MAX_VENDOR: Final = 0xFFFFFF
"""IANA gives enterprise numbers out in order and is below 100,000; a custom parameter of a higher one is none."""

GET_READER_CAPABILITIES, GET_READER_CONFIG, SET_READER_CONFIG, CLOSE_CONNECTION = 1, 2, 3, 14
ADD_ROSPEC, DELETE_ROSPEC, START_ROSPEC, STOP_ROSPEC, ENABLE_ROSPEC, DISABLE_ROSPEC, GET_ROSPECS = 20, 21, 22, 23, 24, 25, 26
DELETE_ACCESSSPEC = 41
RO_ACCESS_REPORT, KEEPALIVE, READER_EVENT_NOTIFICATION, ENABLE_EVENTS_AND_REPORTS, KEEPALIVE_ACK = 61, 62, 63, 64, 72
ERROR_MESSAGE, CUSTOM_MESSAGE = 100, 1023

ANSWERS: Final = {1: 11, 2: 12, 3: 13, 14: 4, 1023: 1023} | {kind: kind + 10 for kind in (*range(20, 27), *range(40, 46))}
"""The type that answers a type."""
NAMES: Final = {
    1: "GET_READER_CAPABILITIES",
    2: "GET_READER_CONFIG",
    3: "SET_READER_CONFIG",
    14: "CLOSE_CONNECTION",
    20: "ADD_ROSPEC",
    21: "DELETE_ROSPEC",
    22: "START_ROSPEC",
    24: "ENABLE_ROSPEC",
    26: "GET_ROSPECS",
    41: "DELETE_ACCESSSPEC",
    1023: "IMPINJ_ENABLE_EXTENSIONS",
}

ANTENNA_ID, FIRST_SEEN_UTC, LAST_SEEN_UTC, PEAK_RSSI, TAG_SEEN_COUNT, EPC_96 = 1, 2, 4, 6, 8, 13
UTC_TIMESTAMP, GENERAL_CAPABILITIES, GPIO_CAPABILITIES = 128, 137, 141
REGULATORY_CAPABILITIES, UHF_BAND_CAPABILITIES, POWER_LEVEL, FREQUENCY_INFORMATION, HOP_TABLE = 143, 144, 145, 146, 147
RO_SPEC, RO_BOUNDARY_SPEC, RO_START_TRIGGER, RO_STOP_TRIGGER = 177, 178, 179, 182
AI_SPEC, AI_STOP_TRIGGER, INVENTORY_SPEC = 183, 184, 186
KEEPALIVE_SPEC, ANTENNA_CONFIGURATION, RF_TRANSMITTER, GPI_STATE, EVENTS_AND_REPORTS = 220, 222, 224, 225, 226
RO_REPORT_SPEC, REPORT_SELECTOR = 237, 238
TAG_REPORT_DATA, EPC_DATA, RF_SURVEY_DATA = 240, 241, 242
EVENT_SPEC, EVENT_STATE, EVENT_DATA = 244, 245, 246
GPI_EVENT, ROSPEC_EVENT, BUFFER_WARNING, BUFFER_OVERFLOW, READER_EXCEPTION = 248, 249, 250, 251, 252
ANTENNA_EVENT, CONNECTION_ATTEMPT, CONNECTION_CLOSE = 255, 256, 257
STATUS, FIELD_ERROR, PARAMETER_ERROR = 287, 288, 289
C1G2_INVENTORY, C1G2_RF_CONTROL, C1G2_SINGULATION = 330, 335, 336
CUSTOM = 1023

IMPINJ: Final = 25882
"""Impinj's IANA enterprise number; the subtypes below are Impinj's own (its LLRP extensions)."""
IMPINJ_ENABLE_EXTENSIONS = 21
IMPINJ_SELECTOR, IMPINJ_ENABLE_PHASE, IMPINJ_ENABLE_RSSI, IMPINJ_PHASE, IMPINJ_RSSI = 50, 52, 53, 56, 57

_TV_BYTES: Final = {
    **dict.fromkeys((1, 7, 8, 10, 11, 12, 14, 15, 17, 19, 20), 2),
    **dict.fromkeys((2, 3, 4, 5), 8),
    **dict.fromkeys((9, 16, 18), 4),
    6: 1,
    13: 12,
}
_LEAST_BYTES: Final = {
    128: 8, 129: 8, 137: 14, 141: 4, 143: 4, 145: 4, 146: 1, 147: 2, 177: 6, 220: 5, 225: 4, 241: 2, 245: 3, 248: 3, 249: 9,
    250: 1, 252: 2, 255: 3, 256: 2, 287: 4, 288: 4, 289: 4, 1023: 8,
}  # fmt: skip
_FROM_READERS: Final = frozenset({4, 11, 12, 13, *range(30, 37), *range(50, 58), 61, 62, 63, 100, 1023})
_FIRST_PARAMETERS: Final = {
    RO_ACCESS_REPORT: (TAG_REPORT_DATA, RF_SURVEY_DATA, CUSTOM),
    READER_EVENT_NOTIFICATION: (EVENT_DATA,),
    **dict.fromkeys((4, 11, 12, 13, *range(30, 37), *range(50, 55), 57, 100), (STATUS,)),
}
_PLAIN: Final = frozenset({*_FIRST_PARAMETERS, KEEPALIVE})
"""Messages whose body is parameters and nothing else."""
_NESTS: Final = frozenset({TAG_REPORT_DATA, EVENT_DATA})
_NONE: Final[frozenset[int]] = frozenset()
_BARE: Final = {
    TAG_REPORT_DATA: RO_ACCESS_REPORT,
    RF_SURVEY_DATA: RO_ACCESS_REPORT,
    CUSTOM: RO_ACCESS_REPORT,
    EVENT_DATA: READER_EVENT_NOTIFICATION,
}

Rest = Literal["whole", "unknown", "broken"]


class Parameter(NamedTuple):
    """One parameter without its head; a tag's report and an event's data with what is inside, and what the rest of that is."""

    kind: int
    body: bytes
    inside: "tuple[Sequence[Parameter], Rest]" = ((), "whole")


class Message(NamedTuple):
    """One message without its head; `found` are its parameters, where the body is nothing else."""

    kind: int
    ident: int
    body: bytes = b""
    found: Sequence[Parameter] = ()


def number(data: bytes | bytearray, at: int, size: int = 2) -> int:
    """The unsigned number of `size` bytes there."""
    return int.from_bytes(data[at : at + size], "big")


def message(kind: int, ident: int, body: bytes = b"", *, version: int = 1) -> bytes:
    """A whole message."""
    head = (version << 10 | kind).to_bytes(2, "big") + (HEAD_BYTES + len(body)).to_bytes(4, "big")
    return head + (ident & 0xFFFFFFFF).to_bytes(4, "big") + body


def parameter(kind: int, body: bytes = b"") -> bytes:
    """A whole parameter, TV below type 128, else TLV. Raises ValueError when a TLV body is above 65,531 bytes."""
    if kind < 128:
        return bytes((0x80 | kind,)) + body
    if len(body) > 65_531:
        raise ValueError(f"parameter {kind}: {len(body)} bytes do not fit into one")
    return kind.to_bytes(2, "big") + (4 + len(body)).to_bytes(2, "big") + body


def custom(vendor: int, subtype: int, body: bytes = b"") -> bytes:
    """A whole custom parameter."""
    return parameter(CUSTOM, vendor.to_bytes(4, "big") + subtype.to_bytes(4, "big") + body)


def text(words: str) -> bytes:
    """A string as LLRP writes it: u16 length, UTF-8."""
    data = words.encode()[:65_535]
    return len(data).to_bytes(2, "big") + data


def text_at(body: bytes, at: int) -> tuple[str, int]:
    """The string there and where it ends."""
    end = at + 2 + number(body, at)
    return body[at + 2 : end].decode("utf-8", "replace"), end


def parameters(body: bytes, at: int = 0) -> tuple[list[Parameter], Rest]:
    """The parameters from there on, as far as they can be told apart, and what the rest is.

    `unknown` when a TV of a type without known length stands in the way, `broken` when a length does not fit.
    """
    found, rest, _ = _walk(body, at)
    return found, rest


def _walk(body: bytes, at: int, *, nests: frozenset[int] = _NESTS) -> tuple[list[Parameter], Rest, int]:
    found: list[Parameter] = []
    size = len(body)
    while at < size:
        first = body[at]
        if first & 0x80:
            kind, start = first & 0x7F, at + 1
            if kind not in _TV_BYTES:
                return found, "unknown", at
            end = start + _TV_BYTES[kind]
        else:
            kind, start = int.from_bytes(body[at : at + 2], "big"), at + 4
            end = at + int.from_bytes(body[at + 2 : start], "big")
            if kind < 128 or kind > CUSTOM or end - start < _LEAST_BYTES.get(kind, 0):
                return found, "broken", at
        if end > size or (kind == CUSTOM and number(body, start, 4) > MAX_VENDOR):
            return found, "broken", at
        told = body[start:end]
        found.append(Parameter(kind, told, _walk(told, 0, nests=_NONE)[:2]) if kind in nests else Parameter(kind, told))
        at = end
    return found, "whole", at


def _doubt(kind: int, body: bytes) -> tuple[list[Parameter], int, Rest]:
    """The parameters of a body, how many bytes of it come before what is not understood, and why that is not."""
    if kind not in _PLAIN:
        return [], len(body), "whole"
    if kind == KEEPALIVE:
        return [], 0, "broken" if body else "whole"
    found, rest, good = _walk(body, 0)
    at = 0
    for each in found:
        if each.inside[1] != "whole":
            return found, at, each.inside[1]
        at += len(each.body) + (1 if each.kind < 128 else 4)
    return found, good, rest


def _size(data: bytes | bytearray, at: int, end: int, *, strict: bool) -> int | None:
    """Bytes of the message that begins there; 0 when none does, None when too few bytes are there to tell."""
    head = bytes(data[at : min(end, at + HEAD_BYTES + 2)])
    if head[0] >> 2 not in VERSIONS:
        return 0
    kind = number(head, 0) & 0x3FF
    if strict and len(head) >= 2 and kind not in _FROM_READERS:
        return 0
    if len(head) < 6:
        return None
    size = number(head, 2, 4)
    if not HEAD_BYTES <= size <= (MAX_WRECK_BYTES if strict else MAX_MESSAGE_BYTES) or (
        strict and kind == KEEPALIVE and size > HEAD_BYTES
    ):
        return 0
    if len(head) < min(size, HEAD_BYTES + 2):
        return None
    wanted = _FIRST_PARAMETERS.get(kind)
    if strict and wanted and size > HEAD_BYTES and number(head, HEAD_BYTES) not in wanted:
        return 0
    return size


def _head_within(data: bytes | bytearray, at: int, stop: int) -> int:
    """Where in doubtful bytes the next message may begin; `stop` when nowhere."""
    return next((here for here in range(at, stop) if _size(data, here, stop, strict=True) != 0), stop)


class Framer:
    """Cuts a stream into messages. Keeps one unfinished message, of MAX_MESSAGE_BYTES at most.

    After a good message any head is believed, so that a type unknown here is skipped by its length; after noise only one that
    a reader sends and that goes on as it must. `counts`: noise_bytes, malformed. With `capture`, a stream that begins with the
    parameter of a report or event is taken as the bodies of such messages, their heads left out.
    """

    def __init__(self, counts: Counter[str], *, capture: bool) -> None:
        self._counts = counts
        self._pending = bytearray()
        self._in_step = True
        self._settled = 0
        self._last = b""
        self._bare: bool | None = None if capture else False

    def __len__(self) -> int:
        return len(self._pending)

    def feed(self, data: bytes) -> list[Message]:
        """The messages these bytes complete."""
        self._pending += data
        self._settled = 0
        if self._bare is None and len(self._pending) >= 2:
            self._bare = number(self._pending, 0) in _BARE
        return self._bare_messages() if self._bare else self._messages()

    def settle(self) -> list[Message]:
        """The line fell silent: whole messages up to the last byte are taken, although they lie behind an unfinished one."""
        end = len(self._pending)
        if self._bare or end == self._settled:
            return []
        self._settled = end
        dead: set[int] = set()
        for start in range(1, end - HEAD_BYTES + 1):
            if self._runs_out(start, end, dead):
                self._counts["noise_bytes"] += start
                del self._pending[:start]
                return self._messages()
        return []

    def _runs_out(self, at: int, end: int, dead: set[int]) -> bool:
        """True when good messages fill the bytes from there to the end; `dead` keeps the places from which none do."""
        passed: list[int] = []
        while at < end and at not in dead:
            passed.append(at)
            size = _size(self._pending, at, end, strict=True)
            if not size or at + size > end:
                break
            if _doubt(number(self._pending, at) & 0x3FF, bytes(self._pending[at + HEAD_BYTES : at + size]))[2] != "whole":
                break
            at += size
        if at == end:
            return True
        dead.update(passed)
        return False

    def _messages(self) -> list[Message]:
        found: list[Message] = []
        at, end = 0, len(self._pending)
        while at < end and (size := _size(self._pending, at, end, strict=not self._in_step)) is not None and at + size <= end:
            if not size:
                if self._in_step and (swallowed := self._swallowed()):
                    self._pending[:at] = swallowed
                    self._in_step, at, end = False, 0, len(self._pending)
                    continue
                self._counts["noise_bytes"] += 1
                self._in_step = False
                at += 1
                continue
            kind, ident = number(self._pending, at) & 0x3FF, number(self._pending, at + 6, 4)
            body = bytes(self._pending[at + HEAD_BYTES : at + size])
            told, good, rest = _doubt(kind, body)
            stop = at + size
            self._last = bytes(self._pending[at:stop]) if size <= MAX_WRECK_BYTES else b""
            at = stop if rest == "whole" else _head_within(self._pending, at + 1, stop)
            if at == stop:
                # What a reader says in a way unknown here ends where it says, and the rest of it counts.
                found.append(Message(kind, ident, body, told))
            elif good:
                found.append(Message(kind, ident, body[:good], _walk(body[:good], 0)[0]))
            self._in_step = rest == "whole" or (at == stop and rest == "unknown")
            self._counts.update(() if self._in_step else ("malformed",))
        del self._pending[:at]
        return found

    def _swallowed(self) -> bytes:
        """No head follows the last message: it may have been a wreck that swallowed the next one's; from that head on."""
        data, self._last = self._last, b""
        return data[_head_within(data, 1, len(data)) :]

    def _bare_messages(self) -> list[Message]:
        found: list[Message] = []
        at, pending = 0, self._pending
        while at + 4 <= len(pending):
            kind, size = number(pending, at), number(pending, at + 2)
            if kind not in _BARE or size < 4:
                self._counts["noise_bytes"] += 1
                at += 1
                continue
            if at + size > len(pending):
                break
            body = bytes(pending[at : at + size])
            found.append(Message(_BARE[kind], 0, body, _walk(body, 0)[0]))
            at += size
        del pending[:at]
        return found
