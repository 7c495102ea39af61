"""The routing problem as the house states it, the plan that answers it, and what a plan costs.

Times are integer seconds since the plan's epoch, distances integer metres. Places are indices into two square matrices. A
route is first a tuple of steps: `i` hands over stop `i` (an index into `Problem.stops`), `~i` collects its goods before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Protocol

UNREACHABLE_S: Final = 10_000_000  # a duration from here on means: there is no way
HORIZON_S: Final = 100_000_000  # later than anything: an open end
DROP_PRICE_M: Final = 200_000  # metres of driving a stop of the lowest priority is worth
Matrix = tuple[tuple[int, ...], ...]
Step = int
Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle from `from_s` at place `start` to, at the latest, `until_s` at place `end`.

    `travel_percent` scales the matrix of durations, rounded up: 100 drives as the matrix says, 150 is slower by half.
    """

    id: str
    start: int
    end: int
    from_s: int
    until_s: int
    capacity: tuple[int, ...] = ()
    skills: frozenset[str] = frozenset()
    travel_percent: int = 100


@dataclass(frozen=True, slots=True)
class Stop:
    """One delivery. Service begins inside one of `windows_s` (closed intervals in rising order) and lasts `service_s`.

    With `pickup_at` the goods lie at that place and are collected by the same vehicle before; without, they are on the
    vehicle from its start. `due_s` is the promise that lateness counts from; without, the end of the last window, which
    makes lateness impossible. `droppable=False` must be served (cargo on board), by the vehicle in `pinned_to` if given.
    """

    id: str
    at: int
    windows_s: tuple[tuple[int, int], ...] = ((0, HORIZON_S),)
    service_s: int = 0
    demand: tuple[int, ...] = ()
    pinned_to: str | None = None
    skills: frozenset[str] = frozenset()
    priority: int = 50
    droppable: bool = True
    pickup_at: int | None = None
    due_s: int | None = None

    @property
    def promise_s(self) -> int:
        """The latest start of service that keeps the promise."""
        return self.windows_s[-1][1] if self.due_s is None else self.due_s


