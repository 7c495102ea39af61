"""What changed lately in the newest positions and readings, for screens that follow them."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from hub.sql import named

_SQL = named("live_state")


@dataclass(frozen=True, slots=True)
class VehicleFix:
    """The newest fix of a vehicle: degrees WGS 84, metres a second, degrees from north, and when the hub learned of it."""

    vehicle: str
    at: datetime
    latitude: float
    longitude: float
    speed_mps: float | None
    course_deg: float | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class LatestReading:
    """The newest reading of a series, in the unit of its quantity."""

    series_id: int
    at: datetime
    value: float
    recorded_at: datetime


async def vehicles_since(db: AsyncConnection, since: datetime) -> list[VehicleFix]:
    """Vehicles whose newest fix was recorded at or after `since`."""
    rows = await (await db.execute(_SQL["vehicles_since"], {"since": since})).fetchall()
    return [VehicleFix(*row) for row in rows]


async def readings_since(db: AsyncConnection, since: datetime) -> list[LatestReading]:
    """Series whose newest reading was recorded at or after `since`."""
    rows = await (await db.execute(_SQL["readings_since"], {"since": since})).fetchall()
    return [LatestReading(*row) for row in rows]
