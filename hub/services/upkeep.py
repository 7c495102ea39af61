"""Upkeep of the store: is it there, and what is too old or too much to keep."""

from datetime import datetime
from typing import Final

from psycopg import AsyncConnection

from hub.sql import named

_SQL = named("upkeep")

OUTGOING_KEPT: Final = 1_000_000
"""Outgoing events a screen or subscriber can still catch up with; older ones are read from their own tables."""


async def has_schema(db: AsyncConnection) -> bool:
    """True when the tables the hub needs are there."""
    row = await (await db.execute(_SQL["schema"])).fetchone()
    return row is not None and bool(row[0])


async def trim_outgoing(db: AsyncConnection, now: datetime) -> int:  # noqa: ARG001 - a chore's arguments
    """Drops all but the newest OUTGOING_KEPT outgoing events, and what was noted of them; returns how many went.

    Events that a reader has still to look through are left to it.
    """
    gone = (await db.execute(_SQL["trim_outgoing"], {"kept": OUTGOING_KEPT})).rowcount
    if gone:
        await db.execute(_SQL["trim_notifications"])
    return gone
