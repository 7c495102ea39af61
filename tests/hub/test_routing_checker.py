"""The checker: one small plan that holds, and every way of breaking it named."""

from dataclasses import replace
from typing import Any

import pytest

from hub.domain.checker import check, check_problem
from hub.domain.insertion import insert
from hub.domain.routing import Plan, Problem, Route, Stop, Unserved, Vehicle, plan_from_steps

# Places on a line: 0 is the depot, each 100 m and 10 s further.
DISTANCES = tuple(tuple(abs(a - b) * 100 for b in range(5)) for a in range(5))
DURATIONS = tuple(tuple(abs(a - b) * 10 for b in range(5)) for a in range(5))
PROBLEM = Problem(
    DURATIONS,
    DISTANCES,
    vehicles=(
        Vehicle("v1", 0, 0, 0, 1000, (10,), frozenset({"cold_box"})),
        Vehicle("v2", 0, 0, 0, 1000, (10,)),
    ),
    stops=(
        Stop("a", 1, ((0, 100),), 5, (4,), pinned_to="v1", droppable=False),
        Stop("b", 2, ((50, 300),), 5, (4,), skills=frozenset({"cold_box"})),
        Stop("c", 3, ((0, 900),), 5, (4,)),
        Stop("d", 4, ((0, 900),), 5, (4,), pickup_at=0),
    ),
    current={"v1": ("a", "b"), "v2": ("c",)},
    frozen={"v1": 1},
)


def a_plan(routes: dict[str, list[int]]) -> Plan:
    plan = plan_from_steps(PROBLEM, routes, {}, engine="test", elapsed_s=0.0)
    assert plan is not None
    return plan


GOOD = a_plan({"v1": [0, 1], "v2": [2, ~3, 3]})


def codes(plan: Plan, problem: Problem = PROBLEM) -> set[str]:
    return {violation.code for violation in check(problem, plan)}


def with_route(plan: Plan, index: int, route: Route) -> Plan:
    routes = list(plan.routes)
    routes[index] = route
    return replace(plan, routes=tuple(routes), distance_m=sum(each.distance_m for each in routes))


def with_stop(index: int, **changes: Any) -> Plan:
    """GOOD with figures of the first stop of one route changed."""
    route = GOOD.routes[index]
    first = replace(route.stops[0], **changes)
    return with_route(GOOD, index, replace(route, stops=(first, *route.stops[1:])))


def test_a_plan_that_holds_is_accepted() -> None:
    assert check(PROBLEM, GOOD) == []
    assert GOOD.routes[1].stops[1].collects


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (a_plan({"v1": [0, 1], "v2": [2]}) and replace(a_plan({"v1": [0, 1], "v2": [2]}), unserved=()), "not_once"),
        (replace(GOOD, unserved=(Unserved("a", "no_vehicle"),)), "not_once"),
        (a_plan({"v1": [1], "v2": [2, ~3, 3]}), "must_be_served"),
        (a_plan({"v1": [1], "v2": [0, 2, ~3, 3]}), "wrong_vehicle"),
        (a_plan({"v1": [0], "v2": [1, 2, ~3, 3]}), "lacks_skill"),
        (a_plan({"v1": [0, 1, 2], "v2": [~3, 3]}), "over_capacity"),
        (a_plan({"v1": [1, 0], "v2": [2, ~3, 3]}), "frozen_moved"),
        (a_plan({"v1": [0, 1], "v2": [2, 3]}), "not_collected"),
        (a_plan({"v1": [0, 1], "v2": [2, 3, ~3]}), "not_collected"),
        (a_plan({"v1": [0, 1, ~3], "v2": [2, 3]}), "not_collected"),
        (with_stop(0, arrival_s=1), "wrong_time"),
        (with_stop(0, start_s=101, departure_s=106), "outside_window"),
        (with_stop(0, departure_s=11), "wrong_time"),
        (with_stop(0, lateness_s=7), "wrong_lateness"),
        (with_route(GOOD, 1, replace(GOOD.routes[1], distance_m=1)), "wrong_distance"),
        (with_route(GOOD, 1, replace(GOOD.routes[1], duration_s=1)), "wrong_time"),
        (replace(GOOD, distance_m=1), "wrong_distance"),
        (with_route(GOOD, 1, replace(GOOD.routes[1], vehicle="v9")), "unknown_vehicle"),
        (with_route(GOOD, 1, replace(GOOD.routes[1], vehicle="v1")), "vehicle_twice"),
        (replace(GOOD, unserved=(Unserved("ghost", "no_vehicle"),)), "unknown_stop"),
    ],
)
def test_every_broken_rule_is_named(plan: Plan, code: str) -> None:
    assert code in codes(plan)


