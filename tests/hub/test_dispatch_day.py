"""A day at a depot, on a real database: planned, driven, late, planned again, decided."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from core.errors import InvalidInput, NotFound, RuleViolation, Unavailable
from core.messages import Position
from hub.adapters.solvers import portfolio
from hub.domain.routing import Plan, Problem
from hub.services import dispatch
from hub.services.dispatch import NewOrder, OrderLine

START = datetime(2026, 11, 21, 0, 0, tzinfo=UTC)
DEPOT = (30.6, 114.3)
GTIN = "06901234001013"
PLACES = {"north": (30.62, 114.30), "east": (30.60, 114.33), "far-east": (30.60, 114.36), "south": (30.57, 114.30)}


def minute(m: float) -> datetime:
    return START + timedelta(minutes=m)


class Solver:
    """The real portfolio in this process with a short limit, counting its calls."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    async def __call__(self, problem: Problem, time_limit_s: float = 0.1) -> Plan:
        self.problems.append(problem)
        return portfolio.solve(problem, time_limit_s=min(time_limit_s, 0.1))


async def broken(problem: Problem, time_limit_s: float = 1.0) -> Plan:
    raise Unavailable("the solver gave no answer within 33 s and was killed")


@pytest.fixture
async def depot(db: AsyncConnection) -> AsyncConnection:
    await db.execute("INSERT INTO site (site, name_zh, name_en, latitude, longitude) VALUES ('depot', '仓', 'Depot', 30.6, 114.3)")
    for n in (1, 2):
        await db.execute(
            "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, cold_box, speed_mps,"
            " shift_from, shift_until) VALUES (%s, 'depot', '车', 'Van', 'fleet', %s, 40, %s, 12, %s, %s)",
            (f"van-{n}", f"van-{n}-gps", n == 1, START, minute(600)),
        )
    for name, (latitude, longitude) in PLACES.items():
        await db.execute("INSERT INTO destination VALUES (%s, '站', 'Clinic', %s, %s)", (name, latitude, longitude))
    await db.execute(
        "INSERT INTO product (gtin, name_zh, name_en, unit, storage_class)"
        " VALUES (%s, '疫苗', 'Vaccine', 'carton', 'refrigerated')",
        (GTIN,),
    )
    return db


def an_order(name: str, destination: str, *, until: float = 300, **changes: object) -> NewOrder:
    values: dict[str, Any] = {
        "id": name,
        "site": "depot",
        "destination": destination,
        "window_from": START,
        "window_until": minute(until),
        "service_s": 300,
        "demand": 5,
        "lines": [OrderLine(GTIN, 5)],
    }
    return NewOrder(**{**values, **changes})


async def running_day(db: AsyncConnection, solve: Solver, orders: list[NewOrder]) -> dict[str, str]:
    """Orders taken, planned and accepted at minute 0; returns the vehicle of each order."""
    for order in orders:
        await dispatch.create_order(db, order, START)
    plan = await dispatch.plan_day(db, "depot", START, solve)
    await dispatch.accept(db, plan, "dora", START)
    return await told(db, plan)


async def told(db: AsyncConnection, plan: int) -> dict[str, str]:
    rows = await db.execute("SELECT order_id, vehicle FROM plan_stop WHERE plan = %s", (plan,))
    return dict(await rows.fetchall())


async def state_of(db: AsyncConnection, order: str) -> tuple[str, datetime | None, datetime | None]:
    row = await (await db.execute("SELECT state, arrived_at, delivered_at FROM delivery_order WHERE id = %s", (order,))).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


async def fix(db: AsyncConnection, vehicle: str, m: float, place: tuple[float, float], speed: float = 12.0) -> None:
    await dispatch.take_positions(db, "fleet", [Position(f"{vehicle}-gps", minute(m), place[0], place[1], speed)], minute(m))


def between(a: tuple[float, float], b: tuple[float, float], share: float) -> tuple[float, float]:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


async def reasons_of(db: AsyncConnection, plan: int) -> list[dict[str, Any]]:
    row = await (await db.execute("SELECT reasons FROM plan WHERE id = %s", (plan,))).fetchone()
    assert row is not None
    found: list[dict[str, Any]] = row[0]
    return found


