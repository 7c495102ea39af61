"""Receipts that write themselves: passages and scans at a gate join the receipt of their session, or open one.

Sessions are cut by event time alone. Whoever changes receipts of a gate first locks the gate's location row, so several hubs can
share the work. A receipt is folded anew from all its items whenever one is added, so that late and repeated passages end in the
same receipt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import class_row

from core.messages import BarcodeScan, TagPassage
from hub.domain.gate_codes import identify_scan, identify_tag
from hub.domain.receiving import Sighting, merge, sessions
from hub.services.receipt_fold import SESSION_GAP_S, Gate, ReceiptRow, fold_receipt, receipts_of_session, settle_shipment, tell
from hub.services.receipt_posting import QUIET_S, close_quiet_receipts
from hub.services.receipt_rows import known_units, list_gates, list_receipts, load_items, receipt_at_gate
from hub.services.shipments import create_shipment, list_shipments
from hub.sql import named

__all__ = [
    "QUIET_S",
    "SESSION_GAP_S",
    "close_quiet_receipts",
    "create_shipment",
    "list_gates",
    "list_receipts",
    "list_shipments",
    "receipt_at_gate",
    "take_passages",
    "take_scans",
]

_SQL = named("receiving")

OPEN: Final = "open"
UNDIRECTED_AGAIN_S: Final = 86_400.0
"""Seconds of event time for which a unit seen going no certain way is not told of again at its gate."""


async def take_passages(db: AsyncConnection, site: str, passages: Iterable[TagPassage], now: datetime) -> None:
    """Passages into the house at gates join a receipt, and so do goods we do not know of that were seen going no certain way.

    Passages out are none of a receipt's business, and neither are goods on record that stand near a gate.

    A portal is a gate when it bears the name of a location of the site with role gate. What passed within SESSION_GAP_S of each
    other is one session and makes one receipt, whenever it is told; a passage that bridges two open receipts makes them one. A
    tag that a posted receipt of its session counted already, told again, changes nothing; what the posted receipt did not know
    opens a supplementary one.
    """
    seen: dict[str, list[Sighting]] = {}
    for passage in passages:
        sighting = identify_tag(passage) if passage.direction != "out" else None
        if sighting is not None:
            seen.setdefault(passage.portal, []).append(sighting)
    async with db.transaction():
        for gate in await _lock_gates(db, site, seen):
            parts = sessions([each for each in seen[gate.location] if each.inbound], SESSION_GAP_S)
            for part in parts:
                await _take(db, gate, part, now=now)
            for each in await _worth_telling(db, gate, [each for each in seen[gate.location] if not each.inbound]):
                await _note(db, gate, each, now)
            if parts:
                await _fold_after(db, gate, parts[0][0].seen_at)


async def take_scans(db: AsyncConnection, site: str, scans: Iterable[BarcodeScan], now: datetime) -> None:
    """Barcodes scanned at a gate join its open receipt.

    Only a code with a serial that is not in our hands opens a receipt of its own: a lot label is the same on every carton of a
    lot, and a unit in stock is scanned for other reasons than coming in.
    """
    seen: dict[str, list[Sighting]] = {}
    for scan in scans:
        seen.setdefault(scan.read_point, []).append(identify_scan(scan))
    async with db.transaction():
        for gate in await _lock_gates(db, site, seen):
            parts = sessions(seen[gate.location], SESSION_GAP_S)
            for part in parts:
                units = await known_units(db, part)
                here = {each.unit for each in units.values() if each.location is not None}
                opens = any(each.unit is not None and each.unit not in here for each in part)
                await _take(db, gate, part, now=now, opens=opens)
            await _fold_after(db, gate, parts[0][0].seen_at)


async def _lock_gates(db: AsyncConnection, site: str, seen: Iterable[str]) -> list[Gate]:
    names = list(seen)
    if not names:
        return []
    async with db.cursor(row_factory=class_row(Gate)) as cursor:
        await cursor.execute(_SQL["lock_gates"], {"site": site, "names": names})
        return await cursor.fetchall()


async def _worth_telling(db: AsyncConnection, gate: Gate, sightings: Sequence[Sighting]) -> list[Sighting]:
    """Of what went no certain way, the units that are neither on record nor told of at this gate for UNDIRECTED_AGAIN_S; each once.

    Without the last, a carton left standing near a gate would make a new receipt every minute.
    """
    undirected = [replace(each, until=each.seen_at) for each in merge(sightings) if each.unit is not None]
    if not undirected:
        return []
    known = set(await known_units(db, undirected))
    values = {
        "gate": gate.location,
        "gtins": [each.gtin for each in undirected],
        "serials": [each.serial for each in undirected],
        "ats": [each.seen_at for each in undirected],
        "within_s": UNDIRECTED_AGAIN_S,
    }
    known |= {(gtin, serial) for gtin, serial in await (await db.execute(_SQL["told_lately"], values)).fetchall()}
    return [each for each in undirected if each.unit not in known]


async def _note(db: AsyncConnection, gate: Gate, sighting: Sighting, now: datetime) -> None:
    """Adds a unit of no certain way to the first open receipt near it in time, or opens one.

    It stretches none and joins none together: what came in is the same with and without it.
    """
    span = {"from": sighting.seen_at, "until": sighting.until}
    async with db.cursor(row_factory=class_row(ReceiptRow)) as cursor:
        await cursor.execute(_SQL["receipts_near"], {"gate": gate.location, "gap_s": SESSION_GAP_S, **span})
        near = [each for each in await cursor.fetchall() if each.state == OPEN]
    receipt = near[0] if near else await _open(db, gate, seen_from=sighting.seen_at, until=sighting.until, now=now)
    if (await fold_receipt(db, gate, receipt, added=[sighting])).changed:
        await tell(db, gate, receipt.id, state=OPEN, verdict=None, at=receipt.last_passage_at)


async def _take(db: AsyncConnection, gate: Gate, part: Sequence[Sighting], *, now: datetime, opens: bool = True) -> None:
    """Adds what passed together to the open receipt of its session, opening one if need be."""
    seen_from, until = min(each.seen_at for each in part), max(each.until for each in part)
    session = await receipts_of_session(db, gate.location, seen_from=seen_from, until=until)
    counted = {
        item.sighting.identity
        for each in session
        if each.state != OPEN
        for item in await load_items(db, each.id)
        if item.sighting.inbound
    }
    fresh = [each for each in part if each.identity not in counted]
    open_ones = [each for each in session if each.state == OPEN]
    if not fresh or not (open_ones or opens):
        return
    if open_ones:
        came = [each for each in open_ones if any(item.sighting.inbound for item in await load_items(db, each.id))]
        receipt, added = await _unite(db, open_ones)
        receipt = replace(
            receipt,
            opened_at=min([seen_from, *(each.opened_at for each in came)]),
            last_passage_at=max([until, *(each.last_passage_at for each in came)]),
        )
        span = {"opened_at": receipt.opened_at, "last_passage_at": receipt.last_passage_at}
        await db.execute(_SQL["stretch_receipt"], {"id": receipt.id, "now": now, **span})
    else:
        receipt, added = await _open(db, gate, seen_from=seen_from, until=until, now=now), []
    folded = await fold_receipt(db, gate, receipt, added=merge([*added, *fresh]))
    if folded.changed or len(open_ones) != 1:
        await tell(db, gate, receipt.id, state=OPEN, verdict=None, at=receipt.last_passage_at)


async def _open(db: AsyncConnection, gate: Gate, *, seen_from: datetime, until: datetime, now: datetime) -> ReceiptRow:
    values = {"gate": gate.location, "opened_at": seen_from, "last_passage_at": until, "now": now}
    row = await (await db.execute(_SQL["open_receipt"], values)).fetchone()
    if row is None:
        raise RuntimeError("INSERT ... RETURNING gave no row")
    return ReceiptRow(row[0], None, OPEN, seen_from, until)


async def _unite(db: AsyncConnection, receipts: Sequence[ReceiptRow]) -> tuple[ReceiptRow, list[Sighting]]:
    """Makes open receipts that turned out to be one session into the oldest of them.

    Returns it, and what the others held, which is no longer stored.
    """
    kept = min(receipts, key=lambda each: each.id)
    others = [each for each in receipts if each is not kept]
    held: list[Sighting] = []
    for other in others:
        held += [item.sighting for item in await load_items(db, other.id)]
        await db.execute(_SQL["drop_receipt"], {"id": other.id})
        if other.shipment is not None:
            await settle_shipment(db, other.shipment)
    return kept, held


async def _fold_after(db: AsyncConnection, gate: Gate, moment: datetime) -> None:
    """Folds the open receipts of later sessions anew: what came before them has changed."""
    async with db.cursor(row_factory=class_row(ReceiptRow)) as cursor:
        await cursor.execute(_SQL["open_after"], {"gate": gate.location, "moment": moment})
        later = await cursor.fetchall()
    for receipt in later:
        if (await fold_receipt(db, gate, receipt)).changed:
            await tell(db, gate, receipt.id, state=OPEN, verdict=None, at=receipt.last_passage_at)
