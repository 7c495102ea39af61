"""What lies where, and the movements behind it."""

from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from api.auth import allowed
from api.context import Db, Here
from api.errors import ErrorAnswer
from api.permissions import Permission
from api.shapes import LARGEST_ID, LIST_DEFAULT, Asked, Filter, Id, Limit, Moment, Name, Named, Told
from hub.domain.stock import MAX_QUANTITY
from hub.services import stock
from hub.services.people import Caller

router = APIRouter(tags=["stock"])
_READER: Final = [Depends(allowed(Permission.STOCK_READ))]
Corrector = Annotated[Caller, Depends(allowed(Permission.STOCK_CORRECT))]


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
    corrects: int | None = Field(description="The movement that this one puts right")
    corrected_by: int | None = Field(description="The movement that puts this one right")


class Correction(Asked):
    """What was wrong with a movement: how many units really moved, and how one knows."""

    quantity: int = Field(ge=0, le=MAX_QUANTITY, description="Units that really moved; 0 when none did", examples=[10])
    reason: str = Field(
        min_length=1,
        max_length=stock.REASON_MAX,
        pattern=r"^\s*[^\s\x00][^\x00]*$",
        examples=["two of them were empty boxes"],
    )


@router.get("/stock", summary="Stock on hand", dependencies=_READER)
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
    "/stock/{gtin}/{lot}/movements",
    summary="Movements of a lot",
    dependencies=_READER,
    responses={404: {"model": ErrorAnswer, "description": "There is no such lot"}},
)
async def movements(db: Db, gtin: Name, lot: Name, limit: Limit = LIST_DEFAULT) -> list[Movement]:
    """Newest first."""
    return [Movement.model_validate(row) for row in await stock.movements_of_lot(db, gtin, lot, limit=limit)]


@router.post(
    "/movements/{id}/correct",
    summary="Put a wrong movement right",
    responses={
        404: {"model": ErrorAnswer, "description": "There is no such movement"},
        409: {
            "model": ErrorAnswer,
            "description": "Corrected already, nothing to change, or the goods have left",
        },
    },
)
async def correct(db: Db, here: Here, me: Corrector, id: Id, body: Correction) -> Movement:
    """The ledger stays as it is: a new movement, with the caller's name and reason, makes up the difference.

    Told again, the same correction changes nothing and answers the same. A wrong correction is corrected like any movement.
    """
    row = await stock.correct_movement(db, id, body.quantity, reason=body.reason, actor=me.actor, now=here.now())
    return Movement.model_validate(row)
