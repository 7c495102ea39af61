"""How a receipt posts itself: when its session is over, and what of it goes into stock, quarantine and alerts.

One hub at a time posts. Receipts post in the order in which their sessions ended, so that a serial or a shipment that two of them
could claim goes to the one it would have gone to had everything been told at once.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import class_row

from hub.domain.receiving import Judgement, Sighting, Unit, receipt_movements
from hub.domain.stock import Movement
from hub.services import alerts
from hub.services.faults import FAULTS, is_the_stores
from hub.services.receipt_fold import SESSION_GAP_S, Gate, ReceiptRow, fold_receipt, settle_shipment, tell
from hub.services.receipt_rows import known_units
from hub.services.stock import post_movements
from hub.sql import named

_SQL = named("receiving")
_log = logging.getLogger(__name__)

QUIET_S: Final = 30.0
"""Seconds (scenario time) left for what is still on its way to us, before a receipt posts itself."""
CLOSED_AT_ONCE: Final = 50
RETRY_AFTER: Final = timedelta(minutes=10)
"""Scenario time until a receipt that could not be posted is tried again."""
NOT_POSTED: Final = "receipt-not-posted"
POSTING_LOCK: Final = 0x51_4D_00_02


@dataclass(frozen=True, slots=True)
class _Quiet(ReceiptRow):
    gate: str
    site: str
    time_zone: str
    receives_into: str
    quarantines_into: str
    posting_failed_at: datetime | None


async def close_quiet_receipts(db: AsyncConnection, now: datetime, *, quiet_s: float = QUIET_S) -> int:
    """Posts every receipt whose session is over, and returns how many.

    A session is over when nothing more can belong to it (SESSION_GAP_S of event time passed since its last passage) and nothing
    was told of for `quiet_s` seconds of scenario time since then. `quiet_s` decides when a receipt posts and nothing else.
    Expected units move into the place the gate receives into, doubtful ones into quarantine; a discrepancy opens an alert. A
    receipt waits for an earlier one of its gate that is still being told of. At most CLOSED_AT_ONCE at a time. When another hub
    is posting just now, it is left to that one. One that cannot be posted holds up no other: it is set aside with an alert and
    tried again after RETRY_AFTER. Raises what the store is to blame for.
    """
    quiet_since = now - timedelta(seconds=quiet_s)
    retry = {"retry_before": now - RETRY_AFTER}
    over = {"over_since": quiet_since - timedelta(seconds=SESSION_GAP_S), "quiet_since": quiet_since}
    async with db.transaction():
        row = await (await db.execute(_SQL["try_posting_lock"], {"lock": POSTING_LOCK})).fetchone()
        if row is None or not row[0]:
            return 0
        gates = [row[0] for row in await (await db.execute(_SQL["lock_quiet_gates"], over)).fetchall()]
        async with db.cursor(row_factory=class_row(_Quiet)) as cursor:
            await cursor.execute(_SQL["quiet_receipts"], {"gates": gates, "limit": CLOSED_AT_ONCE, **over, **retry})
            receipts = await cursor.fetchall()
        try:
            async with db.transaction():
                await _post(db, receipts, set(), now)
        except FAULTS as error:
            if is_the_stores(error):
                raise
            return await _post_one_by_one(db, receipts, now)
    return len(receipts)


async def _post(db: AsyncConnection, receipts: list[_Quiet], taken_in: set[Unit], now: datetime) -> None:
    """Posts receipts with all their movements at once, so that their locks are taken in the ledger's order."""
    movements: list[Movement] = []
    for receipt in receipts:
        movements += await _close(db, receipt, taken_in, now)
    await post_movements(db, movements, now)


async def _post_one_by_one(db: AsyncConnection, receipts: list[_Quiet], now: datetime) -> int:
    """Posts each receipt in a savepoint of its own; one that cannot be posted is set aside with an alert. Returns how many posted.

    The ledger's order of locks holds within one receipt only: a deadlock with another poster ends this round, and the next begins
    anew.
    """
    posted = 0
    taken_in: set[Unit] = set()
    for receipt in receipts:
        mine = set(taken_in)
        try:
            async with db.transaction():
                await _post(db, [receipt], mine, now)
        except FAULTS as error:
            if is_the_stores(error):
                raise
            await _set_aside(db, receipt, str(error).strip() or type(error).__name__, now)
        else:
            taken_in = mine
            posted += 1
    return posted


