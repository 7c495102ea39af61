"""What the hub says of itself."""

from datetime import datetime

from psycopg import AsyncConnection

from hub.sql import named

_SQL = named("system")


async def last_ingest_at(db: AsyncConnection) -> datetime | None:
    """When a batch of any agent was last committed, in scenario time; None before the first."""
    row = await (await db.execute(_SQL["last_ingest"])).fetchone()
    return None if row is None else row[0]
