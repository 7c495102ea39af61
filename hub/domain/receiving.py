"""What a receipt at a gate is: which of the things seen were expected, which were not, and what moves into stock.

Everything here is a function of sets: the order in which passages arrive and how often each is told change nothing.

A code names one unit when it carries a serial. Without one (a lot label, a logistic unit) it tells what the goods are but not how
many, so it is listed and judged, and counts nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from hub.domain.stock import BizStep, Disposition, Movement

Verdict = Literal["clean", "discrepancy"]
Unit = tuple[str, str]
"""GTIN and serial: one unit, whatever carries its code."""

UNKNOWN_LOT: Final = "lot unknown"
"""The lot of held goods whose code names none; the space keeps it apart from every lot GS1 allows."""
LOGISTIC_UNIT_CODES: Final = ("urn:epc:id:sscc:", "https://id.gs1.org/00/")


class Finding(StrEnum):
    """What was found out about one thing that passed."""

    EXPECTED = "expected"
    OVER = "over"
    WRONG_PRODUCT = "wrong_product"
    UNKNOWN_TAG = "unknown_tag"
    DOUBLED_SERIAL = "doubled_serial"
    EXPIRED = "expired"
    UNKNOWN_DIRECTION = "unknown_direction"


HELD: Final = frozenset({Finding.OVER, Finding.WRONG_PRODUCT, Finding.EXPIRED})
"""Findings whose goods are put into quarantine. Of an unknown tag no product is known, and a doubled serial is in stock already.

Goods of which nobody can say whether they came in are not put on the books: a person looks.
"""
GRAVE: Final = frozenset({Finding.DOUBLED_SERIAL, Finding.EXPIRED, Finding.WRONG_PRODUCT})


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """`quantity` units of a lot that are still to come; 0 when all of them came with an earlier receipt."""

    gtin: str
    lot: str
    expiry: date | None
    quantity: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """One code seen at a gate. `lot` and `expiry` are what the code itself carries; `epc_hex` is None for a barcode.

    `seen_at` is the first moment it was seen and `until` the last; `confidence` runs from 0 to 1. `inbound` is False when nothing
    says which way it went.
    """

    code: str
    epc_hex: str | None
    gtin: str | None
    serial: str | None
    lot: str | None
    expiry: date | None
    seen_at: datetime
    until: datetime
    confidence: float
    inbound: bool = True

    @property
    def unit(self) -> Unit | None:
        """The unit it names, or None when it names no single one."""
        return (self.gtin, self.serial) if self.gtin is not None and self.serial is not None else None

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes two sightings the same thing: the unit, else the code."""
        return self.unit or (self.code,)


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """A sighting, what was found, and the lot it was taken for (None: no lot could be told)."""

    sighting: Sighting
    finding: Finding
    lot: str | None


