"""PyVRP 0.14: hybrid search with hard windows, warm-started; pins and skills go in as load dimensions."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hub.domain.routing import Problem, Step, Stop, Vehicle, drop_price_m, start_in_window, time_steps


def solve(problem: Problem, warm: Mapping[str, Sequence[Step]], *, time_limit_s: float, seed: int) -> dict[str, list[Step]]:
    """Steps by vehicle of the best solution found; it may leave droppable stops out and must be checked.

    `problem` has no frozen stops (`hub.domain.freezing`). A stop with several windows keeps the one the warm start serves it
    in, else its longest: this engine is told one. Runs for `time_limit_s` of wall clock, building excluded.
    """
    import pyvrp
    from pyvrp.exceptions import PenaltyBoundWarning
    from pyvrp.stop import MaxRuntime

    windows = _windows(problem, warm)
    data, activity_of = _data(problem, windows)
    indices = {vehicle.id: index for index, vehicle in enumerate(problem.vehicles)}
    routes = [
        pyvrp.Route(data, [activity_of[step] for step in steps], indices[vehicle]) for vehicle, steps in warm.items() if steps
    ]
    with warnings.catch_warnings():
        # An answer that breaks a rule is the checker's to refuse; the plan before it stays.
        warnings.simplefilter("ignore", PenaltyBoundWarning)
        result = pyvrp.solve(
            data,
            MaxRuntime(time_limit_s),
            seed=seed,
            collect_stats=False,
            display=False,
            initial_solution=pyvrp.Solution(data, routes) if routes else None,
        )
    step_of = {(activity.type, activity.idx): step for step, activity in activity_of.items()}
    return {
        problem.vehicles[route.vehicle_type()].id: [
            step_of[activity.type, activity.idx] for activity in route.schedule() if not activity.is_depot()
        ]
        for route in result.best.routes()
    }


def _windows(problem: Problem, warm: Mapping[str, Sequence[Step]]) -> list[tuple[int, int]]:
    """One window a stop: where the warm start begins its service, else the longest."""
    chosen = [max(stop.windows_s, key=lambda window: window[1] - window[0]) for stop in problem.stops]
    for vehicle, steps in warm.items():
        route = time_steps(problem, problem.vehicles[problem.vehicle_index[vehicle]], steps)
        for time in route.stops if route is not None else ():
            i = problem.stop_index[time.stop]
            if not time.collects:
                chosen[i] = next(
                    window for window in problem.stops[i].windows_s if start_in_window((window,), time.start_s) is not None
                )
    return chosen


def _data(problem: Problem, windows: Sequence[tuple[int, int]]) -> tuple[Any, dict[Step, Any]]:
    """PyVRP's problem data, and its activity for each of our steps."""
    import numpy as np
    import pyvrp

    dimensions = _Dimensions(problem)
    paces = sorted({vehicle.travel_percent for vehicle in problem.vehicles})
    durations: Any = np.asarray(problem.durations_s, dtype=np.int64)
    ends = sorted({place for vehicle in problem.vehicles for place in (vehicle.start, vehicle.end)})
    clients: list[Any] = []
    shipments: list[Any] = []
    activity_of: dict[Step, Any] = {}
    for i, stop in enumerate(problem.stops):
        opens, closes = windows[i]
        prize, amounts = drop_price_m(stop), dimensions.amounts(stop)
        if stop.pickup_at is None:
            activity_of[i] = pyvrp.Activity(pyvrp.ActivityType.CLIENT, len(clients))
            clients.append(
                pyvrp.Client(stop.at, amounts, [], stop.service_s, opens, closes, prize=prize, required=not stop.droppable)
            )
            continue
        activity_of[~i] = pyvrp.Activity(pyvrp.ActivityType.PICKUP, len(shipments))
        activity_of[i] = pyvrp.Activity(pyvrp.ActivityType.DELIVERY, len(shipments))
        shipments.append(
            pyvrp.Shipment(
                stop.pickup_at,
                stop.at,
                delivery_tw_early=opens,
                delivery_tw_late=closes,
                delivery_service_duration=stop.service_s,
                amount=amounts,
                prize=prize,
                required=not stop.droppable,
            )
        )
    distances: Any = np.asarray(problem.distances_m, dtype=np.int64)
    data = pyvrp.ProblemData(
        locations=[pyvrp.Location(0, 0) for _ in problem.durations_s],
        clients=clients,
        depots=[pyvrp.Depot(place) for place in ends],
        vehicle_types=[
            pyvrp.VehicleType(
                num_available=1,
                capacity=dimensions.capacities(vehicle),
                start_depot=ends.index(vehicle.start),
                end_depot=ends.index(vehicle.end),
                tw_early=vehicle.from_s,
                tw_late=max(vehicle.from_s, vehicle.until_s),
                profile=paces.index(vehicle.travel_percent),
                name=vehicle.id,
            )
            for vehicle in problem.vehicles
        ],
        distance_matrices=[distances for _ in paces],
        duration_matrices=[-(-durations * pace // 100) for pace in paces],
        shipments=shipments,
    )
    return data, activity_of


class _Dimensions:
    """Load dimensions: the real ones, then one a skill, then one a vehicle that has cargo of its own."""

    def __init__(self, problem: Problem) -> None:
        self._real = problem.dimensions
        self._skills = sorted({skill for stop in problem.stops for skill in stop.skills})
        self._pins = sorted({stop.pinned_to for stop in problem.stops if stop.pinned_to is not None})
        self._many = len(problem.stops)

    def amounts(self, stop: Stop) -> list[int]:
        real = (stop.demand + (0,) * self._real)[: self._real]
        return [
            *real,
            *(int(skill in stop.skills) for skill in self._skills),
            *(int(name == stop.pinned_to) for name in self._pins),
        ]

    def capacities(self, vehicle: Vehicle) -> list[int]:
        real = (vehicle.capacity + (0,) * self._real)[: self._real]
        allowed = [*(skill in vehicle.skills for skill in self._skills), *(name == vehicle.id for name in self._pins)]
        return [*(max(0, room) for room in real), *(self._many * may for may in allowed)]
