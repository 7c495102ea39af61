"""The first answer: repair of the running routes and cheapest insertion of what is missing, feasible by construction.

Each stop goes where it costs least, most urgent first (Solomon 1987, I1 without its weights; pickups as a pair). Pure and
without a clock; 100 stops take some milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from hub.domain.routing import (
    UNREACHABLE_S,
    Plan,
    Problem,
    Step,
    Stop,
    Vehicle,
    fits,
    lateness_cost_m,
    may_serve,
    plan_from_steps,
    start_in_window,
    time_steps,
)

REASONS: Final[Mapping[str, str]] = {
    "no_vehicle": "no vehicle is there to drive",
    "needs_cold_box": "no vehicle with a cold box is there",
    "lacks_skill": "no vehicle has what this stop asks for",
    "over_capacity": "the load is larger than any vehicle that may carry it",
    "unreachable": "there is no way to this place",
    "window_closed": "the window has closed already",
    "too_far_for_window": "no vehicle can be there before the window closes",
    "vehicles_full": "every vehicle that could be in time is full",
    "no_time_left": "no vehicle has time for it without breaking another promise or its shift",
}
COLD_BOX: Final = "cold_box"
MAX_PAIR_ROUTE: Final = 60  # steps of a route above which a pickup is only tried right before its hand-over


@dataclass(slots=True)
class _Draft:
    """Routes in the making: steps, the departure after each and the latest arrival at each, by vehicle index."""

    problem: Problem
    steps: list[list[Step]] = field(default_factory=list)
    departures: list[list[int]] = field(default_factory=list)
    latest: list[list[int]] = field(default_factory=list)  # arrival at each step from which the rest cannot be driven
    told: dict[int, int] = field(default_factory=dict)  # which vehicle a stop was told to, both as indices

    def set(self, index: int, steps: Sequence[Step]) -> bool:
        """Takes these steps as the vehicle's route if they can be driven with this load."""
        vehicle = self.problem.vehicles[index]
        route = time_steps(self.problem, vehicle, steps)
        if route is None or not fits(self.problem, vehicle, steps):
            return False
        self.steps[index] = list(steps)
        self.departures[index] = [time.departure_s for time in route.stops]
        self.latest[index] = _latest_arrivals(self.problem, vehicle, steps)
        return True


def insert(problem: Problem, running: Mapping[str, Sequence[Step]] | None = None) -> Plan:
    """A plan at once: running routes kept where they still hold, everything else inserted where it is cheapest.

    `running` are steps by vehicle to begin with instead of the problem's own running routes. Never breaks a hard rule; what
    finds no place is unserved with a code of `REASONS`. `problem` must pass `checker.check_problem`.
    """
    count = len(problem.vehicles)
    draft = _Draft(problem, [[] for _ in range(count)], [[] for _ in range(count)], [[] for _ in range(count)])
    for index, vehicle in enumerate(problem.vehicles):
        draft.told.update({step: index for step in problem.steps_of(vehicle.id) if step >= 0})
        _repair(draft, index, problem.steps_of(vehicle.id) if running is None else running.get(vehicle.id, ()))
    placed = {step for steps in draft.steps for step in steps if step >= 0}
    free = [i for i in range(len(problem.stops)) if i not in placed]
    reasons: dict[str, str] = {}
    for i in sorted(free, key=lambda i: _urgency(problem.stops[i])):
        if not _insert_cheapest(draft, i):
            reasons[problem.stops[i].id] = reason(problem, problem.stops[i], draft.steps)
    routes = {vehicle.id: draft.steps[index] for index, vehicle in enumerate(problem.vehicles)}
    plan = plan_from_steps(problem, routes, reasons, engine="insertion", elapsed_s=0.0)
    if plan is None:
        raise RuntimeError("insertion made a route that cannot be driven")
    return plan


def _urgency(stop: Stop) -> tuple[bool, int, int, int]:
    """Cargo on board first, then by priority, then by how little room the promise leaves."""
    return (stop.droppable, -stop.priority, stop.promise_s - stop.windows_s[0][0], stop.promise_s)


