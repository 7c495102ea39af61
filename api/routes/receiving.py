"""Gates, the receipts that write themselves there, and the shipments expected."""

from datetime import date
from typing import Any, Final, Literal

from fastapi import APIRouter, Depends
from pydantic import Field

from api.auth import allowed
from api.context import Db, Here
from api.errors import ErrorAnswer
from api.permissions import Permission
from api.shapes import LIST_DEFAULT, Asked, Filter, Gtin, Limit, Moment, Name, Named, Text, Told
from hub.services import receipt_rows
from hub.services import shipments as shipment_service

router = APIRouter(tags=["receiving"])

LINES_MAX: Final = 2000
QUANTITY_MAX: Final = 2**31 - 1


class Gate(Named):
    """A door with readers, where goods come in."""

    gate: str
    site: str


class ReceiptLine(Named):
    """What was expected of a lot and what came."""

    gtin: str
    lot: str
    expiry: date | None
    expected: int
    received: int
    over: int


class ReceiptItem(Told):
    """One tag or scan that passed, and what it was found to be."""

    code: str
    gtin: str | None
    lot: str | None
    serial: str | None
    finding: str = Field(
        examples=["expected", "over", "wrong_product", "unknown_tag", "doubled_serial", "expired", "unknown_direction"]
    )
    seen_at: Moment
    confidence: float


class ReceiptHead(Told):
    """A receipt without its goods. `shipment` is null when nothing was expected."""

    id: int
    gate: str
    shipment: str | None
    supplier: str | None
    state: Literal["open", "posted"]
    verdict: Literal["clean", "discrepancy"] | None
    opened_at: Moment
    last_passage_at: Moment
    posted_at: Moment | None


class ListedReceipt(ReceiptHead):
    """A receipt in a list; `received` and `discrepancies` count units."""

    site: str
    received: int
    discrepancies: int


class Receipt(ReceiptHead):
    """A receipt with its goods; `short` counts units still missing."""

    lines: list[ReceiptLine]
    items: list[ReceiptItem]
    short: int
    discrepancies: int


class GateReceipt(Told):
    """The open receipt of a gate, else the newest posted one, else null."""

    gate: str
    receipt: Receipt | None


class ShipmentLine(Named):
    """So much of a lot in a shipment."""

    gtin: str
    lot: str
    expiry: date | None
    quantity: int


class Shipment(Told):
    """What a supplier announced, for which gate and when."""

    shipment: str
    supplier: str
    gate: str
    due_from: Moment
    due_until: Moment
    state: Literal["expected", "receiving", "received", "cancelled"]
    lines: list[ShipmentLine]


class NewShipmentLine(Asked):
    """So much of a lot."""

    gtin: Gtin
    lot: Text = Field(examples=["A23B"])
    expiry: date | None = None
    quantity: int = Field(ge=1, le=QUANTITY_MAX)


class NewShipment(Asked):
    """A shipment to expect; `shipment` is the supplier's own number for it."""

    shipment: Text = Field(examples=["ASN-1001"])
    supplier: Text
    gate: Text = Field(examples=["dock-1"])
    due_from: Moment
    due_until: Moment
    lines: list[NewShipmentLine] = Field(min_length=1, max_length=LINES_MAX)


@router.get("/gates", summary="Gates", dependencies=[Depends(allowed(Permission.RECEIPTS_READ))])
async def gates(db: Db) -> list[Gate]:
    """Every gate of every site."""
    return [Gate.model_validate(row) for row in await receipt_rows.list_gates(db)]


@router.get(
    "/gates/{gate}/receipt",
    summary="The receipt at a gate",
    dependencies=[Depends(allowed(Permission.RECEIPTS_READ))],
    responses={404: {"model": ErrorAnswer, "description": "There is no such gate"}},
)
async def gate_receipt(db: Db, gate: Name) -> GateReceipt:
    """What the gate screen shows."""
    answer = await receipt_rows.receipt_at_gate(db, gate)
    receipt: dict[str, Any] | None = answer["receipt"]
    return GateReceipt(gate=gate, receipt=None if receipt is None else Receipt.model_validate({"gate": gate, **receipt}))


@router.get("/receipts", summary="Receipts", dependencies=[Depends(allowed(Permission.RECEIPTS_READ))])
async def receipts(db: Db, gate: Filter = None, limit: Limit = LIST_DEFAULT) -> list[ListedReceipt]:
    """Newest first."""
    return [ListedReceipt.model_validate(row) for row in await receipt_rows.list_receipts(db, gate=gate, limit=limit)]


@router.get("/shipments", summary="Shipments", dependencies=[Depends(allowed(Permission.SHIPMENTS_READ))])
async def shipments(
    db: Db, state: Literal["expected", "receiving", "received", "cancelled"] | None = None, limit: Limit = LIST_DEFAULT
) -> list[Shipment]:
    """Latest due first."""
    return [Shipment.model_validate(row) for row in await shipment_service.list_shipments(db, state=state, limit=limit)]


@router.post(
    "/shipments",
    summary="Announce a shipment",
    status_code=201,
    dependencies=[Depends(allowed(Permission.SHIPMENTS_WRITE))],
    responses={409: {"model": ErrorAnswer, "description": "The number stands for another shipment"}},
)
async def announce(db: Db, here: Here, body: NewShipment) -> Shipment:
    """Announcing the same again changes nothing, so a program may repeat what got no answer."""
    return Shipment.model_validate(await shipment_service.create_shipment(db, body.model_dump(), here.now()))
