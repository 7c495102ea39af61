"""Messages and facts that cannot be taken: kept, told, and an alert while an agent's are being refused.

What may yet be a fact is set aside and never dropped (`set_aside_fact`): at its limit the hub takes no more of it, so the agent
keeps it. What holds no fact is kept within bounds (`rejected_message`), of which the oldest goes.
"""

import hashlib
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from psycopg import AsyncConnection

from core.errors import QuartermasterError
from core.topics import AgentAddress
from hub.domain.ingest_group import Life, Rejection, sender_of
from hub.services.alerts import Severity, clear_alert, open_alert
from hub.services.events import emit
from hub.sql import named

_SQL = named("rejections")
_log = logging.getLogger(__name__)

RULE: Final = "rejections"
FULL_RULE: Final = "set-aside-full"
QUIET_AFTER: Final = timedelta(hours=1)
"""So long without a refusal, in scenario time, and an agent's alert is cleared."""
REASON_MAX_CHARACTERS: Final = 2_000
TOLD_AT_ONCE_MAX: Final = 20
"""Events, and alerts, of one group; the alert of one more agent opens with its next refusal."""
REJECTIONS_KEPT: Final = 10_000
"""Rejected messages kept of one agent: a flood from a broken gateway fills no disk and drives out no other's."""
REJECTED_BYTES_KEPT: Final = 64 * 1_048_576
"""Bytes of rejected messages kept of one agent."""
BEGINNING_BYTES: Final = 65_536
"""Of a longer rejected message only its beginning is kept, with its size and SHA-256."""
SET_ASIDE_MAX_BYTES: Final = 256 * 1_048_576
"""Bytes of facts of one agent that may wait to be taken in again. Nothing of them is dropped: no more are taken."""


class SetAsideFull(QuartermasterError):
    """No more facts of these batches may be set aside: they must stay with their agents."""

    def __init__(self, batches: set[tuple[Life, int]]) -> None:
        agents = sorted({f"{life.site}/{life.agent}" for life, _ in batches})
        super().__init__(f"{SET_ASIDE_MAX_BYTES} bytes of facts of {', '.join(agents)} wait already")
        self.batches = batches

    @property
    def senders(self) -> list[AgentAddress]:
        """Whose batches they are."""
        return sorted({AgentAddress(life.site, life.agent) for life, _ in self.batches}, key=lambda each: (each.site, each.agent))


async def keep(db: AsyncConnection, rejections: list[Rejection], now: datetime) -> int:
    """Keeps each with its reason and sender, tells the first TOLD_AT_ONCE_MAX, and opens an alert for each sender that has none.

    The sender is who the topic belongs to; it is unknown when the topic is none of ours. Returns how many older messages had to
    go for it. Raises SetAsideFull when a sender's facts may not be set aside any more; the transaction must then be given up.
    """
    if not rejections:
        return 0
    lasting = [each for each in rejections if each.lasting]
    passing = [each for each in rejections if not each.lasting]
    ids = await _set_aside(db, lasting, now) if lasting else []
    dropped = 0
    if passing:
        ids += await _add(db, passing, now)
        senders = {sender_of(each) for each in passing}
        dropped = await trim(db, senders)
    ordered = [*lasting, *passing]
    for number, rejection in list(zip(ids, ordered, strict=True))[:TOLD_AT_ONCE_MAX]:
        sender = sender_of(rejection)
        site, agent = (sender.site, sender.agent) if sender else (None, None)
        payload = {"agent": agent, "seq": rejection.seq, "reason": _sayable(rejection.reason), "with_it": len(rejections) - 1}
        await emit(db, kind="rejection", subject=str(number), site=site, payload=payload, at=now)
    first: dict[AgentAddress, str] = {}
    for rejection in rejections:
        sender = sender_of(rejection)
        if sender is not None:
            first.setdefault(sender, rejection.reason)
    await _alert(db, first, rule=RULE, severity="minor", now=now)
    return dropped


