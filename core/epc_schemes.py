"""The EPC schemes as tables: how each divides its bits (GS1 EPC Tag Data Standard 2.3, 14.2 and 14.6)."""

from dataclasses import dataclass
from typing import Final, Literal

COMPANY_BITS: Final = (40, 37, 34, 30, 27, 24, 20)
"""By partition 0 to 6; the prefix has 12 minus partition digits."""
_ITEM_BITS: Final = (4, 7, 10, 14, 17, 20, 24)
_PLACE_BITS: Final = (1, 4, 7, 11, 14, 17, 21)
_UNIT_BITS: Final = (18, 21, 24, 28, 31, 34, 38)
_PART_BITS: Final = (11, 14, 17, 21, 24, 27, 31)

ReferenceForm = Literal["digits", "integer", "six-bit"]
"""Digits of a fixed number; a number without leading zeros; a text of 6-bit characters with an end mark."""
SerialForm = Literal["integer", "numeric", "text"]
"""A number without leading zeros; digits that keep their leading zeros; a text of 7-bit characters."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one binary scheme divides its bits after header (8), filter (3), partition (3) and company prefix.

    `bits` is None where the length varies, `header` is None for a kind that no tag holds and only URNs name. `key_digits` are the
    most characters of company prefix and reference together (None for GIAI and GINC, whose reference is their serial).
    `reference_bits` and `serial_bits` are by partition. `pieces` is True where piece number and count (7 bits each) follow the
    reference.
    """

    name: str
    kind: str
    header: int | None
    bits: int | None
    key_digits: int | None
    reference: ReferenceForm | None
    reference_bits: tuple[int, ...]
    serial: SerialForm | None
    serial_bits: tuple[int, ...]
    serial_length: int
    zero_bits: int = 0
    pieces: bool = False

    def reference_digits(self, partition: int) -> int:
        """Characters of the reference beside a company prefix of this partition; the most of them where their number varies."""
        return 0 if self.key_digits is None else self.key_digits - (12 - partition)

    def longest_serial(self, partition: int) -> int:
        """Most characters of a serial; a GIAI counts its company prefix in."""
        return self.serial_length - (12 - partition if self.key_digits is None else 0)


def _same(bits: int) -> tuple[int, ...]:
    return (bits,) * len(COMPANY_BITS)


def _filling(bits: int) -> tuple[int, ...]:
    return tuple(bits - company for company in COMPANY_BITS)