async def _set_aside(db: AsyncConnection, receipt: _Quiet, problem: str, now: datetime) -> None:
    _log.warning("receipt %d at %s cannot be posted and is tried again in %s: %s", receipt.id, receipt.gate, RETRY_AFTER, problem)
    await db.execute(_SQL["set_posting_problem"], {"id": receipt.id, "problem": problem, "now": now})
    await alerts.open_alert(
        db,
        kind="receipt",
        source=f"receipt:{receipt.id}",
        rule=NOT_POSTED,
        severity="major",
        site=receipt.site,
        location=receipt.gate,
        opened_at=receipt.last_passage_at,
        details={"receipt": receipt.id, "shipment": receipt.shipment, "reason": problem},
        now=now,
    )
    gate = Gate(receipt.gate, receipt.site, receipt.time_zone)
    await tell(db, gate, receipt.id, state="open", verdict=None, at=receipt.last_passage_at)


async def _close(db: AsyncConnection, receipt: _Quiet, taken_in: set[Unit], now: datetime) -> list[Movement]:
    """Posts one receipt but for its movements, which are returned; their units are added to `taken_in`."""
    gate = Gate(receipt.gate, receipt.site, receipt.time_zone)
    folded = await fold_receipt(db, gate, receipt, in_hand=taken_in)
    judgement = folded.judgement
    if receipt.posting_failed_at is not None:
        await alerts.clear_alert(db, source=f"receipt:{receipt.id}", rule=NOT_POSTED, cleared_at=now, details={}, now=now)
    if not judgement.items:
        # All it held was seen near the gate only, and is on record by now.
        await db.execute(_SQL["drop_receipt"], {"id": receipt.id})
        await tell(db, gate, receipt.id, state="dropped", verdict=None, at=receipt.last_passage_at)
        return []
    movements = await _prepare_movements(db, receipt, judgement, taken_in)
    await db.execute(_SQL["post_receipt"], {"id": receipt.id, "verdict": judgement.verdict, "now": now})
    if folded.shipment is not None:
        await settle_shipment(db, folded.shipment)
    if judgement.verdict == "discrepancy":
        await alerts.open_alert(
            db,
            kind="receipt",
            source=f"receipt:{receipt.id}",
            rule="receipt-discrepancy",
            severity=judgement.severity,
            site=receipt.site,
            location=receipt.gate,
            opened_at=receipt.last_passage_at,
            details={
                "receipt": receipt.id,
                "shipment": folded.shipment,
                "short": judgement.short,
                "findings": judgement.findings(),
            },
            now=now,
        )
    await tell(db, gate, receipt.id, state="posted", verdict=judgement.verdict, at=receipt.last_passage_at)
    return movements


async def _prepare_movements(db: AsyncConnection, receipt: _Quiet, judgement: Judgement, taken_in: set[Unit]) -> list[Movement]:
    """The movements of a receipt, with the lots and items they speak of put on record first."""
    seen = {item.sighting.code: item.sighting for item in judgement.items}
    gtins = sorted({each.gtin for each in seen.values() if each.gtin is not None})
    rows = await (await db.execute(_SQL["known_products"], {"gtins": gtins})).fetchall()
    movements = receipt_movements(
        judgement.items,
        receipt.id,
        gate=receipt.gate,
        receives_into=receipt.receives_into,
        quarantines_into=receipt.quarantines_into,
        products={row[0] for row in rows},
    )
    moved = [(seen[each.epc], each) for each in movements if each.epc is not None]
    lots = [{"gtin": gtin, "lot": lot, "expiry": expiry} for (gtin, lot), expiry in sorted(_expiries(judgement, moved).items())]
    units = await known_units(db, seen.values())
    movements = []
    items = []
    for sighting, movement in moved:
        # A unit that was here before goes by the code it was put on record with.
        known = units.get((movement.gtin, sighting.serial or ""))
        epc = known.epc if known is not None else sighting.code
        movements.append(replace(movement, epc=epc))
        items.append({"epc": epc, "gtin": movement.gtin, "serial": sighting.serial, "lot": movement.lot})
    async with db.cursor() as cursor:
        if items:
            await cursor.executemany(_SQL["put_lot"], lots)
            await cursor.executemany(_SQL["put_item_on_record"], items)
    taken_in.update(sighting.unit for sighting, _ in moved if sighting.unit is not None)
    return movements


def _expiries(judgement: Judgement, moved: list[tuple[Sighting, Movement]]) -> Mapping[Unit, date | None]:
    """The expiry of every lot that moves, by GTIN and lot: what the shipment says of it, else what its codes carry."""
    of_line = {(line.gtin, line.lot): line.expiry for line in judgement.lines}
    expiries: dict[Unit, date | None] = {}
    for sighting, movement in moved:
        key = (movement.gtin, movement.lot)
        carried = sighting.expiry if sighting.lot == movement.lot else None
        expiries[key] = of_line.get(key) or carried or expiries.get(key)
    return expiries
