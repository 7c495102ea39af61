"""What a tag or barcode seen at a gate says of the goods: the step from a code's scheme to a sighting."""

import hashlib
from typing import Final
from urllib.parse import quote

from core.barcode import Barcode, parse
from core.epc import RAW, Epc, decode
from core.errors import CodeError
from core.messages import BarcodeScan, TagPassage
from hub.domain.receiving import Sighting

LONGEST_CODE: Final = 256
"""Characters of an unreadable code that are kept; the rest is told by a hash."""
NO_GOODS: Final = frozenset({"sgln", "grai", "giai"})
"""Kinds of EPC that make no item of a receipt: places, totes and assets pass gates with the goods. Any kind that is neither these
nor a GTIN or SSCC (a document, a service relation, a part, a raw tag) is an item of unknown identity, for a person to look at."""


def identify_tag(passage: TagPassage) -> Sighting | None:
    """The sighting a passage makes, or None when the tag is on no goods.

    A tag that GS1's rules cannot read is goods of unknown identity, named by its raw bits; one that names something else than
    goods (a document, a coupon, a part) is so too, named by what it says.
    """
    try:
        epc = decode(passage.epc)
    except CodeError:
        epc = Epc(RAW, hex=passage.epc)
    if epc.kind in NO_GOODS:
        return None
    return Sighting(
        code=epc.identity,
        epc_hex=passage.epc,
        gtin=epc.gtin,
        serial=epc.serial if epc.gtin is not None else None,
        lot=None,
        expiry=epc.expiry,
        seen_at=passage.first_seen,
        until=max(passage.first_seen, passage.last_seen),
        confidence=passage.confidence,
        inbound=passage.direction == "in",
    )


def identify_scan(scan: BarcodeScan) -> Sighting:
    """The sighting a scanned barcode makes.

    A code that is broken, of another issuer, or that seems to have lost its separators is not believed: it is goods of unknown
    identity, named by what was scanned.
    """
    barcode = parse(scan.text)
    believed = barcode.error is None and barcode.suspect is None and (barcode.gtin is not None or barcode.sscc is not None)
    goods = barcode if believed and barcode.sscc is None else Barcode()
    return Sighting(
        code=_name(barcode, scan.text) if believed else _printable(scan.text),
        epc_hex=None,
        gtin=goods.gtin,
        serial=goods.serial,
        lot=goods.lot,
        expiry=goods.expiry,
        seen_at=scan.at,
        until=scan.at,
        confidence=1.0,
    )


def _name(barcode: Barcode, text: str) -> str:
    """The Digital Link of a unit; the printed form of a label that names no unit."""
    if barcode.sscc is not None:
        return f"https://id.gs1.org/00/{barcode.sscc}"
    if barcode.serial is not None:
        return f"https://id.gs1.org/01/{barcode.gtin}/21/{quote(barcode.serial, safe='')}"
    return "".join(f"({ai}){value}" for ai, value in barcode.ais.items()) or _printable(text)


def _printable(text: str) -> str:
    """A code as it can be stored and shown: control characters written out, overlong text cut and hashed."""
    shown = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
    if len(shown) <= LONGEST_CODE:
        return shown
    return f"{shown[:LONGEST_CODE]}... sha256:{hashlib.sha256(shown.encode()).hexdigest()}"
