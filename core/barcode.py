"""What a scanned barcode says: GS1 element strings, Digital Links, EAN/UPC, SSCC, MA-UDI and Chinese drug trace codes.

GS1 syntax is read by biip; what it lets pass and we do not: a wrong check digit beside readable fields, the same field twice, and
a lot that has swallowed its neighbours because the scanner dropped the separator (FNC1).
"""

import re
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

from biip import ParseError
from biip.gs1_digital_link_uris import GS1DigitalLinkURI
from biip.gs1_element_strings import GS1ElementStrings
from biip.gs1_messages import GS1Message
from biip.gtin import Gtin
from biip.sscc import Sscc

MAX_TEXT: Final = 4096
SEPARATOR: Final = "\x1d"
SYMBOLOGIES: Final = {
    "]A0": "code-39",
    "]C0": "code-128",
    "]C1": "gs1-128",
    "]C2": "code-128-fnc1",
    "]E0": "ean-13",
    "]E4": "ean-8",
    "]I1": "itf",
    "]J1": "gs1-dotcode",
    "]L0": "pdf417",
    "]Q1": "qr",
    "]Q3": "gs1-qr",
    "]d1": "data-matrix",
    "]d2": "gs1-datamatrix",
    "]e0": "gs1-databar",
}
"""AIM identifiers (ISO/IEC 15424) of the scanners' manuals; another one is kept as it is."""
GS1_PROMISED: Final = frozenset({"]C1", "]J1", "]Q3", "]d2", "]e0"})
EXPIRY_AIS: Final = ("17", "7003")
_AIM: Final = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_SWALLOWED_DATE: Final = re.compile(r"1[1357]\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])")
_SWALLOWED_GTIN: Final = re.compile(r"01(?=(\d{14}))")
_MA: Final = re.compile(r"(MA\.156\.M0\.[0-9A-Z]{6}\.[0-9A-Z]{8})((?:\.[LSMDVE][^.\s]+)*)")


@dataclass(frozen=True, slots=True)
class Barcode:
    """One barcode. Fields are believed: a check digit that stands wrong leaves all of them None and says so in `error`.

    `ais` are the GS1 fields as printed, by application identifier, believed or not. `opaque` is a key of another issuer (the device
    identifier of an MA-UDI, a 20-digit drug trace code). `suspect` says why a field was left out although the rest is believed.
    """

    symbology: str | None = None
    gtin: str | None = None
    lot: str | None = None
    expiry: date | None = None
    serial: str | None = None
    sscc: str | None = None
    ais: dict[str, str] = field(default_factory=dict)
    opaque: str | None = None
    error: str | None = None
    suspect: str | None = None


def parse(text: str) -> Barcode:
    """Reads a scan with or without AIM identifier, or the bracketed form printed under a code. Never raises."""
    stripped = text.strip()
    match = _AIM.match(stripped)
    aim = match[0] if match else None
    symbology = SYMBOLOGIES.get(aim, aim) if aim else None
    payload = stripped[3:] if aim else stripped
    payload = payload.strip(SEPARATOR)
    if not payload or len(payload) > MAX_TEXT:
        return Barcode(symbology, error=f"a code of {len(payload)} characters: 1 to {MAX_TEXT} can be read")
    if not payload.isascii():
        return Barcode(symbology, error="holds characters beyond ASCII, which no code known here does")
    try:
        code = _parse_payload(symbology, aim in GS1_PROMISED, payload)
    except ParseError as error:
        return Barcode(symbology, error=str(error))
    told_apart = SEPARATOR in text or not payload[0].isdigit()  # links, brackets and MA units say where a field ends
    return code if told_apart else _without_swallowed(code)


def _parse_payload(symbology: str | None, promised: bool, payload: str) -> Barcode:
    if payload[:7].lower() == "http://" or payload[:8].lower() == "https://":
        return _from_elements(symbology, GS1DigitalLinkURI.parse(payload).element_strings)
    if payload.startswith("MA."):
        return _parse_ma(symbology, payload)
    if payload.startswith("("):
        return _parse_bracketed(symbology, payload)
    if not promised and payload.isascii() and payload.isdigit():
        return _parse_digits(symbology, payload)
    return _from_elements(symbology, GS1Message.parse(payload).element_strings)