async def trim(db: AsyncConnection, senders: Iterable[AgentAddress | None] | None) -> int:
    """Drops the oldest rejected messages of each sender (None: all of them) that are beyond its bounds; returns how many went."""
    asked = None if senders is None else [(each.site, each.agent) if each else ("", "") for each in senders]
    values = {
        "sites": None if asked is None else [site for site, _ in asked],
        "agents": None if asked is None else [agent for _, agent in asked],
        "kept": REJECTIONS_KEPT,
        "kept_bytes": REJECTED_BYTES_KEPT,
    }
    return (await db.execute(_SQL["trim"], values)).rowcount


async def trim_all(db: AsyncConnection, now: datetime) -> int:  # noqa: ARG001 - a chore's arguments
    """The same for every sender, as a chore: what others than the ingest put there is bounded too."""
    gone = await trim(db, None)
    if gone:
        _log.warning("more than %d rejected messages or %d bytes of an agent: the oldest %d were dropped",
                     REJECTIONS_KEPT, REJECTED_BYTES_KEPT, gone)  # fmt: skip
    return gone


async def tell_full(db: AsyncConnection, full: SetAsideFull, now: datetime) -> None:
    """Opens the alert of every sender whose facts cannot be set aside any more."""
    await _alert(db, dict.fromkeys(full.senders, str(full)), rule=FULL_RULE, severity="major", now=now)


async def _add(db: AsyncConnection, rejections: list[Rejection], now: datetime) -> list[int]:
    senders = [sender_of(each) for each in rejections]
    cut = [len(each.payload) > BEGINNING_BYTES for each in rejections]
    values = {
        "topics": [_sayable(each.topic) for each in rejections],
        "payloads": [each.payload[:BEGINNING_BYTES] for each in rejections],
        "sizes": [len(each.payload) if each.size is None else each.size for each in rejections],
        # Of what was let go on the wire no sum can be told.
        "hashes": [
            hashlib.sha256(each.payload).digest() if long and each.size is None else None
            for each, long in zip(rejections, cut, strict=True)
        ],
        "reasons": [_sayable(each.reason) for each in rejections],
        "sites": [sender.site if sender else None for sender in senders],
        "agents": [sender.agent if sender else None for sender in senders],
        "boots": [each.life.boot if each.life else None for each in rejections],
        "seqs": [each.seq for each in rejections],
        "now": now,
    }
    return [row[0] for row in await (await db.execute(_SQL["add"], values)).fetchall()]


async def _set_aside(db: AsyncConnection, facts: list[Rejection], now: datetime) -> list[int]:
    lives = [_life(each) for each in facts]
    names = {"sites": [life.site for life in lives], "agents": [life.agent for life in lives]}
    sizes = {**names, "bytes": [len(each.payload) for each in facts]}
    grown = await (await db.execute(_SQL["grow"], sizes)).fetchall()
    full = {(site, agent) for site, agent, size in grown if size > SET_ASIDE_MAX_BYTES}
    if full:
        raise SetAsideFull(
            {(life, each.seq or 0) for each, life in zip(facts, lives, strict=True) if (life.site, life.agent) in full}
        )
    values = {
        **names,
        "boots": [life.boot for life in lives],
        "seqs": [each.seq for each in facts],
        "items": [each.item for each in facts],
        "topics": [_sayable(each.topic) for each in facts],
        "payloads": [each.payload for each in facts],
        "reasons": [_sayable(each.reason) for each in facts],
        "now": now,
    }
    return [row[0] for row in await (await db.execute(_SQL["set_aside"], values)).fetchall()]


def _life(fact: Rejection) -> Life:
    if fact.life is None:
        raise TypeError(f"set aside, but of nobody: {fact.reason}")
    return fact.life


async def _alert(db: AsyncConnection, first: dict[AgentAddress, str], *, rule: str, severity: Severity, now: datetime) -> None:
    if not first:
        return
    asked = {"sites": [each.site for each in first], "agents": [each.agent for each in first], "rule": rule}
    rows = await (await db.execute(_SQL["without_alert"], {**asked, "limit": TOLD_AT_ONCE_MAX})).fetchall()
    for site, agent, source, known_site in rows:
        await open_alert(
            db,
            kind="device",
            source=source,
            rule=rule,
            severity=severity,
            site=known_site,
            location=None,
            opened_at=now,
            details={"site": site, "agent": agent, "reason": _sayable(first[AgentAddress(site, agent)])},
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
