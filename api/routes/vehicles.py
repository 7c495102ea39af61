"""Vehicles, where they are, and the way they came."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from api.auth import allowed
from api.context import Db, Here
from api.errors import ErrorAnswer
from api.permissions import Permission
from api.shapes import Moment, Name, Named, Told
from core.errors import InvalidInput, NotFound
from hub.services import dispatch_views
from hub.services.people import Caller

router = APIRouter(prefix="/vehicles", tags=["dispatch"])

TRACK_DEFAULT: Final = timedelta(hours=12)
Viewer = Annotated[Caller, Depends(allowed(Permission.VEHICLES_READ))]


class Fix(Told):
    """Where a vehicle was at a moment: degrees WGS 84, metres a second, degrees from north."""

    at: Moment
    latitude: float
    longitude: float
    speed_mps: float | None
    course_deg: float | None


class Vehicle(Named):
    """A vehicle of a depot; it carries `capacity` cartons. `live` is null before its first fix."""

    vehicle: str
    site: str
    capacity: int
    cold_box: bool
    live: Fix | None


class Track(Told):
    """The way a vehicle came, as columns of one length, oldest first."""

    at: list[float] = Field(description="Seconds since 1970 UTC")
    latitude: list[float]
    longitude: list[float]


def own_vehicle(caller: Caller) -> str | None:
    """The one vehicle a driver may see, the empty name when there is none; None for everybody else."""
    return (caller.vehicle or "") if caller.role == "driver" else None


@router.get("", summary="Vehicles")
async def vehicles(db: Db, me: Viewer) -> list[Vehicle]:
    """By name. A driver is given the own vehicle only."""
    own = own_vehicle(me)
    rows = await dispatch_views.list_vehicles(db)
    return [Vehicle.model_validate(row) for row in rows if own is None or row["vehicle"] == own]


@router.get(
    "/{vehicle}/track",
    summary="The way a vehicle came",
    responses={404: {"model": ErrorAnswer, "description": "There is no such vehicle, or it is not the driver's own"}},
)
async def track(
    db: Db,
    here: Here,
    me: Viewer,
    *,
    vehicle: Name,
    since: Annotated[Moment | None, Query(alias="from", description="12 hours before `to` when left out")] = None,
    to: Annotated[Moment | None, Query(description="Now when left out")] = None,
) -> Track:
    """The fixes that can be true from `from` up to but not at `to`; at most the newest 20,000."""
    if own_vehicle(me) not in (None, vehicle):
        raise NotFound(f"there is no vehicle {vehicle}")
    until = to or here.now()
    since = since or until - TRACK_DEFAULT
    if since > until:
        raise InvalidInput(["from: is after to"])
    return Track.model_validate(await dispatch_views.vehicle_track(db, vehicle, since, until))
