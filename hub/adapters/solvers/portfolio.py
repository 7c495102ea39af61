"""The engines in their order: insertion at once, PyVRP from there, OR-Tools where lateness has a price; the checker decides.

Runs inside the worker process (`hub.adapters.solvers.process`): it imports the engines.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from hub.domain.checker import check, check_problem
from hub.domain.freezing import without_frozen
from hub.domain.insertion import insert
from hub.domain.routing import Plan, Problem, Step, Stop, cost_m

KEPT_SHARE: Final = 0.35  # of the limit: PyVRP with every promise as a hard window, when lateness is allowed
LATE_SHARE: Final = 0.15  # PyVRP with the wide windows
Routes = Mapping[str, Sequence[Step]]


@dataclass(slots=True)
class _Search:
    """The best plan so far and how it was found."""

    problem: Problem
    began: float
    best: Plan | None = None
    cost: int = 0
    history: list[tuple[float, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def offer(self, plan: Plan, engine: str) -> None:
        """Takes the plan if the checker accepts it and it is cheaper."""
        violations = check(self.problem, plan)
        if violations:
            self.notes.append(f"{engine}: {violations[0].code} {violations[0].stop or violations[0].vehicle or ''}".rstrip())
            return
        cost = cost_m(self.problem, plan)
        if self.best is None or cost < self.cost:
            elapsed = time.monotonic() - self.began
            self.best, self.cost = replace(plan, engine=engine, elapsed_s=elapsed), cost
            self.history.append((round(elapsed, 3), cost))


def solve(problem: Problem, *, time_limit_s: float, seed: int = 1) -> Plan:
    """The best plan the engines found within `time_limit_s` of wall clock (building a model comes on top).

    Raises ValueError when the problem itself is wrong. A plan that leaves out what must be served is only given when no other
    was found, as `feasible=False`; nothing else breaks a rule. With a clock as limit two runs may differ.
    """
    wrong = check_problem(problem)
    if wrong:
        raise ValueError("; ".join(f"{each.code} {each.vehicle or ''} {each.stop or ''} {each.detail}" for each in wrong[:5]))
    search = _Search(problem, time.monotonic())
    first = insert(problem)
    search.offer(first, "insertion")
    cut = without_frozen(problem)
    if cut is not None and cut.stops and cut.vehicles:
        _engines(search, cut, search.best or first, time_limit_s, seed)
    elapsed = time.monotonic() - search.began
    if search.best is None:
        return replace(first, feasible=False, elapsed_s=elapsed, notes=tuple(search.notes))
    return replace(search.best, elapsed_s=elapsed, history=tuple(search.history), notes=tuple(search.notes))


def _engines(search: _Search, cut: Problem, first: Plan, time_limit_s: float, seed: int) -> None:
    from hub.adapters.solvers import ortools_engine, pyvrp_engine

    if not cut.has_promises_to_price:
        _try(search, cut, "pyvrp", lambda: pyvrp_engine.solve(cut, _steps(cut, first), time_limit_s=time_limit_s, seed=seed))
        return
    kept = replace(cut, stops=tuple(_promise_as_window(stop) for stop in cut.stops))
    warm = _steps(kept, insert(kept))
    _try(search, cut, "pyvrp", lambda: pyvrp_engine.solve(kept, warm, time_limit_s=time_limit_s * KEPT_SHARE, seed=seed))
    best = _steps(cut, search.best or first)
    _try(search, cut, "pyvrp", lambda: pyvrp_engine.solve(cut, best, time_limit_s=time_limit_s * LATE_SHARE, seed=seed))
    best = _steps(cut, search.best or first)
    rest = time_limit_s * (1 - KEPT_SHARE - LATE_SHARE)
    _try(search, cut, "ortools", lambda: ortools_engine.solve(cut, best, time_limit_s=rest))


def _try(search: _Search, cut: Problem, engine: str, run: Callable[[], Routes | None]) -> None:
    """Runs one engine; what it left out is inserted where it still fits, its frozen beginnings are put back in front."""
    routes = run()
    if routes is None:
        search.notes.append(f"{engine}: no solution")
        return
    problem = search.problem
    ours = [problem.stop_index[stop.id] for stop in cut.stops]
    running = {
        vehicle.id: [
            *problem.frozen_steps(vehicle.id),
            *(ours[step] if step >= 0 else ~ours[~step] for step in routes.get(vehicle.id, ())),
        ]
        for vehicle in problem.vehicles
    }
    search.offer(insert(problem, running), engine)


def _promise_as_window(stop: Stop) -> Stop:
    """The stop with its promise as a hard end, where that leaves a window at all; then it may be left out for the repair."""
    windows = tuple((opens, min(closes, stop.promise_s)) for opens, closes in stop.windows_s if opens <= stop.promise_s)
    return stop if not windows or stop.due_s is None else replace(stop, windows_s=windows, due_s=None, droppable=True)


def _steps(problem: Problem, plan: Plan) -> dict[str, list[Step]]:
    """A plan's routes as steps of `problem`, which may lack the frozen stops."""
    index = problem.stop_index
    return {
        route.vehicle: [~index[t.stop] if t.collects else index[t.stop] for t in route.stops if t.stop in index]
        for route in plan.routes
    }
