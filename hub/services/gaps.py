"""Gaps in the data of watched series, each a finding with an alert of its own: silence is never "in range".

A gap stands between two neighbouring readings that lie further apart than the rules of the place allow, and is known by its first
reading; so it is the same finding whether the hub waited through it or was told of both sides at once. Only a pair of neighbours
that is new can be a new gap, and only a reading inside a known gap can change one: everything else is passed over in bulk.
While a series is silent now, one gap goes on: `find_silence` opens it and moves it along while a backlog comes in.
"""

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from hub.domain.ingest_group import epoch_us
from hub.domain.reading_block import ReadingBlock
from hub.services import alerts
from hub.services.excursions import Watch
from hub.services.rule_book import RuleBook, lock_series, read_book
from hub.sql import named

_SQL = named("gaps")

RULE: Final = "silence"


class KnownGaps(NamedTuple):
    """Gaps that a group of readings may touch, as columns: microseconds since 1970, and which series are silent until now."""

    series_id: list[int]
    started_us: list[int]
    ended_us: list[int]
    silent: list[int]


class _Gap(NamedTuple):
    id: int
    started_at: datetime
    ended_at: datetime | None


class _Pause(NamedTuple):
    """Until when nothing was heard, how long that may be, and who says so."""

    ended_at: datetime
    longest_s: float
    watch: Watch


def gap_suspects(book: RuleBook, block: ReadingBlock, known: KnownGaps, *, apart: frozenset[int], now: datetime) -> set[int]:
    """The watched series of a block, sorted by series and time, whose gaps these readings may change."""
    suspects = {int(each) for each in block.series_id[_after_pauses(book, block)]}
    suspects |= apart
    for series_id, started_us, ended_us in zip(known.series_id, known.started_us, known.ended_us, strict=True):
        at_us = _times(block, series_id)
        place = int(np.searchsorted(at_us, started_us, "right"))
        if place < len(at_us) and at_us[place] < ended_us:
            suspects.add(series_id)
    if known.silent:
        suspects.update(_heard_now(book, block, known.silent, now_us=epoch_us(now)))
    return {each for each in suspects if each in book.watches or each in book.past}


def _after_pauses(book: RuleBook, block: ReadingBlock) -> NDArray[np.intp]:
    places = np.flatnonzero(np.diff(block.at_us) > book.shortest_us) + 1
    series_id = block.series_id[places]
    places = places[(series_id == block.series_id[places - 1]) & (series_id < len(book.longest_us))]
    wide: NDArray[np.intp] = places[block.at_us[places] - block.at_us[places - 1] > book.longest_us[block.series_id[places]]]
    return wide


def _heard_now(book: RuleBook, block: ReadingBlock, silent: list[int], *, now_us: int) -> list[int]:
    """Those of the silent series of which the block holds a reading that is new enough to end the silence."""
    last = np.flatnonzero(np.append(np.diff(block.series_id) != 0, True))
    last = last[np.isin(block.series_id[last], silent) & (block.series_id[last] < len(book.longest_us))]
    series_id = block.series_id[last]
    heard: list[int] = series_id[now_us - block.at_us[last] <= book.longest_us[series_id]].tolist()
    return heard


def _times(block: ReadingBlock, series_id: int) -> NDArray[np.int64]:
    first, after = np.searchsorted(block.series_id, [series_id, series_id + 1])
    return block.at_us[first:after]


async def judge_gaps(
    db: AsyncConnection, book: RuleBook, series_id: int, *, first: datetime, last: datetime, now: datetime
) -> None:
    """Brings the gaps around readings in [first, last] in line with the table; the series is locked by the caller."""
    watches = book.watches.get(series_id) or book.past.get(series_id)
    span = {"series_id": series_id, "first": first, "last": last}
    row = await (await db.execute(_SQL["neighbours"], span)).fetchone()
    if not watches or row is None or row[2] is None:
        return
    since, until, newest = row[0] or first, row[1] or last, row[2]
    span |= {"since": since, "until": until, "shortest_s": book.shortest_us / 1_000_000}
    found: dict[datetime, _Pause] = {}
    for started_at, ended_at in await (await db.execute(_SQL["pauses"], span)).fetchall():
        told = book.longest_gap_s(series_id, started_at)
        if told is not None and ended_at - started_at > timedelta(seconds=told[0]):
            found[started_at] = _Pause(ended_at, *told)
    known = [_Gap(*each) for each in await (await db.execute(_SQL["known"], span)).fetchall()]
    going_on = next((gap for gap in known if gap.ended_at is None), None)
    if going_on is not None:
        closed = await _settle(db, book, series_id, going_on, found=found, newest=newest, now=now)
        known = [gap for gap in known if gap is not going_on or closed]
    await _store(db, watches[0].source, known=known, found=found, now=now)


async def _settle(
    db: AsyncConnection,
    book: RuleBook,
    series_id: int,
    gap: _Gap,
    *,
    found: dict[datetime, _Pause],
    newest: datetime,
    now: datetime,
) -> bool:
    """The gap that goes on: moved along with the newest reading, or over. True when it is one of those found and now closed."""
    told = book.longest_gap_s(series_id, newest)
    if told is not None and newest + timedelta(seconds=told[0]) < now:
        if newest > gap.started_at:
            await db.execute(_SQL["move"], {"id": gap.id, "started_at": newest, "ended_at": None})
            opened_at, details = newest + timedelta(seconds=told[0]), {"since": newest.isoformat()}
            await _correct(db, gap.id, told[1].source, opened_at=opened_at, cleared_at=None, details=details, now=now)
        return False
    if gap.started_at in found:
        return True
    after = await (await db.execute(_SQL["next_after"], {"series_id": series_id, "at": gap.started_at})).fetchone()
    await db.execute(_SQL["forget"], {"id": gap.id})
    watch = book.longest_gap_s(series_id, gap.started_at) or told
    if watch is not None:
        cleared_at = after[0] if after else now
        await _correct(db, gap.id, watch[1].source, opened_at=None, cleared_at=cleared_at, details={"retracted": True}, now=now)
    return False


