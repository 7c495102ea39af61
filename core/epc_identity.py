"""One EPC identity and its names: URNs, GS1 Digital Link, and the plain GS1 keys."""

import calendar
from dataclasses import dataclass
from datetime import date
from typing import Final
from urllib.parse import quote

from core.epc_keys import KEYS
from core.epc_schemes import BY_NAME, OTHER_NAMES
from core.epc_text import check_digit, escape
from core.errors import CodeError

RAW: Final = "raw"
DIGITAL_LINK: Final = "https://id.gs1.org"
EXPIRY_AI: Final = "17"


@dataclass(frozen=True, slots=True)
class Epc:
    """One identity. `scheme` is a tag's ("sgtin-96", "sgtin+", "raw"), or the bare kind ("sgtin") when no tag's bits are meant.

    `company_prefix` and `reference` are as in the URN (a GTIN's indicator or an SSCC's extension leads the reference) and None
    where the prefix length is unknown; of a GID they are manager and class, of a DoD or ADI code the CAGE or DoDAAC and the part
    number. `key` is the whole key without its serial: GTIN-14, SSCC, GLN, 14-digit asset type and so on with check digit, the
    18 digits of an ITIP, the text of a CPI; None for GIAI, GINC, raw and what is no GS1 key. `serial` of a GIAI whose prefix length
    is unknown is the whole of it. `pieces` are piece number and count of an ITIP, two digits each. `hex` is upper case in whole
    words, None for a bare identity. `date_element` is the (application identifier, YYMMDD) of a DSGTIN+ or a Digital Link.
    `hostname` is the one a ++ tag carries for its Digital Link.
    """

    scheme: str
    hex: str | None = None
    filter_value: int | None = None
    company_prefix: str | None = None
    reference: str | None = None
    key: str | None = None
    serial: str | None = None
    date_element: tuple[str, str] | None = None
    more_data: bool = False
    """True when the tag says that other data (AIDC data of TDS 2.x) follow its identity; they are not read here."""
    pieces: str | None = None
    hostname: str | None = None

    @property
    def kind(self) -> str:
        """ "sgtin", "sscc", "sgln", ... or "raw": the scheme without its size."""
        return self.scheme.rstrip("+").split("-")[0].removeprefix("d")

    @property
    def gtin(self) -> str | None:
        """GTIN-14 of the goods."""
        return self.key if self.kind == "sgtin" else None

    @property
    def sscc(self) -> str | None:
        """18-digit SSCC of the logistic unit."""
        return self.key if self.kind == "sscc" else None

    @property
    def gln(self) -> str | None:
        """13-digit number of the place."""
        return self.key if self.kind == "sgln" else None

    @property
    def expiry(self) -> date | None:
        """Expiry date a DSGTIN+ carries; day 00 is the last of its month."""
        return None if self.date_element is None or self.date_element[0] != EXPIRY_AI else calendar_date(self.date_element[1])

    @property
    def pure_identity(self) -> str | None:
        """`urn:epc:id:...`; None for TDS 2.x and raw tags, and for a Digital Link."""
        if self.company_prefix is None:
            return None
        return f"urn:epc:id:{self.kind}:{self.body()}"

    @property
    def uri(self) -> str | None:
        """What the bits say, filter and all: `urn:epc:tag:...`, `urn:epc:raw:...`; the Digital Link of a TDS 2.x tag."""
        if self.scheme == RAW:
            return None if self.hex is None else f"urn:epc:raw:{len(self.hex) * 4}.x{self.hex}"
        if self.scheme in BY_NAME or self.scheme in OTHER_NAMES:
            filter_field = "" if self.filter_value is None else f"{self.filter_value}."
            return f"urn:epc:tag:{self.scheme}:{filter_field}{self.body()}"
        return self.pure_identity or self.digital_link

    @property
    def digital_link(self) -> str | None:
        """The GS1 Digital Link of this one thing, on the host its tag names; None for raw tags and for what is no GS1 key."""
        return self._link(f"https://{self.hostname}" if self.hostname else DIGITAL_LINK)

    @property
    def identity(self) -> str:
        """The one name to store: pure identity, else Digital Link on GS1's own host without its date, else raw URI."""
        return self.pure_identity or (self._link(DIGITAL_LINK) or "").partition("?")[0] or self.uri or ""

    def body(self) -> str:
        """The fields of a URN after its scheme and filter."""
        reference = None if self.reference is None else escape(self.reference)
        pieces = [] if self.pieces is None else [self.pieces[:2], self.pieces[2:]]
        parts = [self.company_prefix, reference, *pieces, None if self.serial is None else escape(self.serial)]
        return ".".join(part for part in parts if part is not None)

    def _link(self, host: str) -> str | None:
        rule = KEYS.get(self.kind)
        if rule is None:
            return None
        key = quote(self.key or self.company_prefix or "", safe="")
        serial = quote(self.serial or "", safe="")
        query = f"?{self.date_element[0]}={self.date_element[1]}" if self.date_element else ""
        if rule.serial_ai is None:
            return f"{host}/{rule.ai}/{key}{serial}"
        if self.kind == "sgln" and self.serial == "0":
            return f"{host}/{rule.ai}/{key}"
        return f"{host}/{rule.ai}/{key}/{rule.serial_ai}/{serial}{query}"


def calendar_date(yymmdd: str) -> date:
    """The day a GS1 date names: years 80 to 99 are 19yy, day 00 is the last of the month. Raises CodeError."""
    year = int(yymmdd[:2]) + (1900 if int(yymmdd[:2]) >= 80 else 2000)
    month, day = int(yymmdd[2:4]), int(yymmdd[4:6])
    try:
        return date(year, month, day or calendar.monthrange(year, month)[1])
    except (ValueError, calendar.IllegalMonthError) as error:
        raise CodeError(f"date {yymmdd} is not in the calendar") from error


def whole_key(kind: str, company_prefix: str, reference: str, pieces: str) -> str | None:
    """The key with its check digit, from the parts of a URN; None for GIAI and GINC, which have none beside their serial."""
    if kind in ("giai", "ginc"):
        return None
    if kind == "cpi":
        return company_prefix + reference
    if kind in ("sgtin", "sscc", "itip", "upui"):
        body = reference[0] + company_prefix + reference[1:]
    else:
        body = ("0" if kind == "grai" else "") + company_prefix + reference
    return body + check_digit(body) + pieces