async def test_a_day_is_proposed_and_in_force_once_accepted(depot: AsyncConnection) -> None:
    vehicles = await running_day(depot, Solver(), [an_order("o1", "north"), an_order("o2", "east", needs_cold_box=True)])
    assert vehicles["o2"] == "van-1"
    plans = await dispatch.site_plan(depot, "depot", minute(1))
    assert plans["proposed"] is None
    active = plans["active"]
    assert active is not None
    assert active["unserved"] == []
    assert {stop["order"] for route in active["routes"] for stop in route["stops"]} == {"o1", "o2"}
    assert all(stop["forecast_arrival_at"] > minute(1) for route in active["routes"] for stop in route["stops"])


async def test_policy_apply_puts_a_plan_in_force_at_once_and_supersedes_the_last(depot: AsyncConnection) -> None:
    await dispatch.create_order(depot, an_order("o1", "north"), START)
    first = await dispatch.plan_day(depot, "depot", START, Solver(), "apply")
    second = await dispatch.plan_day(depot, "depot", START, Solver(), "apply")
    rows = await (await depot.execute("SELECT id, state FROM plan ORDER BY id")).fetchall()
    assert rows == [(first, "superseded"), (second, "active")]


async def test_an_order_nobody_can_serve_is_told_with_a_reason(depot: AsyncConnection) -> None:
    await dispatch.create_order(depot, an_order("o1", "far-east", until=6), START)
    plan = await dispatch.plan_day(depot, "depot", START, Solver())
    assert (await dispatch.read_plan(depot, plan, START))["unserved"] == [{"order": "o1", "reason": "too_far_for_window"}]


async def test_leaving_the_depot_loads_the_orders_of_that_vehicle_only(depot: AsyncConnection) -> None:
    vehicles = await running_day(
        depot, Solver(), [an_order("o1", "north", needs_cold_box=True), an_order("o2", "south", demand=38)]
    )
    gone = vehicles["o1"]
    assert vehicles["o2"] != gone
    await fix(depot, gone, 1, DEPOT, 0)
    assert (await state_of(depot, "o1"))[0] == "planned_for"
    await fix(depot, gone, 2, between(DEPOT, PLACES["north"], 0.3))
    assert (await state_of(depot, "o1"))[0] == "loaded"
    assert (await state_of(depot, "o2"))[0] == "planned_for"


async def test_halting_at_a_stop_is_arrival_and_leaving_it_is_delivery(depot: AsyncConnection) -> None:
    vehicle = (await running_day(depot, Solver(), [an_order("o1", "north")]))["o1"]
    await fix(depot, vehicle, 1, between(DEPOT, PLACES["north"], 0.5))
    await fix(depot, vehicle, 4, PLACES["north"], 0)
    assert await state_of(depot, "o1") == ("arrived", minute(4), None)
    await fix(depot, vehicle, 8, between(PLACES["north"], DEPOT, 0.02), 0)
    assert (await state_of(depot, "o1"))[0] == "arrived"
    await fix(depot, vehicle, 9, between(PLACES["north"], DEPOT, 0.3))
    assert await state_of(depot, "o1") == ("delivered", minute(4), minute(9))


async def test_a_late_fix_corrects_the_arrival_and_not_the_live_place(depot: AsyncConnection) -> None:
    vehicle = (await running_day(depot, Solver(), [an_order("o1", "north")]))["o1"]
    await fix(depot, vehicle, 1, between(DEPOT, PLACES["north"], 0.5))
    await fix(depot, vehicle, 6, PLACES["north"], 0)
    await dispatch.take_positions(depot, "fleet", [Position(f"{vehicle}-gps", minute(4), *PLACES["north"], 0.0)], minute(7))
    assert await state_of(depot, "o1") == ("arrived", minute(4), None)
    live = next(v["live"] for v in await dispatch.list_vehicles(depot) if v["vehicle"] == vehicle)
    assert datetime.fromisoformat(live["at"]) == minute(6)


