"""Planning a day and planning it again: read the world, solve outside any transaction, store if the world is still the same."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from core.errors import NotFound, RuleViolation, Unavailable
from hub.domain.checker import check
from hub.domain.day_problem import Day, DayProblem, FleetVehicle, OpenOrder, build, places_of
from hub.domain.geo import GreatCircleTimes
from hub.domain.routing import Plan, Solve, TravelTimes
from hub.domain.visits import Fix
from hub.services.events import emit
from hub.sql import named

_SQL = named("dispatch")
_LOG = logging.getLogger(__name__)

Policy = Literal["propose", "apply"]
Trigger = Literal["day", "lateness", "new_order", "manual"]
Reason = Mapping[str, Any]

PLANNING_AHEAD: Final = timedelta(hours=24)  # orders whose window opens later are another day's
ATTEMPTS: Final = 3  # a plan is made again when the world changed while it was solved
TIME_LIMIT_S: Final = 1.0  # real seconds an engine may search
FAILED_ENGINE: Final = "none"
GREAT_CIRCLE: Final = GreatCircleTimes()


@dataclass(frozen=True, slots=True)
class _Done:
    """A stop of the running plan that is handed over: carried into the new plan so that the route stays whole."""

    vehicle: str
    order: str
    arrived_at: datetime
    left_at: datetime
    lateness_s: int


@dataclass(frozen=True, slots=True)
class _World:
    """What a plan was made from. `fingerprint` is what must not change while it is solved."""

    site: str
    day: Day
    active: int | None
    done: tuple[_Done, ...]
    fingerprint: tuple[object, ...]


async def plan_day(
    db: AsyncConnection,
    site: str,
    now: datetime,
    solve: Solve,
    policy: Policy = "propose",
    *,
    travel: TravelTimes = GREAT_CIRCLE,
    leave_from: datetime | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> int:
    """Plans the open orders of a site for the coming 24 hours and returns the plan's id; it is proposed, or active by policy.

    Takes transactions of its own: the connection must not be in one. Raises NotFound for an unknown site, RuleViolation when it
    has no coordinates or no vehicle, Unavailable when the solver fails or the world changes faster than it is planned.
    """
    plan = await _make(db, site, "day", now, solve, policy, (), travel=travel, leave_from=leave_from, time_limit_s=time_limit_s)
    if plan is None:
        raise Unavailable(f"the orders of {site!r} change faster than they can be planned; try again")
    return plan


async def replan(
    db: AsyncConnection,
    site: str,
    trigger: Trigger,
    now: datetime,
    solve: Solve,
    reasons: Sequence[Reason],
    policy: Policy = "propose",
    *,
    travel: TravelTimes = GREAT_CIRCLE,
    time_limit_s: float = TIME_LIMIT_S,
) -> int | None:
    """Plans a running day again from live positions; returns the new plan's id, or None when the running plan stays.

    `reasons` are codes with what they concern, e.g. `{"code": "vehicle_late", "vehicle": ..., "late_s": ...}`; what the new plan
    changes is added to them. When the solver fails or refuses the problem, the attempt is stored as a rejected plan that says
    why. Transactions as in `plan_day`. Raises NotFound for an unknown site.
    """
    try:
        return await _make(
            db, site, trigger, now, solve, policy, reasons, travel=travel, leave_from=None, time_limit_s=time_limit_s
        )
    except NotFound:
        raise
    except (Unavailable, RuleViolation) as error:
        _LOG.warning("site %s keeps its plan: %s", site, error)
        async with db.transaction():
            failed = {"code": "solver_failed", "detail": str(error)}
            await _store_failure(db, site, trigger, [*reasons, failed], now)
        return None


async def _make(
    db: AsyncConnection,
    site: str,
    trigger: Trigger,
    now: datetime,
    solve: Solve,
    policy: Policy,
    reasons: Sequence[Reason],
    *,
    travel: TravelTimes,
    leave_from: datetime | None,
    time_limit_s: float,
) -> int | None:
    for _ in range(ATTEMPTS):
        async with db.transaction():
            world = await _read_world(db, site, now, leave_from)
        if not world.day.fleet:
            raise RuleViolation(f"site {site!r} has no vehicle: nothing can be planned")
        made = build(world.day, await travel.matrices(places_of(world.day)))
        plan = await solve(made.problem, time_limit_s)
        violations = [each for each in check(made.problem, plan) if each.code != "must_be_served"]
        if violations:
            raise Unavailable(f"the solver gave a plan that breaks a rule: {violations[0]}")
        async with db.transaction():
            await db.execute(_SQL["lock_site"], {"site": site})
            if (await _read_world(db, site, now, leave_from)).fingerprint == world.fingerprint:
                told = [*reasons, *_changes(world, made, plan)]
                return await _store(db, world, made, plan, trigger, told, policy, now)
    return None


async def read_fleet(db: AsyncConnection, site: str) -> tuple[FleetVehicle, ...]:
    """The vehicles of a site with their newest believable fixes."""
    rows = await (await db.execute(_SQL["fleet"], {"site": site})).fetchall()
    return tuple(
        FleetVehicle(vehicle, capacity, cold_box, speed, shift_from, shift_until, Fix(*fix) if fix[0] is not None else None)
        for vehicle, capacity, cold_box, speed, shift_from, shift_until, *fix in rows
    )


async def _read_world(db: AsyncConnection, site: str, now: datetime, leave_from: datetime | None) -> _World:
    row = await (await db.execute(_SQL["site"], {"site": site})).fetchone()
    if row is None:
        raise NotFound(f"site {site!r} does not exist")
    if row[0] is None or row[1] is None:
        raise RuleViolation(f"site {site!r} has no coordinates: give it latitude and longitude to plan from")
    fleet = await read_fleet(db, site)
    rows = await db.execute(_SQL["open_orders"], {"site": site, "until": now + PLANNING_AHEAD})
    orders = tuple(OpenOrder(*order) for order in await rows.fetchall())
    head = await (await db.execute(_SQL["plan_head"], {"site": site, "state": "active"})).fetchone()
    active = head[0] if head is not None else None
    routes: dict[str, list[str]] = {}
    done: list[_Done] = []
    for vehicle, order, *_, late, state, arrived, left in await (
        await db.execute(_SQL["plan_orders"], {"plan": active})
    ).fetchall():
        if state == "delivered":
            done.append(_Done(vehicle, order, arrived, left, late))
        elif state != "cancelled":
            routes.setdefault(vehicle, []).append(order)
    day = Day(now, (row[0], row[1]), fleet, orders, {v: tuple(names) for v, names in routes.items()}, leave_from)
    fingerprint = (active, tuple((order.order, order.state) for order in orders), tuple(routes.items()))
    return _World(site, day, active, tuple(done), fingerprint)


def _changes(world: _World, made: DayProblem, plan: Plan) -> list[dict[str, Any]]:
    """What the plan changes against the running one and what is late in it, as reasons."""
    if world.active is None:
        return []
    told = {name: vehicle for vehicle, names in made.problem.current.items() for name in names}
    late = {time.stop: time.lateness_s for route in plan.routes for time in route.stops if time.lateness_s}
    found: list[dict[str, Any]] = []
    for lost in made.lost:
        found.append({"code": "window_lost", "order": lost.order, "vehicle": lost.vehicle, "late_s": lost.late_s})
        if late.get(lost.order, 0) < lost.late_s:
            found.append({"code": "lateness_saved", "order": lost.order, "late_s": lost.late_s - late.get(lost.order, 0)})
    for route in plan.routes:
        names = [time.stop for time in route.stops if not time.collects]
        for name in names:
            if name not in told:
                found.append({"code": "added", "order": name, "vehicle": route.vehicle})
            elif told[name] != route.vehicle:
                found.append({"code": "moved", "order": name, "vehicle": route.vehicle, "from_vehicle": told[name]})
        kept = [name for name in made.problem.current.get(route.vehicle, ()) if name in names]
        if kept != [name for name in names if name in kept]:
            found.append({"code": "resequenced", "vehicle": route.vehicle})
        collected = [time.stop for time in route.stops if time.collects]
        if collected and any(v.vehicle == route.vehicle and world.day.is_on_road(v) for v in world.day.fleet):
            found += [{"code": "collect_at_depot", "vehicle": route.vehicle, "order": name} for name in collected]
    found += [{"code": "engine_note", "detail": note} for note in plan.notes]
    return found


async def _store(
    db: AsyncConnection,
    world: _World,
    made: DayProblem,
    plan: Plan,
    trigger: Trigger,
    reasons: Sequence[Reason],
    policy: Policy,
    now: datetime,
) -> int:
    for (old,) in await (await db.execute(_SQL["set_aside_proposal"], {"site": world.site, "now": now})).fetchall():
        await tell_plan(db, old, world.site, "superseded", trigger, now)
    applied = policy == "apply"
    if applied:
        for (old,) in await (await db.execute(_SQL["supersede_active"], {"site": world.site})).fetchall():
            await tell_plan(db, old, world.site, "superseded", trigger, now)
    unserved = [{"order": each.stop, "reason": each.reason} for each in (*plan.unserved, *made.closed)]
    new = await _add_plan(
        db,
        {
            "site": world.site,
            "state": "active" if applied else "proposed",
            "trigger": trigger,
            "replaces": world.active,
            "reasons": Jsonb([dict(reason) for reason in reasons]),
            "engine": plan.engine,
            "elapsed_s": plan.elapsed_s,
            "distance_m": plan.distance_m,
            "unserved": Jsonb(unserved),
            "now": now,
            "decided_at": now if applied else None,
            "decided_by": "policy" if applied else None,
        },
    )
    await _add_stops(db, new, world, plan)
    await tell_plan(db, new, world.site, "active" if applied else "proposed", trigger, now)
    return new


async def _add_stops(db: AsyncConnection, plan_id: int, world: _World, plan: Plan) -> None:
    day = world.day
    orders = {order.order: order for order in day.orders}
    rows: list[dict[str, Any]] = []
    places: dict[str, int] = {}

    def add(vehicle: str, order: str, arrival: datetime, start: datetime, departure: datetime, late: int) -> None:
        places[vehicle] = places.get(vehicle, -1) + 1
        times = {"arrival_at": arrival, "start_at": start, "departure_at": departure, "lateness_s": late}
        rows.append({"plan": plan_id, "vehicle": vehicle, "place": places[vehicle], "order": order, **times})

    for done in world.done:
        add(done.vehicle, done.order, done.arrived_at, done.arrived_at, done.left_at, done.lateness_s)
    for route in plan.routes:
        for time in route.stops:
            if time.collects:
                continue
            order = orders[time.stop]
            arrival, start, departure = (day.now + timedelta(seconds=s) for s in (time.arrival_s, time.start_s, time.departure_s))
            late = time.lateness_s
            if order.arrived_at is not None:
                arrival, start = order.arrived_at, max(order.arrived_at, order.window_from)
                late = max(0, int((start - order.window_until).total_seconds()))
            add(route.vehicle, time.stop, arrival, start, max(start, departure), late)
    if rows:
        async with db.cursor() as cursor:
            await cursor.executemany(_SQL["add_stop"], rows)


async def _add_plan(db: AsyncConnection, values: Mapping[str, Any]) -> int:
    row = await (await db.execute(_SQL["add_plan"], values)).fetchone()
    if row is None:
        raise RuntimeError("INSERT ... RETURNING gave no row")
    return int(row[0])


async def _store_failure(db: AsyncConnection, site: str, trigger: Trigger, reasons: Sequence[Reason], now: datetime) -> None:
    head = await (await db.execute(_SQL["plan_head"], {"site": site, "state": "active"})).fetchone()
    values = {
        "site": site,
        "state": "rejected",
        "trigger": trigger,
        "replaces": head[0] if head is not None else None,
        "reasons": Jsonb([dict(reason) for reason in reasons]),
        "engine": FAILED_ENGINE,
        "elapsed_s": 0.0,
        "distance_m": 0,
        "unserved": Jsonb([]),
        "now": now,
        "decided_at": now,
        "decided_by": "solver",
    }
    await tell_plan(db, await _add_plan(db, values), site, "failed", trigger, now)


async def tell_plan(db: AsyncConnection, plan: int, site: str, state: str, trigger: str, now: datetime) -> None:
    """Emits the outgoing event of a plan that came to a new state."""
    await emit(db, kind="plan", subject=str(plan), site=site, payload={"state": state, "trigger": trigger}, at=now)
