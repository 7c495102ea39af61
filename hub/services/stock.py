"""The stock ledger: movements are only ever added, and the sums are kept in the transaction that adds them.

Every transaction takes its locks in one order (keys, sums, items; each sorted), so posters wait for each other but never for ever,
as long as a transaction posts once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from core.errors import NotFound, RuleViolation
from hub.domain.stock import (
    BizStep,
    Disposition,
    KeyReused,
    LotOnHand,
    Movement,
    NotOnHand,
    Place,
    correction,
    fefo_order,
    net_changes,
)
from hub.services import events
from hub.sql import named

_SQL = named("stock")

LIST_MAX: Final = 1000
MOVEMENTS_MAX: Final = 1000
REASON_MAX: Final = 1000
_COLUMNS: Final = (
    "key", "gtin", "lot", "epc", "quantity", "from_location", "to_location", "biz_step", "disposition", "reason", "actor",
    "event_time",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LedgerDifference:
    """A kept sum that is not what the ledger adds up to, or a sum below zero."""

    location: str
    gtin: str
    lot: str
    ledger: int
    stock: int


async def post_movements(db: AsyncConnection, movements: Sequence[Movement], now: datetime) -> list[int]:
    """Adds movements to the ledger, all or none, and returns their ids in the order given.

    A movement whose key is known changes nothing and gives the id it had; with other content it raises KeyReused. Raises
    NotFound for a lot, location or item that is not known, NotOnHand when a place would hold less than nothing, and
    RuleViolation when an item is not where the movement takes it from. Post once a
    transaction: the locks are ordered within one call.
    """
    if not movements:
        return []
    # A fixed order for the keys; also the order in which chained movements of one item are read.
    ordered = sorted(_distinct(movements), key=lambda each: (each.event_time, each.key))
    async with db.transaction():
        await _check_references(db, ordered)
        columns: dict[str, Any] = {column: [getattr(each, column) for each in ordered] for column in _COLUMNS}
        cursor = await db.execute(_SQL["insert_movements"], {**columns, "now": now})
        new_keys = {row[0] for row in await cursor.fetchall()}
        await _check_known(db, [each for each in ordered if each.key not in new_keys])
        new = [each for each in ordered if each.key in new_keys]
        sums = await _keep_sums(db, new)
        await _move_items(db, [each for each in new if each.epc is not None])
        await _tell(db, sums, at=max((each.event_time for each in new), default=now))
        ids: dict[str, int] = dict(await (await db.execute(_SQL["movement_ids"], {"keys": columns["key"]})).fetchall())
    return [ids[each.key] for each in movements]


async def opening_balance(
    db: AsyncConnection, place: Place, quantity: int, *, expiry: date | None, actor: str, now: datetime
) -> bool:
    """Puts the first stock of a lot at a place on the books; returns False when the same balance was put there before.

    Raises KeyReused when the place was opened with another quantity, RuleViolation when the lot has another expiry,
    NotFound for an unknown location. The product must exist.
    """
    cursor = await db.execute(_SQL["movements_by_key"], {"keys": [opening_key(place)]})
    row = await cursor.fetchone()
    await put_lot(db, place.gtin, place.lot, expiry=expiry)
    # Booked before: the same balance is told again, by whom and when it was told first.
    actor, at = (actor, now) if row is None else (row[8], row[9])
    await post_movements(db, [opening_movement(place, quantity, actor=actor, at=at)], now)
    return row is None


def opening_movement(place: Place, quantity: int, *, actor: str, at: datetime) -> Movement:
    """The movement that puts the first stock of a lot at a place on the books. Raises RuleViolation for a wrong quantity."""
    return Movement(
        key=opening_key(place),
        gtin=place.gtin,
        lot=place.lot,
        quantity=quantity,
        from_location=None,
        to_location=place.location,
        biz_step=BizStep.STOCK_TAKING,
        disposition=Disposition.SELLABLE_NOT_ACCESSIBLE,
        actor=actor,
        event_time=at,
        reason="opening balance",
    )


def opening_key(place: Place) -> str:
    """The key under which a place's opening balance stands in the ledger."""
    return f"opening:{place.location}:{place.gtin}:{place.lot}"


