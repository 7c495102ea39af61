"""Lists to look things up in: master data, agents and devices, messages that were not taken as facts."""

from typing import Any, Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from hub.sql import named

_SQL = named("directory")

PRODUCTS_MAX: Final = 1000
REJECTIONS_MAX: Final = 1000
REJECTION_BYTES_SHOWN: Final = 256

Rows = list[dict[str, Any]]


async def _rows(db: AsyncConnection, sql: LiteralString, **values: object) -> Rows:
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql, values)
        return await cursor.fetchall()


async def list_sites(db: AsyncConnection) -> Rows:
    """Every site."""
    return await _rows(db, _SQL["sites"])


async def list_locations(db: AsyncConnection, *, site: str | None = None, role: str | None = None) -> Rows:
    """Every location, or those of a site or role."""
    return await _rows(db, _SQL["locations"], site=site, role=role)


async def list_products(db: AsyncConnection, *, q: str | None = None, limit: int = PRODUCTS_MAX, offset: int = 0) -> Rows:
    """Products by GTIN; `q` is looked for in GTIN and names. At most PRODUCTS_MAX."""
    return await _rows(db, _SQL["products"], q=q, limit=min(limit, PRODUCTS_MAX), offset=offset)


async def list_agents(db: AsyncConnection, *, site: str | None = None) -> Rows:
    """What each agent said of itself, when it was last heard, and how far its clock is off in seconds."""
    return await _rows(db, _SQL["agents"], site=site)


async def list_devices(db: AsyncConnection, *, site: str | None = None) -> Rows:
    """Devices with their state, counts and newest readings, and the agents of their site."""
    devices = await _rows(db, _SQL["devices"], site=site)
    agents = await list_agents(db, site=site)
    for device in devices:
        here = [agent for agent in agents if agent["site"] == device["site"]]
        # Which of several agents serves a device is not told; while one of them is away it may be this device's.
        device["agents"] = [agent["agent"] for agent in here]
        device["agent_online"] = all(agent["online"] for agent in here) if here else None
    return devices


async def list_rejections(db: AsyncConnection, *, limit: int) -> Rows:
    """Messages kept with the reason they were not taken, newest first; `start` shows their beginning as text."""
    rows = await _rows(db, _SQL["rejections"], limit=min(limit, REJECTIONS_MAX), shown=REJECTION_BYTES_SHOWN)
    return [row | {"start": bytes(row["start"]).decode("utf-8", "backslashreplace")} for row in rows]
