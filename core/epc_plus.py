"""The schemes of TDS 2.x: the whole key, its serial, a date in front or a host behind, and a bit that tells of further data."""

from typing import Final

from core.epc_fields import put_counted_digits, put_delimited, take_counted_digits, take_delimited
from core.epc_host import put_host, take_host
from core.epc_identity import Epc, calendar_date
from core.epc_keys import KEYS, LONGEST_PART, KeyRule, require_key, require_serial
from core.epc_schemes import DATE_AIS, PlusScheme
from core.epc_text import PART_CHARACTERS, BitReader, BitWriter, put_variable, require_digits, take_digits, take_variable
from core.errors import CodeError

_DATE_BITS: Final = (7, 4, 5)


def take_plus(scheme: PlusScheme, reader: BitReader, whole: str) -> Epc:
    """The tag behind the header. Further data (+AIDC) are told of by `more_data` and not read. Raises CodeError."""
    more_data, filter_value = reader.take(1, "data toggle") == 1, reader.take(3, "filter")
    date_element = _take_date(reader) if scheme.dated else None
    key = _take_key(scheme.kind, reader)
    serial = _take_serial(scheme.kind, KEYS[scheme.kind], reader)
    hostname = take_host(reader) if scheme.hosted else None
    if not more_data and (reader.left > 15 or reader.rest()):
        raise CodeError(f"{reader.left} bits follow the identity, though its toggle says none do")
    return Epc(
        scheme.name,
        whole,
        filter_value,
        key=key,
        serial=serial,
        date_element=date_element,
        more_data=more_data,
        hostname=hostname,
    )


def put_plus(
    scheme: PlusScheme,
    filter_value: int,
    *,
    key: str | None,
    serial: str | None,
    date_element: tuple[str, str] | None,
    hostname: str | None,
) -> BitWriter:
    """The bits of a tag that tells of no further data. Raises CodeError naming the part that is missing, wrong or too many."""
    for there, wanted, what in ((date_element, scheme.dated, "date"), (hostname, scheme.hosted, "host")):
        if (there is not None) != wanted:
            raise CodeError(f"{scheme.name} {'needs a' if wanted else 'has no'} {what}")
    rule = KEYS[scheme.kind]
    writer = BitWriter()
    writer.put(scheme.header, 8, "header")
    writer.put(filter_value, 4, "data toggle and filter")
    if date_element is not None:
        _put_date(writer, date_element)
    if scheme.kind == "cpi":
        put_delimited(writer, require_key("cpi", key or ""), rule.what)
    elif rule.digits:
        writer.put(int(require_key(scheme.kind, key or ""), 16), 4 * rule.digits, rule.what)
    elif key is not None:
        raise CodeError(f"{scheme.kind} has no key beside its serial")
    _put_serial(writer, scheme.kind, rule, serial)
    if hostname is not None:
        put_host(writer, hostname)
    return writer


def _take_key(kind: str, reader: BitReader) -> str | None:
    rule = KEYS[kind]
    if kind == "cpi":
        return require_key(kind, take_delimited(reader, LONGEST_PART, rule.what, PART_CHARACTERS))
    return require_key(kind, take_digits(reader, rule.digits, rule.what)) if rule.digits else None


def _take_serial(kind: str, rule: KeyRule, reader: BitReader) -> str | None:
    if rule.serial is None:
        return None
    if rule.serial == "digits":
        return take_counted_digits(reader, rule.longest, "serial")
    if rule.digits == 0:
        return require_serial(kind, take_delimited(reader, rule.longest, rule.what, None))
    return take_variable(reader, 5, rule.longest, "serial")


def _put_serial(writer: BitWriter, kind: str, rule: KeyRule, serial: str | None) -> None:
    if rule.serial is None:
        if serial is not None:
            raise CodeError(f"{kind} has no serial beside its reference")
        return
    serial = require_serial(kind, serial or "")
    if rule.serial == "digits":
        put_counted_digits(writer, serial, "serial")
    elif rule.digits == 0:
        put_delimited(writer, serial, rule.what)
    else:
        put_variable(writer, serial, 5, "serial")


def _take_date(reader: BitReader) -> tuple[str, str]:
    kind_of_date = reader.take(4, "date type")
    if kind_of_date >= len(DATE_AIS):
        raise CodeError(f"date type {kind_of_date} is reserved")
    text = "".join(f"{reader.take(bits, 'date'):02d}" for bits in _DATE_BITS)
    if len(text) > 6:
        raise CodeError(f"date {text} is not in the calendar")
    calendar_date(text)
    return DATE_AIS[kind_of_date], text


def _put_date(writer: BitWriter, date_element: tuple[str, str]) -> None:
    ai, text = date_element
    if ai not in DATE_AIS:
        raise CodeError(f"date AI {ai!r} is none of {', '.join(DATE_AIS)}")
    calendar_date(require_digits(text, 6, "date"))
    writer.put(DATE_AIS.index(ai), 4, "date type")
    for start, bits in zip((0, 2, 4), _DATE_BITS, strict=True):
        writer.put(int(text[start : start + 2]), bits, "date")