def test_a_shift_that_is_too_short_is_named() -> None:
    short = replace(PROBLEM, vehicles=(PROBLEM.vehicles[0], replace(PROBLEM.vehicles[1], until_s=50)))
    assert codes(GOOD, short) == {"after_shift"}


def test_cargo_collected_after_other_cargo_left_needs_no_room_for_both() -> None:
    tight = replace(PROBLEM, vehicles=(PROBLEM.vehicles[0], replace(PROBLEM.vehicles[1], capacity=(4,))))
    assert check(tight, GOOD) == []
    assert codes(a_plan({"v1": [0, 1], "v2": [~3, 2, 3]}), tight) == {"over_capacity"}


def test_lateness_counts_from_the_promise() -> None:
    late = replace(PROBLEM, stops=(replace(PROBLEM.stops[0], due_s=3), *PROBLEM.stops[1:]))
    plan = plan_from_steps(late, {"v1": [0, 1], "v2": [2, ~3, 3]}, {}, engine="test", elapsed_s=0.0)
    assert plan is not None
    assert plan.routes[0].stops[0].lateness_s == 7
    assert check(late, plan) == []
    assert codes(GOOD, late) == {"wrong_lateness"}


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (replace(PROBLEM, durations_s=((0,),)), "bad_matrix"),
        (replace(PROBLEM, vehicles=(*PROBLEM.vehicles, PROBLEM.vehicles[0])), "name_twice"),
        (replace(PROBLEM, stops=(*PROBLEM.stops, Stop("e", 9))), "bad_place"),
        (replace(PROBLEM, stops=(*PROBLEM.stops, Stop("e", 1, ((9, 3),)))), "bad_window"),
        (replace(PROBLEM, stops=(*PROBLEM.stops, Stop("e", 1, service_s=-1))), "bad_amount"),
        (replace(PROBLEM, stops=(*PROBLEM.stops, Stop("e", 1, pinned_to="v9"))), "unknown_vehicle"),
        (replace(PROBLEM, frozen={"v2": 2}), "bad_frozen"),
        (replace(PROBLEM, current={"v1": ("a",), "v2": ("a",)}), "not_once"),
        (replace(PROBLEM, vehicles=(replace(PROBLEM.vehicles[0], travel_percent=0), PROBLEM.vehicles[1])), "bad_pace"),
    ],
)
def test_a_problem_that_says_nothing_sensible_is_named(problem: Problem, code: str) -> None:
    assert code in {violation.code for violation in check_problem(problem)}


@pytest.mark.parametrize(
    ("stop", "vehicles", "reason"),
    [
        (Stop("x", 1), (), "no_vehicle"),
        (Stop("x", 1, skills=frozenset({"cold_box"})), PROBLEM.vehicles[1:], "needs_cold_box"),
        (Stop("x", 1, skills=frozenset({"crane"})), PROBLEM.vehicles, "lacks_skill"),
        (Stop("x", 1, demand=(11,)), PROBLEM.vehicles, "over_capacity"),
        (Stop("x", 4, ((0, 39),)), PROBLEM.vehicles, "too_far_for_window"),
        (Stop("x", 4, ((0, 5),)), (replace(PROBLEM.vehicles[0], from_s=6),), "window_closed"),
        (Stop("x", 4), (replace(PROBLEM.vehicles[0], until_s=60),), "no_time_left"),
    ],
)
def test_a_stop_nobody_serves_has_a_reason(stop: Stop, vehicles: tuple[Vehicle, ...], reason: str) -> None:
    plan = insert(Problem(DURATIONS, DISTANCES, vehicles, (stop,)))
    assert plan.unserved == (Unserved("x", reason),)


def test_a_full_fleet_and_a_place_without_a_way_have_reasons() -> None:
    two = (Stop("x", 1, demand=(8,)), Stop("y", 1, demand=(8,)))
    full = Problem(DURATIONS, DISTANCES, PROBLEM.vehicles[:1], two)
    assert [unserved.reason for unserved in insert(full).unserved] == ["vehicles_full"]
    cut_off = tuple(tuple(10_000_000 if 4 in (a, b) and a != b else DURATIONS[a][b] for b in range(5)) for a in range(5))
    island = Problem(cut_off, DISTANCES, PROBLEM.vehicles, (Stop("x", 4, ((0, 900),)),))
    assert [unserved.reason for unserved in insert(island).unserved] == ["unreachable"]
