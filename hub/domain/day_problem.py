"""The routing problem of a running day: vehicles where they are now, cargo aboard kept, promises that are lost made visible.

Times of the problem are seconds since `now`. Place 0 is the depot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, floor
from typing import Final, Literal

from hub.domain.geo import great_circle_m
from hub.domain.insertion import COLD_BOX
from hub.domain.routing import HORIZON_S, Matrices, Problem, Stop, Unserved, Vehicle, time_steps
from hub.domain.visits import ARRIVE_RADIUS_M, LEAVE_MARGIN_M, Fix

FREEZE_S: Final = 300  # a driver this near to the next stop is not sent elsewhere
LATENESS_ROOM_S: Final = 1800  # how much later than if nothing is done a lost promise may become, to save another
CHANGE_PRICE_M: Final = 1000  # metres a stop must save before it is taken from the vehicle it was told to

OrderState = Literal["planned_for", "loaded", "arrived", "delivered", "cancelled"]


@dataclass(frozen=True, slots=True)
class FleetVehicle:
    """A vehicle of the site; `capacity` in cartons, `speed_mps` its mean on the road, `fix` its newest believable one."""

    vehicle: str
    capacity: int
    cold_box: bool
    speed_mps: float
    shift_from: datetime
    shift_until: datetime
    fix: Fix | None


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that is not done. `demand` in cartons."""

    order: str
    latitude: float
    longitude: float
    window_from: datetime
    window_until: datetime
    service_s: int
    demand: int
    needs_cold_box: bool
    priority: int
    state: OrderState
    arrived_at: datetime | None


@dataclass(frozen=True, slots=True)
class Day:
    """What is known at one moment: the depot (latitude, longitude), the fleet, open orders, and the running routes in order."""

    now: datetime
    depot: tuple[float, float]
    fleet: tuple[FleetVehicle, ...]
    orders: tuple[OpenOrder, ...]
    routes: Mapping[str, tuple[str, ...]]
    leave_from: datetime | None = None  # no vehicle leaves the depot before

    def carried_by(self) -> dict[str, str]:
        """The vehicle of each order whose goods are aboard."""
        aboard = {order.order for order in self.orders if order.state in ("loaded", "arrived")}
        return {name: vehicle for vehicle, names in self.routes.items() for name in names if name in aboard}

    def is_on_road(self, vehicle: FleetVehicle) -> bool:
        """Whether it has left: cargo aboard, or a last fix away from the depot."""
        if vehicle.vehicle in self.carried_by().values():
            return True
        fix = vehicle.fix
        return fix is not None and great_circle_m(fix.latitude, fix.longitude, *self.depot) > ARRIVE_RADIUS_M + LEAVE_MARGIN_M


@dataclass(frozen=True, slots=True)
class LostPromise:
    """A window that cannot be met if everything goes on as told; `late_s` is by how much."""

    order: str
    vehicle: str
    late_s: int


@dataclass(frozen=True, slots=True)
class DayProblem:
    """The problem, what cannot even enter it, and what is lost if nothing is done."""

    problem: Problem
    closed: tuple[Unserved, ...]
    lost: tuple[LostPromise, ...]


def places_of(day: Day) -> list[tuple[float, float]]:
    """Every place of the problem: the depot, each vehicle's start, each order's destination, in this order."""
    orders = {order.order: order for order in day.orders}
    starts: list[tuple[float, float]] = []
    for vehicle in day.fleet:
        at_stop = next(
            (orders[n] for n in day.routes.get(vehicle.vehicle, ()) if n in orders and orders[n].state == "arrived"), None
        )
        if at_stop is not None:
            starts.append((at_stop.latitude, at_stop.longitude))
        elif vehicle.fix is not None and day.is_on_road(vehicle):
            starts.append((vehicle.fix.latitude, vehicle.fix.longitude))
        else:
            starts.append(day.depot)
    return [day.depot, *starts, *((order.latitude, order.longitude) for order in day.orders)]


def build(day: Day, travel: Matrices) -> DayProblem:
    """States the day as a problem over the places of `places_of`.

    Cargo aboard is pinned and must be served; goods still in the depot are collected there by vehicles on the road. A stop
    being served, and the next one when it is at most five minutes away, are frozen. A window that is lost if nothing is done
    is widened to what nothing done would give and half an hour more, its end kept as the promise that lateness counts from.
    """
    carried = day.carried_by()
    on_road = any(day.is_on_road(vehicle) for vehicle in day.fleet)
    vehicles = tuple(_vehicle(day, vehicle, 1 + index, travel) for index, vehicle in enumerate(day.fleet))
    first_order = 1 + len(day.fleet)
    stops = [_stop(day, o, first_order + i, carried.get(o.order), on_road) for i, o in enumerate(day.orders)]
    known = {stop.id for stop in stops}
    current = {v.vehicle: _in_order(day, [n for n in day.routes.get(v.vehicle, ()) if n in known]) for v in day.fleet}
    problem = Problem(travel.durations_s, travel.distances_m, vehicles, tuple(stops), current, {}, change_price=CHANGE_PRICE_M)
    problem, lost = _widen(problem)
    told = {name for names in current.values() for name in names}
    closed = [stop for stop in problem.stops if stop.windows_s[-1][1] < 0 and stop.id not in told]
    problem = replace(problem, stops=tuple(stop for stop in problem.stops if stop not in closed))
    problem = replace(problem, frozen=_frozen(day, problem))
    return DayProblem(problem, tuple(Unserved(stop.id, "window_closed") for stop in closed), lost)