async def _store(db: AsyncConnection, source: str, *, known: list[_Gap], found: dict[datetime, _Pause], now: datetime) -> None:
    """Makes the known gaps those that were found. One that lost a piece keeps its alert."""
    by_start = {gap.started_at: gap for gap in known}
    gone = [gap for gap in known if gap.started_at not in found]
    for started_at, pause in found.items():
        gap = by_start.get(started_at) or _heir_of(gone, started_at, pause.ended_at)
        if gap is None:
            await _tell_of(db, pause.watch, pause.longest_s, started_at=started_at, ended_at=pause.ended_at, now=now)
        elif (gap.started_at, gap.ended_at) != (started_at, pause.ended_at):
            await db.execute(_SQL["move"], {"id": gap.id, "started_at": started_at, "ended_at": pause.ended_at})
            opened_at, details = started_at + timedelta(seconds=pause.longest_s), {"since": started_at.isoformat()}
            await _correct(db, gap.id, source, opened_at=opened_at, cleared_at=pause.ended_at, details=details, now=now)
    for gap in gone:
        await db.execute(_SQL["forget"], {"id": gap.id})
        await _correct(db, gap.id, source, opened_at=None, cleared_at=gap.ended_at or now, details={"retracted": True}, now=now)


def _heir_of(gone: list[_Gap], started_at: datetime, ended_at: datetime) -> _Gap | None:
    """Takes out the gap that is gone of which this one is the rest."""
    for index, gap in enumerate(gone):
        if gap.ended_at is not None and gap.started_at < started_at and ended_at <= gap.ended_at:
            return gone.pop(index)
    return None


async def _tell_of(
    db: AsyncConnection, watch: Watch, longest_s: float, *, started_at: datetime, ended_at: datetime | None, now: datetime
) -> bool:
    """Writes a gap and its alert; false when it is written already."""
    values = {"series_id": watch.series_id, "started_at": started_at, "ended_at": ended_at, "now": now}
    row = await (await db.execute(_SQL["add"], values)).fetchone()
    if row is None:
        return False
    await alerts.open_alert(
        db,
        kind="silence",
        source=watch.source,
        rule=RULE,
        severity="major",
        site=watch.site,
        location=watch.location,
        opened_at=started_at + timedelta(seconds=longest_s),
        cleared_at=ended_at,
        details={
            "gap": row[0],
            "since": started_at.isoformat(),
            "series_id": watch.series_id,
            "device": watch.device,
            "quantity": watch.quantity,
            "max_gap_s": longest_s,
        },
        now=now,
    )
    return True


async def _correct(
    db: AsyncConnection,
    gap_id: int,
    source: str,
    *,
    opened_at: datetime | None,
    cleared_at: datetime | None,
    details: dict[str, Any],
    now: datetime,
) -> None:
    row = await (await db.execute(_SQL["alert_of_gap"], {"source": source, "id": gap_id})).fetchone()
    if row is not None:
        await alerts.correct_alert(db, row[0], opened_at=opened_at, cleared_at=cleared_at, details=details, now=now)


async def heard_again(db: AsyncConnection, now: datetime) -> list[tuple[int, datetime, datetime]]:
    """The silent series, in rising order, that were heard meanwhile or may now pause for so long, with the span to look over."""
    return await (await db.execute(_SQL["heard_again"], {"now": now})).fetchall()


async def find_silence(db: AsyncConnection, now: datetime) -> int:
    """Opens a gap and its alert for each watched series that is silent for longer than its rules allow; ends those that are not.

    A gap that stands where nobody watches any more is cleared. Returns how many are newly silent.
    """
    for source, gap_id in await (await db.execute(_SQL["unwatched"])).fetchall():
        await db.execute(_SQL["forget"], {"id": gap_id})
        await alerts.clear_alert(db, source=source, rule=RULE, cleared_at=now, details={"unwatched": True}, now=now)
    await db.execute(_SQL["forget_unwatched"])
    book = await read_book(db)
    for series_id, first, last in await heard_again(db, now):
        await lock_series(db, series_id)
        await judge_gaps(db, book, series_id, first=first, last=last, now=now)
    newly = 0
    for series_id, newest in await (await db.execute(_SQL["silent"], {"now": now})).fetchall():
        told = book.longest_gap_s(series_id, newest)
        if told is not None:
            newly += await _tell_of(db, told[1], told[0], started_at=newest, ended_at=None, now=now)
    return newly + await _find_never_heard(db, now)


async def _find_never_heard(db: AsyncConnection, now: datetime) -> int:
    """A room that is watched by a rule and by no sensor: a wrong port or unit id at installation must not guard nothing."""
    for source, heard_at in await (await db.execute(_SQL["first_heard"])).fetchall():
        await alerts.clear_alert(db, source=source, rule=RULE, cleared_at=heard_at, details={}, now=now)
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["never_heard"], {"now": now})
        unheard = await cursor.fetchall()
    for row in unheard:
        await alerts.open_alert(
            db,
            kind="silence",
            source=f"rule:{row['rule']}",
            rule=RULE,
            severity="major",
            site=row["site"],
            location=row["location"],
            opened_at=row["known_at"] + timedelta(seconds=row["max_gap_s"]),
            details={"quantity": row["quantity"], "max_gap_s": row["max_gap_s"], "never_heard": True},
            now=now,
        )
    return len(unheard)
