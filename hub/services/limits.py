"""Limit rules over incoming readings: which series must be folded again, and what the outcome changes.

Nearly every reading is inside its limits on a series with nothing going on; those are passed over in bulk. A series that has a
reading outside, a run going, or a late reading beside a past excursion is folded from its last known place over the readings
in the table, so that the outcome is the same whatever the order and number of arrivals. Gaps between readings are found beside it
(`hub.services.gaps`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core.coldchain import Excursion, Reading, Run, fold, ongoing
from hub.domain.reading_block import ReadingBlock
from hub.services import gaps
from hub.services.excursions import EPOCH, Watch, end_unwatched, moment, store_outcome
from hub.services.gaps import KnownGaps, gap_suspects, judge_gaps
from hub.services.reading_store import Stored
from hub.services.rule_book import RuleBook, lock_series, read_book
from hub.sql import named

_SQL = named("limits")

END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)
FOLD_PAGE: Final = 5_000
"""Readings taken from the table at once: a series that was outside for months is folded in a few hundred kilobytes."""


@dataclass(slots=True)
class Rules:
    """The rules of this process, read again when the database names another version."""

    book: RuleBook | None = None

    async def apply_readings(self, db: AsyncConnection, stored: Stored, now: datetime) -> None:
        """Judges readings that were just written in this transaction; opens, lengthens, ends and corrects excursions and gaps.

        Alerts follow in the same transaction.
        """
        block = stored.block
        if not len(block):
            return
        span = {"first": moment(int(block.at_us.min())), "last": moment(int(block.at_us.max()))}
        row = await (await db.execute(_SQL["heads"], span)).fetchone()
        if row is None:
            raise RuntimeError("the rule book has no row")
        version, running, corrected, gap_series, started_us, ended_us, silent = row
        if self.book is None or self.book.version != version:
            self.book = await read_book(db, version)
        known = KnownGaps(gap_series or [], started_us or [], ended_us or [], silent)
        gappy = gap_suspects(self.book, block, known, apart=stored.apart, now=now)
        suspects = _suspects(self.book, block, [*running, *corrected])
        for series_id in sorted(suspects | gappy):
            mine = block.at_us[block.series_id == series_id]
            await lock_series(db, series_id)
            if series_id in suspects:
                await _judge_series(db, self.book, series_id, first_us=int(mine.min()), last_us=int(mine.max()), now=now)
            if series_id in gappy:
                first, last = moment(int(mine.min())), moment(int(mine.max()))
                await judge_gaps(db, self.book, series_id, first=first, last=last, now=now)


async def find_silence(db: AsyncConnection, now: datetime) -> int:
    """Looks after what no reading tells of: ends what stands under watches that are no more, and finds the series that are silent.

    Returns how many are newly silent.
    """
    orphans = await (await db.execute(_SQL["unwatched_states"])).fetchall()
    # All at once and in rising order, as ingest locks them: neither waits for the other in a circle.
    for series_id in sorted({row[1] for row in orphans}.union(row[0] for row in await gaps.heard_again(db, now))):
        await lock_series(db, series_id)
    if orphans:
        book = await read_book(db)
        for rule, series_id, upto in orphans:
            await _end_watch(db, book, rule, series_id=series_id, upto=upto, now=now)
    return await gaps.find_silence(db, now)


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


def _is_silent(room: dict[str, Any], now: datetime) -> bool:
    longest_s = {rule["quantity"]: rule["max_gap_s"] for rule in room["rules"]}
    watched = [series for series in room["series"] if series["quantity"] in longest_s]
    return not watched or any(
        series["at"] is None or (now - datetime.fromisoformat(series["at"])).total_seconds() > longest_s[series["quantity"]]
        for series in watched
    )


def _suspects(book: RuleBook, block: ReadingBlock, marked: Iterable[int]) -> set[int]:
    """The watched series of a block that cannot be passed over."""
    known = block.series_id < len(book.low)
    series_id, value = block.series_id[known], block.value[known]
    wanted = (value <= book.low[series_id]) | (value >= book.high[series_id])
    if book.past:
        wanted |= block.at_us[known] <= book.past_until_us[series_id]
    suspects = {int(each) for each in np.unique(series_id[wanted])}
    marked = set(marked)
    if marked:
        suspects |= marked.intersection(int(each) for each in np.unique(series_id))
    return {each for each in suspects if each in book.watches or each in book.past}


async def _judge_series(db: AsyncConnection, book: RuleBook, series_id: int, *, first_us: int, last_us: int, now: datetime) -> None:
    for watch in book.past.get(series_id, ()):
        await _judge(db, watch, None, first=moment(first_us), last=moment(last_us), now=now)
    for watch in book.watches.get(series_id, ()):
        row = await (await db.execute(_SQL["state"], {"rule": watch.rule, "series_id": series_id})).fetchone()
        place = None if row is None else _Place(*row)
        if place is not None and place.placed_after != watch.after:
            await _end_watch(db, book, watch.rule, series_id=series_id, upto=place.upto, now=now)
            place = None
        await _judge(db, watch, place, first=moment(first_us), last=moment(last_us), now=now)


class _Place(NamedTuple):
    """How far a fold came: the run it has going (None, or null, when there is none) over the readings until `upto`."""

    state: dict[str, Any] | None
    upto: datetime
    placed_after: datetime


async def _judge(
    db: AsyncConnection, watch: Watch, place: _Place | None, *, first: datetime, last: datetime, now: datetime
) -> None:
    """Folds what the readings in [first, last] can have changed, from the last place at which the past does not matter."""
    if last <= watch.after or (watch.until is not None and first > watch.until):
        return
    low, high = watch.limit.clear_range()
    bounds = {"series_id": watch.series_id, "low": low, "high": high}
    run = msgspec.convert(place.state, Run) if place is not None and place.state is not None and place.upto < first else None
    clear_at = None
    if run is not None and place is not None:
        after, started = place.upto, moment(run.started_us) - timedelta(microseconds=1)
    else:
        row = await (await db.execute(_SQL["last_clear_before"], {**bounds, "before": first})).fetchone()
        after = started = max(row[0] if row else EPOCH, watch.after)
        row = await (await db.execute(_SQL["first_clear_after"], {**bounds, "after": last})).fetchone()
        clear_at = row[0] if row and (watch.until is None or row[0] <= watch.until) else None
    until = clear_at or watch.until or END_OF_TIME
    end, ended, upto = await _fold_between(db, watch, run, after=after, until=until)
    going_on = ongoing(end)
    cut = going_on is not None and end is not None and clear_at is None and watch.until is not None
    if going_on is not None and end is not None:
        ended.append(replace(going_on, ended_us=end.last_us) if cut else going_on)
    if until is END_OF_TIME and upto is not None:
        state = {"state": Jsonb(msgspec.to_builtins(end)), "upto": upto, "placed_after": watch.after}
        await db.execute(_SQL["save_state"], {"rule": watch.rule, "series_id": watch.series_id, **state})
    await store_outcome(db, watch, ended, after=started, until=until, cut=cut, now=now)


async def _fold_between(
    db: AsyncConnection, watch: Watch, run: Run | None, *, after: datetime, until: datetime
) -> tuple[Run | None, list[Excursion], datetime | None]:
    """Folds the readings in (after, until], FOLD_PAGE of them at a time: the run, what ended, and the last reading's time."""
    ended: list[Excursion] = []
    upto = None
    while True:
        asked = {"series_id": watch.series_id, "after": after, "until": until, "limit": FOLD_PAGE}
        rows = await (await db.execute(_SQL["readings_between"], asked)).fetchall()
        run, more = fold(watch.limit, run, (Reading(at_us, value) for at_us, value in rows))
        ended += more
        if rows:
            after = upto = moment(rows[-1][0])
        if len(rows) < FOLD_PAGE:
            return run, ended, upto


async def _end_watch(db: AsyncConnection, book: RuleBook, rule: str, *, series_id: int, upto: datetime, now: datetime) -> None:
    """Ends what goes on under a rule that watches the series no more, or not from where it did; the series is locked."""
    for watch in [each for each in book.past.get(series_id, ()) if each.rule == rule][-1:]:
        if watch.until is not None:
            await _judge(db, watch, None, first=watch.until, last=watch.until, now=now)
    await end_unwatched(db, rule, series_id, upto=upto, now=now)
    await db.execute(_SQL["forget_state"], {"rule": rule, "series_id": series_id})