async def test_driving_slowly_past_a_later_stop_is_no_arrival(depot: AsyncConnection) -> None:
    orders = [an_order("o1", "east", demand=20), an_order("o2", "far-east", demand=20, until=400)]
    vehicles = await running_day(depot, Solver(), orders)
    assert vehicles["o1"] == vehicles["o2"]
    rows = await (await depot.execute("SELECT order_id FROM plan_stop ORDER BY place")).fetchall()
    later = rows[1][0]
    await fix(depot, vehicles["o1"], 1, between(DEPOT, PLACES["east"], 0.5))
    await fix(depot, vehicles["o1"], 5, PLACES["far-east" if later == "o2" else "east"], 1.0)
    assert (await state_of(depot, later))[0] == "loaded"


async def late_day(depot: AsyncConnection, solve: Solver) -> dict[str, str]:
    """Two vans out; van of o1 has stood in a jam half way to its first stop since minute 2."""
    orders = [an_order("o1", "east", until=20, needs_cold_box=True), an_order("o2", "far-east", until=40, needs_cold_box=True)]
    vehicles = await running_day(depot, solve, [*orders, an_order("o3", "south", demand=38)])
    for name, place in (("o1", "east"), ("o3", "south")):
        await fix(depot, vehicles[name], 1, DEPOT, 0)
        await fix(depot, vehicles[name], 2, between(DEPOT, PLACES[place], 0.1), 0)
    return vehicles


async def test_a_late_van_is_alerted_once_and_the_day_is_planned_again_once(depot: AsyncConnection) -> None:
    solve = Solver()
    vehicles = await late_day(depot, solve)
    assert await dispatch.watch(depot, minute(3), solve) == []
    await fix(depot, vehicles["o1"], 24, between(DEPOT, PLACES["east"], 0.1), 0)
    (plan,) = await dispatch.watch(depot, minute(25), solve)
    assert await dispatch.watch(depot, minute(26), solve) == []
    assert await dispatch.watch(depot, minute(28), solve) == []
    reasons = await reasons_of(depot, plan)
    assert reasons[0]["code"] == "vehicle_late"
    assert reasons[0]["vehicle"] == vehicles["o1"]
    assert {"window_lost"} <= {reason["code"] for reason in reasons}
    assert await told(depot, plan) == vehicles
    rows = await (await depot.execute("SELECT source, state, kind FROM alert")).fetchall()
    assert rows == [(f"vehicle:{vehicles['o1']}", "open", "lateness")]
    await dispatch.accept(depot, plan, "dora", minute(29))
    shown = (await dispatch.site_plan(depot, "depot", minute(29)))["active"]
    assert shown is not None
    late = {stop["order"]: stop["lateness_s"] for route in shown["routes"] for stop in route["stops"]}
    assert late["o1"] > 0


async def test_lateness_that_grows_by_another_threshold_is_planned_again(depot: AsyncConnection) -> None:
    solve = Solver()
    vehicles = await late_day(depot, solve)
    place = between(DEPOT, PLACES["east"], 0.1)
    await fix(depot, vehicles["o1"], 24, place, 0)
    assert len(await dispatch.watch(depot, minute(25), solve)) == 1
    await fix(depot, vehicles["o1"], 33, place, 0)
    assert await dispatch.watch(depot, minute(34), solve) == []
    await fix(depot, vehicles["o1"], 37, place, 0)
    assert len(await dispatch.watch(depot, minute(38), solve)) == 1


async def test_a_van_that_stays_stuck_is_no_news_until_another_threshold_and_stays_one_alert(depot: AsyncConnection) -> None:
    solve = Solver()
    vehicles = await late_day(depot, solve)
    await depot.execute("UPDATE delivery_order SET window_until = %s WHERE id = 'o2'", (minute(300),))
    place = between(DEPOT, PLACES["east"], 0.1)
    await fix(depot, vehicles["o1"], 24, place, 0)
    assert len(await dispatch.watch(depot, minute(25), solve, "apply")) == 1
    for m in range(27, 35, 2):
        await fix(depot, vehicles["o1"], m - 0.5, place, 0)
        assert await dispatch.watch(depot, minute(m), solve, "apply") == []
    await fix(depot, vehicles["o1"], 37, place, 0)
    assert len(await dispatch.watch(depot, minute(38), solve, "apply")) == 1
    rows = await (await depot.execute("SELECT state, cleared_at FROM alert WHERE kind = 'lateness'")).fetchall()
    assert rows == [("open", None)]


