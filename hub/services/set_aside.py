"""Facts set aside are listed, taken in again through the rules of the ingest with their times put right, or dismissed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from core import messages
from core.errors import MessageRejected, NotFound, RuleViolation
from hub.domain.inbound import Inbound
from hub.domain.ingest_group import GROUP_MAX_BYTES, GroupBuilder, IngestGroup, Rejection
from hub.domain.set_aside import shifted
from hub.services import rejections
from hub.services.alerts import clear_alert
from hub.services.faults import FAULTS, is_the_stores
from hub.services.ingest import Handlers, Memory, Outcome, take_facts
from hub.sql import named

_SQL = named("set_aside")

LIST_MAX: Final = 1_000
SETTLED_AT_ONCE: Final = 10_000
"""Rows taken in, or dismissed, in one transaction."""
GROUP_ROWS: Final = 500
SKEW_NONE_S: Final = 1.0
"""A clock off by less is right: there is nothing to put right."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One row of `set_aside_fact` that nobody has settled."""

    id: int
    site: str
    agent: str
    boot: str
    seq: int
    item: int | None
    topic: str
    payload: bytes


@dataclass(slots=True)
class Settled:
    """Ids of the rows that were settled, and why others were not."""

    ids: list[int] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Which:
    """Which of the facts that wait: those of these ids, or of this site or agent; of nothing named all of them."""

    ids: Sequence[int] | None = None
    site: str | None = None
    agent: str | None = None


class _StillRefused(Exception):
    """Rolls a group back of which some rows cannot be taken; carries their (site, agent, boot, seq) and why."""

    def __init__(self, why: dict[tuple[str, str, str, int], str]) -> None:
        super().__init__(f"{len(why)} batches")
        self.why = why


async def list_facts(
    db: AsyncConnection, *, site: str | None = None, agent: str | None = None, settled: bool = False, limit: int = LIST_MAX
) -> list[dict[str, Any]]:
    """What waits, newest first; with `settled` also what was settled, by whom, when and how. At most LIST_MAX."""
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["list"], {"site": site, "agent": agent, "settled": settled, "limit": min(limit, LIST_MAX)})
        return await cursor.fetchall()


async def correction_for(db: AsyncConnection, *, site: str, agent: str) -> float:
    """The seconds that undo how far an agent's clock is off now. Raises NotFound, and RuleViolation when it is right."""
    row = await (await db.execute(_SQL["clock_skew"], {"site": site, "agent": agent})).fetchone()
    if row is None or row[0] is None:
        raise NotFound(f"nothing is known of the clock of agent {agent} at site {site}: name --shift-s")
    if abs(row[0]) < SKEW_NONE_S:
        raise RuleViolation(
            f"the clock of agent {agent} at site {site} is right by now ({row[0]:+.3f} s): name with --shift-s how far it was off"
        )
    return -float(row[0])


async def take_in(
    db: AsyncConnection, which: Which, *, shift_s: float, handlers: Handlers, now: datetime, by: str, mirror: bool = False
) -> Settled:
    """Takes facts in again, `shift_s` seconds added to their times, in the caller's transaction, by the rules of the ingest.

    At most SETTLED_AT_ONCE rows, the oldest. What can still not be taken stays as it is and is returned with the reason; what is
    settled already is passed over, so doing it twice changes nothing. Raises what the store is to blame for.
    """
    rows = await _waiting(db, which)
    settled = Settled()
    for group in _apart(rows):
        await _take_group(db, group, settled, shift_s=shift_s, handlers=handlers, now=now, mirror=mirror)
    await _settle(db, settled.ids, settlement="taken", by=by, reason="", shift_s=shift_s, now=now)
    return settled


async def dismiss(db: AsyncConnection, which: Which, *, now: datetime, by: str, reason: str) -> Settled:
    """Gives facts up for good; who did it and why stays on record. Raises RuleViolation without a reason or a choice."""
    if not reason.strip():
        raise RuleViolation("a reason is needed: say why these facts are of no use")
    if which == Which():
        raise RuleViolation("name which facts are given up: ids, a site or an agent")
    settled = Settled([row.id for row in await _waiting(db, which)])
    await _settle(db, settled.ids, settlement="dismissed", by=by, reason=reason.strip(), shift_s=None, now=now)
    return settled


async def _waiting(db: AsyncConnection, which: Which) -> list[Waiting]:
    values = {
        "ids": None if which.ids is None else list(which.ids),
        "site": which.site,
        "agent": which.agent,
        "limit": SETTLED_AT_ONCE,
    }
    async with db.cursor(row_factory=class_row(Waiting)) as cursor:
        await cursor.execute(_SQL["waiting"], values)
        return await cursor.fetchall()


