"""Phones that tell positions over HTTP: each has a secret of its own, kept as its SHA-256, and speaks for one vehicle.

What a phone tells goes the way of every other fix: `positions.take_positions`. The caller owns the transaction; `now` of tokens
is real time.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from psycopg import AsyncConnection

from core.errors import NotFound, RuleViolation
from core.messages import Position, encode
from hub.domain.ingest_group import Rejection
from hub.domain.osmand import Report
from hub.services import rejections
from hub.services.people import digest
from hub.services.positions import take_positions
from hub.sql import named

_SQL = named("trackers")

TOKEN_PREFIX: Final = "qmt_"  # noqa: S105 (marks our tokens for secret scanners, is none itself)
TOKEN: Final = re.compile(r"qmt_[A-Za-z0-9_-]{43}")
_TOKEN_BYTES: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,63}")
System = Literal["wgs84", "gcj02"]


@dataclass(frozen=True, slots=True)
class Tracker:
    """A phone that has proved which it is: the position series it adds to, and the coordinate system it speaks."""

    name: str
    site: str
    tracker: str
    coordinate_system: System


@dataclass(frozen=True, slots=True)
class Listed:
    """A phone as administrators see it; nothing in it lets anybody in."""

    name: str
    vehicle: str
    note: str


async def create(db: AsyncConnection, name: str, *, vehicle: str, coordinate_system: System, now: datetime) -> str:
    """A token for a phone, to be shown once. Raises RuleViolation when the name is wrong or taken, NotFound for the vehicle."""
    if not _NAME.fullmatch(name):
        raise RuleViolation(f"name {name!r}: 2 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit")
    if await (await db.execute(named("people")["known_vehicle"], {"vehicle": vehicle})).fetchone() is None:
        raise NotFound(f"vehicle {vehicle!r} does not exist")
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    values = {
        "token_sha256": digest(token),
        "name": name,
        "vehicle": vehicle,
        "coordinate_system": coordinate_system,
        "created_at": now,
    }
    if await (await db.execute(_SQL["add_tracker"], values)).fetchone() is None:
        raise RuleViolation(f"tracker {name!r} already exists: revoke it first, or choose another name")
    return token


async def revoke(db: AsyncConnection, name: str) -> None:
    """Ends a phone's token. Raises NotFound."""
    if await (await db.execute(_SQL["end_tracker"], {"name": name})).fetchone() is None:
        raise NotFound(f"tracker {name!r} does not exist")


async def list_all(db: AsyncConnection) -> list[Listed]:
    """Every phone with a token, by name."""
    rows = await (await db.execute(_SQL["trackers"])).fetchall()
    return [Listed(name, vehicle, f"{system}, made {made_at:%Y-%m-%d}") for name, vehicle, system, made_at in rows]


async def find(db: AsyncConnection, token: str) -> Tracker | None:
    """The phone of a token that is in force, or None."""
    if not TOKEN.fullmatch(token):
        return None
    row = await (await db.execute(_SQL["tracker_of"], {"token_sha256": digest(token)})).fetchone()
    return None if row is None else Tracker(name=row[0], coordinate_system=row[1], site=row[2], tracker=row[3])


async def take_report(db: AsyncConnection, tracker: Tracker, report: Report, now: datetime) -> None:
    """Takes one fix of a phone; `now` is the hub's own time. What cannot be true is kept as rejected, as of every tracker."""
    if not report.valid:
        return
    position = Position(
        tracker=tracker.tracker,
        at=report.at,
        latitude=report.latitude,
        longitude=report.longitude,
        speed_mps=report.speed_mps,
        course_deg=report.course_deg,
        hdop=report.hdop,
        coordinate_system=tracker.coordinate_system,
        accuracy_m=report.accuracy_m,
    )
    refused = await take_positions(db, tracker.site, [position], now)
    # Of no agent: kept within the bounds of messages without a sender.
    topic = f"trackers/{tracker.name}"
    await rejections.keep(db, [Rejection(topic, encode(position), each.reason) for each in refused], now)
