"""Receipts and gates as they stand in the database, for the fold and for screens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from core.errors import NotFound
from hub.domain.receiving import ExpectedLine, Finding, JudgedItem, Judgement, Sighting, Unit, remaining, tally
from hub.sql import named

_SQL = named("receiving")
LIST_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class KnownUnit:
    """A unit that was received at some time. `location` is None when it is not in our hands."""

    gtin: str
    serial: str
    epc: str
    lot: str
    location: str | None

    @property
    def unit(self) -> Unit:
        """GTIN and serial."""
        return self.gtin, self.serial


async def known_units(db: AsyncConnection, sightings: Iterable[Sighting]) -> Mapping[Unit, KnownUnit]:
    """Those of the units seen that are on record."""
    units = [each.unit for each in sightings if each.unit is not None]
    async with db.cursor(row_factory=class_row(KnownUnit)) as cursor:
        wanted = {"gtins": [gtin for gtin, _ in units], "serials": [serial for _, serial in units]}
        await cursor.execute(_SQL["known_units"], wanted)
        return {each.unit: each for each in await cursor.fetchall()}


async def load_items(db: AsyncConnection, receipt: int) -> list[JudgedItem]:
    """The items of a receipt as they were last judged, by code."""
    rows = await (await db.execute(_SQL["items"], {"receipt": receipt})).fetchall()
    return [
        JudgedItem(
            Sighting(code, epc_hex, gtin, serial, carried_lot, carried_expiry, seen_at, seen_at, confidence, inbound),
            Finding(finding),
            lot,
        )
        for code, epc_hex, gtin, serial, lot, carried_lot, carried_expiry, finding, seen_at, confidence, inbound in rows
    ]


async def load_lines(db: AsyncConnection, shipment: str | None, *, before_receipt: int | None) -> list[ExpectedLine]:
    """What is still to come of a shipment: its lines less what its receipts before the given one (None: all of them) brought.

    Before an open receipt come the posted ones and those whose session ended earlier; before a posted one, those posted earlier.
    """
    if shipment is None:
        return []
    async with db.cursor(row_factory=class_row(ExpectedLine)) as cursor:
        await cursor.execute(_SQL["lines"], {"shipment": shipment})
        lines = await cursor.fetchall()
    came = await (await db.execute(_SQL["came_before"], {"shipment": shipment, "receipt": before_receipt})).fetchall()
    return remaining(lines, {(gtin, lot): units for gtin, lot, units in came})


async def receipt_at_gate(db: AsyncConnection, gate: str) -> dict[str, Any]:
    """The open receipt of a gate, else its newest posted one: `{"gate", "receipt": null | {..., "lines", "items"}}`.

    `expected` of a line is what earlier receipts of the shipment left to come. Raises NotFound for an unknown gate.
    """
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["gate"], {"gate": gate})
        if await cursor.fetchone() is None:
            raise NotFound(f"there is no gate {gate}")
        await cursor.execute(_SQL["receipt_shown"], {"gate": gate})
        receipt = await cursor.fetchone()
    if receipt is None:
        return {"gate": gate, "receipt": None}
    items = tuple(await load_items(db, receipt["id"]))
    lines = await load_lines(db, receipt["shipment"], before_receipt=receipt["id"])
    judgement = Judgement(items, tally(lines, items))
    shown = {**receipt, "lines": await _lines_shown(db, judgement), "items": [_item_shown(item) for item in items]}
    return {"gate": gate, "receipt": {**shown, "short": judgement.short, "discrepancies": judgement.discrepancies}}


async def list_receipts(db: AsyncConnection, *, gate: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """Receipts, newest first: as at the gate, with counts (`received`, `discrepancies`) in place of lines and items."""
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["list_receipts"], {"gate": gate, "limit": max(0, min(limit, LIST_MAX))})
        return await cursor.fetchall()


async def list_gates(db: AsyncConnection) -> list[dict[str, Any]]:
    """Every gate: `gate`, `site`, `name_zh`, `name_en`."""
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["gates"])
        return await cursor.fetchall()


async def _lines_shown(db: AsyncConnection, judgement: Judgement) -> list[dict[str, Any]]:
    async with db.cursor() as cursor:
        await cursor.execute(_SQL["product_names"], {"gtins": [line.gtin for line in judgement.lines]})
        names = {gtin: (name_zh, name_en) for gtin, name_zh, name_en in await cursor.fetchall()}
    return [
        {
            "gtin": line.gtin,
            "name_zh": names[line.gtin][0],
            "name_en": names[line.gtin][1],
            "lot": line.lot,
            "expiry": line.expiry,
            "expected": line.expected,
            "received": line.received,
            "over": line.over,
        }
        for line in judgement.lines
    ]


def _item_shown(item: JudgedItem) -> dict[str, str | float | datetime | None]:
    seen = item.sighting
    return {
        "code": seen.code,
        "gtin": seen.gtin,
        "lot": item.lot,
        "serial": seen.serial,
        "finding": item.finding.value,
        "seen_at": seen.seen_at,
        "confidence": seen.confidence,
    }
