"""EPC Tag Data Standard: hex on a tag <-> fields <-> URN <-> GS1 Digital Link, for the keys of goods, cases, places and assets.

The schemes of TDS 1.x (with a company prefix) have a tag URI and a pure identity URN. Those of TDS 2.x (`sgtin+`, `dsgtin+`,
`sscc+`) hold the whole key without saying where its company prefix ends: they have no URN, and their Digital Link is the identity.
A tag that is none of these (a factory EPC `E2...`, another header) is "raw": its bits are its name.
The toggle that says "not an EPC" stands in the tag's PC word (bit 0x0100), outside these bits: look there before decoding.
"""

import re
from dataclasses import replace

from core.epc_bits import MAX_HEX, checked, decode, encode
from core.epc_identity import RAW, Epc, calendar_date
from core.epc_link import parse_digital_link
from core.epc_schemes import BY_NAME, PLUS_NAMES, ROOMIEST, Scheme
from core.epc_text import require_check_digit, require_digits, unescape
from core.errors import CodeError

__all__ = ["RAW", "Epc", "calendar_date", "decode", "encode", "on_tag", "parse_uri", "sgtin96"]


def parse_uri(uri: str) -> Epc:
    """What a tag URI, a pure identity, a raw URI or a GS1 Digital Link says; a tag URI is encoded as well. Raises CodeError."""
    if uri.startswith("urn:epc:tag:"):
        return _parse_tag_uri(uri)
    if uri.startswith("urn:epc:id:"):
        kind, _, body = uri.removeprefix("urn:epc:id:").partition(":")
        if kind not in ROOMIEST:
            raise CodeError(f"{uri!r}: scheme {kind!r} is not known here")
        return replace(_split_body(uri, ROOMIEST[kind], body), scheme=kind)
    if uri.startswith("urn:epc:raw:"):
        match = re.fullmatch(r"urn:epc:raw:(\d{1,3})\.x([0-9A-F]+)", uri)
        if match is None or int(match[1]) != 4 * len(match[2]) or len(match[2]) > MAX_HEX:
            raise CodeError(f"{uri!r} is not urn:epc:raw:<bits>.x<HEX>")
        return Epc(RAW, hex=match[2])
    if uri.startswith(("http://", "https://")):
        return parse_digital_link(uri)
    raise CodeError(f"{uri!r} is no urn:epc:tag:, urn:epc:id:, urn:epc:raw: or Digital Link URI")


def sgtin96(gtin: str, company_prefix_digits: int, serial: int, filter_value: int = 1) -> Epc:
    """An SGTIN-96 tag for a GTIN (8, 12, 13 or 14 digits) and a serial below 2^38. Raises CodeError."""
    if len(gtin) not in (8, 12, 13, 14) or not 6 <= company_prefix_digits <= 12:
        raise CodeError(f"GTIN {gtin!r} with a company prefix of {company_prefix_digits} digits: 8, 12, 13 or 14, and 6 to 12")
    whole = require_check_digit(require_digits(gtin.rjust(14, "0"), 14, "GTIN"), "GTIN")
    prefix, item = whole[1 : 1 + company_prefix_digits], whole[1 + company_prefix_digits : 13]
    return encode("sgtin-96", filter_value, company_prefix=prefix, reference=whole[0] + item, serial=str(serial))


def on_tag(epc: Epc, scheme: str, filter_value: int = 0) -> Epc:
    """The same identity as a tag of that scheme would hold it. Raises CodeError when it does not fit."""
    if scheme in PLUS_NAMES:
        return encode(scheme, filter_value, key=epc.key, serial=epc.serial, date_element=epc.date_element)
    return encode(scheme, filter_value, company_prefix=epc.company_prefix, reference=epc.reference, serial=epc.serial)


def _parse_tag_uri(uri: str) -> Epc:
    name, _, body = uri.removeprefix("urn:epc:tag:").partition(":")
    filter_text, _, rest = body.partition(".")
    if name not in BY_NAME:
        raise CodeError(f"{uri!r}: scheme {name!r} is not known here; use one of {', '.join(BY_NAME)}")
    if not re.fullmatch("[0-7]", filter_text):
        raise CodeError(f"{uri!r}: filter value {filter_text!r} must be 0 to 7")
    return on_tag(_split_body(uri, BY_NAME[name], rest), name, int(filter_text))


def _split_body(uri: str, scheme: Scheme, body: str) -> Epc:
    """Company prefix, reference and serial of a URN's body; a serial may hold dots. Raises CodeError."""
    wanted = 1 + (scheme.reference_bits is not None) + (scheme.serial is not None)
    parts: list[str | None] = [*body.split(".", wanted - 1)]
    if len(parts) != wanted:
        raise CodeError(f"{uri!r} must have {wanted} fields between dots after its scheme and filter")
    if scheme.reference_bits is None:
        parts.insert(1, None)
    if scheme.serial is None:
        parts.append(None)
    try:
        company_prefix, reference, serial = parts
        return checked(scheme, company_prefix or "", reference, None if serial is None else unescape(serial))
    except CodeError as error:
        raise CodeError(f"{uri!r}: {error}") from error
