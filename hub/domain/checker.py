"""Whether a plan keeps every rule of its problem: written apart from the code that makes plans, so that both must agree."""

from collections import Counter
from dataclasses import dataclass

from hub.domain.routing import HORIZON_S, Plan, Problem, Route, Stop, StopTime, Vehicle


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: a code, the vehicle and stop it concerns, and the figures."""

    code: str
    vehicle: str | None
    stop: str | None
    detail: str = ""


def check(problem: Problem, plan: Plan) -> list[Violation]:
    """Every rule the plan breaks; an empty list accepts it.

    Codes: `unknown_vehicle`, `vehicle_twice`, `unknown_stop`, `not_once`, `must_be_served`, `wrong_vehicle`, `lacks_skill`,
    `before_start`, `wrong_time`, `outside_window`, `wrong_lateness`, `after_shift`, `over_capacity`, `not_collected`,
    `frozen_moved`, `wrong_distance`.
    """
    stops = {stop.id: stop for stop in problem.stops}
    vehicles = {vehicle.id: vehicle for vehicle in problem.vehicles}
    found = _check_names(problem, plan, stops, vehicles)
    if found:
        return found
    for route in plan.routes:
        vehicle = vehicles[route.vehicle]
        found += _check_times(problem, route, vehicle, stops)
        found += _check_load(route, vehicle, stops)
        found += _check_frozen(problem, route)
    if plan.distance_m != sum(route.distance_m for route in plan.routes):
        found.append(Violation("wrong_distance", None, None, f"{plan.distance_m} m is not the sum of the routes"))
    return found


def _check_names(problem: Problem, plan: Plan, stops: dict[str, Stop], vehicles: dict[str, Vehicle]) -> list[Violation]:
    found = [Violation("unknown_vehicle", route.vehicle, None) for route in plan.routes if route.vehicle not in vehicles]
    used = Counter(route.vehicle for route in plan.routes)
    found += [Violation("vehicle_twice", name, None) for name, times in used.items() if times > 1]
    handed = Counter(time.stop for route in plan.routes for time in route.stops if not time.collects)
    left_out = Counter(unserved.stop for unserved in plan.unserved)
    for name in sorted({*handed, *left_out, *(time.stop for route in plan.routes for time in route.stops)} - set(stops)):
        found.append(Violation("unknown_stop", None, name))
    for stop in problem.stops:
        if handed[stop.id] + left_out[stop.id] != 1:
            found.append(Violation("not_once", None, stop.id, f"served {handed[stop.id]}, left out {left_out[stop.id]} times"))
        elif left_out[stop.id] and not stop.droppable:
            found.append(Violation("must_be_served", stop.pinned_to, stop.id))
    for vehicle, count in problem.frozen.items():
        if count and vehicle not in used:
            found.append(Violation("frozen_moved", vehicle, None, "the vehicle has no route"))
    return found


def _check_times(problem: Problem, route: Route, vehicle: Vehicle, stops: dict[str, Stop]) -> list[Violation]:
    found: list[Violation] = []

    def must(holds: bool, code: str, stop: str | None, detail: str) -> None:
        if not holds:
            found.append(Violation(code, route.vehicle, stop, detail))

    def drive_s(a: int, b: int) -> int:
        return (problem.durations_s[a][b] * vehicle.travel_percent + 99) // 100

    where, ready, metres = vehicle.start, vehicle.from_s, 0
    for time in route.stops:
        stop = stops[time.stop]
        there = stop.at
        if time.collects:
            must(stop.pickup_at is not None, "not_collected", stop.id, "there is nothing to collect")
            there = stop.at if stop.pickup_at is None else stop.pickup_at
        else:
            found += _check_service(time, stop, vehicle)
        metres += problem.distances_m[where][there]
        soonest = ready + drive_s(where, there)
        must(time.arrival_s >= soonest, "wrong_time", stop.id, f"arrives at {time.arrival_s} s, before {soonest} s")
        in_order = time.arrival_s <= time.start_s <= time.departure_s
        must(in_order, "wrong_time", stop.id, "arrival, start and departure are not in order")
        where, ready = there, time.departure_s
    if route.stops:
        back = ready + drive_s(where, vehicle.end)
        metres += problem.distances_m[where][vehicle.end]
        must(back <= vehicle.until_s, "after_shift", None, f"back at {back} s, shift ends at {vehicle.until_s} s")
        lasts = back - vehicle.from_s
        must(route.duration_s == lasts, "wrong_time", None, f"the route lasts {lasts} s, not {route.duration_s} s")
    must(route.distance_m == metres, "wrong_distance", None, f"{route.distance_m} m, measured {metres} m")
    return found


def _check_service(time: StopTime, stop: Stop, vehicle: Vehicle) -> list[Violation]:
    due = stop.windows_s[-1][1] if stop.due_s is None else stop.due_s
    late = max(0, time.start_s - due)
    rules = (
        ("outside_window", any(opens <= time.start_s <= closes for opens, closes in stop.windows_s), f"begins at {time.start_s} s"),
        ("wrong_time", time.departure_s >= time.start_s + stop.service_s, f"service of {stop.service_s} s is cut short"),
        ("wrong_lateness", time.lateness_s == late, f"says {time.lateness_s} s, is {late} s"),
        ("wrong_vehicle", stop.pinned_to in (None, vehicle.id), f"its goods are on {stop.pinned_to}"),
        ("lacks_skill", stop.skills <= vehicle.skills, ", ".join(sorted(stop.skills - vehicle.skills))),
    )
    return [Violation(code, vehicle.id, stop.id, detail) for code, holds, detail in rules if not holds]


def _check_load(route: Route, vehicle: Vehicle, stops: dict[str, Stop]) -> list[Violation]:
    found: list[Violation] = []
    aboard = {time.stop for time in route.stops if not time.collects and stops[time.stop].pickup_at is None}
    served = {time.stop for time in route.stops if not time.collects}
    loads = [aboard]
    for time in route.stops:
        if time.collects:
            if time.stop in loads[-1] or time.stop not in served:
                found.append(Violation("not_collected", route.vehicle, time.stop, "collected twice or never handed over"))
            loads.append(loads[-1] | {time.stop})
        else:
            if time.stop not in loads[-1]:
                found.append(Violation("not_collected", route.vehicle, time.stop, "handed over before it is aboard"))
            loads.append(loads[-1] - {time.stop})
    width = max((len(stops[name].demand) for name in served), default=0)
    for dimension in range(width):
        room = vehicle.capacity[dimension] if dimension < len(vehicle.capacity) else 0
        most = max(sum((stops[name].demand + (0,) * width)[dimension] for name in load) for load in loads)
        if most > room:
            found.append(Violation("over_capacity", route.vehicle, None, f"carries {most}, has room for {room}"))
    return found


def _check_frozen(problem: Problem, route: Route) -> list[Violation]:
    count = problem.frozen.get(route.vehicle, 0)
    kept = tuple(problem.current.get(route.vehicle, ())[:count])
    if tuple(time.stop for time in route.stops[:count]) == kept:
        return []
    return [Violation("frozen_moved", route.vehicle, kept[0] if kept else None, f"must begin with {', '.join(kept)}")]


def check_problem(problem: Problem) -> list[Violation]:
    """What makes a problem unanswerable before any engine sees it: wrong shapes, names, indices, windows and pins."""
    found: list[Violation] = []
    places = len(problem.durations_s)
    matrices = (problem.durations_s, problem.distances_m)
    if any(len(matrix) != places or any(len(row) != places or min(row) < 0 for row in matrix) for matrix in matrices):
        found.append(Violation("bad_matrix", None, None, f"both matrices must be {places} x {places}, nothing below 0"))
    vehicles = {vehicle.id for vehicle in problem.vehicles}
    names = Counter([vehicle.id for vehicle in problem.vehicles] + [f"stop {stop.id}" for stop in problem.stops])
    found += [Violation("name_twice", None, name) for name, times in names.items() if times > 1]
    for vehicle in problem.vehicles:
        if not (0 <= vehicle.start < places and 0 <= vehicle.end < places):
            found.append(Violation("bad_place", vehicle.id, None, f"start and end must be 0 to {places - 1}"))
        if vehicle.travel_percent <= 0:
            found.append(Violation("bad_pace", vehicle.id, None, f"travel_percent {vehicle.travel_percent} must be above 0"))
    for stop in problem.stops:
        found += _check_stop(stop, places, vehicles)
    return found + _check_running(problem, vehicles)


def _check_stop(stop: Stop, places: int, vehicles: set[str]) -> list[Violation]:
    found: list[Violation] = []
    if not 0 <= stop.at < places or (stop.pickup_at is not None and not 0 <= stop.pickup_at < places):
        found.append(Violation("bad_place", None, stop.id, f"places must be 0 to {places - 1}"))
    ends = [moment for window in stop.windows_s for moment in window]
    if not ends or ends != sorted(ends) or ends[-1] > HORIZON_S:
        found.append(Violation("bad_window", None, stop.id, f"windows {stop.windows_s} must rise and not overlap"))
    if stop.service_s < 0 or min(stop.demand, default=0) < 0:
        found.append(Violation("bad_amount", None, stop.id, "service and demand must not be negative"))
    if stop.pinned_to is not None and stop.pinned_to not in vehicles:
        found.append(Violation("unknown_vehicle", stop.pinned_to, stop.id))
    return found


def _check_running(problem: Problem, vehicles: set[str]) -> list[Violation]:
    found: list[Violation] = []
    stops = {stop.id: stop for stop in problem.stops}
    told = Counter(name for names in problem.current.values() for name in names)
    found += [Violation("not_once", None, name, "in two running routes") for name, times in told.items() if times > 1]
    for vehicle, count in problem.frozen.items():
        if vehicle not in vehicles:
            found.append(Violation("unknown_vehicle", vehicle, None))
        kept = problem.current.get(vehicle, ())[:count]
        if len(kept) < count:
            found.append(Violation("bad_frozen", vehicle, None, f"{count} stops frozen, the route has {len(kept)}"))
        for name in kept:
            if name not in stops or stops[name].pickup_at is not None or stops[name].pinned_to not in (None, vehicle):
                found.append(Violation("bad_frozen", vehicle, name, "a frozen stop must exist, be aboard and be the vehicle's own"))
    return found
