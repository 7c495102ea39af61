"""Limit rules over incoming readings: which series must be folded again, and what the outcome changes.

Nearly every reading is inside its limits on a series with nothing going on; those are passed over in bulk. A series that has a
reading outside, a run going, or a late reading beside a past excursion is folded from its last known place over the readings
in the table, so that the outcome is the same whatever the order and number of arrivals.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core.coldchain import Limit, Reading, Run, fold, ongoing
from core.errors import NotFound
from hub.domain.reading_block import ReadingBlock
from hub.services import alerts
from hub.services.excursions import EPOCH, Watch, moment, source_of, store_outcome
from hub.sql import named

_SQL = named("limits")

LOCK_CLASS: Final = 0x716D
END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)
CHART_POINTS_MAX: Final = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class RuleBook:
    """All rules at one version: `low` and `high` hold, by series_id, the tightest bounds (infinite where there is none)."""

    version: int
    watches: dict[int, list[Watch]]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(slots=True)
class Rules:
    """The rules of this process, read again when their version rises."""

    book: RuleBook | None = None

    async def apply_readings(self, db: AsyncConnection, block: ReadingBlock, now: datetime) -> None:
        """Judges readings that were just written in this transaction; opens, lengthens, ends and corrects excursions.

        Alerts follow in the same transaction.
        """
        if not len(block):
            return
        first = moment(int(block.at_us.min()))
        row = await (await db.execute(_SQL["heads"], {"first": first})).fetchone()
        if row is None:
            raise RuntimeError("the rule book has no row")
        version, running, corrected = row
        if self.book is None or self.book.version != version:
            self.book = await _read_book(db, version)
        suspects = _suspects(self.book, block, [*running, *corrected])
        for series_id in suspects:
            mine = block.at_us[block.series_id == series_id]
            await db.execute(_SQL["lock_series"], {"class": LOCK_CLASS, "series_id": series_id})
            for watch in self.book.watches.get(series_id, ()):
                await _judge(db, watch, first_us=int(mine.min()), last_us=int(mine.max()), now=now)


async def find_silence(db: AsyncConnection, now: datetime) -> int:
    """Opens an alert for each watched series that is silent for longer than its rule allows, clears those heard again.

    Returns how many are newly silent.
    """
    for source, heard_at in await (await db.execute(_SQL["heard_again"], {"now": now})).fetchall():
        await alerts.clear_alert(db, source=source, rule="silence", cleared_at=heard_at, details={}, now=now)
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["silent"], {"now": now})
        silent = await cursor.fetchall()
    unheard = await _find_never_heard(db, now)
    for row in silent:
        await alerts.open_alert(
            db,
            kind="silence",
            source=source_of(row["site"], row["device"], row["quantity"]),
            rule="silence",
            severity="major",
            site=row["site"],
            location=row["location"],
            opened_at=row["at"] + timedelta(seconds=row["max_gap_s"]),
            details={
                "series_id": row["series_id"],
                "device": row["device"],
                "quantity": row["quantity"],
                "max_gap_s": row["max_gap_s"],
            },
            now=now,
        )
    return len(silent) + unheard


async def _find_never_heard(db: AsyncConnection, now: datetime) -> int:
    """A room that is watched by a rule and by no sensor: a wrong port or unit id at installation must not guard nothing."""
    for source, heard_at in await (await db.execute(_SQL["first_heard"])).fetchall():
        await alerts.clear_alert(db, source=source, rule="silence", cleared_at=heard_at, details={}, now=now)
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["never_heard"], {"now": now})
        unheard = await cursor.fetchall()
    for row in unheard:
        await alerts.open_alert(
            db,
            kind="silence",
            source=f"rule:{row['rule']}",
            rule="silence",
            severity="major",
            site=row["site"],
            location=row["location"],
            opened_at=row["known_at"] + timedelta(seconds=row["max_gap_s"]),
            details={"quantity": row["quantity"], "max_gap_s": row["max_gap_s"], "never_heard": True},
            now=now,
        )
    return len(unheard)


async def cold_rooms(db: AsyncConnection, now: datetime) -> list[dict[str, Any]]:
    """Every watched room with its rules and newest values.

    Its state is `alarm`, `silent`, `warning` (outside, but not yet for the delay) or `ok`.
    """
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["cold_rooms"])
        rooms = await cursor.fetchall()
    for room in rooms:
        in_alarm, outside = room.pop("in_alarm"), room.pop("outside")
        room["state"] = "alarm" if in_alarm else "silent" if _is_silent(room, now) else "warning" if outside else "ok"
    return rooms


async def series_readings(db: AsyncConnection, series_id: int, *, since: datetime, until: datetime) -> dict[str, Any]:
    """A series as columns `at` (seconds since the epoch) and `values`, at most CHART_POINTS_MAX points. Raises NotFound."""
    series = await (await db.execute(_SQL["series"], {"series_id": series_id})).fetchone()
    if series is None:
        raise NotFound(f"there is no series {series_id}")
    parameters = {"series_id": series_id, "from": since, "until": until, "limit": CHART_POINTS_MAX}
    rows = await (await db.execute(_SQL["readings_of"], parameters)).fetchall()
    return {"series_id": series_id, "quantity": series[3], "at": [row[0] for row in rows], "values": [row[1] for row in rows]}


def _is_silent(room: dict[str, Any], now: datetime) -> bool:
    longest_s = {rule["quantity"]: rule["max_gap_s"] for rule in room["rules"]}
    watched = [series for series in room["series"] if series["quantity"] in longest_s]
    return not watched or any(
        series["at"] is None or (now - datetime.fromisoformat(series["at"])).total_seconds() > longest_s[series["quantity"]]
        for series in watched
    )


async def _read_book(db: AsyncConnection, version: int) -> RuleBook:
    watches: dict[int, list[Watch]] = {}
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["rules"])
        for row in await cursor.fetchall():
            limit = Limit(row["lower"], row["upper"], row["inclusive"], row["delay_s"], row["hysteresis"], row["max_gap_s"])
            names = {key: row[key] for key in ("series_id", "site", "device", "quantity", "location", "rule", "severity")}
            watches.setdefault(row["series_id"], []).append(Watch(**names, limit=limit))
    size = max(watches, default=0) + 1
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    for series_id, series_watches in watches.items():
        low[series_id] = max((-np.inf if w.limit.lower is None else w.limit.lower) for w in series_watches)
        high[series_id] = min((np.inf if w.limit.upper is None else w.limit.upper) for w in series_watches)
    return RuleBook(version, watches, low, high)


def _suspects(book: RuleBook, block: ReadingBlock, marked: Iterable[int]) -> list[int]:
    """The watched series of a block that cannot be passed over, in rising order (the order in which they are locked)."""
    known = block.series_id < len(book.low)
    series_id, value = block.series_id[known], block.value[known]
    outside = (value <= book.low[series_id]) | (value >= book.high[series_id])
    suspects = {int(each) for each in np.unique(series_id[outside])}
    marked = set(marked)
    if marked:
        suspects |= marked.intersection(int(each) for each in np.unique(series_id))
    return sorted(suspects.intersection(book.watches))


async def _judge(db: AsyncConnection, watch: Watch, *, first_us: int, last_us: int, now: datetime) -> None:
    key = {"rule": watch.rule, "series_id": watch.series_id}
    low, high = watch.limit.clear_range()
    bounds = {"series_id": watch.series_id, "low": low, "high": high}
    run, after = await _known_place(db, key, moment(first_us))
    if run is None:
        row = await (await db.execute(_SQL["last_clear_before"], {**bounds, "before": moment(first_us)})).fetchone()
        after = row[0] if row else EPOCH
        row = await (await db.execute(_SQL["first_clear_after"], {**bounds, "after": moment(last_us)})).fetchone()
    else:
        row = None
    until = row[0] if row else END_OF_TIME
    rows = await (
        await db.execute(_SQL["readings_between"], {"series_id": watch.series_id, "after": after, "until": until})
    ).fetchall()
    started = after if run is None else moment(run.started_us) - timedelta(microseconds=1)
    end, ended = fold(watch.limit, run, (Reading(at_us, value) for at_us, value in rows))
    last = ongoing(end)
    outcome = ended if last is None else [*ended, last]
    if until is END_OF_TIME and rows:
        await db.execute(_SQL["save_state"], {**key, "state": Jsonb(msgspec.to_builtins(end)), "upto": moment(rows[-1][0])})
    await store_outcome(db, watch, outcome, after=started, until=until, now=now)


async def _known_place(db: AsyncConnection, key: dict[str, Any], first: datetime) -> tuple[Run | None, datetime]:
    """The saved run of a fold and how far it came, when nothing in this group is older than that; else no run."""
    row = await (await db.execute(_SQL["state"], key)).fetchone()
    if row is None or row[0] is None or row[1] >= first:
        return None, EPOCH
    return msgspec.convert(row[0], Run), row[1]
