"""The bits of a tag's EPC: decoded, refused or encoded (GS1 EPC Tag Data Standard, 14)."""

import re
from dataclasses import replace
from typing import Final

from core.epc_identity import RAW, Epc, calendar_date, whole_key
from core.epc_schemes import BY_HEADER, BY_NAME, COMPANY_BITS, DATE_AIS, PLUS_HEADERS, PLUS_NAMES, Scheme
from core.epc_text import (
    BitReader,
    BitWriter,
    put_ascii,
    put_variable,
    require_characters,
    require_check_digit,
    require_digits,
    take_ascii,
    take_digits,
    take_variable,
)
from core.errors import CodeError

MAX_HEX: Final = 124
"""31 words of 16 bits, the most a tag's PC can tell of."""
LONGEST_SERIAL: Final = 20


def decode(text: str) -> Epc:
    """What the hex of an EPC says (spaces and a leading 0x are let pass; zero bits may fill the last word).

    Raises CodeError for text that is not hex, and for a tag that claims a scheme it breaks: an illegal partition, a number over
    its digits, bits where zeros belong. A tag of no scheme known here is never an error: it comes back as "raw".
    """
    digits = "".join(text.split()).removeprefix("0x").removeprefix("0X").upper()
    if not 2 <= len(digits) <= MAX_HEX or not re.fullmatch("[0-9A-F]+", digits):
        raise CodeError(f"EPC {text[:MAX_HEX]!r} is not hex of 2 to {MAX_HEX} digits")
    header = int(digits[:2], 16)
    whole = digits.ljust(-(-len(digits) // 4) * 4, "0")
    reader = BitReader(int(digits, 16), 4 * len(digits))
    try:
        if header in BY_HEADER:
            return _decode_partitioned(BY_HEADER[header], reader, whole)
        if header in PLUS_HEADERS:
            return _decode_plus(PLUS_HEADERS[header], reader, whole)
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
    key: str | None = None,
    date_element: tuple[str, str] | None = None,
) -> Epc:
    """A tag of a scheme: of TDS 1.x from company prefix, reference and serial, of TDS 2.x from the key, serial and date.

    Raises CodeError naming the field that does not fit, and for an unknown scheme.
    """
    if not 0 <= filter_value <= 7:
        raise CodeError(f"filter value {filter_value}: must be 0 to 7")
    if scheme in BY_NAME:
        if company_prefix is None:
            raise CodeError(f"{scheme} needs the company prefix: its length cannot be known from the key")
        parts = checked(BY_NAME[scheme], company_prefix, reference, serial)
        return replace(parts, hex=_bits(BY_NAME[scheme], filter_value, parts), filter_value=filter_value)
    if scheme in PLUS_NAMES:
        return _encode_plus(scheme, filter_value, key, serial, date_element)
    raise CodeError(f"scheme {scheme!r} is not known here; use one of {', '.join([*BY_NAME, *PLUS_NAMES])}")


def checked(scheme: Scheme, company_prefix: str, reference: str | None, serial: str | None) -> Epc:
    """The identity these parts make in that scheme, without bits. Raises CodeError."""
    if not 6 <= len(company_prefix) <= 12:
        raise CodeError(f"company prefix {company_prefix!r} must be 6 to 12 digits")
    require_digits(company_prefix, len(company_prefix), "company prefix")
    partition = 12 - len(company_prefix)
    if scheme.reference_bits is None:
        if reference is not None:
            raise CodeError(f"{scheme.kind} has no reference beside its serial")
    else:
        require_digits(reference or "", scheme.reference_digits(partition), "reference")
    if scheme.serial is None:
        if serial is not None:
            raise CodeError(f"{scheme.kind} has no serial beside its reference")
    else:
        require_characters(serial or "", scheme.longest_serial(partition), "serial")
        if scheme.serial == "integer" and not re.fullmatch("0|[1-9][0-9]*", serial or ""):
            raise CodeError(f"serial {serial!r} must be digits without leading zeros in {scheme.name}")
    reference = (reference or "") if scheme.reference_bits is not None else None
    key = whole_key(scheme.kind, company_prefix, reference or "")
    return Epc(scheme.name, company_prefix=company_prefix, reference=reference, key=key, serial=serial)


def _bits(scheme: Scheme, filter_value: int, parts: Epc) -> str:
    company_prefix = parts.company_prefix or ""
    partition = 12 - len(company_prefix)
    writer = BitWriter()
    for value, bits, what in ((scheme.header, 8, "header"), (filter_value, 3, "filter"), (partition, 3, "partition")):
        writer.put(value, bits, what)
    writer.put(int(company_prefix), COMPANY_BITS[partition], "company prefix")
    if scheme.reference_bits is not None:
        writer.put(int(parts.reference or "0"), scheme.reference_bits[partition], "reference")
    if scheme.serial == "integer":
        writer.put(int(parts.serial or "0"), scheme.serial_bits[partition], "serial")
    elif scheme.serial == "text":
        put_ascii(writer, parts.serial or "", scheme.serial_bits[partition], "serial")
    writer.put(0, scheme.zero_bits, "zeros")
    return writer.hex()


def _decode_partitioned(scheme: Scheme, reader: BitReader, whole: str) -> Epc:
    if not scheme.bits <= reader.left <= -(-scheme.bits // 16) * 16:
        raise CodeError(f"{scheme.name} has {scheme.bits} bits, these are {reader.left}")
    reader.take(8, "header")
    filter_value, partition = reader.take(3, "filter"), reader.take(3, "partition")
    if partition == 7:
        raise CodeError("partition 7 is not allowed")
    company_prefix = _number(reader, COMPANY_BITS[partition], 12 - partition, "company prefix")
    reference = serial = None
    if scheme.reference_bits is not None:
        reference = _number(reader, scheme.reference_bits[partition], scheme.reference_digits(partition), "reference")
    if scheme.serial == "integer":
        serial = str(reader.take(scheme.serial_bits[partition], "serial"))
    elif scheme.serial == "text":
        serial = take_ascii(reader, scheme.serial_bits[partition], "serial")
    if reader.rest():
        raise CodeError(f"the last {reader.left} bits must be zero")
    return replace(checked(scheme, company_prefix, reference, serial), hex=whole, filter_value=filter_value)


def _number(reader: BitReader, bits: int, digits: int, what: str) -> str:
    value = reader.take(bits, what)
    if value >= 10**digits:
        raise CodeError(f"{what} {value} is over {digits} digits")
    return f"{value:0{digits}d}" if digits else ""


def _decode_plus(scheme: str, reader: BitReader, whole: str) -> Epc:
    reader.take(8, "header")
    more_data, filter_value = reader.take(1, "data toggle") == 1, reader.take(3, "filter")
    date_element = None
    if scheme == "dsgtin+":
        kind_of_date = reader.take(4, "date type")
        if kind_of_date >= len(DATE_AIS):
            raise CodeError(f"date type {kind_of_date} is not known here")
        text = "".join(f"{reader.take(bits, 'date'):02d}" for bits in (7, 4, 5))
        calendar_date(text[-6:])
        if len(text) > 6:
            raise CodeError(f"date {text} is not in the calendar")
        date_element = (DATE_AIS[kind_of_date], text)
    key, serial = _take_plus_key(scheme, reader)
    if not more_data and (reader.left > 15 or reader.rest()):
        raise CodeError(f"{reader.left} bits follow the identity, though its toggle says none do")
    return Epc(scheme, whole, filter_value, key=key, serial=serial, date_element=date_element, more_data=more_data)


def _take_plus_key(scheme: str, reader: BitReader) -> tuple[str, str | None]:
    if scheme == "sscc+":
        return require_check_digit(take_digits(reader, 18, "SSCC"), "SSCC"), None
    key = require_check_digit(take_digits(reader, 14, "GTIN"), "GTIN")
    return key, take_variable(reader, 5, LONGEST_SERIAL, "serial")


def _encode_plus(scheme: str, filter_value: int, key: str | None, serial: str | None, date_element: tuple[str, str] | None) -> Epc:
    what, digits = ("SSCC", 18) if scheme == "sscc+" else ("GTIN", 14)
    key = require_check_digit(require_digits(key or "", digits, what), what)
    writer = BitWriter()
    writer.put(PLUS_NAMES[scheme], 8, "header")
    writer.put(filter_value, 4, "data toggle and filter")
    if (date_element is not None) != (scheme == "dsgtin+"):
        raise CodeError(f"{scheme} {'needs' if date_element is None else 'has no'} date")
    if date_element is not None:
        _put_date(writer, date_element)
    writer.put(int(key, 16), 4 * digits, what)
    if scheme == "sscc+":
        if serial is not None:
            raise CodeError("sscc has no serial beside its reference")
    else:
        put_variable(writer, require_characters(serial or "", LONGEST_SERIAL, "serial"), 5, "serial")
    return Epc(scheme, writer.hex(), filter_value, key=key, serial=serial, date_element=date_element)


def _put_date(writer: BitWriter, date_element: tuple[str, str]) -> None:
    ai, text = date_element
    if ai not in DATE_AIS:
        raise CodeError(f"date AI {ai!r} is none of {', '.join(DATE_AIS)}")
    calendar_date(require_digits(text, 6, "date"))
    writer.put(DATE_AIS.index(ai), 4, "date type")
    for start, bits in ((0, 7), (2, 4), (4, 5)):
        writer.put(int(text[start : start + 2]), bits, "date")
