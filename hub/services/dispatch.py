"""Dispatch: the watch over running plans, and the names under which the other rooms use its parts."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from hub.domain.day_problem import FleetVehicle
from hub.domain.routing import Solve, TravelTimes
from hub.services.alerts import clear_alert, open_alert
from hub.services.dispatch_views import (
    forecast_rows,
    list_destinations,
    list_orders,
    list_plans,
    list_vehicles,
    read_depot,
    read_plan,
    site_plan,
    vehicle_track,
)
from hub.services.orders import NewOrder, OrderLine, cancel_order, create_order
from hub.services.plan_decisions import accept, reject
from hub.services.planning import GREAT_CIRCLE, PLANNING_AHEAD, Policy, Reason, Trigger, plan_day, read_fleet, replan
from hub.services.positions import take_positions
from hub.sql import named

__all__ = [
    "NewOrder",
    "OrderLine",
    "Policy",
    "accept",
    "cancel_order",
    "create_order",
    "list_destinations",
    "list_orders",
    "list_plans",
    "list_vehicles",
    "plan_day",
    "read_plan",
    "reject",
    "replan",
    "site_plan",
    "take_positions",
    "vehicle_track",
    "watch",
]

_SQL = named("dispatch")

LATE_THRESHOLD_S: Final = 600  # behind the plan's own arrival time
WINDOW_GRACE_S: Final = 60  # beyond a window's end (and what the plan has told): below is noise of the forecast
REPLAN_MIN_INTERVAL_S: Final = 120  # between two re-plannings of a site for lateness, or after one that failed
ALERT_RULE: Final = "late"


@dataclass(frozen=True, slots=True)
class _Late:
    """How a vehicle stands against its plan, in seconds.

    `behind_s` is how far behind the plan's arrival it is at its worst stop, `missed_s` how far beyond a window that the plan did
    not give up yet, `broken_s` how far beyond a window at all; `order` is the worst stop's.
    """

    vehicle: str
    behind_s: int
    missed_s: int
    broken_s: int
    order: str

    @property
    def matters(self) -> bool:
        """Whether it calls for another plan."""
        return self.behind_s > LATE_THRESHOLD_S or self.missed_s > WINDOW_GRACE_S

    @property
    def late_s(self) -> int:
        """The figure told to people."""
        return max(self.behind_s, self.missed_s)


async def watch(
    db: AsyncConnection, now: datetime, solve: Solve, policy: Policy = "propose", *, travel: TravelTimes = GREAT_CIRCLE
) -> list[int]:
    """Looks once over every running plan: alerts for late vehicles, and plans again for lateness, new and cancelled orders.

    Returns the ids of the plans made. To be called every second or so, one call at a time, with a connection outside any
    transaction: it takes short ones of its own and solves outside them. Several hubs may call it: a site that another one is
    looking over is left to that one, so that a disturbance makes one plan.
    """
    made: list[int] = []
    rows = await (await db.execute(_SQL["sites_with_active_plan"])).fetchall()
    for (site,) in rows:
        async with _watching(db, site) as mine:
            plan = await _watch_site(db, site, now, solve, policy, travel) if mine else None
        if plan is not None:
            made.append(plan)
    return made


@asynccontextmanager
async def _watching(db: AsyncConnection, site: str) -> AsyncIterator[bool]:
    """Whether this connection alone watches the site now. The server ends it with the connection, should that break."""
    row = await (await db.execute(_SQL["begin_watch"], {"site": site})).fetchone()
    mine = row is not None and bool(row[0])
    try:
        yield mine
    finally:
        if mine and not db.closed:
            await db.execute(_SQL["end_watch"], {"site": site})


async def _watch_site(
    db: AsyncConnection, site: str, now: datetime, solve: Solve, policy: Policy, travel: TravelTimes
) -> int | None:
    async with db.transaction():
        depot = await read_depot(db, site)
        head = await (await db.execute(_SQL["plan_head"], {"site": site, "state": "active"})).fetchone()
        if depot is None or head is None:
            return None
        standings = await _standings(db, head[0], await read_fleet(db, site), depot, now)
        await _alerts(db, site, standings, now)
        told = await (await db.execute(_SQL["last_told_lateness"], {"active": head[0]})).fetchall()
        tried = await (await db.execute(_SQL["last_tries"], {"site": site})).fetchone() or (None, None)
        pending = {"site": site, "active": head[0], "until": now + PLANNING_AHEAD}
        changed: list[Reason] = [
            {"code": code, "order": order} for code, order in await (await db.execute(_SQL["pending_changes"], pending)).fetchall()
        ]
    late = _to_tell(standings, dict(told))
    pause = timedelta(seconds=REPLAN_MIN_INTERVAL_S)
    lateness_at, failed_at = tried
    reasons = [{"code": "vehicle_late", "vehicle": each.vehicle, "late_s": each.late_s, "order": each.order} for each in late]
    if failed_at is not None and now - failed_at < pause:
        return None
    if changed:
        trigger: Trigger = "new_order" if any(reason["code"] == "new_order" for reason in changed) else "manual"
        return await replan(db, site, trigger, now, solve, [*changed, *reasons], policy, travel=travel)
    if reasons and (lateness_at is None or now - lateness_at >= pause):
        return await replan(db, site, "lateness", now, solve, reasons, policy, travel=travel)
    return None


async def _standings(
    db: AsyncConnection, plan: int, fleet: Sequence[FleetVehicle], depot: tuple[float, float], now: datetime
) -> list[_Late]:
    """How each vehicle with a fresh position stands; a stale one says nothing about lateness."""
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["plan_view_stops"], {"plans": [plan]})
        routes: dict[str, list[dict[str, Any]]] = {}
        for row in await cursor.fetchall():
            routes.setdefault(row["vehicle"], []).append(row)
    found: list[_Late] = []
    for vehicle in fleet:
        rows = routes.get(vehicle.vehicle, [])
        forecast = forecast_rows(vehicle, rows, depot, now)
        if forecast.stale:
            continue
        planned = {row["order"]: row for row in rows}
        worst = _Late(vehicle.vehicle, 0, 0, 0, "")
        for stop in forecast.stops:
            row = planned[stop.order]
            behind = int((stop.arrival_at - row["arrival_at"]).total_seconds())
            missed = stop.lateness_s - row["lateness_s"]
            if row["lateness_s"] > 0 and missed <= LATE_THRESHOLD_S:
                missed = 0  # people know that this window is lost; a little more is no news
            worst = _Late(
                vehicle.vehicle,
                max(worst.behind_s, behind),
                max(worst.missed_s, missed),
                max(worst.broken_s, stop.lateness_s),
                stop.order if max(behind, missed) > worst.late_s else worst.order,
            )
        found.append(worst)
    return found


def _to_tell(standings: Sequence[_Late], told: Mapping[str, int]) -> list[_Late]:
    """Vehicles whose lateness calls for a new plan and was not told yet, or has grown by another threshold since."""
    late = [each for each in standings if each.matters]
    fresh = [each for each in late if each.vehicle not in told or each.late_s > told[each.vehicle] + LATE_THRESHOLD_S]
    return late if fresh else []


async def _alerts(db: AsyncConnection, site: str, standings: Sequence[_Late], now: datetime) -> None:
    """One standing alert a late vehicle, whatever plans tell meanwhile.

    Cleared when no window is missed any more and it is less than half as far behind as would open one.
    """
    standing = {row[0] for row in await (await db.execute(_SQL["standing_alerts"], {"site": site, "rule": ALERT_RULE})).fetchall()}
    for each in standings:
        source = f"vehicle:{each.vehicle}"
        details = {"vehicle": each.vehicle, "late_s": each.late_s, "order": each.order}
        if each.matters and source not in standing:
            await open_alert(
                db,
                kind="lateness",
                source=source,
                rule=ALERT_RULE,
                severity="major" if each.missed_s > WINDOW_GRACE_S else "minor",
                site=site,
                location=None,
                opened_at=now,
                details=details,
                now=now,
            )
        elif source in standing and each.behind_s <= LATE_THRESHOLD_S // 2 and each.broken_s <= WINDOW_GRACE_S // 2:
            await clear_alert(db, source=source, rule=ALERT_RULE, cleared_at=now, details=details, now=now)
