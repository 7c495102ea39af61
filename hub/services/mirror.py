"""The queue of the mirror: how much waits for InfluxDB, and what is let go when it is away for too long."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg import AsyncConnection

from hub.services.alerts import clear_alert, open_alert
from hub.sql import named

_SQL = named("mirror")
_log = logging.getLogger(__name__)

MIRROR_MAX_BYTES: Final = 1024 * 1_048_576
"""Lines that wait for the mirror. The readings themselves are in the database; beyond this the oldest lines are let go."""
MIRROR_MAX_ROWS: Final = 1_000_000
"""Rows that wait, so that looking how much it is stays cheap."""
GOOD_AGAIN_BELOW: Final = 0.5
"""Of the bounds: below it the alert of a full queue is cleared."""
SOURCE: Final = "mirror:influxdb"
RULE: Final = "mirror-full"


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for the mirror."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Loss:
    """What was let go since the database was made; `dropped_at` is the last time, or None."""

    dropped_rows: int
    dropped_bytes: int
    dropped_at: datetime | None


async def backlog(db: AsyncConnection) -> Backlog:
    """How much waits for the mirror."""
    row = await (await db.execute(_SQL["backlog"])).fetchone()
    return Backlog(*row) if row else Backlog(0, 0)


async def loss(db: AsyncConnection) -> Loss:
    """What the mirror will never be told."""
    row = await (await db.execute(_SQL["loss"])).fetchone()
    return Loss(*row) if row else Loss(0, 0, None)


async def keep_within_bounds(db: AsyncConnection, now: datetime) -> int:
    """Drops the oldest lines beyond MIRROR_MAX_BYTES or MIRROR_MAX_ROWS, counts them and opens an alert; returns how many rows.

    A chore: between two rounds the queue may pass its bounds by what is ingested in the meantime. The alert is cleared when less
    than GOOD_AGAIN_BELOW of the bounds waits.
    """
    waiting = await backlog(db)
    if waiting.rows <= MIRROR_MAX_ROWS and waiting.bytes <= MIRROR_MAX_BYTES:
        if waiting.rows < MIRROR_MAX_ROWS * GOOD_AGAIN_BELOW and waiting.bytes < MIRROR_MAX_BYTES * GOOD_AGAIN_BELOW:
            await clear_alert(db, source=SOURCE, rule=RULE, cleared_at=now, details={}, now=now)
        return 0
    bounds = {"max_rows": MIRROR_MAX_ROWS, "max_bytes": MIRROR_MAX_BYTES, "now": now}
    row = await (await db.execute(_SQL["drop_oldest"], bounds)).fetchone()
    if row is None:
        return 0
    _log.warning("the mirror is away for too long: %d chunks of lines, %d bytes, were let go; the readings are kept", *row)
    total = await loss(db)
    await open_alert(
        db,
        kind="device",
        source=SOURCE,
        rule=RULE,
        severity="minor",
        site=None,
        location=None,
        opened_at=now,
        details={"dropped_bytes": total.dropped_bytes, "dropped_rows": total.dropped_rows, "max_bytes": MIRROR_MAX_BYTES},
        now=now,
    )
    return int(row[0])
