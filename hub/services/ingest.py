"""One group of messages becomes one transaction: what is new is stored and judged, what is known changes nothing.

Receipts are part of the outcome: they may leave only after the commit.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from psycopg import AsyncConnection
from psycopg.types.range import Range

from core.messages import BarcodeScan, DeviceStatus, Position, Receipt, StateChange, TagPassage
from core.topics import AgentAddress
from hub.domain.ingest_group import IngestGroup, Life, Refused, Rejection, SeriesKey
from hub.domain.line_protocol import reading_lines
from hub.domain.reading_block import ReadingBlock
from hub.domain.seq_ranges import multirange_text, ranges_of
from hub.services import devices, fact_store, reading_store, rejections
from hub.sql import named

_SQL = named("ingest")

LIVES_REMEMBERED: Final = 20_000
WEEKS_REMEMBERED: Final = 1_000

Apply = Callable[[AsyncConnection, reading_store.Stored, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Handlers:
    """The rules that judge facts inside the ingest transaction: of readings first, then by site, in the order of the fields."""

    apply_readings: Apply
    take_passages: Callable[[AsyncConnection, str, list[TagPassage], datetime], Awaitable[None]]
    take_scans: Callable[[AsyncConnection, str, list[BarcodeScan], datetime], Awaitable[None]]
    take_positions: Callable[[AsyncConnection, str, list[Position], datetime], Awaitable[Sequence[Refused] | None]]
    take_statuses: Callable[[AsyncConnection, str, list[DeviceStatus], datetime], Awaitable[None]]
    take_states: Callable[[AsyncConnection, str, list[StateChange], datetime], Awaitable[None]]


@dataclass(slots=True)
class Memory:
    """What this process knows to be committed, so that it need not be asked again. Only `learn` changes it."""

    series: dict[SeriesKey, int] = field(default_factory=dict)
    weeks: set[int] = field(default_factory=set)
    lives: set[Life] = field(default_factory=set)

    def learn(self, other: "Memory") -> None:
        """Takes over what a committed transaction found or made."""
        self.series.update(other.series)
        if len(self.lives) > LIVES_REMEMBERED:
            self.lives.clear()
        if len(self.weeks) > WEEKS_REMEMBERED:
            self.weeks.clear()
        self.lives |= other.lives
        self.weeks |= other.weeks


@dataclass(slots=True)
class Outcome:
    """What one committed group came to."""

    receipts: list[tuple[AgentAddress, Receipt]] = field(default_factory=list)
    batches: int = 0
    repeated_batches: int = 0
    readings: int = 0
    known_readings: int = 0
    conflicting_readings: int = 0
    facts: int = 0
    rejections: int = 0
    set_aside: int = 0
    dropped_rejections: int = 0
    misdated_statuses: int = 0
    learned: Memory = field(default_factory=Memory)


async def commit_group(
    db: AsyncConnection, group: IngestGroup, handlers: Handlers, *, memory: Memory, now: datetime, mirror: bool
) -> Outcome:
    """Stores and judges a group in the caller's transaction, which the caller must commit before the receipts leave.

    Raises what the database raises, and SetAsideFull; nothing is kept of a group that failed.
    """
    outcome = Outcome(repeated_batches=group.asked_again)
    await db.execute(_SQL["lift_decompression_limit"])
    known = await _lock_lives(db, group, memory=memory, learned=outcome.learned, now=now)
    fresh = [(each.life, each.seq) not in known for each in group.envelopes]
    outcome.batches = sum(fresh)
    outcome.repeated_batches += len(fresh) - outcome.batches

    refused = [each for each in group.rejections if each.life is None or (each.life, each.seq) not in known]
    refused += await take_facts(db, group, fresh, handlers, memory=memory, outcome=outcome, now=now, mirror=mirror)
    outcome.rejections, outcome.set_aside = len(refused), sum(each.lasting for each in refused)
    outcome.dropped_rejections = await rejections.keep(db, refused, now)

    await devices.touch_agents(db, group.envelopes, now)
    outcome.misdated_statuses = await devices.take_agent_statuses(db, group.statuses, now)
    outcome.receipts = await _mark(db, group, known, now)
    return outcome


async def take_facts(
    db: AsyncConnection,
    group: IngestGroup,
    fresh: list[bool],
    handlers: Handlers,
    *,
    memory: Memory,
    outcome: Outcome,
    now: datetime,
    mirror: bool,
) -> list[Rejection]:
    """Stores and judges the facts of the group's fresh batches, counts them in `outcome`, and returns what no rule could take."""
    block, series = await reading_store.resolve(db, group, fresh, memory=memory.series, learned=outcome.learned.series)
    await _ensure_weeks(db, group, block, memory=memory.weeks, learned=outcome.learned.weeks)
    stored = await reading_store.store(db, block, now)
    outcome.readings = len(stored.block)
    outcome.known_readings, outcome.conflicting_readings = stored.known, stored.conflicting
    if len(stored.block):
        await handlers.apply_readings(db, stored, now)
    if mirror and len(stored.block):
        names = {number: key for key, number in series.items()}
        await db.execute(_SQL["add_mirror_lines"], {"lines": reading_lines(stored.block, names)})
    facts = [each for each in group.facts if fresh[each.batch]]
    outcome.facts = len(facts)
    return await fact_store.take(db, group.envelopes, facts, _acts(handlers), now)


