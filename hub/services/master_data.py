"""Loading master data: a document of tables is checked whole, then taken whole or not at all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from core.errors import InvalidInput
from hub.domain.documents import Row, nearest, read_table, unknown_references
from hub.domain.master_tables import TABLES
from hub.domain.stock import Place
from hub.services.stock import opening_key, opening_movement, post_movements
from hub.sql import named

_SQL = named("master_data")

LOCK: Final = 0x51_4D_00_03
PROBLEMS_LISTED: Final = 200
"""A document with more faults is refused with this many and their number."""
Rows = dict[str, list[Row]]


@dataclass(frozen=True, slots=True)
class _Papers:
    """A table whose rows have lines and can be told otherwise only until work on them begins."""

    table: str
    key: str
    line_columns: tuple[str, ...]
    known: LiteralString
    put: LiteralString
    drop_lines: LiteralString
    put_lines: LiteralString


_SHIPMENTS: Final = _Papers(
    table="shipments",
    key="shipment",
    line_columns=("gtin", "lot", "expiry", "quantity"),
    known=_SQL["shipments_known"],
    put=_SQL["put_shipments"],
    drop_lines=_SQL["drop_shipment_lines"],
    put_lines=_SQL["put_shipment_lines"],
)
_ORDERS: Final = _Papers(
    table="orders",
    key="id",
    line_columns=("gtin", "quantity"),
    known=_SQL["orders_known"],
    put=_SQL["put_orders"],
    drop_lines=_SQL["drop_order_lines"],
    put_lines=_SQL["put_order_lines"],
)


async def load(db: AsyncConnection, document: Mapping[str, Any], now: datetime, actor: str) -> dict[str, int]:
    """Takes a document of master data and returns how many rows of each table it added or changed.

    Loading the same document again changes nothing. Stock is never overwritten: opening balances become movements booked by
    `actor`. Raises InvalidInput with the path of every fault; then nothing was changed.
    """
    rows, problems = _read(document)
    async with db.transaction():
        await db.execute(_SQL["lock"], {"lock": LOCK})
        places = [row.get("location") for row in rows["locations"]] + [row.get("gate") for row in rows["shipments"]]
        await db.execute(_SQL["lock_places"], {"names": [place for place in places if place]})
        problems += await _find_conflicts(db, rows, whole=not problems)
        if problems:
            raise InvalidInput(_bounded(problems))
        return await _write(db, rows, now, actor=actor)


def _read(document: Mapping[str, Any]) -> tuple[Rows, list[str]]:
    known = [table.name for table in TABLES]
    problems = [f"{key}: unknown table{nearest(str(key), known)}" for key in document if key not in known]
    rows: Rows = {}
    for table in TABLES:
        rows[table.name], wrong = read_table(table, document.get(table.name, []))
        problems += wrong
    return rows, problems


def _bounded(problems: Sequence[str]) -> list[str]:
    if len(problems) <= PROBLEMS_LISTED:
        return list(problems)
    return [*problems[:PROBLEMS_LISTED], f"and {len(problems) - PROBLEMS_LISTED} more"]


async def _find_conflicts(db: AsyncConnection, rows: Rows, *, whole: bool) -> list[str]:
    """References that lead nowhere and, when the rows are `whole`, what contradicts the database or the document itself."""
    known = await _known_keys(db, rows)
    problems = [
        problem
        for table in TABLES
        for index, row in enumerate(rows[table.name])
        for problem in unknown_references(table, row, f"{table.name}[{index}]", known)
    ]
    if not whole or problems:
        return problems
    return [
        *_location_cycles(rows["locations"]),
        *await _lot_conflicts(db, rows),
        *await _tracker_conflicts(db, rows["vehicles"]),
        *await _opening_conflicts(db, rows["stock"]),
        *await _begun(db, _SHIPMENTS, rows["shipments"]),
        *await _begun(db, _ORDERS, rows["orders"]),
    ]


async def _known_keys(db: AsyncConnection, rows: Rows) -> dict[str, set[str]]:
    """The keys of each table that rows may refer to: those in the database and those in the document."""
    named_gtins = {line.get("gtin") for table in rows.values() for row in table for line in (row, *row.get("lines", ()))}
    known: dict[str, set[str]] = {"sites": set(), "locations": set(), "gates": set(), "destinations": set(), "products": set()}
    cursor = await db.execute(_SQL["keys"], {"gtins": [gtin for gtin in named_gtins if gtin is not None]})
    for of, key in await cursor.fetchall():
        known[of].add(key)
    # What the document says of a place holds, whatever the database says.
    known["gates"] -= {row["location"] for row in rows["locations"] if row.get("location") and row.get("role") != "gate"}
    known["gates"] |= {row["location"] for row in rows["locations"] if row.get("location") and row.get("role") == "gate"}
    for table, column in (("sites", "site"), ("locations", "location"), ("destinations", "destination"), ("products", "gtin")):
        known[table] |= {row[column] for row in rows[table] if row.get(column)}
    return known


def _references(location: Row) -> set[str]:
    return {location[column] for column in ("parent", "receives_into", "quarantines_into") if location[column] is not None}


def _location_cycles(locations: Iterable[Row]) -> list[str]:
    try:
        TopologicalSorter({row["location"]: _references(row) for row in locations}).prepare()
    except CycleError as error:
        return [f"locations: places refer to each other in a circle: {' -> '.join(error.args[1])}"]
    return []


async def _lot_conflicts(db: AsyncConnection, rows: Rows) -> list[str]:
    """A lot has one expiry: in the database, in the document, and in both."""
    said = [(f"{table}[{index}]", row) for table in ("lots", "stock") for index, row in enumerate(rows[table])]
    said += [
        (f"shipments[{index}].lines[{number}]", line)
        for index, row in enumerate(rows["shipments"])
        for number, line in enumerate(row["lines"])
    ]
    asked = {"gtins": [row["gtin"] for _, row in said], "lots": [row["lot"] for _, row in said]}
    found = await (await db.execute(_SQL["lot_expiries"], asked)).fetchall()
    first = {(gtin, lot): (expiry, "on record") for gtin, lot, expiry in found if expiry is not None}
    problems = []
    for path, row in said:
        if row["expiry"] is None:
            continue
        expiry, where = first.setdefault((row["gtin"], row["lot"]), (row["expiry"], f"in {path}"))
        if expiry != row["expiry"]:
            problems.append(f"{path}.expiry: lot {row['lot']} of {row['gtin']} expires {expiry} {where}, not {row['expiry']}")
    return problems


async def _tracker_conflicts(db: AsyncConnection, vehicles: Sequence[Row]) -> list[str]:
    """A tracker rides on one vehicle."""
    told = {row["vehicle"] for row in vehicles}
    found = await (await db.execute(_SQL["trackers"])).fetchall()
    riding = {(site, tracker): vehicle for site, tracker, vehicle in found if vehicle not in told}
    problems = []
    for index, row in enumerate(vehicles):
        other = riding.setdefault((row["tracker_site"], row["tracker"]), row["vehicle"])
        if other != row["vehicle"]:
            problems.append(f"vehicles[{index}].tracker: {row['tracker']} rides on {other} already")
    return problems


async def _openings(db: AsyncConnection, stock: Iterable[Row]) -> dict[str, int]:
    """The opening balances of these places that are booked already, by key."""
    keys = [opening_key(_place(row)) for row in stock]
    return dict(await (await db.execute(_SQL["openings"], {"keys": keys})).fetchall())


def _place(row: Row) -> Place:
    return Place(row["location"], row["gtin"], row["lot"])


async def _opening_conflicts(db: AsyncConnection, stock: Sequence[Row]) -> list[str]:
    booked = await _openings(db, stock)
    return [
        f"stock[{index}].quantity: {row['location']} was opened with {booked[key]}; correct it by a movement with a reason"
        for index, row in enumerate(stock)
        if booked.get(key := opening_key(_place(row)), row["quantity"]) != row["quantity"]
    ]


async def _changed(db: AsyncConnection, papers: _Papers, rows: Sequence[Row]) -> list[tuple[int, Row, bool]]:
    """Those rows that the database does not have as they are: index, row, and whether it may be written."""
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(papers.known, {"names": [row[papers.key] for row in rows]})
        known = {row[papers.key]: (row, row.pop("free")) for row in await cursor.fetchall()}
    changed = []
    for index, row in enumerate(rows):
        was, free = known.get(row[papers.key], (None, True))
        if was != _as_known(papers, row):
            changed.append((index, row, free))
    return changed


def _as_known(papers: _Papers, row: Row) -> Row:
    """A row as the database tells it back: its lines as lists, their days as text."""
    lines = [[line[column] for column in papers.line_columns] for line in row["lines"]]
    return {**row, "lines": [[each.isoformat() if isinstance(each, date) else each for each in line] for line in lines]}


async def _begun(db: AsyncConnection, papers: _Papers, rows: Sequence[Row]) -> list[str]:
    return [
        f"{papers.table}[{index}]: work on it has begun, so it cannot be told otherwise now"
        for index, _, free in await _changed(db, papers, rows)
        if not free
    ]


async def _write(db: AsyncConnection, rows: Rows, now: datetime, *, actor: str) -> dict[str, int]:
    order = {name: place for place, name in enumerate(_insertable(rows["locations"]))}
    locations = sorted(rows["locations"], key=lambda row: order[row["location"]])
    lots = [*rows["lots"], *({key: row[key] for key in ("gtin", "lot", "expiry")} for row in rows["stock"])]
    return {
        "sites": await _put(db, _SQL["put_sites"], rows["sites"]),
        "locations": await _put(db, _SQL["put_locations"], locations),
        "products": await _put(db, _SQL["put_products"], rows["products"]),
        "lots": await _put(db, _SQL["put_lots"], lots),
        "shipments": await _put_papers(db, _SHIPMENTS, rows["shipments"], now),
        "limit_rules": await _put(db, _SQL["put_limit_rules"], [{**row, "now": now} for row in rows["limit_rules"]]),
        "devices": await _put(db, _SQL["put_devices"], rows["devices"]),
        "vehicles": await _put(db, _SQL["put_vehicles"], rows["vehicles"]),
        "destinations": await _put(db, _SQL["put_destinations"], rows["destinations"]),
        "orders": await _put_papers(db, _ORDERS, rows["orders"], now),
        "stock": await _open_stock(db, rows["stock"], now, actor=actor),
    }


def _insertable(locations: Iterable[Row]) -> Iterable[str]:
    """Places in an order in which each comes after those it refers to."""
    return TopologicalSorter({row["location"]: _references(row) for row in locations}).static_order()


async def _put(db: AsyncConnection, sql: LiteralString, rows: Sequence[Row]) -> int:
    if not rows:
        return 0
    async with db.cursor() as cursor:
        await cursor.executemany(sql, rows)
        return cursor.rowcount


async def _put_papers(db: AsyncConnection, papers: _Papers, rows: Sequence[Row], now: datetime) -> int:
    changed = [row for _, row, _ in await _changed(db, papers, rows)]
    await db.execute(papers.drop_lines, {"names": [row[papers.key] for row in changed]})
    await _put(db, papers.put, [{**row, "now": now} for row in changed])
    numbered = [(row[papers.key], number, line) for row in changed for number, line in enumerate(row["lines"], start=1)]
    await _put(db, papers.put_lines, [{**line, papers.key: key, "line": number} for key, number, line in numbered])
    return len(changed)


async def _open_stock(db: AsyncConnection, stock: Sequence[Row], now: datetime, *, actor: str) -> int:
    booked = await _openings(db, stock)
    new = [opening_movement(_place(row), row["quantity"], actor=actor, at=now) for row in stock]
    new = [movement for movement in new if movement.key not in booked]
    await post_movements(db, new, now)
    return len(new)
