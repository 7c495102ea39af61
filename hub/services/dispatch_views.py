"""What dispatchers read: vehicles, trails, orders, and plans with their routes and forecasts, as JSON-ready values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from core.errors import NotFound
from hub.domain.day_problem import Day, FleetVehicle
from hub.domain.forecast import Remaining, RouteForecast, forecast_route
from hub.domain.visits import USABLE_ACCURACY_M, Fix, believable
from hub.services.planning import read_fleet
from hub.sql import named

_SQL = named("dispatch")

TRACK_MAX: Final = 20_000  # newest fixes of a trail
LIST_MAX: Final = 1_000
Row = dict[str, Any]


async def list_vehicles(db: AsyncConnection) -> list[Row]:
    """Every vehicle; `live` is its newest fix or None, times in it RFC 3339 text."""
    return await _rows(db, _SQL["vehicles"], {})


async def vehicle_track(db: AsyncConnection, vehicle: str, first: datetime, last: datetime) -> dict[str, list[float]]:
    """The believable trail of a vehicle in [first, last): columns `at` (epoch seconds), `latitude`, `longitude` (degrees).

    At most the newest 20,000 fixes. Raises NotFound for an unknown vehicle.
    """
    if await (await db.execute(_SQL["vehicle_exists"], {"vehicle": vehicle})).fetchone() is None:
        raise NotFound(f"vehicle {vehicle!r} does not exist")
    values = {"vehicle": vehicle, "first": first, "last": last, "many": TRACK_MAX, "radius": USABLE_ACCURACY_M}
    rows = await db.execute(_SQL["track"], values)
    trail = believable([Fix(*row) for row in reversed(await rows.fetchall())])
    return {
        "at": [fix.at.timestamp() for fix in trail],
        "latitude": [fix.latitude for fix in trail],
        "longitude": [fix.longitude for fix in trail],
    }


async def list_orders(
    db: AsyncConnection, *, site: str | None = None, state: str | None = None, order: str | None = None, limit: int = LIST_MAX
) -> list[Row]:
    """Orders with their lines, the latest windows first."""
    return await _rows(db, _SQL["orders"], {"site": site, "state": state, "order": order, "many": min(limit, LIST_MAX)})


async def list_destinations(db: AsyncConnection) -> list[Row]:
    """Every destination with its place in WGS-84 degrees."""
    return await _rows(db, _SQL["destinations"], {})


async def list_plans(
    db: AsyncConnection, now: datetime, *, site: str | None = None, state: str | None = None, limit: int = 100
) -> list[Row]:
    """Plans, the newest first, with routes and forecasts."""
    return await _plans(db, now, {"plan": None, "site": site, "state": state, "many": min(limit, LIST_MAX)})


async def read_plan(db: AsyncConnection, plan_id: int, now: datetime) -> Row:
    """One plan with routes and forecasts. Raises NotFound."""
    found = await _plans(db, now, {"plan": plan_id, "site": None, "state": None, "many": 1})
    if not found:
        raise NotFound(f"plan {plan_id} does not exist")
    return found[0]


async def site_plan(db: AsyncConnection, site: str, now: datetime) -> dict[str, Row | None]:
    """`{"active": plan or None, "proposed": plan or None}` of a site. Raises NotFound for an unknown one."""
    if await (await db.execute(_SQL["site"], {"site": site})).fetchone() is None:
        raise NotFound(f"site {site!r} does not exist")
    found: dict[str, Row | None] = {}
    for state in ("active", "proposed"):
        plans = await _plans(db, now, {"plan": None, "site": site, "state": state, "many": 1})
        found[state] = plans[0] if plans else None
    return found


async def _rows(db: AsyncConnection, query: LiteralString, values: Mapping[str, Any]) -> list[Row]:
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


async def _plans(db: AsyncConnection, now: datetime, values: Mapping[str, Any]) -> list[Row]:
    plans = await _rows(db, _SQL["plans"], values)
    stops: dict[int, dict[str, list[Row]]] = {}
    for row in await _rows(db, _SQL["plan_view_stops"], {"plans": [plan["id"] for plan in plans]}):
        stops.setdefault(row.pop("plan"), {}).setdefault(row.pop("vehicle"), []).append(row)
    sites: dict[str, tuple[tuple[FleetVehicle, ...], tuple[float, float] | None]] = {}
    for plan in plans:
        running = plan["state"] in ("active", "proposed")
        if running and plan["site"] not in sites:
            sites[plan["site"]] = (await read_fleet(db, plan["site"]), await read_depot(db, plan["site"]))
        routes = stops.get(plan["id"], {})
        fleet, depot = sites[plan["site"]] if running else ((), None)
        plan["routes"] = [_route(vehicle, rows, fleet, depot, now) for vehicle, rows in routes.items()]
    return plans


async def read_depot(db: AsyncConnection, site: str) -> tuple[float, float] | None:
    """Where a site is, if that is known."""
    row = await (await db.execute(_SQL["site"], {"site": site})).fetchone()
    return None if row is None or row[0] is None or row[1] is None else (row[0], row[1])


def _route(
    vehicle: str, rows: Sequence[Row], fleet: Sequence[FleetVehicle], depot: tuple[float, float] | None, now: datetime
) -> Row:
    known = next((each for each in fleet if each.vehicle == vehicle), None)
    if known is None or depot is None:
        return {"vehicle": vehicle, "forecast_stale": True, "stops": [_view(row, None) for row in rows]}
    forecast = forecast_rows(known, rows, depot, now)
    arrivals = {stop.order: stop.arrival_at for stop in forecast.stops}
    return {
        "vehicle": vehicle,
        "forecast_stale": forecast.stale,
        "stops": [_view(row, arrivals.get(row["order"])) for row in rows],
    }


def _view(row: Row, forecast: datetime | None) -> Row:
    hidden = ("service_s", "delivered_at", "arrived_at")
    shown = {name: value for name, value in row.items() if name not in hidden}
    return {**shown, "arrived_at": row["arrived_at"], "delivered_at": row["delivered_at"], "forecast_arrival_at": forecast}


def forecast_rows(vehicle: FleetVehicle, rows: Sequence[Row], depot: tuple[float, float], now: datetime) -> RouteForecast:
    """Forecast of a route given as rows of `plan_view_stops`; what is done or cancelled is left out."""
    left = [row for row in rows if row["state"] in ("planned_for", "loaded", "arrived")]
    aboard = any(row["state"] in ("loaded", "arrived", "delivered") for row in rows)
    on_road = aboard or Day(now, depot, (vehicle,), (), {}).is_on_road(vehicle)
    remaining: list[Remaining] = []
    collects = on_road
    for row in left:
        collect = depot if collects and row["state"] == "planned_for" else None
        collects = collects and collect is None
        remaining.append(
            Remaining(
                order=row["order"],
                latitude=row["latitude"],
                longitude=row["longitude"],
                window_from=row["window_from"],
                window_until=row["window_until"],
                service_s=row["service_s"],
                arrived_at=row["arrived_at"] if row["state"] == "arrived" else None,
                collect=collect,
            )
        )
    return forecast_route(vehicle.fix, depot, remaining, now=now, leaves_at=vehicle.shift_from, speed_mps=vehicle.speed_mps)
