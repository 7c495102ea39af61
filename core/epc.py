"""EPC Tag Data Standard 2.3: hex on a tag <-> fields <-> URN <-> GS1 Digital Link, for every scheme of TDS 1.x and 2.x.

The schemes of TDS 1.x have a tag URI and a pure identity URN; they know where their company prefix ends. Those of TDS 2.x hold the
whole key without saying so: they have no URN, and their Digital Link is the identity. `dsgtin` ones carry a date in front, the ++
ones the host of their own Digital Link behind. A key has a Digital Link too; a GID, DoD or ADI code is no GS1 key and has none.
A tag that is none of these (a factory EPC `E2...`, another header) is "raw": its bits are its name.
The toggle that says "not an EPC" stands in the tag's PC word (bit 0x0100), outside these bits: look there before decoding.
"""

import re
from dataclasses import replace
from typing import Final

from core.epc_bits import MAX_HEX, checked, decode, encode
from core.epc_identity import RAW, Epc, calendar_date
from core.epc_link import parse_digital_link
from core.epc_other import FIELDS, checked_other
from core.epc_schemes import BY_NAME, FILTER_BITS, OTHER_NAMES, PLUS_NAMES, ROOMIEST, Scheme
from core.epc_text import require_check_digit, require_digits, unescape
from core.errors import CodeError

__all__ = ["RAW", "Epc", "calendar_date", "decode", "encode", "on_tag", "parse_uri", "sgtin96"]


_NO_SINGLE_TAG: Final = {
    "urn:epc:idpat:": "a pattern names no single tag",
    "urn:epc:pat:": "a pattern names no single tag",
    "urn:epc:class:": "a class names no single tag",
}


def parse_uri(uri: str) -> Epc:
    """What a tag URI, a pure identity, a raw URI or a GS1 Digital Link says; a tag URI is encoded as well. Raises CodeError."""
    if uri.startswith("urn:epc:tag:"):
        return _parse_tag_uri(uri)
    if uri.startswith("urn:epc:id:"):
        kind, _, body = uri.removeprefix("urn:epc:id:").partition(":")
        if kind not in ROOMIEST and kind not in FIELDS:
            raise CodeError(f"{uri!r}: scheme {kind!r} is not known here; use one of {', '.join([*ROOMIEST, *FIELDS])}")
        return replace(_split_body(uri, kind, body), scheme=kind)
    if uri.startswith("urn:epc:raw:"):
        match = re.fullmatch(r"urn:epc:raw:(\d{1,3})\.x([0-9A-F]+)", uri)
        if match is None or int(match[1]) != 4 * len(match[2]) or len(match[2]) > MAX_HEX:
            raise CodeError(f"{uri!r} is not urn:epc:raw:<bits>.x<HEX>")
        return Epc(RAW, hex=match[2])
    if uri.startswith(("http://", "https://")):
        return parse_digital_link(uri)
    for start, reason in _NO_SINGLE_TAG.items():
        if uri.startswith(start):
            raise CodeError(f"{uri!r}: {reason}")
    raise CodeError(f"{uri!r} is no urn:epc:tag:, urn:epc:id:, urn:epc:raw: or Digital Link URI")


def sgtin96(gtin: str, company_prefix_digits: int, serial: int, filter_value: int = 1) -> Epc:
    """An SGTIN-96 tag for a GTIN (8, 12, 13 or 14 digits) and a serial below 2^38. Raises CodeError."""
    if len(gtin) not in (8, 12, 13, 14) or not 6 <= company_prefix_digits <= 12:
        raise CodeError(f"GTIN {gtin!r} with a company prefix of {company_prefix_digits} digits: 8, 12, 13 or 14, and 6 to 12")
    whole = require_check_digit(require_digits(gtin.rjust(14, "0"), 14, "GTIN"), "GTIN")
    prefix, item = whole[1 : 1 + company_prefix_digits], whole[1 + company_prefix_digits : 13]
    return encode("sgtin-96", filter_value, company_prefix=prefix, reference=whole[0] + item, serial=str(serial))


def on_tag(epc: Epc, scheme: str, filter_value: int = 0, *, hostname: str | None = None) -> Epc:
    """The same identity as a tag of that scheme would hold it; a ++ scheme takes the host. Raises CodeError when it does not."""
    if scheme in PLUS_NAMES:
        whole = PLUS_NAMES[scheme].kind == "giai" and epc.company_prefix is not None
        serial = f"{epc.company_prefix}{epc.serial}" if whole else epc.serial
        host = hostname or epc.hostname
        return encode(scheme, filter_value, key=epc.key, serial=serial, date_element=epc.date_element, hostname=host)
    return encode(
        scheme,
        filter_value,
        company_prefix=epc.company_prefix,
        reference=epc.reference,
        serial=epc.serial,
        pieces=epc.pieces,
    )


def _parse_tag_uri(uri: str) -> Epc:
    name, _, body = uri.removeprefix("urn:epc:tag:").partition(":")
    if name not in BY_NAME and name not in OTHER_NAMES:
        raise CodeError(f"{uri!r}: scheme {name!r} is not known here; use one of {', '.join([*BY_NAME, *OTHER_NAMES])}")
    bits = FILTER_BITS.get(name, 3)
    filter_value = 0
    if bits:
        filter_text, _, body = body.partition(".")
        if not re.fullmatch("0|[1-9][0-9]?", filter_text) or int(filter_text) >> bits:
            raise CodeError(f"{uri!r}: filter value {filter_text!r} must be 0 to {(1 << bits) - 1}")
        filter_value = int(filter_text)
    parts = _split_body(uri, name, body)
    try:
        return on_tag(parts, name, filter_value)
    except CodeError as error:
        raise CodeError(f"{uri!r}: {error}") from error


def _split_body(uri: str, name: str, body: str) -> Epc:
    """The identity a URN's body names in a scheme or kind; the last field may hold dots. Raises CodeError."""
    scheme = BY_NAME.get(name) or ROOMIEST.get(name)
    wanted = FIELDS[name.split("-")[0]] if scheme is None else _fields_of(scheme)
    fields = body.split(".", wanted - 1)
    if len(fields) != wanted:
        raise CodeError(f"{uri!r} must have {wanted} fields between dots after its scheme and filter")
    try:
        fields = [unescape(field) for field in fields]
        return checked_other(name, fields) if scheme is None else _from_fields(scheme, fields)
    except CodeError as error:
        raise CodeError(f"{uri!r}: {error}") from error


def _fields_of(scheme: Scheme) -> int:
    return 1 + (scheme.reference is not None) + 2 * scheme.pieces + (scheme.serial is not None)


def _from_fields(scheme: Scheme, fields: list[str]) -> Epc:
    company_prefix, *rest = fields
    reference = rest.pop(0) if scheme.reference is not None else None
    serial = rest.pop() if scheme.serial is not None else None
    if any(len(each) != 2 for each in rest):
        raise CodeError(f"piece and total {'.'.join(rest)!r} must be 2 digits each")
    return checked(scheme, company_prefix, reference, serial=serial, pieces="".join(rest) if scheme.pieces else None)
