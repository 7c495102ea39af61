"""Alerts: opened once per cause, cleared when the cause goes away, acknowledged by a person with a reason.

Two facts are kept apart: whether the cause still stands (`cleared_at`) and whether a person has answered (`state`). An alert is
resolved when both are settled.
"""

from datetime import datetime
from typing import Any, Final, Literal

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core.errors import NotFound, RuleViolation
from hub.services import events
from hub.sql import named

_SQL = named("alerts")

Kind = Literal["excursion", "silence", "device", "receipt", "lateness"]
Severity = Literal["warning", "minor", "major", "critical"]
State = Literal["open", "acknowledged", "resolved"]

REASON_MAX: Final = 1000
LIST_MAX: Final = 500


async def open_alert(
    db: AsyncConnection,
    *,
    kind: Kind,
    source: str,
    rule: str,
    severity: Severity,
    site: str | None,
    location: str | None,
    opened_at: datetime,
    details: dict[str, Any],
    now: datetime,
    cleared_at: datetime | None = None,
) -> int:
    """Opens the alert of a cause, or adds to the one that stands already; returns its id.

    `source` is what it is about (`<noun>:<name>`), `rule` what it broke; `opened_at` is event time, `now` record time. With
    `cleared_at` it is told of something that is over already, and leaves one that stands alone. Only a new alert makes an
    outgoing event.
    """
    cursor = await db.execute(
        _SQL["open"],
        {
            "kind": kind,
            "source": source,
            "rule": rule,
            "severity": severity,
            "site": site,
            "location": location,
            "opened_at": opened_at,
            "cleared_at": cleared_at,
            "details": Jsonb(details),
            "now": now,
        },
    )
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("INSERT ... RETURNING gave no row")
    alert_id, is_new = row
    if is_new:
        await _tell(db, alert_id, change="opened", kind=kind, severity=severity, site=site, state="open", at=opened_at)
    return int(alert_id)


async def clear_alert(
    db: AsyncConnection, *, source: str, rule: str, cleared_at: datetime, details: dict[str, Any], now: datetime
) -> int | None:
    """Marks the standing alert of a cause as cleared at an event time; returns its id, or None when none stood."""
    cursor = await db.execute(
        _SQL["clear"], {"source": source, "rule": rule, "cleared_at": cleared_at, "details": Jsonb(details), "now": now}
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    alert_id, kind, severity, site, state = row
    await _tell(db, alert_id, change="cleared", kind=kind, severity=severity, site=site, state=state, at=cleared_at)
    return int(alert_id)


async def correct_alert(
    db: AsyncConnection,
    alert_id: int,
    *,
    opened_at: datetime | None,
    cleared_at: datetime | None,
    details: dict[str, Any],
    now: datetime,
) -> None:
    """Brings an alert up to date with what later facts say; None leaves `opened_at` as it is, and never un-clears.

    An outgoing event is made only when this clears it, or changes when a cleared one was.
    """
    values = {"id": alert_id, "opened_at": opened_at, "cleared_at": cleared_at, "details": Jsonb(details), "now": now}
    row = await (await db.execute(_SQL["correct"], values)).fetchone()
    if row is None:
        raise NotFound(f"there is no alert {alert_id}")
    kind, severity, site, state, was_cleared_at, is_cleared_at = row
    if is_cleared_at is not None and is_cleared_at != was_cleared_at:
        change = "cleared" if was_cleared_at is None else "corrected"
        await _tell(db, alert_id, change=change, kind=kind, severity=severity, site=site, state=state, at=is_cleared_at)


async def acknowledge(db: AsyncConnection, alert_id: int, *, person: str, reason: str, now: datetime) -> dict[str, Any]:
    """A person answers for an alert, once. Returns the alert as `list_alerts` shows it.

    Raises NotFound, and RuleViolation when the reason is empty or too long or somebody answered already.
    """
    reason = _checked_reason(reason)
    kind, severity, site, state = await _lock(db, alert_id)
    if state != "open":
        raise RuleViolation(f"alert {alert_id} is {state} already: it can be acknowledged only while it is open")
    cursor = await db.execute(_SQL["acknowledge"], {"id": alert_id, "person": person, "reason": reason, "now": now})
    row = await cursor.fetchone()
    new_state = "acknowledged" if row is None else row[0]
    await _tell(db, alert_id, change="acknowledged", kind=kind, severity=severity, site=site, state=new_state, at=now)
    return await get_alert(db, alert_id)


async def resolve(db: AsyncConnection, alert_id: int, *, person: str, reason: str, now: datetime) -> dict[str, Any]:
    """A person closes an acknowledged alert whose cause no rule will clear: also one of a series that none watches any more.

    Raises NotFound and RuleViolation.
    """
    reason = _checked_reason(reason)
    kind, severity, site, state = await _lock(db, alert_id)
    if state != "acknowledged":
        raise RuleViolation(f"alert {alert_id} is {state}: only an acknowledged alert can be resolved")
    if kind in ("excursion", "silence") and await _is_watched(db, alert_id):
        raise RuleViolation(f"alert {alert_id}: the cause still stands; it resolves by itself when the readings are right again")
    await db.execute(
        _SQL["resolve"], {"id": alert_id, "details": Jsonb({"resolved_by": person, "resolve_reason": reason}), "now": now}
    )
    await _tell(db, alert_id, change="resolved", kind=kind, severity=severity, site=site, state="resolved", at=now)
    return await get_alert(db, alert_id)


async def list_alerts(db: AsyncConnection, *, state: State | None, limit: int) -> list[dict[str, Any]]:
    """Alerts with the stock at their place, unsettled and worst first; at most LIST_MAX."""
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["list"], {"id": None, "state": state, "limit": min(limit, LIST_MAX)})
        return await cursor.fetchall()


async def get_alert(db: AsyncConnection, alert_id: int) -> dict[str, Any]:
    """One alert. Raises NotFound."""
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["list"], {"id": alert_id, "state": None, "limit": 1})
        row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"there is no alert {alert_id}")
    return row


async def _is_watched(db: AsyncConnection, alert_id: int) -> bool:
    row = await (await db.execute(_SQL["is_watched"], {"id": alert_id})).fetchone()
    return row is not None and bool(row[0])


async def _lock(db: AsyncConnection, alert_id: int) -> tuple[str, str, str | None, str]:
    row = await (await db.execute(_SQL["lock"], {"id": alert_id})).fetchone()
    if row is None:
        raise NotFound(f"there is no alert {alert_id}")
    return row[1], row[2], row[3], row[4]


def _checked_reason(reason: str) -> str:
    reason = reason.strip()
    if not reason:
        raise RuleViolation("a reason is needed: say what was found and what was done")
    if len(reason) > REASON_MAX:
        raise RuleViolation(f"the reason has {len(reason)} characters; at most {REASON_MAX} are kept")
    return reason


async def _tell(
    db: AsyncConnection, alert_id: int, *, change: str, kind: str, severity: str, site: str | None, state: str, at: datetime
) -> None:
    payload = {"change": change, "kind": kind, "severity": severity, "state": state}
    await events.emit(db, kind="alert", subject=str(alert_id), site=site, payload=payload, at=at)
