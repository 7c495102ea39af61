"""GS1 Digital Link URIs that name one thing: the key, its serial and, for goods, a date."""

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from core.epc_identity import Epc, calendar_date
from core.epc_schemes import DATE_AIS
from core.epc_text import require_characters, require_check_digit, require_digits
from core.errors import CodeError

_KEYS: Final = {"01": "sgtin", "00": "sscc", "414": "sgln", "8003": "grai", "8004": "giai"}
_QUALIFIERS: Final = {"01": ("22", "10", "21"), "414": ("254",)}
_GTIN_LENGTHS: Final = (8, 12, 13, 14)
LONGEST_SERIAL: Final = 20
MAX_LINK: Final = 2048


def parse_digital_link(uri: str) -> Epc:
    """The identity behind a Digital Link on any host. Its scheme is the bare kind, and no company prefix is known.

    Raises CodeError for a link without one of the keys 01, 00, 414, 8003, 8004, with a wrong check digit, or without the serial
    that tells one thing from its class.
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
        if ai in _KEYS and len(rest) % 2 == 0 and set(rest[::2]) <= set(_QUALIFIERS.get(ai, ())):
            return ai, segments[start + 1], dict(zip(rest[::2], rest[1::2], strict=True))
    raise CodeError(f"{uri!r} holds no key of {', '.join(_KEYS)} with its qualifiers")


def _identity(ai: str, value: str, qualifiers: dict[str, str], query: dict[str, str]) -> Epc:
    if ai == "01":
        if "21" not in qualifiers:
            raise CodeError("no serial (21): this names a class of goods, not one item")
        if len(value) not in _GTIN_LENGTHS:
            raise CodeError(f"GTIN {value!r} must be 8, 12, 13 or 14 digits")
        key = require_check_digit(require_digits(value.rjust(14, "0"), 14, "GTIN"), "GTIN")
        serial = require_characters(qualifiers["21"], LONGEST_SERIAL, "serial")
        return Epc("sgtin", key=key, serial=serial, date_element=_date(query))
    if ai == "00":
        return Epc("sscc", key=require_check_digit(require_digits(value, 18, "SSCC"), "SSCC"))
    if ai == "414":
        key = require_check_digit(require_digits(value, 13, "GLN"), "GLN")
        return Epc("sgln", key=key, serial=require_characters(qualifiers.get("254", "0"), 20, "extension"))
    if ai == "8003":
        key = require_check_digit(require_digits(value[:14], 14, "asset type"), "asset type")
        if key[0] != "0":
            raise CodeError(f"asset type {key} must begin with 0")
        return Epc("grai", key=key, serial=require_characters(value[14:], 16, "serial"))
    if not re.match(r"\d{6}", value):
        raise CodeError(f"asset {value!r} must begin with a company prefix")
    return Epc("giai", serial=require_characters(value, 30, "asset"))


def _date(query: dict[str, str]) -> tuple[str, str] | None:
    """The first date among the link's attributes, an expiry before any other."""
    for ai in ("17", *DATE_AIS):
        if ai in query:
            calendar_date(require_digits(query[ai], 6, f"date ({ai})"))
            return ai, query[ai]
    return None
