"""Shipments announced by suppliers: what is due, where, and when."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from core.errors import InvalidInput, RuleViolation
from hub.domain.documents import read_row, unknown_references
from hub.domain.master_tables import SHIPMENTS
from hub.sql import named

_SQL = named("receiving")
LIST_MAX: Final = 500


async def list_shipments(db: AsyncConnection, *, state: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Shipments with their lines, latest due first; `state` is expected, receiving, received or cancelled."""
    return await _read(db, state=state, shipment=None, limit=max(0, min(limit, LIST_MAX)))


async def create_shipment(db: AsyncConnection, shipment: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Announces a shipment `{"shipment", "supplier", "gate", "due_from", "due_until", "lines": [...]}` and returns it.

    Announcing the same again changes nothing. Raises InvalidInput with the path of every fault, and RuleViolation when the number
    stands for another shipment.
    """
    row, problems = read_row(SHIPMENTS, shipment, "")
    if not problems:
        gtins = [line["gtin"] for line in row["lines"]]
        products = await (await db.execute(_SQL["known_products"], {"gtins": gtins})).fetchall()
        gates = await (await db.execute(_SQL["gates"])).fetchall()
        known = {"products": [each[0] for each in products], "gates": [each[0] for each in gates]}
        problems = unknown_references(SHIPMENTS, row, "", known)
    if not problems and row["due_until"] <= now:
        problems = [f"due_until: {row['due_until'].isoformat()} is past"]
    async with db.transaction():
        known_as = await _read(db, state=None, shipment=row.get("shipment"), limit=1) if row.get("shipment") else []
        if known_as and _content(known_as[0]) == _content({**row, "lines": row.get("lines", [])}):
            return known_as[0]
        if problems:
            raise InvalidInput(problems)
        cursor = await db.execute(_SQL["insert_shipment"], row)
        if cursor.rowcount == 0:
            raise RuleViolation(f"shipment {row['shipment']} was announced with other content: give the new one its own number")
        lines = [{**line, "shipment": row["shipment"], "line": number} for number, line in enumerate(row["lines"], start=1)]
        async with db.cursor() as many:
            await many.executemany(_SQL["insert_shipment_line"], lines)
        return (await _read(db, state=None, shipment=row["shipment"], limit=1))[0]


async def _read(db: AsyncConnection, *, state: str | None, shipment: str | None, limit: int) -> list[dict[str, Any]]:
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["shipments"], {"state": state, "shipment": shipment, "limit": limit})
        return await cursor.fetchall()


def _content(shipment: Mapping[str, Any]) -> tuple[Any, ...]:
    lines = [
        (line["gtin"], line["lot"], str(line["expiry"]) if line["expiry"] else None, line["quantity"]) for line in shipment["lines"]
    ]
    return (shipment["supplier"], shipment["gate"], shipment["due_from"], shipment["due_until"], lines)
