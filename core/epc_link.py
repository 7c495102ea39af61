"""GS1 Digital Link URIs that name one thing: the key, its serial and, for goods, a date."""

from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from core.epc_identity import Epc, calendar_date
from core.epc_keys import KEYS, require_key, require_serial
from core.epc_schemes import DATE_AIS
from core.epc_text import require_digits
from core.errors import CodeError

_KINDS: Final = {rule.ai: kind for kind, rule in KEYS.items() if kind != "upui"}
_QUALIFIERS: Final = {"01": ("22", "10", "21", "235"), "414": ("254",), "8006": ("22", "10", "21"), "8010": ("8011",)}
_GTIN_LENGTHS: Final = (8, 12, 13, 14)
_DATE_DIGITS: Final = 6
MAX_LINK: Final = 2048


def parse_digital_link(uri: str) -> Epc:
    """The identity behind a Digital Link on any host. Its scheme is the bare kind, and no company prefix is known.

    Raises CodeError for a link without a key of `core.epc_keys`, with a wrong check digit, or without the serial that tells one
    thing from its class.
    """
    if len(uri) > MAX_LINK:
        raise CodeError(f"a Digital Link of {len(uri)} characters is over {MAX_LINK}")
    try:
        parts = urlsplit(uri)
        segments = [unquote(segment, errors="strict") for segment in parts.path.split("/")[1:]]
        query = dict(parse_qsl(parts.query, errors="strict"))
    except ValueError as error:
        raise CodeError(f"{uri!r} is not a URI: {error}") from error
    ai, value, qualifiers = _path(uri, segments)
    try:
        return _identity(ai, value, qualifiers, query)
    except CodeError as error:
        raise CodeError(f"{uri!r}: {error}") from error


def _path(uri: str, segments: list[str]) -> tuple[str, str, dict[str, str]]:
    """Key, value and qualifiers; a resolver may have folders before the key."""
    for start in range(len(segments) - 1):
        ai = segments[start]
        rest = segments[start + 2 :]
        if ai in _KINDS and len(rest) % 2 == 0 and set(rest[::2]) <= set(_QUALIFIERS.get(ai, ())):
            return ai, segments[start + 1], dict(zip(rest[::2], rest[1::2], strict=True))
    raise CodeError(f"{uri!r} holds no key of {', '.join(_KINDS)} with its qualifiers")


def _identity(ai: str, value: str, qualifiers: dict[str, str], query: dict[str, str]) -> Epc:
    kind = "upui" if "235" in qualifiers else _KINDS[ai]
    rule = KEYS[kind]
    if ai == "01":
        if len(value) not in _GTIN_LENGTHS:
            raise CodeError(f"GTIN {value!r} must be 8, 12, 13 or 14 digits")
        value = value.rjust(rule.digits, "0")
    if rule.serial is None:
        return Epc(kind, key=require_key(kind, value))
    if rule.serial_ai is None:
        key = require_key(kind, value[: rule.digits]) if rule.digits else None
        return Epc(kind, key=key, serial=require_serial(kind, value[rule.digits :]))
    serial = qualifiers.get(rule.serial_ai, "0" if kind == "sgln" else None)
    if serial is None:
        raise CodeError(f"no serial ({rule.serial_ai}): this names a class of things, not one of them")
    date_element = _date(query) if kind == "sgtin" else None
    return Epc(kind, key=require_key(kind, value), serial=require_serial(kind, serial), date_element=date_element)


def _date(query: dict[str, str]) -> tuple[str, str] | None:
    """The first date among the link's attributes, an expiry before any other; a harvest of many days (7007) is no date."""
    for ai in ("17", *DATE_AIS):
        if ai in query and not (ai == "7007" and len(query[ai]) == 2 * _DATE_DIGITS):
            calendar_date(require_digits(query[ai], _DATE_DIGITS, f"date ({ai})"))
            return ai, query[ai]
    return None
