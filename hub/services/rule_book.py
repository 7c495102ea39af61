"""All limit rules as a group of readings needs them: who is watched, where, since when, and the tightest bounds as columns."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from core.coldchain import Limit
from hub.domain.ingest_group import epoch_us
from hub.services.excursions import EPOCH, Watch
from hub.sql import named

_SQL = named("limits")

LOCK_CLASS: Final = 0x716D
NEVER_US: Final = np.iinfo(np.int64).max
"""A pause that no series of readings holds: what an unwatched one may last."""


@dataclass(frozen=True, slots=True, eq=False)
class RuleBook:
    """All rules at one version; columns are by series_id.

    `low` and `high` are the tightest bounds where the devices stand now (infinite where there is none); `past_until_us` is until
    when a device stood where it was watched before; `longest_us` the shortest pause that is a gap.
    """

    version: UUID | None
    watches: dict[int, list[Watch]]
    past: dict[int, list[Watch]]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    past_until_us: NDArray[np.int64]
    longest_us: NDArray[np.int64]
    shortest_us: int

    def longest_gap_s(self, series_id: int, started_at: datetime) -> tuple[float, Watch] | None:
        """How long a pause that begins then may be, and who says so; None when nobody watches then."""
        each = [
            (watch.limit.max_gap_s, watch)
            for watch in (*self.watches.get(series_id, ()), *self.past.get(series_id, ()))
            if watch.after <= started_at and (watch.until is None or started_at < watch.until)
        ]
        return min(each, key=lambda pair: pair[0], default=None)


async def read_book(db: AsyncConnection, version: UUID | None = None) -> RuleBook:
    """The rules as this transaction sees them, under a version that was read before them."""
    watches: dict[int, list[Watch]] = {}
    past: dict[int, list[Watch]] = {}
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["rules"])
        for row in await cursor.fetchall():
            limit = Limit(row["lower"], row["upper"], row["inclusive"], row["delay_s"], row["hysteresis"], row["max_gap_s"])
            names = {key: row[key] for key in ("series_id", "site", "device", "quantity", "location", "rule", "severity")}
            watch = Watch(**names, limit=limit, after=row["placed_after"] or EPOCH, until=row["until"])
            (watches if watch.until is None else past).setdefault(watch.series_id, []).append(watch)
    size = max((*watches, *past), default=0) + 1
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    past_until_us, longest_us = np.full(size, -1, np.int64), np.full(size, NEVER_US, np.int64)
    for series_id, each in watches.items():
        low[series_id] = max((-np.inf if w.limit.lower is None else w.limit.lower) for w in each)
        high[series_id] = min((np.inf if w.limit.upper is None else w.limit.upper) for w in each)
    for series_id, each in past.items():
        past_until_us[series_id] = max(epoch_us(w.until) for w in each if w.until is not None)
    for series_id in (*watches, *past):
        longest_s = min(w.limit.max_gap_s for w in (*watches.get(series_id, ()), *past.get(series_id, ())))
        longest_us[series_id] = min(round(longest_s * 1_000_000), NEVER_US)
    return RuleBook(version, watches, past, low, high, past_until_us, longest_us, int(longest_us.min()))


async def lock_series(db: AsyncConnection, series_id: int) -> None:
    """Until the end of the transaction nobody else judges this series. Take several in rising order."""
    await db.execute(_SQL["lock_series"], {"class": LOCK_CLASS, "series_id": series_id})
