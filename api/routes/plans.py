"""Plans: the one in force, the one proposed, and the decision between them."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from pydantic import Field

from api.auth import allowed
from api.context import Db, Here, for_planning
from api.errors import ErrorAnswer
from api.permissions import Permission
from api.routes.vehicles import own_vehicle
from api.shapes import LIST_DEFAULT, Asked, Filter, Id, Limit, Moment, Name, Named, Told
from hub.services import dispatch_views, plan_decisions, planning
from hub.services.people import Caller

router = APIRouter(tags=["dispatch"])

Viewer = Annotated[Caller, Depends(allowed(Permission.PLANS_READ))]
Decider = Annotated[Caller, Depends(allowed(Permission.PLANS_DECIDE))]
State = Literal["proposed", "active", "superseded", "rejected"]


class Stop(Named):
    """One delivery of a route; the names are the destination's. `forecast_arrival_at` is from the live position."""

    order: str
    destination: str
    latitude: float
    longitude: float
    window_from: Moment
    window_until: Moment
    arrival_at: Moment = Field(description="Planned")
    start_at: Moment = Field(description="Planned begin of the hand-over")
    departure_at: Moment = Field(description="Planned")
    lateness_s: int = Field(description="Planned to begin so long after the window")
    state: Literal["planned_for", "loaded", "arrived", "delivered", "cancelled"]
    arrived_at: Moment | None = None
    delivered_at: Moment | None = None
    forecast_arrival_at: Moment | None


class Route(Told):
    """A vehicle's stops in order. The forecast is stale when the vehicle has not been heard of lately."""

    vehicle: str
    forecast_stale: bool | None = None
    stops: list[Stop]


class Unserved(Told):
    """An order that found no place in the plan, and why."""

    order: str
    reason: str


class Plan(Told):
    """A site's routes as made at one moment. `reasons` say in codes why it was made and what it changes."""

    id: int
    site: str
    state: State
    trigger: Literal["day", "lateness", "new_order", "manual"]
    replaces: int | None = None
    reasons: list[dict[str, Any]] = Field(examples=[[{"code": "vehicle_late", "vehicle": "van-2", "late_s": 900}]])
    engine: str
    elapsed_s: float
    distance_m: int
    unserved: list[Unserved]
    made_at: Moment
    decided_at: Moment | None = None
    decided_by: str | None = None
    routes: list[Route]


class SitePlan(Told):
    """The plan in force and the proposal that waits for a decision."""

    active: Plan | None
    proposed: Plan | None


class DayAsked(Asked):
    """From when vehicles may leave; their shifts' begin when left out."""

    leave_from: Moment | None = Field(default=None, alias="from")


_DECIDED: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": ErrorAnswer, "description": "There is no such plan"},
    409: {"model": ErrorAnswer, "description": "It is no proposal any more, or no longer fits: plan again"},
}


def _for(caller: Caller, row: dict[str, Any]) -> Plan:
    plan = Plan.model_validate(row)
    own = own_vehicle(caller)
    if own is None:
        return plan
    routes = [route for route in plan.routes if route.vehicle == own]
    reasons = [reason for reason in plan.reasons if reason.get("vehicle") == own]
    return plan.model_copy(update={"routes": routes, "reasons": reasons, "unserved": []})


@router.get("/plans", summary="Plans")
async def plans(
    db: Db, here: Here, me: Viewer, *, site: Filter = None, state: State | None = None, limit: Limit = LIST_DEFAULT
) -> list[Plan]:
    """Newest first. A driver is given the own route only."""
    return [_for(me, row) for row in await dispatch_views.list_plans(db, here.now(), site=site, state=state, limit=limit)]


@router.get("/sites/{site}/plan", summary="The plan of a site", responses={404: {"model": ErrorAnswer}})
async def site_plan(db: Db, here: Here, me: Viewer, site: Name) -> SitePlan:
    """What the map and the timeline show. A driver is given the own route only."""
    found = await dispatch_views.site_plan(db, site, here.now())
    active, proposed = found["active"], found["proposed"]
    return SitePlan(active=_for(me, active) if active else None, proposed=_for(me, proposed) if proposed else None)


@router.post(
    "/sites/{site}/plan",
    summary="Plan the day",
    responses={
        404: {"model": ErrorAnswer, "description": "There is no such site"},
        409: {"model": ErrorAnswer, "description": "The site has no coordinates or no vehicle"},
        503: {"model": ErrorAnswer, "description": "The solver is busy or failed; see Retry-After"},
    },
)
async def plan_day(here: Here, me: Decider, site: Name, body: DayAsked | None = None) -> Plan:
    """Plans the open orders of the coming 24 hours and proposes the result; it replaces a proposal that waits.

    Takes about a second, and up to half a minute when the solver must be started on a busy machine.
    """
    leave_from = body.leave_from if body else None
    async with for_planning(here) as db:
        plan = await planning.plan_day(db, site, here.now(), here.solve, leave_from=leave_from)
        return _for(me, await dispatch_views.read_plan(db, plan, here.now()))


@router.post("/plans/{id}/accept", summary="Put a proposal in force", responses=_DECIDED)
async def accept(db: Db, here: Here, me: Decider, id: Id) -> Plan:
    """The plan it replaces is superseded; vehicles and screens are told."""
    await plan_decisions.accept(db, id, me.signature, here.now())
    return _for(me, await dispatch_views.read_plan(db, id, here.now()))


@router.post("/plans/{id}/reject", summary="Turn a proposal down", responses=_DECIDED)
async def reject(db: Db, here: Here, me: Decider, id: Id) -> Plan:
    """The plan in force stays."""
    await plan_decisions.reject(db, id, me.signature, here.now())
    return _for(me, await dispatch_views.read_plan(db, id, here.now()))
