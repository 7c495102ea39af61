"""Alerts, cold rooms and their readings."""

from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from api.auth import allowed
from api.context import Db, Here
from api.errors import ErrorAnswer
from api.permissions import Permission
from api.shapes import LIST_DEFAULT, Asked, Id, Limit, Moment, Named, Told
from core.errors import InvalidInput
from hub.services import alerts, limits
from hub.services.people import Caller
from hub.services.series_chart import series_readings

router = APIRouter(tags=["cold chain"])

CHART_DEFAULT: Final = timedelta(hours=24)
Decider = Annotated[Caller, Depends(allowed(Permission.ALERTS_DECIDE))]
Severity = Literal["warning", "minor", "major", "critical"]
Quantity = Literal["celsius", "humidity_percent"]


class StockTouched(Named):
    """A lot that lies where an alert stands."""

    gtin: str
    lot: str
    expiry: date | None
    quantity: int
    unit: str = Field(examples=["carton"])


class Alert(Told):
    """Something a person must know of. `state` says whether somebody has answered, `cleared_at` whether the cause went away."""

    id: int
    kind: Literal["excursion", "silence", "device", "receipt", "lateness"]
    source: str = Field(description="What it is about, `<noun>:<name>`", examples=["series:depot.cr-1-probe.celsius"])
    rule: str = Field(description="What it broke")
    severity: Severity
    site: str | None
    location: str | None
    location_name_zh: str | None
    location_name_en: str | None
    vehicle_name_zh: str | None = Field(description="Of the vehicle it is about")
    vehicle_name_en: str | None
    destination_name_zh: str | None = Field(description="Of the delivery it is about")
    destination_name_en: str | None
    state: Literal["open", "acknowledged", "resolved"]
    opened_at: Moment
    recorded_at: Moment
    cleared_at: Moment | None
    acknowledged_at: Moment | None
    acknowledged_by: str | None
    acknowledge_reason: str | None
    resolved_at: Moment | None
    details: dict[str, Any]
    stock: list[StockTouched] = Field(description="Stock at the alert's location now")


class Reason(Asked):
    """Why, in a person's own words."""

    reason: str = Field(
        min_length=1,
        max_length=alerts.REASON_MAX,
        pattern=r"^\s*[^\s\x00][^\x00]*$",
        examples=["compressor restarted, goods moved to cr-2"],
    )


class Rule(Told):
    """A limit that a place must keep; degrees Celsius or percent, null where there is none."""

    rule: str
    quantity: Quantity
    lower: float | None
    upper: float | None
    severity: Severity


class Series(Told):
    """A device's measurements of one quantity and the newest of them."""

    series_id: int
    device: str
    quantity: Quantity
    value: float | None
    at: Moment | None


class ColdRoom(Named):
    """A watched place. `silent` is no measurement for longer than allowed; `warning` is outside, not yet for the delay."""

    location: str
    site: str
    rules: list[Rule]
    series: list[Series]
    state: Literal["ok", "warning", "alarm", "silent"]


class Readings(Told):
    """A series as columns; a null between two values is a pause longer than the place's rules allow, and must look like one."""

    series_id: int
    quantity: Quantity
    resolution: Literal["reading", "hour", "day"] = Field(
        description="`reading`: every single one. Where they are more than 20,000: each hour or day (UTC), from its beginning"
    )
    at: list[float] = Field(description="Seconds since 1970 UTC")
    values: list[float | None] = Field(description="Of an hour or day its mean")
    lows: list[float | None] | None = Field(description="The lowest of each hour or day; null for single readings")
    highs: list[float | None] | None = Field(description="The highest of each hour or day; null for single readings")


@router.get("/alerts", summary="Alerts", dependencies=[Depends(allowed(Permission.ALERTS_READ))])
async def list_alerts(
    db: Db, state: Literal["open", "acknowledged", "resolved", "all"] = "all", limit: Limit = LIST_DEFAULT
) -> list[Alert]:
    """Unsettled ones first, worst first, newest first."""
    rows = await alerts.list_alerts(db, state=None if state == "all" else state, limit=limit)
    return [Alert.model_validate(row) for row in rows]


_DECIDED: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": ErrorAnswer, "description": "There is no such alert"},
    409: {"model": ErrorAnswer, "description": "The alert is not in a state for this"},
}


@router.post("/alerts/{id}/acknowledge", summary="Answer an alert", responses=_DECIDED)
async def acknowledge(db: Db, here: Here, me: Decider, id: Id, body: Reason) -> Alert:
    """Somebody knows of it and says what is done. Once only; the name and the reason stay with the alert."""
    row = await alerts.acknowledge(db, id, person=me.signature, reason=body.reason, now=here.now())
    return Alert.model_validate(row)


@router.post("/alerts/{id}/resolve", summary="Close an alert", responses=_DECIDED)
async def resolve(db: Db, here: Here, me: Decider, id: Id, body: Reason) -> Alert:
    """For an acknowledged alert whose cause no rule will clear, such as a receipt's discrepancy."""
    row = await alerts.resolve(db, id, person=me.signature, reason=body.reason, now=here.now())
    return Alert.model_validate(row)


@router.get("/cold-rooms", summary="Watched places", dependencies=[Depends(allowed(Permission.COLD_ROOMS_READ))])
async def cold_rooms(db: Db, here: Here) -> list[ColdRoom]:
    """Every place with a limit, its newest readings and its state."""
    return [ColdRoom.model_validate(row) for row in await limits.cold_rooms(db, here.now())]


@router.get(
    "/series/{series_id}/readings",
    summary="Readings of a series",
    dependencies=[Depends(allowed(Permission.COLD_ROOMS_READ))],
    responses={404: {"model": ErrorAnswer, "description": "There is no such series"}},
)
async def readings(
    db: Db,
    here: Here,
    series_id: Id,
    since: Annotated[Moment | None, Query(alias="from", description="24 hours before `to` when left out")] = None,
    to: Annotated[Moment | None, Query(description="Now when left out")] = None,
) -> Readings:
    """For a chart: the whole span, in the finest resolution that has at most 20,000 points."""
    until = to or here.now()
    since = since or until - CHART_DEFAULT
    if since > until:
        raise InvalidInput(["from: is after to"])
    return Readings.model_validate(await series_readings(db, series_id, since=since, until=until))
