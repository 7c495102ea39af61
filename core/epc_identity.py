"""One EPC identity and its names: URNs, GS1 Digital Link, and the plain GS1 keys."""

import calendar
from dataclasses import dataclass
from datetime import date
from typing import Final
from urllib.parse import quote

from core.epc_schemes import BY_NAME
from core.epc_text import check_digit, escape
from core.errors import CodeError

RAW: Final = "raw"
DIGITAL_LINK: Final = "https://id.gs1.org"
EXPIRY_AI: Final = "17"


@dataclass(frozen=True, slots=True)
class Epc:
    """One identity. `scheme` is a tag's ("sgtin-96", "sgtin+", "raw"), or the bare kind ("sgtin") when no tag's bits are meant.

    `company_prefix` and `reference` are as in the URN (a GTIN's indicator or an SSCC's extension leads the reference) and None
    where the prefix length is unknown. `key` is the whole GTIN-14, SSCC, GLN or 14-digit asset type with check digit, None for GIAI
    and raw. `hex` is upper case in whole words, None for a bare identity. `date_element` is the (application identifier, YYMMDD)
    of a DSGTIN+ or a Digital Link.
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

    @property
    def kind(self) -> str:
        """ "sgtin", "sscc", "sgln", "grai", "giai" or "raw"."""
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
        if self.scheme in BY_NAME:
            return f"urn:epc:tag:{self.scheme}:{self.filter_value}.{self.body()}"
        return self.pure_identity or self.digital_link

    @property
    def digital_link(self) -> str | None:
        """The GS1 Digital Link of this one thing; None for raw tags."""
        serial = quote(self.serial or "", safe="")
        if self.kind == "sgtin":
            query = f"?{self.date_element[0]}={self.date_element[1]}" if self.date_element else ""
            return f"{DIGITAL_LINK}/01/{self.key}/21/{serial}{query}"
        if self.kind == "sscc":
            return f"{DIGITAL_LINK}/00/{self.key}"
        if self.kind == "sgln":
            return f"{DIGITAL_LINK}/414/{self.key}" + ("" if self.serial == "0" else f"/254/{serial}")
        if self.kind == "grai":
            return f"{DIGITAL_LINK}/8003/{self.key}{serial}"
        if self.kind == "giai":
            return f"{DIGITAL_LINK}/8004/{self.company_prefix or ''}{serial}"
        return None

    @property
    def identity(self) -> str:
        """The one name to store: pure identity, else Digital Link without its date, else raw URI."""
        return self.pure_identity or (self.digital_link or "").partition("?")[0] or self.uri or ""

    def body(self) -> str:
        """The fields of a URN after its scheme and filter."""
        parts = [self.company_prefix, self.reference, None if self.serial is None else escape(self.serial)]
        return ".".join(part for part in parts if part is not None)


def calendar_date(yymmdd: str) -> date:
    """The day a GS1 date names: years 80 to 99 are 19yy, day 00 is the last of the month. Raises CodeError."""
    year = int(yymmdd[:2]) + (1900 if int(yymmdd[:2]) >= 80 else 2000)
    month, day = int(yymmdd[2:4]), int(yymmdd[4:6])
    try:
        return date(year, month, day or calendar.monthrange(year, month)[1])
    except (ValueError, calendar.IllegalMonthError) as error:
        raise CodeError(f"date {yymmdd} is not in the calendar") from error


def whole_key(kind: str, company_prefix: str, reference: str) -> str | None:
    """The key with its check digit, from the parts of a URN; None for a GIAI, which has none."""
    if kind in ("sgtin", "sscc"):
        body = reference[0] + company_prefix + reference[1:]
    elif kind in ("sgln", "grai"):
        body = ("0" if kind == "grai" else "") + company_prefix + reference
    else:
        return None
    return body + check_digit(body)
