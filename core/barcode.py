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
from biip.upc import Upc

MAX_TEXT: Final = 4096
SEPARATOR: Final = "\x1d"
SYMBOLOGIES: Final = {
    "]A0": "code-39",
    "]C0": "code-128",
    "]C1": "gs1-128",
    "]C2": "code-128-fnc1",
    "]E0": "ean-13",
    "]E1": "ean-add-on-2",
    "]E2": "ean-add-on-5",
    "]E3": "ean-13-add-on",
    "]E4": "ean-8",
    "]F0": "codabar",
    "]G0": "code-93",
    "]I0": "itf",
    "]I1": "itf",
    "]J0": "dotcode",
    "]J1": "gs1-dotcode",
    "]L0": "pdf417",
    "]Q0": "qr",
    "]Q1": "qr",
    "]Q2": "qr",
    "]Q3": "gs1-qr",
    "]Q4": "gs1-qr",
    "]d1": "data-matrix",
    "]d2": "gs1-datamatrix",
    "]d4": "data-matrix",
    "]d5": "gs1-datamatrix",
    "]e0": "gs1-databar",
    "]z0": "aztec",
}
"""AIM identifiers (ISO/IEC 15424) of the scanners' manuals; another one is kept as it is."""
GS1_PROMISED: Final = frozenset({"]C1", "]J1", "]Q3", "]Q4", "]d2", "]d5", "]e0"})
RETAIL: Final = frozenset({"]E0", "]E3", "]E4"})
"""EAN and UPC codes: a number of goods, and nothing else but an add-on of 2 or 5 digits."""
ADD_ON_DIGITS: Final = frozenset({2, 5})
COMPOSITE: Final = "|]e0"
"""Between a linear code and its 2D component, as scanners send both at once."""
KEYS: Final = frozenset({"00", "01", "02"})
"""Fields that a check digit vouches for."""
EXPIRY_AIS: Final = ("17", "7003")
_AIM: Final = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_SWALLOWED_DATE: Final = re.compile(r"1[1357]\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])")
_SWALLOWED_GTIN: Final = re.compile(r"01(?=(\d{14}))")
_BRACKETS: Final = re.compile(r"\s*(\(\d{2,4}\))\s*")
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
        retail = aim in RETAIL
        code = _parse_retail(symbology, payload) if retail else _parse_payload(symbology, aim in GS1_PROMISED, payload)
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
    return _from_message(symbology, payload, promised=promised)


def _from_message(symbology: str | None, payload: str, *, promised: bool) -> Barcode:
    """Element strings; where nobody promised them, only with a key among them, or any short text is somebody's lot."""
    code = _from_elements(symbology, GS1Message.parse(payload).element_strings)
    if promised or SEPARATOR in payload or KEYS & code.ais.keys():
        return code
    return Barcode(symbology, error=f"{payload[:80]!r} holds no GTIN or SSCC, and its symbology does not say that it is GS1")


def _parse_retail(symbology: str | None, payload: str) -> Barcode:
    """An EAN or UPC code, with its add-on or its 2D component behind it. Raises ParseError."""
    digits, has_component, component = payload.partition(COMPOSITE)
    if not (digits.isdigit() and len(digits) >= 8):
        return Barcode(symbology, error=f"{payload[:80]!r} is no EAN or UPC code: 8, 12 or 13 digits")
    for length in (13, 12):
        if len(digits) - length in ADD_ON_DIGITS:
            digits = digits[:length]
    if len(digits) not in (8, 12, 13):
        return Barcode(symbology, error=f"{len(digits)} digits are no EAN or UPC code: 8, 12 or 13, and 2 or 5 of an add-on")
    is_short = len(digits) == 8 and symbology != SYMBOLOGIES["]E4"]
    gtin = (_upc_e(digits) if is_short else None) or Gtin.parse(digits).as_gtin_14()
    if not has_component:
        return Barcode(symbology, gtin=gtin)
    if not component:
        return Barcode(symbology, error=f"{payload[:80]!r} ends before its 2D component")
    more = _from_elements(symbology, GS1Message.parse(component).element_strings)
    if more.error is None and more.gtin not in (None, gtin):
        return Barcode(symbology, ais=more.ais, error=f"the component says (01){more.gtin} beside the code {gtin}")
    return more if more.error is not None else replace(more, gtin=gtin)


def _upc_e(digits: str) -> str | None:
    """The GTIN-14 of a UPC-E of 8 digits, its zeros put back; None when its check digit says that it is none."""
    try:
        return Gtin.parse(Upc.parse(digits).as_upc_a()).as_gtin_14()
    except ParseError:
        return None


def _short_gtin(digits: str) -> str:
    """The GTIN-14 of 8 digits of an unknown symbology. Raises ParseError.

    A leading 0 is UPC-E's: GS1 gives no GTIN-8 with it, only shops do, for themselves.
    """
    upc = _upc_e(digits) if digits.startswith("0") else None
    return upc or Gtin.parse(digits).as_gtin_14()


def _parse_bracketed(symbology: str | None, payload: str) -> Barcode:
    """The form printed for people, `(01)...(17)...`; brackets tell the fields apart."""
    payload = _BRACKETS.sub(r"\1", payload)
    elements = GS1Message.parse_hri(payload).element_strings
    if sum(len(element.ai.ai) + 2 + len(element.value) for element in elements) != len(payload):
        return Barcode(symbology, error=f"{payload[:80]!r} ends within a field")
    return _from_elements(symbology, elements)


def _parse_digits(symbology: str | None, digits: str) -> Barcode:
    """Digits whose symbology promises nothing: the length tells, and a check digit where there is one."""
    if len(digits) == 8:
        return Barcode(symbology, gtin=_short_gtin(digits))
    if len(digits) in (12, 13, 14):
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
    return _from_message(symbology, digits, promised=False)


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
