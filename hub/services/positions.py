"""What fixes of trackers change: the trail, the live place of each vehicle, and which orders left, arrived, were handed over."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg import AsyncConnection

from core.messages import Position
from hub.domain.geo import gcj02_to_wgs84
from hub.domain.ingest_group import Refused
from hub.domain.visits import (
    ARRIVE_RADIUS_M,
    DWELL_OUT_OF_TURN,
    LEAVE_MARGIN_M,
    USABLE_ACCURACY_M,
    Fix,
    Target,
    Visit,
    believable,
    departures,
    visits,
)
from hub.services.events import emit
from hub.sql import named

_SQL = named("dispatch")
_LOG = logging.getLogger(__name__)

FUTURE_TOLERANCE: Final = timedelta(seconds=120)  # how far a tracker's clock may run ahead of ours
OLDEST: Final = timedelta(days=30)  # a fix older than this is a tracker with a wrong clock, or of no use
NULL_ISLAND_DEG: Final = 0.01  # a receiver without a fix says 0, 0
RECENT_FIXES: Final = 8  # looked back on to judge whether the newest fix can be true
LOOK_BACK: Final = timedelta(hours=1)  # of trail read again when fixes come near a stop
TRAIL_MAX: Final = 90_000  # fixes of one vehicle read again at once: a day at one a second; of more only the newest


@dataclass(frozen=True, slots=True)
class _Followed:
    """One stop of a running route as the store knows it."""

    order: str
    latitude: float
    longitude: float
    state: str
    arrived_at: datetime | None
    delivered_at: datetime | None
    site: str
    depot: tuple[float, float] | None
    shift_from: datetime
    bound_from: datetime
    created_at: datetime

    def done_before(self, moment: datetime) -> bool:
        """Whether its visit was over by then: later fixes say nothing about it."""
        return self.delivered_at is not None and self.delivered_at < moment

    def under_way_at(self, moment: datetime) -> datetime | None:
        """When the halt began that lasted at this moment, if one did."""
        return self.arrived_at if self.arrived_at and self.arrived_at < moment and not self.done_before(moment) else None


@dataclass(frozen=True, slots=True)
class _Trail:
    """Believable fixes, complete from `first` on. `begins` says that none before `first` is known."""

    fixes: list[Fix]
    first: datetime
    begins: bool


async def take_positions(db: AsyncConnection, site: str, positions: Sequence[Position], now: datetime) -> list[Refused]:
    """Takes fixes of one site's trackers, in the caller's transaction.

    Every fix that can be a fact is kept once in the trail, late or not; the live place moves forward only and never to a fix
    that implies more than 70 m/s. GCJ-02 is turned into WGS-84, and what came is kept beside it. A fix whose tracker claims no
    better than USABLE_ACCURACY_M is kept, but moves no vehicle and proves no visit. What cannot be true (0, 0; the future;
    older than 30 days; a tracker nobody knows) is returned with its reason.
    """
    found = await db.execute(_SQL["trackers"], {"site": site, "trackers": sorted({each.tracker for each in positions})})
    trackers = {tracker: (tracker_id, vehicle) for tracker, tracker_id, vehicle in await found.fetchall()}
    refused: list[Refused] = []
    rows: dict[tuple[int, datetime], tuple[int, Fix]] = {}
    for index, position in enumerate(positions):
        why = _why_not(position, trackers, site, now)
        if why is None:
            rows.setdefault((trackers[position.tracker][0], position.at), (index, _fix(position)))
        else:
            refused.append(Refused(index, why))
    added = await _add(db, {key: (positions[index], fix) for key, (index, fix) in rows.items()})
    new = [key for key in added if _is_usable(positions[rows[key][0]])]
    if new:
        vehicle_of = dict(trackers.values())
        fresh: dict[str, list[Fix]] = {}
        for key in new:
            fresh.setdefault(vehicle_of[key[0]], []).append(rows[key][1])
        jumps = await _move_live(db, fresh, now)
        refused += [
            Refused(rows[key][0], jumps[vehicle_of[key[0]], key[1]]) for key in new if (vehicle_of[key[0]], key[1]) in jumps
        ]
        await _follow(db, fresh, now)
    return refused


def _why_not(position: Position, trackers: Mapping[str, tuple[int, str]], site: str, now: datetime) -> str | None:
    if position.tracker not in trackers:
        return f"tracker {position.tracker!r} of site {site!r} belongs to no vehicle: name it in a vehicle's tracker"
    if abs(position.latitude) < NULL_ISLAND_DEG and abs(position.longitude) < NULL_ISLAND_DEG:
        return f"tracker {position.tracker!r} says 0, 0: it has no fix"
    if position.at > now + FUTURE_TOLERANCE:
        return f"tracker {position.tracker!r} says {position.at.isoformat()}, which is in the future: set its clock"
    if position.at < now - OLDEST:
        return f"tracker {position.tracker!r} says {position.at.isoformat()}, more than {OLDEST.days} days ago: set its clock"
    return None


def _fix(position: Position) -> Fix:
    latitude, longitude = position.latitude, position.longitude
    if position.coordinate_system == "gcj02":
        latitude, longitude = gcj02_to_wgs84(latitude, longitude)
    return Fix(position.at, latitude, longitude, position.speed_mps, position.course_deg)


def _is_usable(position: Position) -> bool:
    return position.accuracy_m is None or position.accuracy_m <= USABLE_ACCURACY_M


async def _add(db: AsyncConnection, rows: Mapping[tuple[int, datetime], tuple[Position, Fix]]) -> list[tuple[int, datetime]]:
    """Puts fixes into the trail; returns the keys (tracker id, time) that were not there before."""
    if not rows:
        return []
    keys = sorted(rows)
    told = [rows[key][0] for key in keys]
    times = [at for _, at in keys]
    await db.execute(_SQL["ensure_partitions"], {"first": min(times), "last": max(times)})
    added = await db.execute(
        _SQL["add_positions"],
        {
            "tracker_ids": [tracker_id for tracker_id, _ in keys],
            **_columns([rows[key][1] for key in keys]),
            "accuracies": [each.accuracy_m for each in told],
            "systems": [each.coordinate_system for each in told],
            "told_latitudes": [None if each.coordinate_system == "wgs84" else each.latitude for each in told],
            "told_longitudes": [None if each.coordinate_system == "wgs84" else each.longitude for each in told],
        },
    )
    return [(tracker_id, at) for tracker_id, at in await added.fetchall()]


def _columns(fixes: Sequence[Fix]) -> dict[str, list[datetime] | list[float] | list[float | None]]:
    return {
        "ats": [fix.at for fix in fixes],
        "latitudes": [fix.latitude for fix in fixes],
        "longitudes": [fix.longitude for fix in fixes],
        "speeds": [fix.speed_mps for fix in fixes],
        "courses": [fix.course_deg for fix in fixes],
    }


async def _move_live(db: AsyncConnection, fresh: Mapping[str, list[Fix]], now: datetime) -> dict[tuple[str, datetime], str]:
    """Moves vehicles on to their newest believable fix; returns why new fixes (by vehicle and time) were not believed."""
    rows = await db.execute(_SQL["recent_fixes"], {"vehicles": sorted(fresh), "many": RECENT_FIXES, "radius": USABLE_ACCURACY_M})
    recent: dict[str, list[Fix]] = {}
    for vehicle, *fix in await rows.fetchall():
        recent.setdefault(vehicle, []).append(Fix(*fix))
    newest: dict[str, Fix] = {}
    jumps: dict[tuple[str, datetime], str] = {}
    for vehicle, fixes in recent.items():
        kept = believable(fixes)
        newest[vehicle] = kept[-1]
        doubted = {fix.at for fix in fixes} - {fix.at for fix in kept}
        jumps.update(
            {
                (vehicle, fix.at): f"vehicle {vehicle!r} would have jumped at more than 70 m/s"
                for fix in fresh[vehicle]
                if fix.at in doubted
            }
        )
    await db.execute(_SQL["move_live"], {"vehicles": list(newest), "now": now, **_columns(list(newest.values()))})
    return jumps


async def _follow(db: AsyncConnection, fresh: Mapping[str, list[Fix]], now: datetime) -> None:
    """Derives the state of the orders on running routes again, where the new fixes can have changed it."""
    await db.execute(_SQL["hold_routes"], {"vehicles": sorted(fresh)})
    rows = await db.execute(_SQL["followed_stops"], {"vehicles": sorted(fresh)})
    routes: dict[str, list[_Followed]] = {}
    for vehicle, order, latitude, longitude, state, arrived, delivered, site, depot_lat, depot_lon, *times in await rows.fetchall():
        depot = None if depot_lat is None or depot_lon is None else (depot_lat, depot_lon)
        routes.setdefault(vehicle, []).append(_Followed(order, latitude, longitude, state, arrived, delivered, site, depot, *times))
    for vehicle, route in routes.items():
        ordered = min(stop.created_at for stop in route)
        fixes = [fix for fix in fresh[vehicle] if fix.at >= ordered]
        if fixes and _matters(route, fixes):
            trail = await _read_trail(db, vehicle, route, min(fix.at for fix in fixes) - LOOK_BACK)
            await _apply(db, vehicle, _progress(route, trail), route, now)


async def _read_trail(db: AsyncConnection, vehicle: str, route: Sequence[_Followed], first: datetime) -> _Trail:
    """The trail from `first` on, or from the latest moment on that still makes it complete and no longer than `TRAIL_MAX`."""
    under_way = [since for stop in route if (since := stop.under_way_at(first)) is not None]
    if under_way:
        row = await (
            await db.execute(_SQL["last_fix_before"], {"vehicle": vehicle, "first": first, "radius": USABLE_ACCURACY_M})
        ).fetchone()
        # A halt is taken as known when its dwell is surely over; of a younger one all fixes are read.
        sure_until = row[0] - DWELL_OUT_OF_TURN if row is not None else first - DWELL_OUT_OF_TURN
        first = min([first, *(since for since in under_way if since > sure_until)])
    rows = await db.execute(_SQL["trail"], {"vehicle": vehicle, "first": first, "many": TRAIL_MAX, "radius": USABLE_ACCURACY_M})
    fixes = [Fix(*fix) for fix in await rows.fetchall()]
    begins = not fixes or fixes[0].at >= first
    if len(fixes) - (0 if begins else 1) >= TRAIL_MAX:
        # The fix before `first` does not join on to the newest ones.
        fixes = fixes if begins else fixes[1:]
        first, begins = fixes[0].at, False
        _LOG.warning(
            "vehicle %s: more than %d fixes to read again; orders done before %s stay as they are", vehicle, TRAIL_MAX, first
        )
    return _Trail(believable(fixes), first, begins)


def _matters(route: Sequence[_Followed], fixes: Sequence[Fix]) -> bool:
    """Whether these fixes can change any order: near a stop, or while something is under way, or about what is done."""
    first = min(fix.at for fix in fixes)
    if any(o.state in ("planned_for", "arrived") or (o.delivered_at is not None and o.delivered_at >= first) for o in route):
        return True
    near = (ARRIVE_RADIUS_M + LEAVE_MARGIN_M) / 100_000  # degrees of latitude, and a little more
    waiting = [o for o in route if o.state == "loaded"]
    return any(
        abs(fix.latitude - o.latitude) < near and abs(fix.longitude - o.longitude) < near * 4 for fix in fixes for o in waiting
    )


def _progress(route: Sequence[_Followed], trail: _Trail) -> dict[str, tuple[str, Visit | None]]:
    """State and visit of each order that this trail can tell about: what was over before it began stays as it is."""
    depot = route[0].depot
    left = departures(trail.fixes, *depot, from_there=trail.begins) if depot is not None else []
    targets: list[Target] = []
    loaded: set[str] = set()
    for stop in route:
        if stop.done_before(trail.first):
            continue
        gone = next((at for at in left if at >= max(stop.bound_from, stop.shift_from - LOOK_BACK)), None)
        aboard = stop.state != "planned_for" or gone is not None
        if aboard:
            loaded.add(stop.order)
        halted = stop.under_way_at(trail.first)
        targets.append(Target(stop.order, stop.latitude, stop.longitude, stop.created_at, aboard, halted))
    done = {visit.order: visit for visit in visits(trail.fixes, targets)}
    states: dict[str, tuple[str, Visit | None]] = {}
    for target in targets:
        visit = done.get(target.order)
        if visit is None:
            states[target.order] = ("loaded" if target.order in loaded else "planned_for", None)
        else:
            states[target.order] = ("arrived" if visit.left_at is None else "delivered", visit)
    return states


async def _apply(
    db: AsyncConnection,
    vehicle: str,
    progress: Mapping[str, tuple[str, Visit | None]],
    route: Sequence[_Followed],
    now: datetime,
) -> None:
    before = {stop.order: stop for stop in route}
    for order, (state, visit) in progress.items():
        arrived, left = (visit.arrived_at, visit.left_at) if visit is not None else (None, None)
        old = before[order]
        if (old.state, old.arrived_at, old.delivered_at) == (state, arrived, left):
            continue
        values = {"order": order, "state": state, "arrived_at": arrived, "delivered_at": left}
        changed = await (await db.execute(_SQL["set_order_progress"], values)).fetchone()
        if changed is not None and old.state != state:
            at = left or arrived or now
            await emit(db, kind="order", subject=order, site=old.site, payload={"state": state, "vehicle": vehicle}, at=at)
