"""What the hub says of itself, and where its limits stand."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from hub.services import mirror, rejections
from hub.sql import named

_SQL = named("system")

HUB_FORGOTTEN_AFTER: Final = timedelta(days=7)
"""A hub that wrote no status for so long, in scenario time, is not shown any more."""


async def last_ingest_at(db: AsyncConnection) -> datetime | None:
    """When a batch of any agent was last committed, in scenario time; None before the first."""
    row = await (await db.execute(_SQL["last_ingest"])).fetchone()
    return None if row is None else row[0]


async def write_status(db: AsyncConnection, hub: str, counts: Mapping[str, int], *, started_at: datetime, now: datetime) -> None:
    """Writes down what a hub counted since it started; `hub` is its client id at the broker."""
    await db.execute(_SQL["write_status"], {"hub": hub, "started_at": started_at, "now": now, "counts": Jsonb(dict(counts))})
    await db.execute(_SQL["forget_hubs"], {"before": now - HUB_FORGOTTEN_AFTER})


async def state(db: AsyncConnection) -> dict[str, Any]:
    """The hubs with their counts, and how full everything is that has a bound, beside the bound."""
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["hubs"])
        hubs = await cursor.fetchall()
        await cursor.execute(_SQL["kept"])
        kept = await cursor.fetchone() or {}
    waiting, lost = await mirror.backlog(db), await mirror.loss(db)
    return {
        "hubs": hubs,
        "kept": {
            **kept,
            "rejected_max_messages_an_agent": rejections.REJECTIONS_KEPT,
            "rejected_max_bytes_an_agent": rejections.REJECTED_BYTES_KEPT,
            "set_aside_max_bytes_an_agent": rejections.SET_ASIDE_MAX_BYTES,
        },
        "mirror": {**asdict(waiting), **asdict(lost), "max_bytes": mirror.MIRROR_MAX_BYTES, "max_rows": mirror.MIRROR_MAX_ROWS},
    }