def _repair(draft: _Draft, index: int, wanted: Sequence[Step]) -> None:
    """Takes over as much of a running route as still holds: steps are added in order, those that break a rule are left out."""
    problem = draft.problem
    vehicle = problem.vehicles[index]
    own = [step for step in wanted if may_serve(vehicle, problem.stops[step if step >= 0 else ~step])]
    if draft.set(index, own):
        return
    must = {step for step in own if step >= 0 and not problem.stops[step].droppable} | set(problem.frozen_steps(vehicle.id))
    kept = [step for step in own if step in must or ~step in must]
    if not draft.set(index, kept):
        kept = list(problem.frozen_steps(vehicle.id))
        draft.set(index, kept)
    for step in own:
        if step >= 0 and step not in kept:
            tried = [other for other in own if other in (step, ~step) or other in kept]
            if draft.set(index, tried):
                kept = tried


def _insert_cheapest(draft: _Draft, i: int) -> bool:
    best: tuple[int, int, list[Step]] | None = None
    stop = draft.problem.stops[i]
    for index, vehicle in enumerate(draft.problem.vehicles):
        if may_serve(vehicle, stop):
            limit = None if best is None else best[0]
            found = _cheapest_in_route(draft, index, i, limit)
            if found is not None:
                best = (found[0], index, found[1])
    if best is None:
        return False
    return draft.set(best[1], best[2])


def _cheapest_in_route(draft: _Draft, index: int, i: int, limit: int | None) -> tuple[int, list[Step]] | None:
    """The cheapest way to serve stop `i` on this route below `limit` metres, with the whole new route."""
    problem = draft.problem
    steps, departures = draft.steps[index], draft.departures[index]
    vehicle = problem.vehicles[index]
    priced = problem.has_promises_to_price
    told = draft.told.get(i, index)
    fixed = problem.change_price * (told != index) - (_lateness_m(problem, departures, steps) if priced else 0)
    best: tuple[int, list[Step]] | None = None
    for metres, at, hand_over in _places(problem, vehicle, steps, i):
        if limit is not None and metres + fixed >= limit:
            break
        added = [i] if hand_over is None else [~i, *steps[at:hand_over], i]
        tried = [*steps[:at], *added, *steps[at if hand_over is None else hand_over :]]
        late = _late_if_driven(draft, index, tried, at, len(steps) - (at if hand_over is None else hand_over))
        if late is None or (limit is not None and metres + fixed + late >= limit) or not fits(problem, vehicle, tried):
            continue
        limit, best = metres + fixed + late, (metres + fixed + late, tried)
    return best


def _places(problem: Problem, vehicle: Vehicle, steps: list[Step], i: int) -> list[tuple[int, int, int | None]]:
    """Every (added metres, position, position of the hand-over when the goods are collected), cheapest first."""
    metres = problem.distances_m
    places = [vehicle.start, *map(problem.place, steps), vehicle.end]
    legs = [metres[a][b] for a, b in pairwise(places)] if steps else [0]
    first = len(problem.frozen_steps(vehicle.id))
    here, pickup = problem.stops[i].at, problem.stops[i].pickup_at
    to_stop = [metres[places[k]][here] + metres[here][places[k + 1]] - legs[k] for k in range(len(legs))]
    if pickup is None:
        return sorted((to_stop[k], k, None) for k in range(first, len(legs)))
    between = metres[pickup][here]
    found: list[tuple[int, int, int | None]] = []
    for k in range(first, len(legs)):
        before, after = places[k], places[k + 1]
        collect = metres[before][pickup]
        found.append((collect + between + metres[here][after] - legs[k], k, k))
        if len(steps) <= MAX_PAIR_ROUTE:
            collect += metres[pickup][after] - legs[k]
            found += [(collect + to_stop[later], k, later) for later in range(k + 1, len(legs))]
    return sorted(found, key=lambda place: place[:2])


