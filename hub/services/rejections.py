"""Messages and facts that cannot be taken: kept whole, told, and an alert while an agent's are being refused."""

from datetime import datetime, timedelta
from typing import Final

from psycopg import AsyncConnection

from core.topics import AgentAddress
from hub.domain.ingest_group import Rejection, sender_of
from hub.services.alerts import clear_alert, open_alert
from hub.services.events import emit
from hub.sql import named

_SQL = named("rejections")

RULE: Final = "rejections"
QUIET_AFTER: Final = timedelta(hours=1)
"""So long without a refusal, in scenario time, and an agent's alert is cleared."""
REASON_MAX_CHARACTERS: Final = 2_000
TOLD_AT_ONCE_MAX: Final = 20
"""Events, and alerts, of one group; the alert of one more agent opens with its next refusal."""


async def keep(db: AsyncConnection, rejections: list[Rejection], now: datetime) -> None:
    """Keeps each with its reason and sender, tells the first TOLD_AT_ONCE_MAX, and opens an alert for each sender that has none.

    The sender is who the topic belongs to; it is unknown when the topic is none of ours.
    """
    if not rejections:
        return
    senders = [sender_of(each) for each in rejections]
    values = {
        "topics": [_sayable(each.topic) for each in rejections],
        "payloads": [each.payload for each in rejections],
        "reasons": [_sayable(each.reason) for each in rejections],
        "sites": [sender.site if sender else None for sender in senders],
        "agents": [sender.agent if sender else None for sender in senders],
        "boots": [each.life.boot if each.life else None for each in rejections],
        "seqs": [each.seq for each in rejections],
        "now": now,
    }
    ids = [row[0] for row in await (await db.execute(_SQL["add"], values)).fetchall()]
    for number, rejection, sender in list(zip(ids, rejections, senders, strict=True))[:TOLD_AT_ONCE_MAX]:
        site, agent = (sender.site, sender.agent) if sender else (None, None)
        payload = {"agent": agent, "seq": rejection.seq, "reason": _sayable(rejection.reason), "with_it": len(rejections) - 1}
        await emit(db, kind="rejection", subject=str(number), site=site, payload=payload, at=now)
    first: dict[AgentAddress, Rejection] = {}
    for sender, rejection in zip(senders, rejections, strict=True):
        if sender is not None:
            first.setdefault(sender, rejection)
    await _alert(db, first, now)


async def _alert(db: AsyncConnection, first: dict[AgentAddress, Rejection], now: datetime) -> None:
    if not first:
        return
    asked = {"sites": [each.site for each in first], "agents": [each.agent for each in first], "rule": RULE}
    rows = await (await db.execute(_SQL["without_alert"], {**asked, "limit": TOLD_AT_ONCE_MAX})).fetchall()
    for site, agent, source, known_site in rows:
        await open_alert(
            db,
            kind="device",
            source=source,
            rule=RULE,
            severity="minor",
            site=known_site,
            location=None,
            opened_at=now,
            details={"site": site, "agent": agent, "reason": _sayable(first[AgentAddress(site, agent)].reason)},
            now=now,
        )


async def clear_quiet(db: AsyncConnection, now: datetime) -> int:
    """Clears the alerts of agents of which nothing was refused for QUIET_AFTER; returns how many."""
    rows = await (await db.execute(_SQL["quiet"], {"rule": RULE, "since": now - QUIET_AFTER})).fetchall()
    for (source,) in rows:
        await clear_alert(db, source=source, rule=RULE, cleared_at=now, details={}, now=now)
    return len(rows)


def _sayable(text: str) -> str:
    text = text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= REASON_MAX_CHARACTERS else text[: REASON_MAX_CHARACTERS - 1] + "…"
