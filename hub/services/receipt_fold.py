"""A receipt folded anew: the session of passages it belongs to, the shipment that brought it, and what each thing in it is.

The fold looks at what is on record and at nothing that depends on when it was told.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.rows import class_row

from hub.domain.receiving import JudgedItem, Judgement, Sighting, Unit, judge, merge
from hub.services import events
from hub.services.receipt_rows import known_units, load_items, load_lines
from hub.sql import named

_SQL = named("receiving")

SESSION_GAP_S: Final = 60.0
"""Seconds of event time without a passage that end a session; what passes within it of each other makes one receipt.

Measured from the last read of one passage to the first read of the next, never by when they were told. A pallet's tags pass within
seconds of each other, a lorry's pallets take turns in less than a minute, and the next lorry takes longer to back up to the gate.
"""
DUE_TOLERANCE_S: Final = 7200.0
"""How far outside its due window a shipment still counts as due."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate and what its site says of days: `time_zone` by its IANA name."""

    location: str
    site: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt as stored; its span runs, in event time, from the first read of its first passage to the last of its last."""

    id: int
    shipment: str | None
    state: str
    opened_at: datetime
    last_passage_at: datetime


@dataclass(frozen=True, slots=True)
class Folded:
    """The outcome of a fold; `changed` when what is stored had to change."""

    judgement: Judgement
    shipment: str | None
    changed: bool


async def receipts_of_session(db: AsyncConnection, gate: str, *, seen_from: datetime, until: datetime) -> list[ReceiptRow]:
    """The receipts of a gate, in order of event time, that belong to the session of what passed in a span of time.

    Those that no gap over SESSION_GAP_S parts from it, be it directly or by way of others. A session has several only when
    something was told after a receipt had posted; at most one of them is open.
    """
    while True:
        async with db.cursor(row_factory=class_row(ReceiptRow)) as cursor:
            await cursor.execute(_SQL["receipts_near"], {"gate": gate, "from": seen_from, "until": until, "gap_s": SESSION_GAP_S})
            receipts = await cursor.fetchall()
        first = min([seen_from, *(each.opened_at for each in receipts)])
        last = max([until, *(each.last_passage_at for each in receipts)])
        if (first, last) == (seen_from, until):
            return receipts
        seen_from, until = first, last


async def fold_receipt(
    db: AsyncConnection, gate: Gate, receipt: ReceiptRow, *, added: Iterable[Sighting] = (), in_hand: Set[Unit] = frozenset()
) -> Folded:
    """Judges an open receipt anew with what is `added`, and stores its items and shipment.

    `in_hand` are units that are in our hands besides those on record. What was seen going no certain way, and is on record by now,
    is not told of. The caller holds the lock on the gate.
    """
    before = await load_items(db, receipt.id)
    things = merge([*(item.sighting for item in before), *added])
    units = await known_units(db, things)
    things = [each for each in things if each.inbound or (each.unit not in units and each.unit not in in_hand)]
    shipment = await _choose_shipment(db, gate, receipt, things)
    changed = shipment != receipt.shipment
    if changed:
        await db.execute(_SQL["set_receipt_shipment"], {"id": receipt.id, "shipment": shipment})
    judgement = judge(
        await load_lines(db, shipment, before_receipt=receipt.id),
        things,
        already={each.unit for each in units.values() if each.location is not None} | in_hand,
        zone=ZoneInfo(gate.time_zone),
        lots={each.unit: each.lot for each in units.values()},
    )
    changed = await _write_items(db, receipt.id, before, judgement.items) or changed
    for name in sorted({each for each in (shipment, receipt.shipment) if each is not None}):
        await settle_shipment(db, name)
    return Folded(judgement, shipment, changed)


async def settle_shipment(db: AsyncConnection, shipment: str) -> None:
    """A shipment is received when all its receipts are posted and nothing is still to come."""
    missing = sum(line.quantity for line in await load_lines(db, shipment, before_receipt=None))
    row = await (await db.execute(_SQL["still_open"], {"shipment": shipment})).fetchone()
    complete = missing == 0 and not (row and row[0])
    await db.execute(_SQL["set_shipment_state"], {"shipment": shipment, "complete": complete})


async def tell(db: AsyncConnection, gate: Gate, receipt: int, *, state: str, verdict: str | None, at: datetime) -> None:
    """Says that a receipt changed."""
    payload = {"gate": gate.location, "state": state, "verdict": verdict}
    await events.emit(db, kind="receipt", subject=str(receipt), site=gate.site, payload=payload, at=at)


async def _choose_shipment(db: AsyncConnection, gate: Gate, receipt: ReceiptRow, things: Sequence[Sighting]) -> str | None:
    """The shipment of the whole session: as if all of it were told at once, and after all that passed before it.

    None while nothing is known to have come in.
    """
    coming = [each for each in things if each.inbound]
    if not coming:
        return None
    session = await receipts_of_session(db, gate.location, seen_from=receipt.opened_at, until=receipt.last_passage_at)
    wanted = {
        "gate": gate.location,
        "at": min([receipt.opened_at, *(each.opened_at for each in session)]),
        "gtins": sorted({each.gtin for each in coming if each.gtin is not None}),
        "session": [each.id for each in session],
        "tolerance_s": DUE_TOLERANCE_S,
    }
    row = await (await db.execute(_SQL["choose_shipment"], wanted)).fetchone()
    return None if row is None else str(row[0])


def _row(item: JudgedItem) -> dict[str, Any]:
    seen = item.sighting
    return {
        "code": seen.code,
        "epc_hex": seen.epc_hex,
        "gtin": seen.gtin,
        "lot": item.lot,
        "serial": seen.serial,
        "carried_lot": seen.lot,
        "carried_expiry": seen.expiry,
        "finding": item.finding,
        "seen_at": seen.seen_at,
        "confidence": seen.confidence,
        "inbound": seen.inbound,
    }


async def _write_items(db: AsyncConnection, receipt: int, before: Iterable[JudgedItem], after: Iterable[JudgedItem]) -> bool:
    """Makes the stored items those of `after`; returns whether anything changed."""
    old = {item.sighting.code: _row(item) for item in before}
    new = {item.sighting.code: _row(item) for item in after}
    gone = sorted(old.keys() - new.keys())
    changed = [{"receipt": receipt, **row} for code, row in new.items() if old.get(code) != row]
    if gone:
        await db.execute(_SQL["delete_items"], {"receipt": receipt, "codes": gone})
    if changed:
        async with db.cursor() as cursor:
            await cursor.executemany(_SQL["put_item"], changed)
    return bool(gone or changed)
