"""A cold room with one probe, and readings that arrive there as the hub writes and judges them."""

from datetime import UTC, datetime, timedelta

import numpy as np
from psycopg import AsyncConnection

from core.coldchain import Limit
from hub.domain.reading_block import ReadingBlock
from hub.services import limits, reading_store

START = datetime(2026, 11, 20, 8, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
MINUTE = 60_000_000
LIMIT = Limit(lower=2.0, upper=8.0, inclusive=True, delay_s=600, hysteresis=0.5, max_gap_s=900)


async def cold_room(db: AsyncConnection) -> AsyncConnection:
    """One cold room, 2 to 8 degrees with ten minutes' delay, and its probe's series 1."""
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', '仓库', 'Depot')")
    await db.execute(
        "INSERT INTO location (location, site, role, storage_class, name_zh, name_en)"
        " VALUES ('cr-1', 'depot', 'cold_room', 'refrigerated', '冷库一', 'Cold room 1')"
    )
    await db.execute("INSERT INTO device (site, device, location) VALUES ('depot', 'probe-1', 'cr-1')")
    await db.execute(
        "INSERT INTO limit_rule VALUES"
        " ('cr-1-celsius', 'cr-1', 'celsius', 2, 8, true, 600, 0.5, 900, 'critical', '2026-11-20 08:00Z')",
    )
    await add_series(db, "probe-1")
    await db.execute("SELECT ensure_partitions(%s, %s)", (START, START + timedelta(days=2)))
    return db


async def add_series(db: AsyncConnection, device: str) -> int:
    row = await (
        await db.execute(
            "INSERT INTO series (site, device, quantity) VALUES ('depot', %s, 'celsius') RETURNING series_id", (device,)
        )
    ).fetchone()
    assert row is not None
    return int(row[0])


async def arrive(
    db: AsyncConnection,
    rules: limits.Rules,
    readings: list[tuple[int, float]],
    series_id: int = 1,
    *,
    at_minute: int | None = None,
) -> None:
    """One group of readings (minute, celsius), written and judged as the hub does, at a minute (that of the newest if left out)."""
    told = sorted(readings)
    at_us = np.array([START_US + minute * MINUTE for minute, _ in told], np.int64)
    block = ReadingBlock(np.full(len(told), series_id, np.int32), at_us, np.array([value for _, value in told], np.float64))
    now = START + timedelta(minutes=told[-1][0] if at_minute is None else at_minute)
    async with db.transaction():
        await rules.apply_readings(db, await reading_store.store(db, block, now), now)


async def found(db: AsyncConnection, series_id: int = 1) -> list[tuple[object, ...]]:
    cursor = await db.execute(
        "SELECT started_at, alarmed_at, ended_at, peak, round(area::numeric, 6) FROM excursion WHERE series_id = %s ORDER BY 1",
        (series_id,),
    )
    return await cursor.fetchall()


def at(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
