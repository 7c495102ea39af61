"""OR-Tools routing 9.15: what PyVRP cannot say, today the price of lateness; always warm-started.

Pins and skills are sets of vehicles a stop may have: `SetAllowedVehiclesForIndex` cannot be called from Python in this version.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from hub.domain.routing import Problem, Step, Stop, Vehicle, drop_price_m, may_serve

if TYPE_CHECKING:
    from ortools.constraint_solver import pywrapcp

MUST_PRICE_M: Final = 1_000_000_000  # leaving out what must be served: above any sum of drop prices, far below int64


def solve(problem: Problem, warm: Mapping[str, Sequence[Step]], *, time_limit_s: float) -> dict[str, list[Step]] | None:
    """Steps by vehicle of the best solution found, or None when there is none; it must be checked.

    `problem` has no frozen stops (`hub.domain.freezing`). Guided local search until the limit; the wall clock may take twice
    as long.
    """
    from ortools.constraint_solver import pywrapcp, routing_enums_pb2

    nodes = _Nodes(problem)
    count = len(problem.vehicles)
    manager = pywrapcp.RoutingIndexManager(
        len(nodes.place), count, [2 * v for v in range(count)], [2 * v + 1 for v in range(count)]
    )
    routing = pywrapcp.RoutingModel(manager)
    _drive(problem, nodes, manager, routing)
    _carry(problem, nodes, manager, routing)
    _serve(problem, nodes, manager, routing)
    parameters = pywrapcp.DefaultRoutingSearchParameters()
    parameters.first_solution_strategy = routing_enums_pb2.FirstSolutionStrategy.PARALLEL_CHEAPEST_INSERTION
    parameters.local_search_metaheuristic = routing_enums_pb2.LocalSearchMetaheuristic.GUIDED_LOCAL_SEARCH
    parameters.time_limit.FromMilliseconds(max(1, int(time_limit_s * 1000)))
    routing.CloseModelWithParameters(parameters)
    starts = [[manager.NodeToIndex(nodes.node_of[step]) for step in warm.get(v.id, ())] for v in problem.vehicles]
    assignment = routing.ReadAssignmentFromRoutes(starts, True)
    if assignment is None:
        solution = routing.SolveWithParameters(parameters)
    else:
        solution = routing.SolveFromAssignmentWithParameters(assignment, parameters)
    if solution is None:
        return None
    routes: dict[str, list[Step]] = {}
    for v, vehicle in enumerate(problem.vehicles):
        index, steps = solution.Value(routing.NextVar(routing.Start(v))), []
        while not routing.IsEnd(index):
            steps.append(nodes.step_of[manager.IndexToNode(index)])
            index = solution.Value(routing.NextVar(index))
        routes[vehicle.id] = steps
    return routes


class _Nodes:
    """One node a vehicle's start, one its end, one a step: so that every step has times and loads of its own."""

    def __init__(self, problem: Problem) -> None:
        self.place = [place for vehicle in problem.vehicles for place in (vehicle.start, vehicle.end)]
        self.step_of: dict[int, Step] = {}
        for i, stop in enumerate(problem.stops):
            for step in (i,) if stop.pickup_at is None else (i, ~i):
                self.step_of[len(self.place)] = step
                self.place.append(problem.place(step))
        self.node_of = {step: node for node, step in self.step_of.items()}
        self.service_s = [0] * len(self.place)
        for node, step in self.step_of.items():
            self.service_s[node] = problem.stops[step].service_s if step >= 0 else 0


