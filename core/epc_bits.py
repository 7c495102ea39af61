"""The bits of a tag's EPC: decoded, refused or encoded (GS1 EPC Tag Data Standard, 14)."""

import re
from dataclasses import replace
from typing import Final

from core.epc_fields import put_numeric, put_six_bit_text, require_integer, take_numeric, take_six_bit_text
from core.epc_identity import RAW, Epc, whole_key
from core.epc_keys import require_digit_text
from core.epc_other import checked_other, put_other, take_other
from core.epc_plus import put_plus, take_plus
from core.epc_schemes import (
    BY_HEADER,
    BY_NAME,
    COMPANY_BITS,
    FILTER_BITS,
    OTHER_HEADERS,
    OTHER_NAMES,
    PLUS_HEADERS,
    PLUS_NAMES,
    Scheme,
)
from core.epc_text import PART_CHARACTERS, BitReader, BitWriter, put_ascii, require_characters, require_digits, take_ascii
from core.errors import CodeError

MAX_HEX: Final = 124
"""31 words of 16 bits, the most a tag's PC can tell of."""
_PIECE_BITS: Final = 7


def decode(text: str) -> Epc:
    """What the hex of an EPC says (spaces and a leading 0x are let pass; zero bits may fill the last word).

    Raises CodeError for text that is not hex, and for a tag that claims a scheme it breaks: an illegal partition, a number over
    its digits, bits where zeros belong. A tag of no scheme known here is never an error: it comes back as "raw".
    """
    digits = "".join(text.split()).removeprefix("0x").removeprefix("0X").upper()
    if not 2 <= len(digits) <= MAX_HEX or not re.fullmatch("[0-9A-F]+", digits):
        raise CodeError(f"EPC {text[:MAX_HEX]!r} is not hex of 2 to {MAX_HEX} digits")
    whole = digits.ljust(-(-len(digits) // 4) * 4, "0")
    reader = BitReader(int(digits, 16), 4 * len(digits))
    header = reader.take(8, "header")
    try:
        if header in BY_HEADER:
            return _decode_partitioned(BY_HEADER[header], reader, whole)
        if header in PLUS_HEADERS:
            return take_plus(PLUS_HEADERS[header], reader, whole)
        if header in OTHER_HEADERS:
            return _decode_other(OTHER_HEADERS[header], reader, whole)
    except CodeError as error:
        raise CodeError(f"EPC {digits}: {error}") from error
    return Epc(RAW, hex=digits)


def encode(
    scheme: str,
    filter_value: int = 0,
    *,
    company_prefix: str | None = None,
    reference: str | None = None,
    serial: str | None = None,
    pieces: str | None = None,
    key: str | None = None,
    date_element: tuple[str, str] | None = None,
    hostname: str | None = None,
) -> Epc:
    """A tag of a scheme: of TDS 1.x from company prefix, reference and serial, of TDS 2.x from the key, serial, date and host.

    The parts are those of `Epc`. Raises CodeError naming the field that does not fit, and for an unknown scheme.
    """
    most = (1 << FILTER_BITS.get(scheme, 3)) - 1
    if not 0 <= filter_value <= most:
        raise CodeError(f"filter value {filter_value}: must be 0 to {most} in {scheme}")
    if scheme in PLUS_NAMES:
        writer = put_plus(PLUS_NAMES[scheme], filter_value, key=key, serial=serial, date_element=date_element, hostname=hostname)
        parts = Epc(scheme, key=key, serial=serial, date_element=date_element, hostname=hostname)
    elif scheme in BY_NAME:
        if company_prefix is None:
            raise CodeError(f"{scheme} needs the company prefix: its length cannot be known from the key")
        parts = checked(BY_NAME[scheme], company_prefix, reference, serial=serial, pieces=pieces)
        writer = _put_partitioned(BY_NAME[scheme], filter_value, parts)
    elif scheme in OTHER_NAMES:
        parts = checked_other(scheme, [part for part in (company_prefix, reference, serial) if part is not None])
        writer = put_other(parts, filter_value)
    else:
        raise CodeError(f"scheme {scheme!r} is not known here; use one of {', '.join([*BY_NAME, *OTHER_NAMES, *PLUS_NAMES])}")
    code = writer.hex()
    if len(code) > MAX_HEX:
        raise CodeError(f"{scheme} of {4 * len(code)} bits is over {4 * MAX_HEX}, the most a tag can tell of")
    return replace(parts, hex=code, filter_value=None if most == 0 else filter_value)


def checked(scheme: Scheme, company_prefix: str, reference: str | None, *, serial: str | None, pieces: str | None) -> Epc:
    """The identity these parts make in that scheme, without bits. Raises CodeError."""
    if not 6 <= len(company_prefix) <= 12:
        raise CodeError(f"company prefix {company_prefix!r} must be 6 to 12 digits")
    require_digits(company_prefix, len(company_prefix), "company prefix")
    partition = 12 - len(company_prefix)
    _check_reference(scheme, reference, partition)
    if scheme.pieces:
        require_digits(pieces or "", 4, "piece and total")
    elif pieces is not None:
        raise CodeError(f"{scheme.kind} has no pieces")
    longest = scheme.longest_serial(partition)
    if scheme.serial is None:
        if serial is not None:
            raise CodeError(f"{scheme.kind} has no serial beside its reference")
    elif scheme.serial == "numeric":
        require_digit_text(serial or "", longest, "serial")
    else:
        require_characters(serial or "", longest, "serial")
        if scheme.serial == "integer":
            require_integer(serial or "", "serial", scheme.name)
    key = whole_key(scheme.kind, company_prefix, reference or "", pieces or "")
    return Epc(scheme.name, company_prefix=company_prefix, reference=reference, key=key, serial=serial, pieces=pieces)


def _check_reference(scheme: Scheme, reference: str | None, partition: int) -> None:
    longest = scheme.reference_digits(partition)
    if scheme.reference is None:
        if reference is not None:
            raise CodeError(f"{scheme.kind} has no reference beside its serial")
    elif scheme.reference == "digits":
        require_digits(reference or "", longest, "reference")
    else:
        require_characters(reference or "", longest, "reference", PART_CHARACTERS)
        if scheme.reference == "integer":
            require_integer(reference or "", "reference", scheme.name)


def _put_partitioned(scheme: Scheme, filter_value: int, parts: Epc) -> BitWriter:
    company_prefix, serial = parts.company_prefix or "", parts.serial or ""
    partition = 12 - len(company_prefix)
    writer = BitWriter()
    for value, bits, what in ((scheme.header or 0, 8, "header"), (filter_value, 3, "filter"), (partition, 3, "partition")):
        writer.put(value, bits, what)
    writer.put(int(company_prefix), COMPANY_BITS[partition], "company prefix")
    if scheme.reference == "six-bit":
        put_six_bit_text(writer, parts.reference or "", "reference")
    elif scheme.reference is not None:
        writer.put(int(parts.reference or "0"), scheme.reference_bits[partition], "reference")
    if parts.pieces is not None:
        writer.put(int(parts.pieces[:2]), _PIECE_BITS, "piece")
        writer.put(int(parts.pieces[2:]), _PIECE_BITS, "total")
    if scheme.serial == "integer":
        writer.put(int(serial), scheme.serial_bits[partition], "serial")
    elif scheme.serial == "numeric":
        put_numeric(writer, serial, scheme.serial_bits[partition], "serial")
    elif scheme.serial == "text":
        put_ascii(writer, serial, scheme.serial_bits[partition], "serial")
    writer.put(0, scheme.zero_bits, "zeros")
    return writer


def _decode_partitioned(scheme: Scheme, reader: BitReader, whole: str) -> Epc:
    _require_length(scheme.name, scheme.bits, reader)
    filter_value, partition = reader.take(3, "filter"), reader.take(3, "partition")
    if partition == 7:
        raise CodeError("partition 7 is not allowed")
    company_prefix = _number(reader, COMPANY_BITS[partition], 12 - partition, "company prefix")
    reference = _take_reference(scheme, reader, partition)
    pieces = None
    if scheme.pieces:
        pieces = _number(reader, _PIECE_BITS, 2, "piece") + _number(reader, _PIECE_BITS, 2, "total")
    serial = None
    if scheme.serial == "integer":
        serial = str(reader.take(scheme.serial_bits[partition], "serial"))
    elif scheme.serial == "numeric":
        serial = take_numeric(reader, scheme.serial_bits[partition], scheme.serial_length, "serial")
    elif scheme.serial == "text":
        serial = take_ascii(reader, scheme.serial_bits[partition], "serial")
    _require_zeros(reader, scheme.zero_bits + 15)
    return replace(checked(scheme, company_prefix, reference, serial=serial, pieces=pieces), hex=whole, filter_value=filter_value)


def _take_reference(scheme: Scheme, reader: BitReader, partition: int) -> str | None:
    longest = scheme.reference_digits(partition)
    if scheme.reference == "six-bit":
        return take_six_bit_text(reader, longest, "reference")
    if scheme.reference is None:
        return None
    number = _number(reader, scheme.reference_bits[partition], longest, "reference")
    return str(int(number)) if scheme.reference == "integer" else number


def _decode_other(scheme: str, reader: BitReader, whole: str) -> Epc:
    _require_length(scheme, None if scheme == "adi-var" else 96, reader)
    epc, filter_value = take_other(scheme, reader)
    _require_zeros(reader, 15)
    return replace(epc, hex=whole, filter_value=filter_value if FILTER_BITS[scheme] else None)


def _require_length(name: str, bits: int | None, reader: BitReader) -> None:
    """Whether behind the header as many bits stand as the scheme has, and zeros to the end of their last word at most."""
    if bits is not None and not bits <= reader.left + 8 <= -(-bits // 16) * 16:
        raise CodeError(f"{name} has {bits} bits, these are {reader.left + 8}")


def _require_zeros(reader: BitReader, most: int) -> None:
    if reader.rest():
        raise CodeError(f"the last {reader.left} bits must be zero")
    if reader.left > most:
        raise CodeError(f"{reader.left} bits follow the identity, more than fill its last word")


def _number(reader: BitReader, bits: int, digits: int, what: str) -> str:
    value = reader.take(bits, what)
    if value >= 10**digits:
        raise CodeError(f"{what} {value} is over {digits} digits")
    return f"{value:0{digits}d}" if digits else ""