def _acts(handlers: Handlers) -> fact_store.Acts:
    return {
        TagPassage: handlers.take_passages,
        BarcodeScan: handlers.take_scans,
        Position: handlers.take_positions,
        DeviceStatus: handlers.take_statuses,
        StateChange: handlers.take_states,
    }


def _asked(group: IngestGroup) -> dict[Life, set[int]]:
    """Every batch the group names, taken or refused."""
    asked: dict[Life, set[int]] = {}
    for envelope in group.envelopes:
        asked.setdefault(envelope.life, set()).add(envelope.seq)
    for rejection in group.rejections:
        if rejection.life is not None and rejection.seq is not None:
            asked.setdefault(rejection.life, set()).add(rejection.seq)
    return asked


async def _lock_lives(
    db: AsyncConnection, group: IngestGroup, *, memory: Memory, learned: Memory, now: datetime
) -> set[tuple[Life, int | None]]:
    """Locks the record of every life in the group and returns the batches that it already holds."""
    asked = _asked(group)
    if not asked:
        return set()
    if not asked.keys() <= memory.lives:
        await db.execute(_SQL["open_lives"], {**_names(asked), "now": now})
        learned.lives.update(asked)
    bounds = {"firsts": [min(each) for each in asked.values()], "lasts": [max(each) for each in asked.values()]}
    rows = await (await db.execute(_SQL["lock_lives"], {**_names(asked), **bounds})).fetchall()
    known: set[tuple[Life, int | None]] = set()
    for site, agent, boot, ranges in rows:
        life = Life(site, agent, boot)
        for each in ranges:
            known.update([(life, seq) for seq in asked[life] if _within(seq, each)])
    return known


def _names(lives: Iterable[Life]) -> dict[str, list[str]]:
    each = list(lives)
    return {"sites": [life.site for life in each], "agents": [life.agent for life in each], "boots": [life.boot for life in each]}


def _within(seq: int, known: Range[int]) -> bool:
    # PostgreSQL returns ranges of integers as [first, after).
    return known.lower is not None and known.upper is not None and known.lower <= seq < known.upper


async def _mark(
    db: AsyncConnection, group: IngestGroup, known: set[tuple[Life, int | None]], now: datetime
) -> list[tuple[AgentAddress, Receipt]]:
    """Writes down what is now committed and words the receipts: also for batches that were committed before."""
    asked = _asked(group)
    refused: dict[Life, set[int]] = {}
    for rejection in group.rejections:
        if rejection.whole and rejection.life is not None and rejection.seq is not None:
            refused.setdefault(rejection.life, set()).add(rejection.seq)
    new = {life: [seq for seq in seqs if (life, seq) not in known] for life, seqs in asked.items()}
    new = {life: seqs for life, seqs in new.items() if seqs}
    if new:
        await db.execute(
            _SQL["mark_received"],
            {**_names(new), "now": now, "seqs": [multirange_text(ranges_of(seqs)) for seqs in new.values()]},
        )
    return [
        (AgentAddress(life.site, life.agent), Receipt(life.boot, ranges_of(seqs), sorted(refused.get(life, ()))))
        for life, seqs in asked.items()
    ]


async def _ensure_weeks(
    db: AsyncConnection, group: IngestGroup, block: ReadingBlock, *, memory: set[int], learned: set[int]
) -> None:
    weeks = reading_store.weeks_of(block)
    weeks.update([reading_store.week_of(fact.value.at) for fact in group.facts if isinstance(fact.value, Position)])
    for week in sorted(weeks - memory):
        moment = reading_store.FIRST_MONDAY + timedelta(weeks=week)
        await db.execute(_SQL["ensure_partitions"], {"moment": moment})
        learned.add(week)
