"""Readings of a group on their way into the table: named, sorted, copied in bulk, doubles told from conflicts."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import AsyncConnection

from core.errors import Unavailable
from hub.domain.ingest_group import IngestGroup, SeriesKey, epoch_us
from hub.domain.reading_block import ReadingBlock
from hub.sql import named
from hub.sql.copy_rows import numbered_reading_rows, reading_rows

_SQL = named("ingest")

FIRST_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)
_WEEK_US: Final = 7 * 24 * 3600 * 1_000_000
_FIRST_MONDAY_US: Final = epoch_us(FIRST_MONDAY)


@dataclass(frozen=True, slots=True)
class Stored:
    """The readings that are new in the table (sorted by series, then time), and how many were not.

    `apart` are the series whose new readings may have a gap to those that stood there before.
    """

    block: ReadingBlock
    known: int
    conflicting: int
    apart: frozenset[int] = frozenset()


def week_of(moment: datetime) -> int:
    """Weeks since FIRST_MONDAY, as partitions are cut."""
    return (epoch_us(moment) - _FIRST_MONDAY_US) // _WEEK_US


def weeks_of(block: ReadingBlock) -> set[int]:
    """The weeks a block touches."""
    if not len(block):
        return set()
    first = (int(block.at_us.min()) - _FIRST_MONDAY_US) // _WEEK_US
    last = (int(block.at_us.max()) - _FIRST_MONDAY_US) // _WEEK_US
    if first == last:
        return {first}
    return set(np.unique((block.at_us - _FIRST_MONDAY_US) // _WEEK_US).tolist())


async def resolve(
    db: AsyncConnection,
    group: IngestGroup,
    fresh: list[bool],
    *,
    memory: dict[SeriesKey, int],
    learned: dict[SeriesKey, int],
) -> tuple[ReadingBlock, dict[SeriesKey, int]]:
    """The readings of fresh batches with their series' numbers, sorted by series, time and arrival.

    A series never heard of is added, and its device too. Also returns the numbers of the group's series.
    """
    slot, at_us, value = group.slot, group.at_us, group.value
    if not all(fresh):
        new = np.array(fresh, dtype=np.bool_)[group.batch]
        slot, at_us, value = slot[new], at_us[new], value[new]
    if not len(slot):
        nothing = ReadingBlock(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64))
        return nothing, {}
    wanted = group.series if all(fresh) else [group.series[each] for each in np.unique(slot).tolist()]
    unknown = [key for key in wanted if key not in memory]
    if unknown:
        learned.update(await _find_or_add(db, unknown))
    numbers = {key: memory[key] if key in memory else learned[key] for key in wanted}
    by_slot = np.array([numbers.get(key, 0) for key in group.series], dtype=np.int32)
    series_id = by_slot[slot]
    order = np.lexsort((at_us, series_id))
    return ReadingBlock(series_id[order], at_us[order], value[order]), numbers


async def _find_or_add(db: AsyncConnection, keys: list[SeriesKey]) -> dict[SeriesKey, int]:
    found = await _find(db, keys)
    missing = [key for key in keys if key not in found]
    if missing:
        names = _columns(missing)
        await db.execute(_SQL["add_devices"], {"sites": names["sites"], "devices": names["devices"]})
        await db.execute(_SQL["add_series"], names)
        found |= await _find(db, missing)
    return found


async def _find(db: AsyncConnection, keys: list[SeriesKey]) -> dict[SeriesKey, int]:
    rows = await (await db.execute(_SQL["series_ids"], _columns(keys))).fetchall()
    return {SeriesKey(site, device, quantity): number for site, device, quantity, number in rows}


def _columns(keys: list[SeriesKey]) -> dict[str, list[str]]:
    return {
        "sites": [key.site for key in keys],
        "devices": [key.device for key in keys],
        "quantities": [key.quantity for key in keys],
    }


async def store(db: AsyncConnection, block: ReadingBlock, now: datetime) -> Stored:
    """Writes a block sorted by series and time, and moves the newest value of each series forward.

    Raises Unavailable when the store took a reading and does not hold it.
    """
    if not len(block):
        return Stored(block, 0, 0)
    stored = None
    if not _doubled(block).any():
        try:
            async with db.transaction():
                await _copy(db, _SQL["copy_readings"], reading_rows(block))
            stored = Stored(block, 0, 0)
        except psycopg.errors.UniqueViolation:
            stored = None
    if stored is None:
        stored = await _store_around_doubles(db, block, now)
    return replace(stored, apart=await _move_latest(db, stored.block, now))


def _doubled(block: ReadingBlock) -> NDArray[np.bool_]:
    """Where a row has the series and time of the row before it."""
    same: NDArray[np.bool_] = (block.series_id[1:] == block.series_id[:-1]) & (block.at_us[1:] == block.at_us[:-1])
    return same


async def _copy(db: AsyncConnection, statement: str, rows: bytes) -> None:
    async with db.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(rows)


async def _store_around_doubles(db: AsyncConnection, block: ReadingBlock, now: datetime) -> Stored:
    """The slow way, when some moments are in the table or twice in the block: the first value stays, another one is a conflict."""
    await db.execute(_SQL["make_stage"])
    await db.execute(_SQL["empty_stage"])
    await _copy(db, _SQL["copy_staged"], numbered_reading_rows(block))
    dropped = [row[0] for row in await (await db.execute(_SQL["insert_staged"])).fetchall()]
    (missing,) = (await (await db.execute(_SQL["missing_staged"])).fetchall())[0]
    if missing:
        raise Unavailable(
            f"{missing} of {len(block)} readings were written and are not in table reading: "
            "look for a trigger that drops rows, or a defect of this TimescaleDB"
        )
    conflicting = (await db.execute(_SQL["keep_conflicts"], {"now": now})).rowcount
    kept = np.ones(len(block), dtype=np.bool_)
    kept[dropped] = False
    new = ReadingBlock(block.series_id[kept], block.at_us[kept], block.value[kept])
    return Stored(new, len(dropped) - conflicting, conflicting)


async def _move_latest(db: AsyncConnection, block: ReadingBlock, now: datetime) -> frozenset[int]:
    if not len(block):
        return frozenset()
    edges = block.series_id[1:] != block.series_id[:-1]
    first, last = np.flatnonzero(np.append(True, edges)), np.flatnonzero(np.append(edges, True))
    newest = {
        "series": block.series_id[last].tolist(),
        "first_us": block.at_us[first].tolist(),
        "at_us": block.at_us[last].tolist(),
        "values": block.value[last].tolist(),
        "now": now,
    }
    return frozenset([row[0] for row in await (await db.execute(_SQL["move_latest"], newest)).fetchall()])
