"""When a vehicle will be at each of its remaining stops, from where it is now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from hub.domain.geo import road_m
from hub.domain.visits import Fix

STALE_AFTER: Final = timedelta(seconds=300)  # a fix older than this no longer tells where the vehicle is
MOVING_MPS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Remaining:
    """A stop still to be served, or being served since `arrived_at`; `collect` first from the depot if set."""

    order: str
    latitude: float
    longitude: float
    window_from: datetime
    window_until: datetime
    service_s: int
    arrived_at: datetime | None = None
    collect: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class StopForecast:
    """Forecast of one stop; `lateness_s` is how far service begins after the window's end, 0 when it does not."""

    order: str
    arrival_at: datetime
    start_at: datetime
    departure_at: datetime
    lateness_s: int


@dataclass(frozen=True, slots=True)
class RouteForecast:
    """Forecast of a route. `stale` says that the position behind it is too old (or was never known) to be trusted."""

    stops: tuple[StopForecast, ...]
    stale: bool


def is_stale(fix: Fix | None, now: datetime) -> bool:
    """Whether a position no longer tells where the vehicle is."""
    return fix is None or now - fix.at > STALE_AFTER


def forecast_route(
    fix: Fix | None,
    depot: tuple[float, float],
    remaining: Sequence[Remaining],
    *,
    now: datetime,
    leaves_at: datetime,
    speed_mps: float,
) -> RouteForecast:
    """Arrival, start and departure at each remaining stop, in their order.

    The vehicle is where its last fix says, and has been driving on since when it moved then; without a fix, or when it has
    not left yet (`leaves_at` in the future), it starts from `depot` no earlier than `leaves_at`. Service begins inside the
    window and lasts `service_s`. Travel: road factor over great circle at `speed_mps`.
    """
    place = depot if fix is None else (fix.latitude, fix.longitude)
    stale = is_stale(fix, now)
    clock = max(now, leaves_at)
    if fix is not None and leaves_at <= now and not stale and (fix.speed_mps or 0.0) >= MOVING_MPS:
        clock = fix.at
    stops: list[StopForecast] = []
    for stop in remaining:
        here = (stop.latitude, stop.longitude)
        if stop.arrived_at is not None:
            arrival = stop.arrived_at
        else:
            way = (place, here) if stop.collect is None else (place, stop.collect, here)
            metres = sum(road_m(*a, *b) for a, b in pairwise(way))
            arrival = max(now, clock + timedelta(seconds=metres / speed_mps))
        start = max(arrival, stop.window_from)
        clock = max(start + timedelta(seconds=stop.service_s), now)
        late = max(0, int((start - stop.window_until).total_seconds()))
        stops.append(StopForecast(stop.order, arrival, start, clock, late))
        place = here
    return RouteForecast(tuple(stops), stale)