@dataclass(frozen=True)
class Problem:
    """What is to be planned. `current` names the stops of each vehicle's running route in order; the first `frozen[vehicle]`
    of them keep vehicle and order. `lateness_price` is metres per second late at priority 50; `change_price` is metres for
    every stop that leaves the vehicle it was told to.
    """

    durations_s: Matrix
    distances_m: Matrix
    vehicles: tuple[Vehicle, ...]
    stops: tuple[Stop, ...]
    current: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frozen: Mapping[str, int] = field(default_factory=dict)
    lateness_price: int = 10
    change_price: int = 0

    @cached_property
    def stop_index(self) -> Mapping[str, int]:
        """Index of each stop by its id."""
        return {stop.id: i for i, stop in enumerate(self.stops)}

    @cached_property
    def vehicle_index(self) -> Mapping[str, int]:
        """Index of each vehicle by its id."""
        return {vehicle.id: i for i, vehicle in enumerate(self.vehicles)}

    @cached_property
    def dimensions(self) -> int:
        """How many capacities are counted."""
        return max([len(vehicle.capacity) for vehicle in self.vehicles] + [len(stop.demand) for stop in self.stops], default=0)

    @cached_property
    def has_promises_to_price(self) -> bool:
        """Whether any stop may be served after its promise, so that lateness has a price."""
        return any(stop.promise_s < stop.windows_s[-1][1] for stop in self.stops)

    def place(self, step: Step) -> int:
        """Where a step happens, as an index into the matrices."""
        if step >= 0:
            return self.stops[step].at
        pickup = self.stops[~step].pickup_at
        if pickup is None:
            raise ValueError(f"stop {self.stops[~step].id!r} has nothing to collect")
        return pickup

    def steps_of(self, vehicle: str) -> list[Step]:
        """The running route of a vehicle as steps; goods of one place are all collected when the first of them is needed."""
        order = [self.stop_index[name] for name in self.current.get(vehicle, ()) if name in self.stop_index]
        steps: list[Step] = []
        visited: set[int] = set()
        for i in order:
            pickup = self.stops[i].pickup_at
            if pickup is not None and pickup not in visited:
                visited.add(pickup)
                steps += [~other for other in order if self.stops[other].pickup_at == pickup]
            steps.append(i)
        return steps

    def frozen_steps(self, vehicle: str) -> list[Step]:
        """The part of the running route that must stay as it is."""
        return [self.stop_index[name] for name in self.current.get(vehicle, ())[: self.frozen.get(vehicle, 0)]]

    def travel_s(self, vehicle: Vehicle, from_place: int, to_place: int) -> int:
        """Seconds this vehicle drives between two places, rounded up."""
        return -(-self.durations_s[from_place][to_place] * vehicle.travel_percent // 100)


@dataclass(frozen=True, slots=True)
class StopTime:
    """When one step of a route happens. `start_s` is when service begins; `collects` is a pickup, else a hand-over."""

    stop: str
    arrival_s: int
    start_s: int
    departure_s: int
    lateness_s: int = 0
    collects: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One vehicle's way. A vehicle with no stop has no distance: it stays where it is."""

    vehicle: str
    stops: tuple[StopTime, ...]
    distance_m: int
    duration_s: int


@dataclass(frozen=True, slots=True)
class Unserved:
    """A stop nobody serves, with the code of a reason (`hub.domain.insertion.REASONS`)."""

    stop: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer to a problem. `feasible` is false when something that must be served is not.

    `history` is (elapsed seconds, cost) of each better plan on the way; `notes` say what went wrong in engines that failed.
    """

    routes: tuple[Route, ...]
    unserved: tuple[Unserved, ...]
    distance_m: int
    feasible: bool
    engine: str
    elapsed_s: float = 0.0
    history: tuple[tuple[float, int], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Matrices:
    """Travel between places: seconds at `speed_mps` mean, and metres."""

    durations_s: Matrix
    distances_m: Matrix
    speed_mps: float


class Solve(Protocol):
    """Finds a plan in a process of its own. Raises Unavailable when the solver crashed, hung or was not there."""

    async def __call__(self, problem: Problem, time_limit_s: float = ...) -> Plan:
        """The best plan found within the limit of real seconds."""
        ...


class TravelTimes(Protocol):
    """Where travel times come from. Raises Unavailable."""

    async def matrices(self, places: Sequence[tuple[float, float]]) -> Matrices:
        """Times and distances between WGS-84 (latitude, longitude) in degrees, row to column."""
        ...


def drop_price_m(stop: Stop) -> int:
    """Metres of driving that serving this stop is worth: priority 100 eleven times priority 0."""
    return DROP_PRICE_M * (10 + stop.priority) // 10


def lateness_cost_m(problem: Problem, stop: Stop, start_s: int) -> int:
    """The price of beginning `stop` at `start_s`, weighted by priority (0 when the promise is kept)."""
    late = start_s - stop.promise_s
    return 0 if late <= 0 else late * problem.lateness_price * (50 + stop.priority) // 100


def start_in_window(windows: tuple[tuple[int, int], ...], arrival_s: int) -> int | None:
    """The earliest moment from `arrival_s` on that lies inside a window, or None."""
    for opens, closes in windows:
        if arrival_s <= closes:
            return max(opens, arrival_s)
    return None


def time_steps(problem: Problem, vehicle: Vehicle, steps: Sequence[Step]) -> Route | None:
    """The route driven as early as possible, or None when a window or the end of the shift cannot be met."""
    place, clock, distance = vehicle.start, vehicle.from_s, 0
    times: list[StopTime] = []
    for step in steps:
        here = problem.place(step)
        arrival = clock + problem.travel_s(vehicle, place, here)
        distance += problem.distances_m[place][here]
        place = here
        stop = problem.stops[step if step >= 0 else ~step]
        if step < 0:
            clock = arrival
            times.append(StopTime(stop.id, arrival, arrival, arrival, collects=True))
            continue
        start = start_in_window(stop.windows_s, arrival)
        if start is None:
            return None
        clock = start + stop.service_s
        times.append(StopTime(stop.id, arrival, start, clock, max(0, start - stop.promise_s)))
    if not steps:
        return Route(vehicle.id, (), 0, 0)
    clock += problem.travel_s(vehicle, place, vehicle.end)
    if clock > vehicle.until_s:
        return None
    return Route(vehicle.id, tuple(times), distance + problem.distances_m[place][vehicle.end], clock - vehicle.from_s)


def fits(problem: Problem, vehicle: Vehicle, steps: Sequence[Step]) -> bool:
    """Whether the load stays within the capacity all the way; what is not collected on the way is aboard from the start."""
    for dimension in range(problem.dimensions):
        room = vehicle.capacity[dimension] if dimension < len(vehicle.capacity) else 0
        amounts = {
            i: problem.stops[i].demand[dimension] if dimension < len(problem.stops[i].demand) else 0 for i in steps if i >= 0
        }
        load = sum(amount for i, amount in amounts.items() if problem.stops[i].pickup_at is None)
        if load > room:
            return False
        for step in steps:
            load += -amounts[step] if step >= 0 else amounts.get(~step, 0)
            if load > room:
                return False
    return True


def may_serve(vehicle: Vehicle, stop: Stop) -> bool:
    """Whether pins and skills allow this pairing."""
    return stop.pinned_to in (None, vehicle.id) and stop.skills <= vehicle.skills


def plan_from_steps(
    problem: Problem, routes: Mapping[str, Sequence[Step]], reasons: Mapping[str, str], *, engine: str, elapsed_s: float
) -> Plan | None:
    """A plan out of step sequences by vehicle id, or None when one cannot be driven in time.

    `reasons` says why a stop is unserved; a stop it does not name got no place within the time limit.
    """
    timed: list[Route] = []
    for vehicle in problem.vehicles:
        route = time_steps(problem, vehicle, routes.get(vehicle.id, ()))
        if route is None:
            return None
        timed.append(route)
    served = {time.stop for route in timed for time in route.stops if not time.collects}
    missing = [stop for stop in problem.stops if stop.id not in served]
    return Plan(
        routes=tuple(timed),
        unserved=tuple(Unserved(stop.id, reasons.get(stop.id, "no_time_left")) for stop in missing),
        distance_m=sum(route.distance_m for route in timed),
        feasible=all(stop.droppable for stop in missing),
        engine=engine,
        elapsed_s=elapsed_s,
    )


def cost_m(problem: Problem, plan: Plan) -> int:
    """What a plan costs, in metres: driving, lateness, stops left out, and stops taken from the vehicle they were told to."""
    told = {name: vehicle for vehicle, names in problem.current.items() for name in names}
    cost = plan.distance_m
    for route in plan.routes:
        for time in route.stops:
            if not time.collects:
                stop = problem.stops[problem.stop_index[time.stop]]
                cost += lateness_cost_m(problem, stop, time.start_s)
                cost += problem.change_price * (told.get(time.stop, route.vehicle) != route.vehicle)
    for unserved in plan.unserved:
        stop = problem.stops[problem.stop_index[unserved.stop]]
        cost += drop_price_m(stop) * (1 if stop.droppable else 100)
    return cost