def _in_order(day: Day, names: Sequence[str]) -> tuple[str, ...]:
    """The stops of a route with the one being served in front."""
    arrived = {order.order for order in day.orders if order.state == "arrived"}
    return tuple(sorted(names, key=lambda name: name not in arrived))


def _vehicle(day: Day, vehicle: FleetVehicle, start: int, travel: Matrices) -> Vehicle:
    leaves = 0
    if not day.is_on_road(vehicle):
        moments = [vehicle.shift_from, *([day.leave_from] if day.leave_from is not None else [])]
        leaves = max(0, *(ceil((moment - day.now).total_seconds()) for moment in moments))
    return Vehicle(
        id=vehicle.vehicle,
        start=start,
        end=0,
        from_s=leaves,
        until_s=max(leaves, floor((vehicle.shift_until - day.now).total_seconds())),
        capacity=(vehicle.capacity,),
        skills=frozenset({COLD_BOX}) if vehicle.cold_box else frozenset(),
        travel_percent=max(1, ceil(100 * travel.speed_mps / vehicle.speed_mps)),
    )


def _stop(day: Day, order: OpenOrder, at: int, carrier: str | None, on_road: bool) -> Stop:
    opens = max(0, ceil((order.window_from - day.now).total_seconds()))
    closes = floor((order.window_until - day.now).total_seconds())
    service = order.service_s
    if order.state == "arrived" and order.arrived_at is not None:
        began = max(order.arrived_at, order.window_from)
        service = ceil(max(0.0, service - max(timedelta(0), day.now - began).total_seconds()))
        closes = HORIZON_S
    return Stop(
        id=order.order,
        at=at,
        windows_s=((min(opens, closes), closes),),
        service_s=service,
        demand=(order.demand,),
        pinned_to=carrier,
        skills=frozenset({COLD_BOX}) if order.needs_cold_box else frozenset(),
        priority=order.priority,
        droppable=carrier is None,
        pickup_at=0 if on_road and carrier is None else None,
    )


def _widen(problem: Problem) -> tuple[Problem, tuple[LostPromise, ...]]:
    """Windows and shifts that are lost if everything goes on as told, widened so that the running routes stay drivable."""
    endless = replace(
        problem, stops=tuple(replace(stop, windows_s=((max(0, stop.windows_s[0][0]), HORIZON_S),)) for stop in problem.stops)
    )
    stops = {stop.id: stop for stop in problem.stops}
    vehicles: list[Vehicle] = []
    lost: list[LostPromise] = []
    for vehicle in problem.vehicles:
        route = time_steps(endless, replace(vehicle, until_s=HORIZON_S * 2), endless.steps_of(vehicle.id))
        if route is None or not route.stops:
            vehicles.append(vehicle)
            continue
        for time in route.stops:
            promise = stops[time.stop].windows_s[-1][1]
            if not time.collects and time.start_s > promise:
                lost.append(LostPromise(time.stop, vehicle.id, time.start_s - promise))
                window = (max(0, stops[time.stop].windows_s[0][0]), time.start_s + LATENESS_ROOM_S)
                stops[time.stop] = replace(stops[time.stop], windows_s=(window,), due_s=promise)
        vehicles.append(replace(vehicle, until_s=max(vehicle.until_s, vehicle.from_s + route.duration_s)))
    widened = replace(problem, vehicles=tuple(vehicles), stops=tuple(stops[stop.id] for stop in problem.stops))
    return widened, tuple(lost)


def _frozen(day: Day, problem: Problem) -> dict[str, int]:
    """How many stops at the head of each running route may not move."""
    orders = {order.order: order for order in day.orders}
    frozen: dict[str, int] = {}
    for fleet, vehicle in zip(day.fleet, problem.vehicles, strict=True):
        count = 0
        for name in problem.current.get(vehicle.id, ()):
            state = orders[name].state
            place = problem.stops[problem.stop_index[name]].at
            near = count == 0 and problem.travel_s(vehicle, vehicle.start, place) <= FREEZE_S and day.is_on_road(fleet)
            if state != "arrived" and not (state == "loaded" and near):
                break
            count += 1
            if state != "arrived":
                break
        if count:
            frozen[vehicle.id] = count
    return frozen
