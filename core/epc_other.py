"""Schemes without a GS1 company prefix: GID-96, USDOD-96 and ADI-var (TDS 14.6.12 to 14.6.14), and two names that no tag holds."""

import re
from typing import Final

from core.epc_fields import from_six_bits, put_six_bit_text, require_integer, six_bits, take_six_bit_text
from core.epc_identity import Epc
from core.epc_schemes import FILTER_BITS, OTHER_NAMES
from core.epc_text import BitReader, BitWriter
from core.errors import CodeError

_CAGE: Final = re.compile("[0-9A-HJ-NP-Z]{5,6}")
_PART: Final = re.compile("[-/0-9A-Z]{0,32}")
_ADI_SERIAL: Final = re.compile("(?=.{1,30}$)#?[-/0-9A-Z]+")
_SPACE: Final = 0x20
"""Stands before a CAGE code of five characters, where a DoDAAC has six."""
_SINGLE: Final = {
    "bic": (re.compile("[A-HJ-NP-Z]{3}[JUZ][0-9]{7}"), "owner, J, U or Z, and 7 digits of a container"),
    "imovn": (re.compile("[0-9]{7}"), "7 digits of a ship"),
}
FIELDS: Final = {"gid": 3, "usdod": 2, "adi": 3, "bic": 1, "imovn": 1}
"""Fields of the URN of each kind."""


def checked_other(scheme: str, fields: list[str]) -> Epc:
    """The identity these fields make, without bits; `scheme` may be the bare kind. Raises CodeError."""
    kind = scheme.split("-")[0]
    if len(fields) != FIELDS[kind]:
        raise CodeError(f"{scheme} has {FIELDS[kind]} fields, these are {len(fields)}")
    if kind in _SINGLE:
        form, meaning = _SINGLE[kind]
        if not form.fullmatch(fields[0]):
            raise CodeError(f"{kind} {fields[0]!r} must be {meaning}")
        return Epc(scheme, company_prefix=fields[0])
    if kind == "gid":
        for text, bits, what in zip(fields, (28, 24, 36), ("manager number", "class", "serial"), strict=True):
            _require_below(text, bits, what, kind)
        return Epc(scheme, company_prefix=fields[0], reference=fields[1], serial=fields[2])
    if not _CAGE.fullmatch(fields[0]):
        raise CodeError(f"CAGE or DoDAAC {fields[0]!r} must be 5 or 6 digits and capitals, without I and O")
    if kind == "usdod":
        _require_below(fields[1], 36, "serial", kind)
        return Epc(scheme, company_prefix=fields[0], serial=fields[1])
    if not _PART.fullmatch(fields[1]):
        raise CodeError(f"part number {fields[1]!r} must be 0 to 32 capitals, digits, hyphens and slashes")
    if not _ADI_SERIAL.fullmatch(fields[2]):
        raise CodeError(f"serial {fields[2]!r} must be 1 to 30 capitals, digits, hyphens and slashes, # in front at most")
    return Epc(scheme, company_prefix=fields[0], reference=fields[1], serial=fields[2])


def put_other(epc: Epc, filter_value: int) -> BitWriter:
    """The bits of a checked identity."""
    issuer, reference, serial = epc.company_prefix or "", epc.reference or "", epc.serial or ""
    writer = BitWriter()
    writer.put(OTHER_NAMES[epc.scheme], 8, "header")
    writer.put(filter_value, FILTER_BITS[epc.scheme], "filter")
    if epc.kind == "gid":
        for text, bits in ((issuer, 28), (reference, 24), (serial, 36)):
            writer.put(int(text), bits, "number")
    elif epc.kind == "usdod":
        for letter in issuer.rjust(6):
            writer.put(ord(letter), 8, "CAGE")
        writer.put(int(serial), 36, "serial")
    else:
        for letter in issuer.rjust(6):
            writer.put(six_bits(letter), 6, "CAGE")
        put_six_bit_text(writer, reference, "part number")
        put_six_bit_text(writer, serial, "serial")
    return writer


def take_other(scheme: str, reader: BitReader) -> tuple[Epc, int]:
    """The identity and filter value behind the header. Raises CodeError."""
    filter_value = reader.take(FILTER_BITS[scheme], "filter")
    if scheme == "gid-96":
        fields = [str(reader.take(bits, what)) for bits, what in ((28, "manager number"), (24, "class"), (36, "serial"))]
    elif scheme == "usdod-96":
        issuer = "".join(chr(reader.take(8, "CAGE")) for _ in range(6))
        fields = [issuer.removeprefix(" "), str(reader.take(36, "serial"))]
    else:
        codes = [reader.take(6, "CAGE") for _ in range(6)]
        issuer = "".join(from_six_bits(code) for code in (codes[1:] if codes[0] == _SPACE else codes))
        fields = [issuer, take_six_bit_text(reader, 32, "part number"), take_six_bit_text(reader, 30, "serial")]
    return checked_other(scheme, fields), filter_value


def _require_below(text: str, bits: int, what: str, kind: str) -> None:
    require_integer(text, what, kind)
    if len(text) > bits or int(text) >> bits:
        raise CodeError(f"{what} {text} is over {(1 << bits) - 1}, the most that {bits} bits hold")