def _apart(rows: Sequence[Waiting]) -> list[list[Waiting]]:
    """Groups of at most GROUP_ROWS rows and about GROUP_MAX_BYTES in which no batch stands twice, each batch in order."""
    groups: list[list[Waiting]] = []
    members: list[set[tuple[str, str, str, int]]] = []
    sizes: list[int] = []
    first_open: dict[tuple[str, str, str, int], int] = {}
    for row in rows:
        name = _name(row)
        place = first_open.get(name, 0)
        while place < len(groups) and (
            len(groups[place]) >= GROUP_ROWS or sizes[place] >= GROUP_MAX_BYTES or name in members[place]
        ):
            place += 1
        if place == len(groups):
            groups.append([])
            members.append(set())
            sizes.append(0)
        groups[place].append(row)
        members[place].add(name)
        sizes[place] += len(row.payload)
        first_open[name] = place + 1
    return groups


def _name(row: Waiting) -> tuple[str, str, str, int]:
    return row.site, row.agent, row.boot, row.seq


async def _take_group(
    db: AsyncConnection, rows: list[Waiting], settled: Settled, *, shift_s: float, handlers: Handlers, now: datetime, mirror: bool
) -> None:
    """Takes rows in a savepoint; what refuses is left out and the rest tried again, down to rows that fail alone."""
    waiting = [rows]
    while waiting:
        some = waiting.pop()
        if not some:
            continue
        try:
            async with db.transaction():
                await _take_all(db, some, shift_s=shift_s, handlers=handlers, now=now, mirror=mirror)
            settled.ids += [row.id for row in some]
        except _StillRefused as still:
            settled.refused += [(row.id, still.why[_name(row)]) for row in some if _name(row) in still.why]
            waiting.append([row for row in some if _name(row) not in still.why])
        except FAULTS as error:
            if is_the_stores(error):
                raise
            if len(some) == 1:
                settled.refused.append((some[0].id, str(error).strip() or type(error).__name__))
            else:
                half = len(some) // 2
                waiting += [some[half:], some[:half]]


async def _take_all(
    db: AsyncConnection, rows: list[Waiting], *, shift_s: float, handlers: Handlers, now: datetime, mirror: bool
) -> None:
    group, refused = _group_of(rows, shift_s, now)
    if not refused:
        await _forget(db, group)
        fresh = [True] * len(group.envelopes)
        refused = await take_facts(db, group, fresh, handlers, memory=Memory(), outcome=Outcome(), now=now, mirror=mirror)
    if refused:
        raise _StillRefused({(*each.life, each.seq or 0): each.reason for each in refused if each.life is not None})


def _group_of(rows: list[Waiting], shift_s: float, now: datetime) -> tuple[IngestGroup, list[Rejection]]:
    builder = GroupBuilder()
    places: dict[tuple[str, str, str, int], int | None] = {}
    for row in rows:
        batch = shifted(messages.decode_batch(bytes(row.payload)), shift_s)
        builder.add_all([Inbound(row.topic, messages.encode(batch))], now)
        places[_name(row)] = row.item
    group = builder.finish(now)
    for number, fact in enumerate(group.facts):
        envelope = group.envelopes[fact.batch]
        item = places[(*envelope.life, envelope.seq)]
        if item is not None:
            group.facts[number] = fact._replace(item=item)
    refused = list(group.rejections)
    if any(each.life is None for each in refused):
        raise MessageRejected(f"what was kept cannot be read any more: {refused[0].reason}")
    return group, refused


async def _forget(db: AsyncConnection, group: IngestGroup) -> None:
    lives = [group.envelopes[fact.batch] for fact in group.facts]
    values = {
        "sites": [each.life.site for each in lives],
        "agents": [each.life.agent for each in lives],
        "boots": [each.life.boot for each in lives],
        "seqs": [each.seq for each in lives],
        "items": [fact.item for fact in group.facts],
    }
    if lives:
        await db.execute(_SQL["forget_passages"], values)
        await db.execute(_SQL["forget_scans"], values)


async def _settle(
    db: AsyncConnection, ids: list[int], *, settlement: str, by: str, reason: str, shift_s: float | None, now: datetime
) -> None:
    if not ids:
        return
    values = {"ids": ids, "settlement": settlement, "by": by, "reason": reason, "shift_s": shift_s, "now": now}
    for site, agent, size in await (await db.execute(_SQL["settle"], values)).fetchall():
        if size < rejections.SET_ASIDE_MAX_BYTES:
            await clear_alert(db, source=f"agent:{site}/{agent}", rule=rejections.FULL_RULE, cleared_at=now, details={}, now=now)