def _drive(problem: Problem, nodes: _Nodes, manager: "pywrapcp.RoutingIndexManager", routing: "pywrapcp.RoutingModel") -> None:
    """Distance as the price of an arc, time as a dimension with each vehicle's own pace."""

    def node(index: int) -> int:
        return int(manager.IndexToNode(index))

    def metres(a: int, b: int) -> int:
        here, there = node(a), node(b)
        return problem.distances_m[nodes.place[here]][nodes.place[there]]

    def seconds_of(vehicle: Vehicle) -> Callable[[int, int], int]:
        def seconds(a: int, b: int) -> int:
            here, there = node(a), node(b)
            return nodes.service_s[here] + problem.travel_s(vehicle, nodes.place[here], nodes.place[there])

        return seconds

    routing.SetArcCostEvaluatorOfAllVehicles(routing.RegisterTransitCallback(metres))
    paces = {vehicle.travel_percent: vehicle for vehicle in problem.vehicles}
    transits = {pace: routing.RegisterTransitCallback(seconds_of(vehicle)) for pace, vehicle in paces.items()}
    latest = max([vehicle.until_s for vehicle in problem.vehicles] + [stop.windows_s[-1][1] for stop in problem.stops])
    routing.AddDimensionWithVehicleTransits([transits[v.travel_percent] for v in problem.vehicles], latest, latest, False, "time")
    time = routing.GetDimensionOrDie("time")
    for v, vehicle in enumerate(problem.vehicles):
        time.CumulVar(routing.Start(v)).SetValue(vehicle.from_s)
        time.CumulVar(routing.End(v)).SetRange(vehicle.from_s, max(vehicle.from_s, vehicle.until_s))


def _carry(problem: Problem, nodes: _Nodes, manager: "pywrapcp.RoutingIndexManager", routing: "pywrapcp.RoutingModel") -> None:
    """Loads: every vehicle ends empty, so what it hands over without collecting it is aboard from the start."""

    def change_of(dimension: int) -> Callable[[int], int]:
        def change(index: int) -> int:
            step = nodes.step_of.get(manager.IndexToNode(index))
            if step is None:
                return 0
            demand = problem.stops[step if step >= 0 else ~step].demand
            amount = demand[dimension] if dimension < len(demand) else 0
            return -amount if step >= 0 else amount

        return change

    for dimension in range(problem.dimensions):
        rooms = [max(0, (v.capacity + (0,) * problem.dimensions)[dimension]) for v in problem.vehicles]
        callback = routing.RegisterUnaryTransitCallback(change_of(dimension))
        routing.AddDimensionWithVehicleCapacity(callback, 0, rooms, False, f"load {dimension}")
        load = routing.GetDimensionOrDie(f"load {dimension}")
        for v in range(len(problem.vehicles)):
            load.CumulVar(routing.End(v)).SetValue(0)


def _serve(problem: Problem, nodes: _Nodes, manager: "pywrapcp.RoutingIndexManager", routing: "pywrapcp.RoutingModel") -> None:
    """Windows, the price of lateness, who may serve what, and the price of leaving a stop out."""
    time = routing.GetDimensionOrDie("time")
    for i, stop in enumerate(problem.stops):
        index = manager.NodeToIndex(nodes.node_of[i])
        moment = time.CumulVar(index)
        moment.SetRange(stop.windows_s[0][0], stop.windows_s[-1][1])
        for (_, closes), (opens, _) in pairwise(stop.windows_s):
            if closes + 1 < opens:
                moment.RemoveInterval(closes + 1, opens - 1)
        if stop.promise_s < stop.windows_s[-1][1]:
            price = max(1, problem.lateness_price * (50 + stop.priority) // 100)
            time.SetCumulVarSoftUpperBound(index, max(0, stop.promise_s), price)
        steps = [index] if stop.pickup_at is None else [manager.NodeToIndex(nodes.node_of[~i]), index]
        allowed = [v for v, vehicle in enumerate(problem.vehicles) if may_serve(vehicle, stop)]
        for each in steps:
            routing.VehicleVar(each).SetValues([-1, *allowed])
            routing.AddDisjunction([each], _price(stop) // len(steps))
        if len(steps) == 2:
            routing.AddPickupAndDelivery(*steps)
            routing.solver().Add(routing.VehicleVar(steps[0]) == routing.VehicleVar(steps[1]))
            routing.solver().Add(time.CumulVar(steps[0]) <= time.CumulVar(steps[1]))


def _price(stop: Stop) -> int:
    return drop_price_m(stop) if stop.droppable else MUST_PRICE_M