@dataclass(frozen=True, slots=True)
class LineTally:
    """How a line of the shipment came out, in units. `received` counts expired units too: they did come."""

    gtin: str
    lot: str
    expiry: date | None
    expected: int
    received: int
    over: int

    @property
    def short(self) -> int:
        """Units that did not come."""
        return max(0, self.expected - self.received)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A receipt as it stands: its items by code, and its lines by GTIN and expiry."""

    items: tuple[JudgedItem, ...]
    lines: tuple[LineTally, ...]

    @property
    def short(self) -> int:
        """Units that did not come, over all lines."""
        return sum(line.short for line in self.lines)

    @property
    def discrepancies(self) -> int:
        """Items that are not what was expected."""
        return sum(item.finding is not Finding.EXPECTED for item in self.items)

    @property
    def verdict(self) -> Verdict:
        """Clean only when everything expected came and nothing else did."""
        return "discrepancy" if self.short or self.discrepancies else "clean"

    @property
    def severity(self) -> Literal["minor", "major"]:
        """How much a discrepancy matters: goods that must not be used, or only wrong numbers."""
        return "major" if any(item.finding in GRAVE for item in self.items) else "minor"

    def findings(self) -> dict[str, int]:
        """How many items there are of each finding."""
        return dict(sorted(Counter(item.finding.value for item in self.items).items()))


def merge(sightings: Iterable[Sighting]) -> list[Sighting]:
    """One sighting for each thing, by code: seen from the first to the last time, with all that any of its codes carries.

    A tag and a barcode that name the same unit are one thing, and the tag's code names it.
    """
    things: dict[tuple[str, ...], Sighting] = {}
    for sighting in sightings:
        known = things.get(sighting.identity)
        things[sighting.identity] = sighting if known is None else _both(known, sighting)
    return sorted(things.values(), key=lambda each: each.code)


def _both(one: Sighting, other: Sighting) -> Sighting:
    name = min(one, other, key=lambda each: (each.epc_hex is None, each.code, each.epc_hex or ""))
    # When it came in is told by what saw it come in.
    timed = [each for each in (one, other) if each.inbound] or [one, other]
    return replace(
        name,
        lot=min((each.lot for each in (one, other) if each.lot is not None), default=None),
        expiry=min((each.expiry for each in (one, other) if each.expiry is not None), default=None),
        seen_at=min(each.seen_at for each in timed),
        until=max(each.until for each in timed),
        confidence=max(one.confidence, other.confidence),
        inbound=one.inbound or other.inbound,
    )


def judge(
    lines: Iterable[ExpectedLine],
    sightings: Iterable[Sighting],
    *,
    already: Set[Unit],
    zone: tzinfo,
    lots: Mapping[Unit, str] = MappingProxyType({}),
) -> Judgement:
    """Everything that was seen, judged against what was still expected.

    `already` are units that are in our hands; `zone` is the site's, in which a day of expiry ends; `lots` are those of units that
    were here before, for codes that name none. A code whose lot is not known is taken for the lot of its GTIN that expires first
    and still lacks units; codes are taken in the order of what they carry (lot, then expiry, then neither) and of their serial,
    so that the outcome depends on what came and not on when.
    """
    ordered = _in_fefo_order(lines)
    room = {(line.gtin, line.lot): line.quantity for line in ordered}
    judged = []
    told = [(each, _with_lot_on_record(each, lots)) for each in merge(sightings)]
    for sighting, full in sorted(told, key=lambda each: _precedence(each[1])):
        finding, lot = _judge_one(full, ordered, room, already=already, on=sighting.seen_at.astimezone(zone).date())
        judged.append(JudgedItem(sighting, finding, lot))
    items = tuple(sorted(judged, key=lambda each: each.sighting.code))
    return Judgement(items, tally(ordered, items))


def _with_lot_on_record(sighting: Sighting, lots: Mapping[Unit, str]) -> Sighting:
    lot = lots.get(sighting.unit, UNKNOWN_LOT) if sighting.unit is not None else UNKNOWN_LOT
    return sighting if sighting.lot is not None or lot == UNKNOWN_LOT else replace(sighting, lot=lot)


def _precedence(sighting: Sighting) -> tuple[bool, bool, str, str]:
    return sighting.lot is None, sighting.expiry is None, sighting.serial or "", sighting.code


def _in_fefo_order(lines: Iterable[ExpectedLine]) -> list[ExpectedLine]:
    merged: dict[Unit, ExpectedLine] = {}
    for line in lines:
        known = merged.get((line.gtin, line.lot))
        merged[line.gtin, line.lot] = line if known is None else replace(known, quantity=known.quantity + line.quantity)
    return sorted(merged.values(), key=lambda line: (line.gtin, line.expiry or date.max, line.lot))


def _judge_one(
    sighting: Sighting, lines: Sequence[ExpectedLine], room: dict[Unit, int], *, already: Set[Unit], on: date
) -> tuple[Finding, str | None]:
    if not sighting.inbound:
        return Finding.UNKNOWN_DIRECTION, sighting.lot
    if sighting.gtin is None:
        awaited = bool(lines) and sighting.code.startswith(LOGISTIC_UNIT_CODES)
        return (Finding.EXPECTED if awaited else Finding.UNKNOWN_TAG), None
    if sighting.unit in already:
        return Finding.DOUBLED_SERIAL, sighting.lot
    if not any(line.gtin == sighting.gtin for line in lines):
        return Finding.WRONG_PRODUCT, sighting.lot
    line = _line_for(sighting, lines, room)
    if line is not None and sighting.unit is not None:
        room[line.gtin, line.lot] -= 1
    expiries = [each for each in (sighting.expiry, line.expiry if line else None) if each is not None]
    lot = line.lot if line is not None and sighting.unit is not None else sighting.lot
    if expiries and min(expiries) < on:
        return Finding.EXPIRED, lot
    return (Finding.OVER if line is None else Finding.EXPECTED), lot


def _line_for(sighting: Sighting, lines: Sequence[ExpectedLine], room: Mapping[Unit, int]) -> ExpectedLine | None:
    """The line a sighting fills: nothing it carries may contradict the line; one that names its very expiry goes first."""
    fitting = [
        line
        for line in lines
        if line.gtin == sighting.gtin
        and sighting.lot in (None, line.lot)
        and (sighting.expiry is None or line.expiry is None or sighting.expiry == line.expiry)
        and (sighting.unit is None or room[line.gtin, line.lot] > 0)
    ]
    return min(fitting, key=lambda line: sighting.expiry is not None and line.expiry != sighting.expiry, default=None)


def tally(lines: Iterable[ExpectedLine], items: Sequence[JudgedItem]) -> tuple[LineTally, ...]:
    """The lines with what came. Units over are told at the line of their lot, else at the last line of their GTIN."""
    ordered = _in_fefo_order(lines)
    last_of = {line.gtin: line.lot for line in ordered}
    came: Counter[Unit] = Counter()
    over: Counter[Unit] = Counter()
    for item in items:
        gtin, lot = item.sighting.gtin, item.lot
        if gtin is None or item.sighting.serial is None:
            continue
        if item.finding in (Finding.EXPECTED, Finding.EXPIRED) and lot is not None:
            came[gtin, lot] += 1
        elif item.finding is Finding.OVER and gtin in last_of:
            known = any((line.gtin, line.lot) == (gtin, lot) for line in ordered)
            over[gtin, lot if lot is not None and known else last_of[gtin]] += 1
    return tuple(
        LineTally(
            gtin=line.gtin,
            lot=line.lot,
            expiry=line.expiry,
            expected=line.quantity,
            received=min(line.quantity, came[line.gtin, line.lot]),
            over=over[line.gtin, line.lot],
        )
        for line in ordered
    )


def receipt_movements(
    items: Iterable[JudgedItem], receipt: int, *, gate: str, receives_into: str, quarantines_into: str, products: Set[str]
) -> list[Movement]:
    """What a receipt moves from outside into stock: expected units on to the receiving place, doubtful ones into quarantine.

    Only units of known `products` (GTINs) move. GS1's vocabulary has no quarantine: it is `holding` with `non_sellable_other`.
    """
    movements = []
    for item in items:
        seen = item.sighting
        if seen.gtin is None or seen.gtin not in products or seen.serial is None or item.finding not in {Finding.EXPECTED, *HELD}:
            continue
        accepted = item.finding is Finding.EXPECTED
        movements.append(
            Movement(
                key=f"receipt:{receipt}:{seen.code}",
                gtin=seen.gtin,
                lot=item.lot or UNKNOWN_LOT,
                quantity=1,
                from_location=None,
                to_location=receives_into if accepted else quarantines_into,
                biz_step=BizStep.RECEIVING if accepted else BizStep.HOLDING,
                disposition=Disposition.IN_PROGRESS if accepted else Disposition.NON_SELLABLE_OTHER,
                actor=f"portal:{gate}",
                event_time=seen.seen_at,
                epc=seen.code,
                reason="" if accepted else f"receipt {receipt}: {item.finding}",
            )
        )
    return movements


def remaining(lines: Iterable[ExpectedLine], came: Mapping[Unit, int]) -> list[ExpectedLine]:
    """The lines less what earlier receipts of the shipment brought, by (GTIN, lot); a line that is filled stays, with 0."""
    return [replace(line, quantity=max(0, line.quantity - came.get((line.gtin, line.lot), 0))) for line in _in_fefo_order(lines)]


def sessions(sightings: Iterable[Sighting], gap_s: float) -> list[list[Sighting]]:
    """The sightings in the order seen, parted wherever the gate was quiet for longer than `gap_s` seconds of event time.

    To be cut before anything is merged: a tag seen twice does not fill the time between.
    """
    parts: list[list[Sighting]] = []
    until: datetime | None = None
    for sighting in sorted(sightings, key=lambda each: (each.seen_at, each.code)):
        if until is None or (sighting.seen_at - until).total_seconds() > gap_s:
            parts.append([])
        parts[-1].append(sighting)
        until = sighting.until if until is None else max(until, sighting.until)
    return parts