async def put_lot(db: AsyncConnection, gtin: str, lot: str, *, expiry: date | None) -> None:
    """Adds a lot, or its expiry where none was known. Raises RuleViolation when another expiry is on record."""
    await db.execute(_SQL["put_lot"], {"gtin": gtin, "lot": lot, "expiry": expiry})
    row = await (await db.execute(_SQL["lot_expiry"], {"gtin": gtin, "lot": lot})).fetchone()
    known = row[0] if row else None
    if expiry is not None and known != expiry:
        raise RuleViolation(
            f"lot {lot} of {gtin} expires {known} on record, {expiry} was given: find out which is printed on the box"
        )


def correction_key(movement_id: int) -> str:
    """The key of the one movement that corrects another; the SQL of a lot's movements reads it."""
    return f"correction:{movement_id}"


async def correct_movement(
    db: AsyncConnection, movement_id: int, right: int, *, reason: str, actor: str, now: datetime
) -> dict[str, Any]:
    """Puts a wrong movement right by a new one that names a reason and a person, and returns the new one.

    `right` is how many units really moved; 0 when none did. A movement is corrected once: the same correction told again gives
    the one there is, another one is refused, for a correction that was wrong is itself a movement to correct. Raises NotFound,
    RuleViolation, and whatever `post_movements` raises.
    """
    async with db.transaction():
        async with db.cursor(row_factory=class_row(Movement)) as cursor:
            # Locked, so that two people who correct it at once are told of each other.
            await cursor.execute(_SQL["lock_movement"], {"id": movement_id})
            movement = await cursor.fetchone()
            if movement is None:
                raise NotFound(f"there is no movement {movement_id}")
            await cursor.execute(_SQL["movements_by_key"], {"keys": [correction_key(movement_id)]})
            before = await cursor.fetchone()
        made = correction(movement, right, key=correction_key(movement_id), reason=reason, actor=actor, event_time=now)
        if before is not None and before != replace(made, event_time=before.event_time):
            raise RuleViolation(
                f"movement {movement_id} was corrected already, by {before.actor} ({before.reason}): correct that one instead"
            )
        if before is None:
            await post_movements(db, [made], now)
        async with db.cursor(row_factory=dict_row) as rows:
            await rows.execute(_SQL["movement_with_key"], {"key": made.key})
            row = await rows.fetchone()
    if row is None:
        raise RuntimeError(f"movement {made.key} was posted and is not there")
    return row


async def list_stock(
    db: AsyncConnection,
    *,
    q: str | None = None,
    location: str | None = None,
    site: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> dict[str, Any]:
    """What is on hand: `{"total": int, "rows": [...]}`, soonest expiry first within a place and product.

    `q` is looked for in GTIN, lot, product names and location; `location` includes the places inside it. At most LIST_MAX rows.
    """
    wanted = {
        "q": q.strip() or None if q else None,
        "location": location,
        "site": site,
        "limit": max(0, min(limit, LIST_MAX)),
        "offset": max(0, offset),
    }
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["list"], wanted)
        rows = await cursor.fetchall()
        await cursor.execute(_SQL["count"], wanted)
        counted = await cursor.fetchone()
    return {"total": counted["count"] if counted else 0, "rows": rows}


async def fefo(db: AsyncConnection, gtin: str, *, site: str, on: date) -> list[LotOnHand]:
    """The lots of a product that may leave a site on a day, in the order in which they should; quarantine left out."""
    async with db.cursor(row_factory=class_row(LotOnHand)) as cursor:
        await cursor.execute(_SQL["lot_on_hand"], {"gtin": gtin, "site": site})
        return fefo_order(await cursor.fetchall(), on)


async def movements_of_lot(db: AsyncConnection, gtin: str, lot: str, *, limit: int = MOVEMENTS_MAX) -> list[dict[str, Any]]:
    """The movements of a lot, newest first, at most MOVEMENTS_MAX. Raises NotFound for a lot that is not known."""
    if await (await db.execute(_SQL["lot_expiry"], {"gtin": gtin, "lot": lot})).fetchone() is None:
        raise NotFound(f"there is no lot {lot} of {gtin}")
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["movements_of_lot"], {"gtin": gtin, "lot": lot, "limit": max(0, min(limit, MOVEMENTS_MAX))})
        return await cursor.fetchall()


async def ledger_differences(db: AsyncConnection) -> list[LedgerDifference]:
    """Every sum that the ledger does not add up to; none when the books are right."""
    async with db.cursor(row_factory=class_row(LedgerDifference)) as cursor:
        await cursor.execute(_SQL["differences"])
        return await cursor.fetchall()


