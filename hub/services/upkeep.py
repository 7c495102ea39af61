"""Upkeep of the store: is it there, and what is too old or too much to keep."""

import logging
from datetime import datetime
from typing import Final

from psycopg import AsyncConnection

from hub.sql import named

_SQL = named("upkeep")
_log = logging.getLogger(__name__)

REJECTIONS_KEPT: Final = 10_000
"""Rejected messages kept of one agent, whole: a flood from a broken gateway fills no disk and drives out no other's."""
OUTGOING_KEPT: Final = 1_000_000
"""Outgoing events a screen or subscriber can still catch up with; older ones are read from their own tables."""


async def has_schema(db: AsyncConnection) -> bool:
    """True when the tables the hub needs are there."""
    row = await (await db.execute(_SQL["schema"])).fetchone()
    return row is not None and bool(row[0])


async def trim_rejections(db: AsyncConnection, now: datetime) -> int:  # noqa: ARG001 - a chore's arguments
    """Drops all but the newest REJECTIONS_KEPT rejected messages of each agent, looked at or not; returns how many went.

    Messages whose agent is unknown count as one agent's. What went is told in the log; the agent's alert has told people before.
    """
    gone = (await db.execute(_SQL["trim_rejections"], {"kept": REJECTIONS_KEPT})).rowcount
    if gone:
        _log.warning("more than %d rejected messages of an agent: the oldest %d were dropped", REJECTIONS_KEPT, gone)
    return gone


async def trim_outgoing(db: AsyncConnection, now: datetime) -> int:  # noqa: ARG001 - a chore's arguments
    """Drops all but the newest OUTGOING_KEPT outgoing events; returns how many went."""
    return (await db.execute(_SQL["trim_outgoing"], {"kept": OUTGOING_KEPT})).rowcount
