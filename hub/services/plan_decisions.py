"""Proposals decided by a person: put in force, or turned down."""

from datetime import datetime

from psycopg import AsyncConnection

from core.errors import NotFound, RuleViolation
from hub.services.planning import tell_plan
from hub.sql import named

_SQL = named("dispatch")


async def accept(db: AsyncConnection, plan_id: int, person: str, now: datetime) -> None:
    """Puts a proposal in force; the plan it replaces is superseded. In the caller's transaction.

    Raises NotFound, or RuleViolation when it is no proposal any more, replaces another plan than the one in force, or no longer
    fits the cargo aboard.
    """
    site, trigger, replaces = await _proposal(db, plan_id)
    head = await (await db.execute(_SQL["plan_head"], {"site": site, "state": "active"})).fetchone()
    if (head[0] if head is not None else None) != replaces:
        raise RuleViolation(f"plan {plan_id} was made from another plan than the one in force; plan again")
    misplaced = await (await db.execute(_SQL["misplaced_cargo"], {"site": site, "plan": plan_id})).fetchone()
    if misplaced is not None:
        raise RuleViolation(f"plan {plan_id} no longer fits: order {misplaced[0]} is aboard {misplaced[1]} by now; plan again")
    for (old,) in await (await db.execute(_SQL["supersede_active"], {"site": site})).fetchall():
        await tell_plan(db, old, site, "superseded", trigger, now)
    await db.execute(_SQL["decide"], {"plan": plan_id, "state": "active", "now": now, "person": person})
    await tell_plan(db, plan_id, site, "active", trigger, now)


async def reject(db: AsyncConnection, plan_id: int, person: str, now: datetime) -> None:
    """Turns a proposal down; the plan in force stays. In the caller's transaction. Raises NotFound or RuleViolation."""
    site, trigger, _ = await _proposal(db, plan_id)
    await db.execute(_SQL["decide"], {"plan": plan_id, "state": "rejected", "now": now, "person": person})
    await tell_plan(db, plan_id, site, "rejected", trigger, now)


async def _proposal(db: AsyncConnection, plan_id: int) -> tuple[str, str, int | None]:
    row = await (await db.execute(_SQL["plan_for_decision"], {"plan": plan_id})).fetchone()
    if row is None:
        raise NotFound(f"plan {plan_id} does not exist")
    await db.execute(_SQL["lock_site"], {"site": row[0]})
    row = await (await db.execute(_SQL["plan_for_decision"], {"plan": plan_id})).fetchone()
    if row is None or row[1] != "proposed":
        raise RuleViolation(f"plan {plan_id} is {row[1] if row else 'gone'}, not proposed; nothing to decide")
    return row[0], row[2], row[3]
