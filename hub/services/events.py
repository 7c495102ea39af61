"""What leaves the hub: rows of `outgoing`, written in the transaction that changed the state."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NewType

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from hub.sql import named

_SQL = named("events")

Kind = Literal["alert", "receipt", "plan", "order", "stock", "device", "rejection"]
CHANNEL = "qm_outgoing"


async def emit(db: AsyncConnection, *, kind: Kind, subject: str, site: str | None, payload: dict[str, Any], at: datetime) -> None:
    """Writes one outgoing event in the caller's transaction and wakes its readers when that commits.

    `subject` is the id of the thing that changed; `payload` is small and JSON; `at` is event time.
    """
    await db.execute(_SQL["emit"], {"kind": kind, "subject": subject, "site": site, "payload": Jsonb(payload), "at": at})
    await db.execute(_SQL["wake"])


Place = NewType("Place", int)
"""Where a reader of `outgoing` stands. Places are committed in their order."""
START: Final = Place(0)


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """One row of `outgoing`; `at` is event time."""

    place: Place
    id: int
    kind: str
    subject: str
    site: str | None
    payload: dict[str, Any]
    at: datetime


async def listen(db: AsyncConnection) -> None:
    """Makes `db.notifies()` tell when events were committed. Needs autocommit."""
    await db.execute(_SQL["listen"])


async def stop_listening(db: AsyncConnection) -> None:
    """Undoes `listen`."""
    await db.execute(_SQL["stop_listening"])


async def newest(db: AsyncConnection) -> Place:
    """The place of the newest event; START when there is none."""
    row = await (await db.execute(_SQL["newest"])).fetchone()
    return START if row is None or row[0] is None else Place(row[0])


async def events_after(db: AsyncConnection, place: Place, limit: int) -> list[OutgoingEvent]:
    """At most `limit` events past a place, in order. One that comes later never belongs before one given already."""
    cursor = await db.execute(_SQL["after"], {"place": place, "limit": limit})
    return [OutgoingEvent(*row) for row in await cursor.fetchall()]