async def test_a_stale_position_is_never_taken_for_lateness(depot: AsyncConnection) -> None:
    solve = Solver()
    await late_day(depot, solve)
    assert await dispatch.watch(depot, minute(60), solve) == []
    active = (await dispatch.site_plan(depot, "depot", minute(60)))["active"]
    assert active is not None
    assert all(route["forecast_stale"] for route in active["routes"])


async def test_an_urgent_order_is_planned_in_and_collected_at_the_depot(depot: AsyncConnection) -> None:
    solve = Solver()
    vehicles = await late_day(depot, solve)
    await dispatch.create_order(depot, an_order("o9", "north", until=90, priority=90), minute(4))
    (plan,) = await dispatch.watch(depot, minute(4), solve)
    assert await dispatch.watch(depot, minute(5), solve) == []
    now = await told(depot, plan)
    assert {name: now[name] for name in vehicles} == vehicles
    codes = [(reason["code"], reason.get("order")) for reason in await reasons_of(depot, plan)]
    assert ("new_order", "o9") in codes
    assert ("added", "o9") in codes
    assert ("collect_at_depot", "o9") in codes
    row = await (await depot.execute("SELECT trigger, state FROM plan WHERE id = %s", (plan,))).fetchone()
    assert row == ("new_order", "proposed")


async def test_a_rejected_proposal_is_not_made_again(depot: AsyncConnection) -> None:
    solve = Solver()
    await late_day(depot, solve)
    await dispatch.create_order(depot, an_order("o9", "north", until=90), minute(4))
    (plan,) = await dispatch.watch(depot, minute(4), solve)
    await dispatch.reject(depot, plan, "dora", minute(4))
    assert await dispatch.watch(depot, minute(5), solve) == []
    with pytest.raises(RuleViolation, match="not proposed"):
        await dispatch.accept(depot, plan, "dora", minute(5))


async def test_a_cancelled_order_leaves_the_plan(depot: AsyncConnection) -> None:
    solve = Solver()
    await running_day(depot, solve, [an_order("o1", "north"), an_order("o2", "east")])
    await dispatch.cancel_order(depot, "o1", START)
    (plan,) = await dispatch.watch(depot, START, solve)
    assert set(await told(depot, plan)) == {"o2"}
    assert await dispatch.watch(depot, minute(1), solve) == []
    with pytest.raises(RuleViolation, match="is cancelled"):
        await dispatch.cancel_order(depot, "o1", minute(1))


async def test_a_solver_that_fails_leaves_the_plan_and_tells_why(depot: AsyncConnection) -> None:
    solve = Solver()
    vehicles = await late_day(depot, solve)
    before = (await dispatch.site_plan(depot, "depot", minute(3)))["active"]
    await fix(depot, vehicles["o1"], 24, between(DEPOT, PLACES["east"], 0.1), 0)
    assert await dispatch.watch(depot, minute(25), broken) == []
    after = await dispatch.site_plan(depot, "depot", minute(25))
    assert before is not None
    assert after["active"] is not None
    assert after["active"]["id"] == before["id"]
    assert after["proposed"] is None
    (failed,) = await dispatch.list_plans(depot, minute(25), state="rejected")
    assert failed["reasons"][-1]["code"] == "solver_failed"
    assert "killed" in failed["reasons"][-1]["detail"]


async def test_a_plan_is_made_again_when_the_world_changes_while_it_is_solved(depot: AsyncConnection) -> None:
    inner = Solver()
    await dispatch.create_order(depot, an_order("o1", "north"), START)

    async def disturbed(problem: Problem, time_limit_s: float = 0.1) -> Plan:
        if len(inner.problems) == 0:
            await dispatch.create_order(depot, an_order("o2", "east"), START)
        return await inner(problem, time_limit_s)

    plan = await dispatch.plan_day(depot, "depot", START, disturbed)
    assert len(inner.problems) == 2
    assert set(await told(depot, plan)) == {"o1", "o2"}