def _latest_arrivals(problem: Problem, vehicle: Vehicle, steps: Sequence[Step]) -> list[int]:
    """The arrival at each step after which some later window or the end of the shift is missed for sure."""
    latest: list[int] = []
    limit, after = vehicle.until_s, vehicle.end
    for step in reversed(steps):
        here = problem.place(step)
        limit -= problem.travel_s(vehicle, here, after)
        if step >= 0:
            stop = problem.stops[step]
            limit = min(limit - stop.service_s, stop.windows_s[-1][1])
        latest.append(limit)
        after = here
    return latest[::-1]


def _late_if_driven(draft: _Draft, index: int, steps: list[Step], at: int, tail: int) -> int | None:
    """The price of lateness of a route that differs from the draft's from step `at` on and ends with its last `tail` steps.

    None when it cannot be driven.
    """
    problem, vehicle, departures = draft.problem, draft.problem.vehicles[index], draft.departures[index]
    clock = departures[at - 1] if at else vehicle.from_s
    place = problem.place(steps[at - 1]) if at else vehicle.start
    late = _lateness_m(problem, departures[:at], steps[:at]) if problem.has_promises_to_price else 0
    for position in range(at, len(steps)):
        step = steps[position]
        here = problem.place(step)
        clock += problem.travel_s(vehicle, place, here)
        place = here
        left = len(steps) - position
        if left <= tail and clock > draft.latest[index][-left]:
            return None
        if step >= 0:
            stop = problem.stops[step]
            start = start_in_window(stop.windows_s, clock)
            if start is None:
                return None
            late += lateness_cost_m(problem, stop, start)
            clock = start + stop.service_s
    return late if clock + problem.travel_s(vehicle, place, vehicle.end) <= vehicle.until_s else None


def _lateness_m(problem: Problem, departures: Sequence[int], steps: Sequence[Step]) -> int:
    return sum(
        lateness_cost_m(problem, problem.stops[step], departure - problem.stops[step].service_s)
        for step, departure in zip(steps, departures, strict=True)
        if step >= 0
    )


def reason(problem: Problem, stop: Stop, routes: Sequence[Sequence[Step]]) -> str:
    """Why nobody can serve `stop`, as a code of `REASONS`: the first that holds for every vehicle."""
    able = [vehicle for vehicle in problem.vehicles if stop.pinned_to in (None, vehicle.id)]
    if not able:
        return "no_vehicle"
    skilled = [vehicle for vehicle in able if stop.skills <= vehicle.skills]
    if not skilled:
        return "needs_cold_box" if COLD_BOX in stop.skills else "lacks_skill"
    large = [vehicle for vehicle in skilled if _room(vehicle, stop.demand)]
    if not large:
        return "over_capacity"
    ways = {vehicle.id: _direct_s(problem, vehicle, stop) for vehicle in large}
    if all(way >= UNREACHABLE_S for way in ways.values()):
        return "unreachable"
    closes = stop.windows_s[-1][1]
    if closes < min(vehicle.from_s for vehicle in large):
        return "window_closed"
    in_time = [vehicle for vehicle in large if vehicle.from_s + ways[vehicle.id] <= closes]
    if not in_time:
        return "too_far_for_window"
    index = problem.stop_index[stop.id]
    added = [index] if stop.pickup_at is None else [~index, index]
    if not any(fits(problem, vehicle, [*routes[problem.vehicle_index[vehicle.id]], *added]) for vehicle in in_time):
        return "vehicles_full"
    return "no_time_left"


def _room(vehicle: Vehicle, demand: tuple[int, ...]) -> bool:
    capacity = (*vehicle.capacity, *(0 for _ in demand))
    return all(amount <= room for amount, room in zip(demand, capacity, strict=False))


def _direct_s(problem: Problem, vehicle: Vehicle, stop: Stop) -> int:
    if stop.pickup_at is None:
        return problem.travel_s(vehicle, vehicle.start, stop.at)
    return problem.travel_s(vehicle, vehicle.start, stop.pickup_at) + problem.travel_s(vehicle, stop.pickup_at, stop.at)