def _parse_bracketed(symbology: str | None, payload: str) -> Barcode:
    """The form printed for people, `(01)...(17)...`; brackets tell the fields apart."""
    elements = GS1Message.parse_hri(payload).element_strings
    if sum(len(element.ai.ai) + 2 + len(element.value) for element in elements) != len(payload):
        return Barcode(symbology, error=f"{payload[:80]!r} ends within a field")
    return _from_elements(symbology, elements)


def _parse_digits(symbology: str | None, digits: str) -> Barcode:
    """Digits whose symbology promises nothing: the length tells, and a check digit where there is one."""
    if len(digits) in (8, 12, 13, 14):
        return Barcode(symbology, gtin=Gtin.parse(digits).as_gtin_14())
    if len(digits) == 18:
        return Barcode(symbology, sscc=Sscc.parse(digits).value)
    if len(digits) == 20 and digits.startswith("8"):
        return Barcode(symbology, opaque=digits)
    if len(digits) == 20 and digits.startswith("00"):
        try:
            return Barcode(symbology, sscc=Sscc.parse(digits[2:]).value, ais={"00": digits[2:]})
        except ParseError:
            return Barcode(symbology, opaque=digits)
    return _from_elements(symbology, GS1Message.parse(digits).element_strings)


def _from_elements(symbology: str | None, elements: GS1ElementStrings) -> Barcode:
    ais: dict[str, str] = {}
    for element in elements:
        ai = element.ai.ai
        if ais.setdefault(ai, element.value) != element.value:
            return Barcode(symbology, ais=ais, error=f"({ai}) stands twice: {ais[ai]!r} and {element.value!r}")
        if problem := element.gtin_error or element.sscc_error or element.gln_error:
            return Barcode(symbology, ais=ais, error=problem)
    dates = {element.ai.ai: element.date or (element.datetime.date() if element.datetime else None) for element in elements}
    return Barcode(
        symbology,
        gtin=ais["01"].rjust(14, "0") if "01" in ais else None,
        lot=ais.get("10"),
        expiry=next((dates[ai] for ai in EXPIRY_AIS if dates.get(ai)), None),
        serial=ais.get("21"),
        sscc=ais.get("00"),
        ais=ais,
    )


def _without_swallowed(code: Barcode) -> Barcode:
    """Leaves out a lot or serial that holds another field's text: in a scan without any separator it may have run on."""
    for ai, value in (("10", code.lot), ("21", code.serial)):
        if value is None:
            continue
        dates = {found[0][:2] for found in _SWALLOWED_DATE.finditer(value, 1)}
        gtins = [found[1] for found in _SWALLOWED_GTIN.finditer(value, 1)]
        if dates - set(code.ais) or any(_is_gtin(digits) for digits in gtins):
            reason = f"({ai}){value} seems to hold further fields: FNC1 lost by the scanner?"
            return replace(code, lot=None if ai == "10" else code.lot, serial=None if ai == "21" else code.serial, suspect=reason)
    return code


def _is_gtin(digits: str) -> bool:
    try:
        Gtin.parse(digits)
    except ParseError:
        return False
    return True


def _parse_ma(symbology: str | None, payload: str) -> Barcode:
    """MA-UDI of the IDcode China registry: device identifier, then production units by letter."""
    match = _MA.fullmatch(payload)
    if match is None:
        return Barcode(symbology, error=f"{payload[:80]!r} is not MA.156.M0.<registrant>.<product>[.<unit>...]")
    units = {unit[0]: unit[1:] for unit in match[2].split(".")[1:]}
    try:
        days = {letter: _ma_date(units[letter]) for letter in ("M", "V", "E") if letter in units}
    except ValueError as error:
        return Barcode(symbology, error=f"{payload[:80]!r}: {error}")
    return Barcode(symbology, lot=units.get("L"), expiry=days.get("E") or days.get("V"), serial=units.get("S"), opaque=match[1])


def _ma_date(text: str) -> date:
    """YYMMDD of this century, or YYYYMMDD. Raises ValueError."""
    if not re.fullmatch(r"\d{6}|\d{8}", text):
        raise ValueError(f"date {text!r} must be 6 or 8 digits")
    whole = text if len(text) == 8 else f"20{text}"
    return date(int(whole[:4]), int(whole[4:6]), int(whole[6:]))
