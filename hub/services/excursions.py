"""Excursions as stored, each with its own alert: a fold's outcome replaces what stood before, and the alerts follow.

An alert belongs to one excursion (`details.excursion`). One that late readings only corrected keeps its alert with the new
times; one that was none after all has its alert marked as taken back; one that began and ended in the past gets an alert that is
cleared already, and never touches the alert of the one that goes on.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection

from core.coldchain import Excursion, Limit
from hub.services import alerts
from hub.sql import named

_SQL = named("excursions")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(at_us: int) -> datetime:
    """Microseconds since 1970 as an aware time."""
    return EPOCH + timedelta(microseconds=at_us)


def source_of(site: str, device: str, quantity: str) -> str:
    """How an alert names a series."""
    return f"series:{site}.{device}.{quantity}"


@dataclass(frozen=True, slots=True)
class Watch:
    """One rule on one series, with what its alert must say.

    It covers the readings in (after, until]: while the device stood where the rule holds. `until` is None where it stands there.
    """

    series_id: int
    site: str
    device: str
    quantity: str
    location: str
    rule: str
    severity: alerts.Severity
    limit: Limit
    after: datetime = EPOCH
    until: datetime | None = None

    @property
    def source(self) -> str:
        """The cause's name in alerts."""
        return source_of(self.site, self.device, self.quantity)


class _Stored(NamedTuple):
    id: int
    started_at: datetime
    ended_at: datetime | None


async def store_outcome(
    db: AsyncConnection, watch: Watch, outcome: list[Excursion], *, after: datetime, until: datetime, cut: bool, now: datetime
) -> None:
    """Makes the excursions that began in (after, until] those of the outcome, and brings their alerts in line.

    With `cut` the last one ended because the watch did, not because the readings were right again; its alert says so.
    """
    key = {"rule": watch.rule, "series_id": watch.series_id}
    rows = await (await db.execute(_SQL["began_between"], {**key, "after": after, "until": until})).fetchall()
    before = [_Stored(*row) for row in rows]
    starts = {moment(excursion.started_us) for excursion in outcome}
    gone = [each for each in before if each.started_at not in starts]
    if gone:
        await db.execute(_SQL["forget"], {"ids": [each.id for each in gone]})
    saved = [(await _save(db, key, excursion, now), excursion) for excursion in outcome]
    known = {each.id for each in before}
    heirs = _heirs(gone, [(excursion_id, excursion) for excursion_id, excursion in saved if excursion_id not in known])
    await _take_back(db, watch, [each.id for each in gone if each.id not in heirs.values()], now)
    # The one that goes on comes last, when the alerts of those that ended are cleared: only one may stand uncleared.
    for excursion_id, excursion in saved:
        held_by = heirs.get(excursion_id, excursion_id)
        details = _details(watch, excursion, excursion_id) | ({"unwatched": True} if cut and excursion is outcome[-1] else {})
        await _align(db, watch, excursion, held_by=held_by, details=details, now=now)


async def end_unwatched(db: AsyncConnection, rule: str, series_id: int, *, upto: datetime, now: datetime) -> None:
    """Ends what goes on under a watch that is no more, at the last reading that was judged, and clears its alert."""
    ended = await db.execute(_SQL["end_unwatched"], {"rule": rule, "series_id": series_id, "upto": upto})
    for excursion_id, site, device, quantity in await ended.fetchall():
        values = {"source": source_of(site, device, quantity), "rule": rule, "id": excursion_id}
        row = await (await db.execute(_SQL["alert_of"], values)).fetchone()
        if row is not None:
            told = {"unwatched": True}
            await alerts.correct_alert(db, row[0], opened_at=None, cleared_at=upto, details=told, now=now)


def _heirs(gone: list[_Stored], fresh: list[tuple[int, Excursion]]) -> dict[int, int]:
    """Which new excursion takes over the alert of which one that is gone: the first it overlaps, each once."""
    heirs: dict[int, int] = {}
    for old in gone:
        for excursion_id, excursion in fresh:
            ends_after = excursion.ended_us is None or moment(excursion.ended_us) >= old.started_at
            begins_before = old.ended_at is None or moment(excursion.started_us) <= old.ended_at
            if ends_after and begins_before and excursion_id not in heirs:
                heirs[excursion_id] = old.id
                break
    return heirs


async def _save(db: AsyncConnection, key: dict[str, Any], excursion: Excursion, now: datetime) -> int:
    values = {
        **key,
        "started_at": moment(excursion.started_us),
        "alarmed_at": moment(excursion.alarmed_us),
        "ended_at": None if excursion.ended_us is None else moment(excursion.ended_us),
        "peak": excursion.peak,
        "area": excursion.area,
        "now": now,
    }
    row = await (await db.execute(_SQL["save"], values)).fetchone()
    if row is None:
        raise RuntimeError("INSERT ... RETURNING gave no row")
    return int(row[0])


async def _alert_of(db: AsyncConnection, watch: Watch, excursion_id: int) -> tuple[int, datetime | None] | None:
    values = {"source": watch.source, "rule": watch.rule, "id": excursion_id}
    return await (await db.execute(_SQL["alert_of"], values)).fetchone()


async def _take_back(db: AsyncConnection, watch: Watch, excursion_ids: list[int], now: datetime) -> None:
    for excursion_id in excursion_ids:
        row = await (
            await db.execute(_SQL["alert_of"], {"source": watch.source, "rule": watch.rule, "id": excursion_id})
        ).fetchone()
        if row is not None:
            cleared_at = row[1] or now
            await alerts.correct_alert(db, row[0], cleared_at=cleared_at, opened_at=None, details={"retracted": True}, now=now)


async def _align(
    db: AsyncConnection, watch: Watch, excursion: Excursion, *, held_by: int, details: dict[str, Any], now: datetime
) -> None:
    """One excursion's alert: opened, brought up to date, or cleared. One that goes on never hides behind a cleared alert."""
    opened_at = moment(excursion.alarmed_us)
    cleared_at = None if excursion.ended_us is None else moment(excursion.ended_us)
    row = await _alert_of(db, watch, held_by)
    if row is not None and (cleared_at is not None or row[1] is None):
        await alerts.correct_alert(db, row[0], cleared_at=cleared_at, opened_at=opened_at, details=details, now=now)
        return
    await alerts.open_alert(
        db,
        kind="excursion",
        source=watch.source,
        rule=watch.rule,
        severity=watch.severity,
        site=watch.site,
        location=watch.location,
        opened_at=opened_at,
        cleared_at=cleared_at,
        details=details,
        now=now,
    )


def _details(watch: Watch, excursion: Excursion, excursion_id: int) -> dict[str, Any]:
    return {
        "excursion": excursion_id,
        "series_id": watch.series_id,
        "device": watch.device,
        "quantity": watch.quantity,
        "side": excursion.side,
        "started_at": moment(excursion.started_us).isoformat(),
        "peak": excursion.peak,
        "area": round(excursion.area, 3),
        "lower": watch.limit.lower,
        "upper": watch.limit.upper,
        "delay_s": watch.limit.delay_s,
    }
