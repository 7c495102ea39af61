"""What lies where, and the movements behind it."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from api.auth import allowed
from api.context import Db
from api.errors import ErrorAnswer
from api.permissions import Permission
from api.shapes import LARGEST_ID, LIST_DEFAULT, Filter, Limit, Moment, Name, Named, Told
from hub.services import stock

router = APIRouter(prefix="/stock", tags=["stock"], dependencies=[Depends(allowed(Permission.STOCK_READ))])


class StockRow(Named):
    """So much of a lot at a place."""

    location: str
    location_name_zh: str
    location_name_en: str
    gtin: str
    lot: str
    expiry: date | None
    quantity: int
    unit: str = Field(examples=["carton"])


class Stock(Told):
    """A page of stock; `total` counts all rows that match."""

    total: int
    rows: list[StockRow]


class Movement(Told):
    """One line of the ledger; a place of null is outside our hands. It is never changed, only corrected by another."""

    id: int
    key: str
    gtin: str
    lot: str
    epc: str | None
    quantity: int
    from_location: str | None
    to_location: str | None
    biz_step: str = Field(description="EPCIS business step", examples=["receiving"])
    disposition: str = Field(description="EPCIS disposition", examples=["sellable_accessible"])
    reason: str
    actor: str = Field(examples=["person:keeper", "portal:dock-1"])
    event_time: Moment
    record_time: Moment


@router.get("", summary="Stock on hand")
async def on_hand(
    db: Db,
    *,
    q: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="In GTIN, lot, names, location")] = None,
    location: Filter = None,
    site: Filter = None,
    limit: Limit = LIST_DEFAULT,
    offset: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0,
) -> Stock:
    """By place, product and soonest expiry. `location` includes the places inside it."""
    return Stock.model_validate(await stock.list_stock(db, q=q, location=location, site=site, limit=limit, offset=offset))


@router.get(
    "/{gtin}/{lot}/movements",
    summary="Movements of a lot",
    responses={404: {"model": ErrorAnswer, "description": "There is no such lot"}},
)
async def movements(db: Db, gtin: Name, lot: Name, limit: Limit = LIST_DEFAULT) -> list[Movement]:
    """Newest first."""
    return [Movement.model_validate(row) for row in await stock.movements_of_lot(db, gtin, lot, limit=limit)]
