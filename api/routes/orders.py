"""Orders to be delivered."""

from typing import Any, Final, Literal

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from api.auth import allowed
from api.context import Db, Here
from api.errors import ErrorAnswer
from api.permissions import Permission
from api.shapes import LIST_DEFAULT, Asked, Filter, Gtin, Limit, Moment, Name, Named, Text, Told
from core.errors import NotFound
from hub.services import dispatch_views
from hub.services import orders as order_service
from hub.services.orders import NewOrder, OrderLine

router = APIRouter(prefix="/orders", tags=["dispatch"])

CARTONS_MAX: Final = 2**31 - 1
State = Literal["planned_for", "loaded", "arrived", "delivered", "cancelled"]


class Line(Told):
    """So much of a product, in its unit."""

    gtin: str
    quantity: int


class Order(Named):
    """Goods for a destination within a window; the names are the destination's. `demand` is in cartons."""

    id: str
    site: str
    destination: str
    window_from: Moment
    window_until: Moment
    service_s: int
    demand: int
    needs_cold_box: bool
    priority: int
    state: State
    arrived_at: Moment | None
    delivered_at: Moment | None
    created_at: Moment
    lines: list[Line]


class AskedLine(Asked):
    """So much of a product, in its unit."""

    gtin: Gtin
    quantity: int = Field(ge=1, le=CARTONS_MAX)


class AskedOrder(Asked):
    """A new order. `priority` 100 is the most urgent; `service_s` is how long handing over takes."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "id": "ORD-2001",
                    "site": "depot",
                    "destination": "county-hospital",
                    "window_from": "2026-11-20T09:00:00Z",
                    "window_until": "2026-11-20T11:00:00Z",
                    "service_s": 600,
                    "demand": 4,
                    "needs_cold_box": True,
                    "priority": 90,
                    "lines": [{"gtin": "06901234000016", "quantity": 40}],
                }
            ]
        },
    )
    id: str = Field(min_length=1, max_length=order_service.ID_MAX, pattern=r"^[^\x00]*$")
    site: Text
    destination: Text
    window_from: Moment
    window_until: Moment
    service_s: int = Field(ge=0, le=order_service.SERVICE_MAX_S)
    demand: int = Field(ge=1, le=CARTONS_MAX, description="Cartons")
    needs_cold_box: bool = False
    priority: int = Field(default=50, ge=0, le=100)
    lines: list[AskedLine] = Field(default=[], max_length=order_service.LINES_MAX)


@router.get("", summary="Orders", dependencies=[Depends(allowed(Permission.ORDERS_READ))])
async def orders(db: Db, site: Filter = None, state: State | None = None, limit: Limit = LIST_DEFAULT) -> list[Order]:
    """Latest windows first."""
    return [Order.model_validate(row) for row in await dispatch_views.list_orders(db, site=site, state=state, limit=limit)]


@router.post(
    "",
    summary="Add an order",
    status_code=201,
    dependencies=[Depends(allowed(Permission.ORDERS_WRITE))],
    responses={409: {"model": ErrorAnswer, "description": "The id is taken"}},
)
async def add(db: Db, here: Here, body: AskedOrder) -> Order:
    """A running day is planned again for it within seconds: watch for a `plan` event."""
    values: dict[str, Any] = body.model_dump(exclude={"lines"})
    order = NewOrder(**values, lines=[OrderLine(line.gtin, line.quantity) for line in body.lines])
    return await _told(db, await order_service.create_order(db, order, here.now()))


@router.post(
    "/{order}/cancel",
    summary="Cancel an order",
    dependencies=[Depends(allowed(Permission.ORDERS_WRITE))],
    responses={
        404: {"model": ErrorAnswer, "description": "There is no such order"},
        409: {"model": ErrorAnswer, "description": "Its goods have left the depot, or it is cancelled already"},
    },
)
async def cancel(db: Db, here: Here, order: Name) -> Order:
    """While its goods are still in the depot; a running day is planned again without it."""
    await order_service.cancel_order(db, order, here.now())
    return await _told(db, order)


async def _told(db: Db, order: str) -> Order:
    rows = await dispatch_views.list_orders(db, order=order, limit=1)
    if not rows:
        raise NotFound(f"order {order!r} does not exist")
    return Order.model_validate(rows[0])