async def test_a_proposal_that_no_longer_fits_the_cargo_is_refused(depot: AsyncConnection) -> None:
    solve = Solver()
    vehicles = await running_day(depot, solve, [an_order("o1", "north")])
    plan = await dispatch.replan(depot, "depot", "manual", START, solve, [])
    assert plan is not None
    other = "van-2" if vehicles["o1"] == "van-1" else "van-1"
    await depot.execute("UPDATE plan_stop SET vehicle = %s WHERE plan = %s", (other, plan))
    await fix(depot, vehicles["o1"], 1, between(DEPOT, PLACES["north"], 0.5))
    with pytest.raises(RuleViolation, match="no longer fits"):
        await dispatch.accept(depot, plan, "dora", minute(2))


async def test_what_is_done_stays_on_the_route_of_the_next_plan(depot: AsyncConnection) -> None:
    solve = Solver()
    vehicles = await running_day(depot, solve, [an_order("o1", "north", until=30), an_order("o2", "south", demand=38)])
    await fix(depot, vehicles["o1"], 1, between(DEPOT, PLACES["north"], 0.5))
    await fix(depot, vehicles["o1"], 4, PLACES["north"], 0)
    await fix(depot, vehicles["o1"], 9, between(PLACES["north"], DEPOT, 0.3))
    plan = await dispatch.replan(depot, "depot", "manual", minute(10), solve, [])
    assert plan is not None
    assert await told(depot, plan) == vehicles
    assert all(stop.id != "o1" for stop in solve.problems[-1].stops)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"lines": [OrderLine(GTIN, 1), OrderLine("00000000000000", 1)]}, r"lines\[1\].gtin"),
        ({"lines": [OrderLine(GTIN, 0)]}, r"lines\[0\].quantity"),
        ({"destination": "atlantis"}, "destination: 'atlantis'"),
        ({"site": "nowhere"}, "site: 'nowhere'"),
        ({"window_until": START - timedelta(hours=1)}, "window_until"),
        ({"window_until": START + timedelta(seconds=200)}, "shorter than the service"),
        ({"demand": 41}, "the largest vehicle of 'depot' carries 40"),
        ({"priority": 101}, "priority"),
        ({"id": ""}, "id: "),
    ],
)
async def test_an_order_that_is_wrong_is_refused_with_the_path(depot: AsyncConnection, changes: dict[str, Any], path: str) -> None:
    order = replace(an_order("o1", "north"), **changes)
    with pytest.raises(InvalidInput, match=path):
        await dispatch.create_order(depot, order, START)
    assert await dispatch.list_orders(depot) == []


async def test_an_order_id_is_taken_once(depot: AsyncConnection) -> None:
    await dispatch.create_order(depot, an_order("o1", "north"), START)
    with pytest.raises(RuleViolation, match="exists already"):
        await dispatch.create_order(depot, an_order("o1", "east"), START)
    (order,) = await dispatch.list_orders(depot)
    assert order["destination"] == "north"
    assert order["lines"] == [{"gtin": GTIN, "quantity": 5}]


async def test_what_cannot_be_planned_is_told(depot: AsyncConnection) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        await dispatch.plan_day(depot, "nowhere", START, Solver())
    await depot.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('unplaced', '甲', 'Unplaced')")
    with pytest.raises(RuleViolation, match="no coordinates"):
        await dispatch.plan_day(depot, "unplaced", START, Solver())
    await depot.execute("INSERT INTO site VALUES ('empty', '乙', 'Empty', 'UTC', 1, 1)")
    with pytest.raises(RuleViolation, match="no vehicle"):
        await dispatch.plan_day(depot, "empty", START, Solver())
    with pytest.raises(Unavailable, match="killed"):
        await dispatch.plan_day(depot, "depot", START, broken)
