"""The fields and partitions of the EPC schemes with a company prefix (GS1 EPC Tag Data Standard, 14.6)."""

from dataclasses import dataclass
from typing import Final, Literal

COMPANY_BITS: Final = (40, 37, 34, 30, 27, 24, 20)
"""By partition 0 to 6; the prefix has 12 minus partition digits."""
_ASSET_BITS: Final = (4, 7, 10, 14, 17, 20, 24)

Kind = Literal["sgtin", "sscc", "sgln", "grai", "giai"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one binary scheme divides its bits after header (8), filter (3), partition (3) and company prefix.

    `key_digits` are the digits of company prefix and reference together (none for GIAI, whose reference is its serial).
    `serial_bits` are by partition; a serial is an integer or a 7-bit text of at most `serial_length` characters.
    """

    name: str
    kind: Kind
    header: int
    bits: int
    key_digits: int | None
    reference_bits: tuple[int, ...] | None
    serial: Literal["integer", "text"] | None
    serial_bits: tuple[int, ...]
    serial_length: int
    zero_bits: int = 0

    def reference_digits(self, partition: int) -> int:
        """Digits of the reference beside a company prefix of this partition."""
        return 0 if self.key_digits is None else self.key_digits - (12 - partition)

    def longest_serial(self, partition: int) -> int:
        """Most characters of a serial; a GIAI counts its company prefix in."""
        return self.serial_length - (12 - partition if self.key_digits is None else 0)


def _same(bits: int) -> tuple[int, ...]:
    return (bits,) * len(COMPANY_BITS)


def _filling(bits: int) -> tuple[int, ...]:
    return tuple(bits - company for company in COMPANY_BITS)


SCHEMES: Final = (
    Scheme("sgtin-96", "sgtin", 0x30, 96, 13, _ASSET_BITS, "integer", _same(38), 20),
    Scheme("sscc-96", "sscc", 0x31, 96, 17, (18, 21, 24, 28, 31, 34, 38), None, (), 0, zero_bits=24),
    Scheme("sgln-96", "sgln", 0x32, 96, 12, (1, 4, 7, 11, 14, 17, 21), "integer", _same(41), 20),
    Scheme("grai-96", "grai", 0x33, 96, 12, _ASSET_BITS, "integer", _same(38), 16),
    Scheme("giai-96", "giai", 0x34, 96, None, None, "integer", _filling(82), 30),
    Scheme("sgtin-198", "sgtin", 0x36, 198, 13, _ASSET_BITS, "text", _same(140), 20),
    Scheme("grai-170", "grai", 0x37, 170, 12, _ASSET_BITS, "text", _same(112), 16),
    Scheme("giai-202", "giai", 0x38, 202, None, None, "text", _filling(188), 30),
    Scheme("sgln-195", "sgln", 0x39, 195, 12, (1, 4, 7, 11, 14, 17, 21), "text", _same(140), 20),
)
BY_HEADER: Final = {scheme.header: scheme for scheme in SCHEMES}
BY_NAME: Final = {scheme.name: scheme for scheme in SCHEMES}
ROOMIEST: Final[dict[str, Scheme]] = {scheme.kind: scheme for scheme in sorted(SCHEMES, key=lambda scheme: scheme.bits)}
"""The scheme of each kind whose limits are those of the pure identity."""

PLUS_HEADERS: Final = {0xF7: "sgtin+", 0xF9: "sscc+", 0xFB: "dsgtin+"}
PLUS_NAMES: Final = {name: header for header, name in PLUS_HEADERS.items()}
DATE_AIS: Final = ("11", "13", "15", "16", "17", "7006")
"""Application identifier of a DSGTIN+ date, by its date type 0 to 5 (6 is a range of days, not spoken here)."""