SCHEMES: Final = (
    Scheme("sgtin-96", "sgtin", 0x30, 96, 13, "digits", _ITEM_BITS, "integer", _same(38), 20),
    Scheme("sscc-96", "sscc", 0x31, 96, 17, "digits", _UNIT_BITS, None, (), 0, zero_bits=24),
    Scheme("sgln-96", "sgln", 0x32, 96, 12, "digits", _PLACE_BITS, "integer", _same(41), 20),
    Scheme("grai-96", "grai", 0x33, 96, 12, "digits", _ITEM_BITS, "integer", _same(38), 16),
    Scheme("giai-96", "giai", 0x34, 96, None, None, (), "integer", _filling(82), 30),
    Scheme("sgtin-198", "sgtin", 0x36, 198, 13, "digits", _ITEM_BITS, "text", _same(140), 20),
    Scheme("grai-170", "grai", 0x37, 170, 12, "digits", _ITEM_BITS, "text", _same(112), 16),
    Scheme("giai-202", "giai", 0x38, 202, None, None, (), "text", _filling(188), 30),
    Scheme("sgln-195", "sgln", 0x39, 195, 12, "digits", _PLACE_BITS, "text", _same(140), 20),
    Scheme("gdti-96", "gdti", 0x2C, 96, 12, "digits", _PLACE_BITS, "integer", _same(41), 17),
    Scheme("gdti-113", "gdti", 0x3A, 113, 12, "digits", _PLACE_BITS, "numeric", _same(58), 17),  # withdrawn; old tags hold it
    Scheme("gdti-174", "gdti", 0x3E, 174, 12, "digits", _PLACE_BITS, "text", _same(119), 17),
    Scheme("gsrn-96", "gsrn", 0x2D, 96, 17, "digits", _UNIT_BITS, None, (), 0, zero_bits=24),
    Scheme("gsrnp-96", "gsrnp", 0x2E, 96, 17, "digits", _UNIT_BITS, None, (), 0, zero_bits=24),
    Scheme("cpi-96", "cpi", 0x3C, 96, 15, "integer", _PART_BITS, "integer", _same(31), 12),
    Scheme("cpi-var", "cpi", 0x3D, None, 30, "six-bit", (), "integer", _same(40), 12),
    Scheme("sgcn-96", "sgcn", 0x3F, 96, 12, "digits", _PLACE_BITS, "numeric", _same(41), 12),
    Scheme("itip-110", "itip", 0x40, 110, 13, "digits", _ITEM_BITS, "integer", _same(38), 20, pieces=True),
    Scheme("itip-212", "itip", 0x41, 212, 13, "digits", _ITEM_BITS, "text", _same(140), 20, pieces=True),
)
_NAMES_ONLY: Final = (
    Scheme("gsin", "gsin", None, None, 16, "digits", (), None, (), 0),
    Scheme("pgln", "pgln", None, None, 12, "digits", (), None, (), 0),
    Scheme("upui", "upui", None, None, 13, "digits", (), "text", (), 28),
    Scheme("ginc", "ginc", None, None, None, None, (), "text", (), 30),
)
BY_HEADER: Final = {scheme.header: scheme for scheme in SCHEMES}
BY_NAME: Final = {scheme.name: scheme for scheme in SCHEMES}
ROOMIEST: Final[dict[str, Scheme]] = {
    scheme.kind: scheme for scheme in (*_NAMES_ONLY, *sorted(SCHEMES, key=lambda scheme: scheme.bits or 1000))
}
"""The scheme of each kind whose limits are those of the pure identity."""

OTHER_HEADERS: Final = {0x2F: "usdod-96", 0x35: "gid-96", 0x3B: "adi-var"}
OTHER_NAMES: Final = {name: header for header, name in OTHER_HEADERS.items()}
"""Schemes without a GS1 company prefix, laid out in `core.epc_other`."""
FILTER_BITS: Final = {"gid-96": 0, "usdod-96": 4, "adi-var": 6}
"""Where it is not three."""


@dataclass(frozen=True, slots=True)
class PlusScheme:
    """A scheme of TDS 2.x: header, data toggle (1), filter (3), a date when `dated`, key and serial as `core.epc_keys` has them
    for its kind, and the host of its Digital Link when `hosted`."""

    name: str
    kind: str
    header: int
    dated: bool = False
    hosted: bool = False


_PLUS_HEADERS: Final = {
    "sgtin": (0xF7, 0xFD),
    "sscc": (0xF9, 0xEF),
    "sgln": (0xF2, 0xE9),
    "grai": (0xF1, 0xEB),
    "giai": (0xFA, 0xEE),
    "gsrn": (0xF4, 0xE7),
    "gsrnp": (0xF5, 0xE8),
    "gdti": (0xF6, 0xEA),
    "cpi": (0xF0, 0xE6),
    "sgcn": (0xF8, 0xEC),
    "itip": (0xF3, 0xED),
}
PLUS_SCHEMES: Final = (
    *(PlusScheme(f"{kind}+", kind, headers[0]) for kind, headers in _PLUS_HEADERS.items()),
    *(PlusScheme(f"{kind}++", kind, headers[1], hosted=True) for kind, headers in _PLUS_HEADERS.items()),
    PlusScheme("dsgtin+", "sgtin", 0xFB, dated=True),
    PlusScheme("dsgtin++", "sgtin", 0xFC, dated=True, hosted=True),
)
PLUS_HEADERS: Final = {scheme.header: scheme for scheme in PLUS_SCHEMES}
PLUS_NAMES: Final = {scheme.name: scheme for scheme in PLUS_SCHEMES}
DATE_AIS: Final = ("11", "13", "15", "16", "17", "7006", "7007")
"""Application identifier of a DSGTIN+ date, by its date type 0 to 6."""
