"""Frozen beginnings of routes, taken out of a problem before an engine sees it, so that no engine can move them."""

from dataclasses import replace

from hub.domain.routing import Problem, Vehicle, time_steps


def without_frozen(problem: Problem) -> Problem | None:
    """The problem that remains: each vehicle starts where and when its frozen stops end, with the room they leave it.

    None when a frozen beginning cannot be driven in time. The room is what the frozen cargo does not need even before it is
    handed over, so goods collected later may be judged a little too strictly.
    """
    frozen = {name for vehicle, count in problem.frozen.items() for name in problem.current.get(vehicle, ())[:count]}
    if not frozen:
        return replace(problem, frozen={})
    vehicles: list[Vehicle] = []
    for vehicle in problem.vehicles:
        steps = problem.frozen_steps(vehicle.id)
        if not steps:
            vehicles.append(vehicle)
            continue
        route = time_steps(problem, vehicle, steps)
        if route is None:
            return None
        width = len(vehicle.capacity)
        loads = [sum((problem.stops[i].demand + (0,) * width)[k] for i in steps) for k in range(width)]
        vehicles.append(
            replace(
                vehicle,
                start=problem.place(steps[-1]),
                from_s=route.stops[-1].departure_s,
                capacity=tuple(room - load for room, load in zip(vehicle.capacity, loads, strict=True)),
            )
        )
    return replace(
        problem,
        vehicles=tuple(vehicles),
        stops=tuple(stop for stop in problem.stops if stop.id not in frozen),
        current={vehicle: tuple(name for name in names if name not in frozen) for vehicle, names in problem.current.items()},
        frozen={},
    )