async def ledger_balanced(db: AsyncConnection) -> bool:
    """Whether every kept sum is what the ledger adds up to."""
    return not await ledger_differences(db)


def _distinct(movements: Iterable[Movement]) -> list[Movement]:
    by_key: dict[str, Movement] = {}
    for movement in movements:
        if by_key.setdefault(movement.key, movement) != movement:
            raise KeyReused(f"movement {movement.key} stands twice in one request, with different content")
    return list(by_key.values())


async def _check_references(db: AsyncConnection, movements: Sequence[Movement]) -> None:
    wanted = {"gtins": [each.gtin for each in movements], "lots": [each.lot for each in movements]}
    unknown = await (await db.execute(_SQL["unknown_lots"], wanted)).fetchone()
    if unknown is not None:
        raise NotFound(f"there is no lot {unknown[1]} of {unknown[0]}: add the lot first")
    locations = [place.location for each in movements for place, _ in each.changes()]
    unknown = await (await db.execute(_SQL["unknown_locations"], {"locations": locations})).fetchone()
    if unknown is not None:
        raise NotFound(f"there is no location {unknown[0]}")


async def _check_known(db: AsyncConnection, repeated: Sequence[Movement]) -> None:
    if not repeated:
        return
    async with db.cursor(row_factory=class_row(Movement)) as cursor:
        await cursor.execute(_SQL["movements_by_key"], {"keys": [each.key for each in repeated]})
        known = {each.key: each for each in await cursor.fetchall()}
    for movement in repeated:
        if known[movement.key] != movement:
            was = known[movement.key]
            raise KeyReused(
                f"movement {movement.key} is in the ledger with other content ({was.quantity} of {was.gtin} lot {was.lot}): "
                "a correction is a movement with a key of its own"
            )


async def _keep_sums(db: AsyncConnection, movements: Sequence[Movement]) -> dict[Place, int]:
    """Applies the movements to the sums; returns the changed sums as they now stand."""
    changes = net_changes(movements)
    if not changes:
        return {}
    places = {
        "locations": [place.location for place in changes],
        "gtins": [place.gtin for place in changes],
        "lots": [place.lot for place in changes],
    }
    await db.execute(_SQL["make_sums"], places)
    cursor = await db.execute(_SQL["lock_sums"], places)
    held = {Place(location, gtin, lot): quantity for location, gtin, lot, quantity in await cursor.fetchall()}
    after = {place: held[place] + change for place, change in changes.items()}
    for place, quantity in after.items():
        if quantity < 0:
            raise NotOnHand(place, on_hand=held[place], asked=-changes[place])
    await db.execute(_SQL["write_sums"], {**places, "quantities": list(after.values())})
    return after


async def _move_items(db: AsyncConnection, movements: Sequence[Movement]) -> None:
    if not movements:
        return
    cursor = await db.execute(_SQL["lock_items"], {"epcs": sorted({each.epc for each in movements if each.epc})})
    items = {epc: (gtin, lot, location) for epc, gtin, lot, location in await cursor.fetchall()}
    for movement in movements:
        if movement.epc is None:
            continue
        if movement.epc not in items:
            raise NotFound(f"there is no item {movement.epc}: it was never received")
        gtin, lot, location = items[movement.epc]
        if (gtin, lot) != (movement.gtin, movement.lot):
            raise RuleViolation(f"item {movement.epc} is of {gtin} lot {lot}, not of {movement.gtin} lot {movement.lot}")
        if location != movement.from_location:
            raise RuleViolation(
                f"item {movement.epc} is at {location or 'no place of ours'}, not at {movement.from_location or 'a place outside'}"
            )
        items[movement.epc] = (gtin, lot, movement.to_location)
    moved = {epc: location for epc, (_, _, location) in items.items()}
    await db.execute(_SQL["place_items"], {"epcs": list(moved), "locations": list(moved.values())})


async def _tell(db: AsyncConnection, sums: dict[Place, int], *, at: datetime) -> None:
    if not sums:
        return
    locations = sorted({place.location for place in sums})
    sites: dict[str, str] = dict(await (await db.execute(_SQL["sites_of"], {"locations": locations})).fetchall())
    for place, quantity in sums.items():
        payload = {"location": place.location, "gtin": place.gtin, "lot": place.lot, "quantity": quantity}
        await events.emit(db, kind="stock", subject="/".join(place), site=sites[place.location], payload=payload, at=at)
