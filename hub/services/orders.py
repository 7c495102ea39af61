"""Delivery orders: taken with clear errors, and cancelled while their goods are still in the depot."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg import AsyncConnection

from core.errors import InvalidInput, NotFound, RuleViolation
from hub.services.events import emit
from hub.sql import named

_SQL = named("dispatch")

ID_MAX: Final = 64
LINES_MAX: Final = 500
SERVICE_MAX_S: Final = 8 * 3600


@dataclass(frozen=True, slots=True)
class OrderLine:
    """Goods of an order, in the product's unit."""

    gtin: str
    quantity: int


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as it is given; `demand` in cartons, `priority` 0 to 100."""

    id: str
    site: str
    destination: str
    window_from: datetime
    window_until: datetime
    service_s: int
    demand: int
    needs_cold_box: bool = False
    priority: int = 50
    lines: Sequence[OrderLine] = ()


async def create_order(db: AsyncConnection, order: NewOrder, now: datetime) -> str:
    """Takes an order in the caller's transaction; returns its id. A running day is planned again for it by `watch`.

    Raises InvalidInput naming every fault with its path, RuleViolation when the id is taken.
    """
    problems = _faults(order, now) + await _unknown(db, order)
    if problems:
        raise InvalidInput(problems)
    values = {field: getattr(order, field) for field in NewOrder.__dataclass_fields__ if field != "lines"}
    if await (await db.execute(_SQL["add_order"], {**values, "now": now})).fetchone() is None:
        raise RuleViolation(f"order {order.id!r} exists already; give the new one another id")
    rows = [
        {"order": order.id, "line": number, "gtin": line.gtin, "quantity": line.quantity}
        for number, line in enumerate(order.lines, start=1)
    ]
    if rows:
        async with db.cursor() as cursor:
            await cursor.executemany(_SQL["add_order_line"], rows)
    await emit(db, kind="order", subject=order.id, site=order.site, payload={"state": "planned_for", "vehicle": None}, at=now)
    return order.id


def _faults(order: NewOrder, now: datetime) -> list[str]:
    """What is wrong with an order before anything is looked up."""
    found: list[str] = []
    if not order.id.strip() or len(order.id) > ID_MAX or "\0" in order.id:
        found.append(f"id: must have 1 to {ID_MAX} characters")
    if not 0 <= order.service_s <= SERVICE_MAX_S:
        found.append(f"service_s: must be 0 to {SERVICE_MAX_S}, is {order.service_s}")
    if order.demand < 1:
        found.append(f"demand: must be at least 1 carton, is {order.demand}")
    if not 0 <= order.priority <= 100:
        found.append(f"priority: must be 0 to 100, is {order.priority}")
    if order.window_until <= now:
        found.append(f"window_until: {order.window_until.isoformat()} is in the past")
    if order.window_until - order.window_from < timedelta(seconds=max(1, order.service_s)):
        found.append(f"window_until: the window is shorter than the service of {order.service_s} s")
    if len(order.lines) > LINES_MAX:
        found.append(f"lines: at most {LINES_MAX}")
    found += [f"lines[{i}].quantity: must be at least 1" for i, line in enumerate(order.lines) if line.quantity < 1]
    return found


async def _unknown(db: AsyncConnection, order: NewOrder) -> list[str]:
    """What an order names that does not exist, and a load no vehicle of the site can carry."""
    found: list[str] = []
    if await (await db.execute(_SQL["site"], {"site": order.site})).fetchone() is None:
        found.append(f"site: {order.site!r} is not known")
    else:
        largest, largest_cold = await (await db.execute(_SQL["largest_vehicle"], {"site": order.site})).fetchone() or (None, None)
        room = largest_cold if order.needs_cold_box else largest
        kind = "vehicle with a cold box" if order.needs_cold_box else "vehicle"
        if room is None:
            found.append(f"{'needs_cold_box' if largest is not None else 'site'}: {order.site!r} has no {kind}")
        elif order.demand > room:
            found.append(f"demand: {order.demand} cartons, the largest {kind} of {order.site!r} carries {room}")
    if await (await db.execute(_SQL["destination_exists"], {"destination": order.destination})).fetchone() is None:
        found.append(f"destination: {order.destination!r} is not known")
    rows = await db.execute(_SQL["known_products"], {"gtins": sorted({line.gtin for line in order.lines})})
    known = {row[0] for row in await rows.fetchall()}
    found += [f"lines[{i}].gtin: product {x.gtin!r} is not known" for i, x in enumerate(order.lines) if x.gtin not in known]
    return found


async def cancel_order(db: AsyncConnection, order: str, now: datetime) -> None:
    """Cancels an order whose goods are still in the depot, in the caller's transaction; `watch` plans a running day again.

    Raises NotFound, or RuleViolation when its goods are aboard, handed over, or it is cancelled already.
    """
    row = await (await db.execute(_SQL["order_state"], {"order": order})).fetchone()
    if row is None:
        raise NotFound(f"order {order!r} does not exist")
    if row[0] != "planned_for":
        raise RuleViolation(f"order {order!r} is {row[0]}: only an order whose goods are still in the depot can be cancelled")
    await db.execute(_SQL["cancel_order"], {"order": order})
    await emit(db, kind="order", subject=order, site=row[1], payload={"state": "cancelled", "vehicle": None}, at=now)
