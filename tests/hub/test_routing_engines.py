"""Insertion, PyVRP and OR-Tools on random problems: whatever they answer, the checker accepts it; what is fixed stays."""

import asyncio
import math
import random
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import RuleViolation, Unavailable
from hub.adapters.solvers import ortools_engine, portfolio, pyvrp_engine
from hub.adapters.solvers.process import SolverProcess
from hub.domain.checker import check, check_problem
from hub.domain.freezing import without_frozen
from hub.domain.insertion import insert
from hub.domain.routing import Plan, Problem, Stop, Vehicle, cost_m, plan_from_steps

QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def random_problem(seed: int, *, stops: int = 12, vehicles: int = 3, live: bool = True, wide: bool = False) -> Problem:
    """Stops on a square of 20 km; when `live`, a running plan with cargo aboard, frozen heads, pickups, and lost promises."""
    draw = random.Random(seed)
    places = [(draw.randrange(20_000), draw.randrange(20_000)) for _ in range(stops + vehicles + 1)]
    distances = tuple(tuple(int(math.dist(a, b)) for b in places) for a in places)
    durations = tuple(tuple(-(-metres // 10) for metres in row) for row in distances)
    fleet = tuple(
        Vehicle(
            f"v{v}",
            1 + v if live else 0,
            0,
            draw.randrange(600),
            40_000,
            (30,),
            frozenset({"cold_box"}) if v % 2 == 0 else frozenset(),
            draw.choice([100, 120]),
        )
        for v in range(vehicles)
    )
    found: list[Stop] = []
    for i in range(stops):
        opens = draw.randrange(0, 20_000)
        closes = opens + (20_000 if wide else draw.randrange(1800, 9000))
        skills = frozenset({"cold_box"}) if draw.random() < 0.2 else frozenset[str]()
        pickup = 0 if live and draw.random() < 0.3 else None
        windows = ((opens, closes),) if draw.random() < 0.8 else ((opens, opens + 600), (opens + 1200, closes))
        found.append(
            Stop(f"s{i}", 1 + vehicles + i, windows, 300, (draw.randrange(1, 6),), None, skills, draw.randrange(101), True, pickup)
        )
    problem = Problem(durations, distances, fleet, tuple(found), change_price=500)
    return _running(problem, draw) if live else problem


def _running(problem: Problem, draw: random.Random) -> Problem:
    """The problem with its insertion plan running: some cargo aboard, the head of each route frozen, some promises lost."""
    plan = insert(problem)
    current = {route.vehicle: tuple(t.stop for t in route.stops if not t.collects) for route in plan.routes}
    told = {name: vehicle for vehicle, names in current.items() for name in names}
    served = {t.stop: t for route in plan.routes for t in route.stops if not t.collects}
    stops: list[Stop] = []
    for stop in problem.stops:
        changed = stop
        if stop.id in told and stop.pickup_at is None and draw.random() < 0.5:
            changed = replace(changed, pinned_to=told[stop.id], droppable=False)
        if stop.id in served and draw.random() < 0.3:
            changed = replace(changed, due_s=max(0, served[stop.id].start_s - draw.randrange(1, 2000)))
        stops.append(changed)
    by_id = {stop.id: stop for stop in stops}
    frozen = {v: 1 for v, names in current.items() if names and by_id[names[0]].pinned_to == v and draw.random() < 0.7}
    return replace(problem, stops=tuple(stops), current=current, frozen=frozen)


def vehicle_of(plan: Plan) -> dict[str, str]:
    return {time.stop: route.vehicle for route in plan.routes for time in route.stops if not time.collects}


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_insertion_is_always_accepted_by_the_checker(seed: int, live: bool) -> None:
    problem = random_problem(seed, live=live)
    assert check_problem(problem) == []
    assert check(problem, insert(problem)) == []


@given(st.integers(0, 10**6))
@QUICK
def test_the_portfolio_is_accepted_and_never_worse_than_insertion(seed: int) -> None:
    problem = random_problem(seed)
    plan = portfolio.solve(problem, time_limit_s=0.1)
    assert check(problem, plan) == []
    assert cost_m(problem, plan) <= cost_m(problem, insert(problem))
    assert not any("pyvrp: " in note and "no solution" not in note for note in plan.notes), plan.notes


@given(st.integers(0, 10**6))
@QUICK
def test_cargo_aboard_and_frozen_stops_never_move(seed: int) -> None:
    problem = random_problem(seed)
    plan = portfolio.solve(problem, time_limit_s=0.1)
    vehicles = vehicle_of(plan)
    for stop in problem.stops:
        if stop.pinned_to is not None:
            assert vehicles[stop.id] == stop.pinned_to
    for route in plan.routes:
        count = problem.frozen.get(route.vehicle, 0)
        assert tuple(t.stop for t in route.stops[:count]) == problem.current.get(route.vehicle, ())[:count]


@given(st.integers(0, 10**6))
@QUICK
def test_each_engine_alone_is_accepted_when_it_serves_everything(seed: int) -> None:
    problem = random_problem(seed, live=False, wide=True)
    cut = without_frozen(problem)
    assert cut is not None
    warm = {route.vehicle: [problem.stop_index[t.stop] for t in route.stops] for route in insert(problem).routes}
    for name, routes in (
        ("pyvrp", pyvrp_engine.solve(cut, warm, time_limit_s=0.05, seed=1)),
        ("ortools", ortools_engine.solve(cut, warm, time_limit_s=0.05)),
    ):
        assert routes is not None, name
        plan = plan_from_steps(problem, routes, {}, engine=name, elapsed_s=0.0)
        assert plan is not None, name
        assert [v for v in check(problem, plan) if v.code != "must_be_served"] == [], name


def test_the_price_of_lateness_puts_the_urgent_stop_first() -> None:
    # On a line: the near stop may be late at little cost, the far one is urgent; both promises are lost when driven in order.
    distances = tuple(tuple(abs(a - b) * 1000 for b in range(4)) for a in range(4))
    durations = tuple(tuple(abs(a - b) * 100 for b in range(4)) for a in range(4))
    near = Stop("near", 1, ((0, 9000),), 1000, (1,), "v", priority=0, droppable=False, due_s=5000)
    far = Stop("far", 3, ((0, 9000),), 10, (1,), "v", priority=100, droppable=False, due_s=400)
    problem = Problem(durations, distances, (Vehicle("v", 0, 0, 0, 20_000, (5,)),), (near, far), {"v": ("near", "far")})
    plan = portfolio.solve(problem, time_limit_s=0.3)
    assert [t.stop for t in plan.routes[0].stops] == ["far", "near"]
    assert all(t.lateness_s == 0 for t in plan.routes[0].stops)


def test_a_hundred_stops_have_a_first_answer_within_fifty_milliseconds() -> None:
    problem = random_problem(7, stops=100, vehicles=10, live=False)
    insert(problem)
    best = min(_timed(problem) for _ in range(5))
    assert best < 0.05


def _timed(problem: Problem) -> float:
    began = time.perf_counter()
    insert(problem)
    return time.perf_counter() - began


def test_a_problem_that_is_wrong_is_refused_before_any_engine() -> None:
    problem = replace(random_problem(1), frozen={"v9": 1})
    with pytest.raises(ValueError, match="unknown_vehicle"):
        portfolio.solve(problem, time_limit_s=0.1)


def test_cargo_that_cannot_be_served_is_told_as_infeasible() -> None:
    stop = Stop("x", 1, ((0, 5),), 0, (), "v", droppable=False)
    problem = Problem(((0, 100), (100, 0)), ((0, 100), (100, 0)), (Vehicle("v", 0, 0, 0, 1000),), (stop,))
    plan = portfolio.solve(problem, time_limit_s=0.1)
    assert not plan.feasible
    assert plan.unserved[0].reason == "too_far_for_window"


def test_the_hub_itself_never_loads_an_engine() -> None:
    program = (
        "import sys, hub.adapters.solvers.process, hub.services.dispatch; sys.exit(bool({'pyvrp', 'ortools'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_the_process_solves_again_and_again() -> None:
    problem = random_problem(3)
    async with SolverProcess() as solve:
        first = await solve(problem, 0.2)
        began = time.monotonic()
        second = await solve(problem, 0.2)
        assert time.monotonic() - began < 3
    for plan in (first, second):
        assert check(problem, plan) == []


async def test_the_process_names_what_is_wrong_with_a_problem() -> None:
    async with SolverProcess() as solve:
        with pytest.raises(RuleViolation, match="unknown_vehicle"):
            await solve(replace(random_problem(1), frozen={"v9": 1}), 0.1)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import time; time.sleep(60)", "no answer within"),
        ("import sys; sys.stdin.buffer.read(10); sys.exit(3)", "ended in the middle"),
        ("import sys; sys.stdout.write('gibberish' * 100); sys.stdout.flush(); sys.stdin.read()", "ended|limit"),
    ],
)
async def test_a_solver_that_hangs_or_crashes_is_killed_and_told(program: str, says: str) -> None:
    solve = SolverProcess(command=(sys.executable, "-c", program), start_grace_s=0.5)
    async with solve:
        with pytest.raises(Unavailable, match=says):
            await solve(random_problem(1), 0.1)
        assert solve.pid is None


async def test_a_cancelled_call_kills_the_child_and_the_next_one_works() -> None:
    async with SolverProcess() as solve:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await solve(random_problem(1), 30.0)
        assert solve.pid is None
        assert check(random_problem(1), await solve(random_problem(1), 0.1)) == []


async def test_an_idle_child_ends_and_another_is_started_when_needed() -> None:
    async with SolverProcess(idle_s=0.05) as solve:
        await solve(random_problem(1), 0.05)
        async with asyncio.timeout(10):
            await solve.ended()
        assert check(random_problem(1), await solve(random_problem(1), 0.05)) == []
