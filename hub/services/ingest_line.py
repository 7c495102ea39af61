"""The line from intake to receipt: while one transaction runs, the next group is decoded; a group that fails is halved."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from psycopg import AsyncConnection

from core.errors import Unavailable
from core.messages import Receipt
from core.topics import AgentAddress
from hub.domain.inbound import Inbound
from hub.domain.ingest_group import GroupBuilder, IngestGroup, readable_rejection_of
from hub.services.faults import FAULTS, is_the_stores
from hub.services.ingest import Handlers, Memory, Outcome, commit_group
from hub.services.rejections import SetAsideFull, tell_full

_log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
TOLD_FIRST: Final = {
    "known_readings": "readings came that were there already",
    "conflicting_readings": "a device told two values for one moment (table reading_conflict)",
    "misdated_statuses": "an agent told a time that cannot be true",
    "set_aside": "facts were set aside (`quartermaster rejections list`)",
    "dropped_rejections": "the oldest rejected messages of an agent were dropped to keep within bounds",
}


@dataclass(slots=True)
class Counts:
    """Totals since the line began. `held_back` counts messages left with their agents because no more facts may be set aside."""

    groups: int = 0
    batches: int = 0
    repeated_batches: int = 0
    readings: int = 0
    known_readings: int = 0
    conflicting_readings: int = 0
    facts: int = 0
    rejections: int = 0
    set_aside: int = 0
    dropped_rejections: int = 0
    held_back: int = 0
    misdated_statuses: int = 0
    last_commit_at: datetime | None = None

    def add(self, outcome: Outcome, now: datetime) -> None:
        """Counts one committed group."""
        self.groups += 1
        self.batches += outcome.batches
        self.repeated_batches += outcome.repeated_batches
        self.readings += outcome.readings
        self.known_readings += outcome.known_readings
        self.conflicting_readings += outcome.conflicting_readings
        self.facts += outcome.facts
        self.rejections += outcome.rejections
        self.set_aside += outcome.set_aside
        self.dropped_rejections += outcome.dropped_rejections
        self.misdated_statuses += outcome.misdated_statuses
        self.last_commit_at = now


@dataclass(slots=True)
class IngestLine:
    """Takes messages, commits them in groups, and gives out receipts after each commit.

    `take` waits for messages; `transaction` opens one and raises Unavailable when the database does not answer; `publish`
    takes receipts without waiting. When the store is to blame the line waits, takes nothing more, and loses nothing.
    """

    take: Callable[[], Awaitable[list[Inbound]]]
    transaction: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    publish: Callable[[Sequence[tuple[AgentAddress, Receipt]]], None]
    handlers: Handlers
    now: Callable[[], datetime]
    mirror: bool = False
    counts: Counts = field(default_factory=Counts)
    _memory: Memory = field(default_factory=Memory)
    _builder: GroupBuilder = field(default_factory=GroupBuilder)
    _filled: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Runs until cancelled. A group whose commit is cut off is asked for again by its agents."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._collect(), name="ingest collect")
            tasks.create_task(self._commit_all(), name="ingest commit")

    async def _collect(self) -> None:
        while True:
            arrived = await self.take()
            while self._builder.full:
                self._room.clear()
                await self._room.wait()
            self._builder.add_all(arrived, self.now())
            self._filled.set()
            await asyncio.sleep(0)

    async def _commit_all(self) -> None:
        while True:
            await self._filled.wait()
            builder, self._builder = self._builder, GroupBuilder()
            self._filled.clear()
            self._room.set()
            await self.commit(builder.finish(self.now()))

    async def commit(self, group: IngestGroup) -> None:
        """Commits one group, halving it around messages that the store or a rule cannot take, and publishes its receipts.

        Messages with facts that may not be set aside any more are left out: without a receipt they stay with their agents.
        """
        try:
            await self._commit(group)
        except SetAsideFull as full:
            await self._hold_back(group, full)

    async def _hold_back(self, group: IngestGroup, full: SetAsideFull) -> None:
        left = {id(each.message) for each in group.envelopes if (each.life, each.seq) in full.batches}
        # A group made of one refusal has no envelope.
        rest = [each for each in group.messages if id(each) not in left] if left else []
        self.counts.held_back += len(group.messages) - len(rest)
        _log.warning("%d messages are left with their agents: %s", len(group.messages) - len(rest), full)
        try:
            async with self.transaction() as db:
                await tell_full(db, full, self.now())
        except Unavailable as error:
            _log.warning("the alert of a full store of facts set aside waits for the agent to ask again: %s", error)
        if rest:
            await self.commit(self._group(rest))

    async def _commit(self, group: IngestGroup) -> None:
        try:
            outcome = await self._try_until_answered(group)
        except FAULTS as error:
            if len(group.messages) > 1:
                half = len(group.messages) // 2
                _log.warning("a group of %d messages failed and is halved: %s", len(group.messages), error)
                await self.commit(self._group(group.messages[:half]))
                await self.commit(self._group(group.messages[half:]))
                return
            outcome = await self._try_until_answered(self._refused(group.messages[0], error), refusal=True)
        self._memory.learn(outcome.learned)
        self._say_first(outcome)
        self.counts.add(outcome, self.now())
        self.publish(outcome.receipts)

    def _say_first(self, outcome: Outcome) -> None:
        """One line in the log when something happens that only the counts would tell of."""
        for name, meaning in TOLD_FIRST.items():
            if getattr(outcome, name) and not getattr(self.counts, name):
                _log.warning("for the first time since the start, %s; hub_status counts them from here on", meaning)

    def _group(self, messages: list[Inbound]) -> IngestGroup:
        builder = GroupBuilder()
        builder.add_all(messages, self.now())
        return builder.finish(self.now())

    def _refused(self, message: Inbound, error: Exception) -> IngestGroup:
        empty = self._group([])
        empty.messages.append(message)
        empty.rejections.append(readable_rejection_of(message, f"{type(error).__name__}: {error}"))
        return empty

    async def _try_until_answered(self, group: IngestGroup, *, refusal: bool = False) -> Outcome:
        """A refusal holds nothing that could be refused in its turn: whatever stops it is waited for."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                return await self._try(group, refusal=refusal)
            except Unavailable as error:
                _log.warning("%d messages wait, the store cannot take them: %s", len(group.messages), error)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MAX_S)

    async def _try(self, group: IngestGroup, *, refusal: bool) -> Outcome:
        try:
            async with self.transaction() as db:
                return await commit_group(db, group, self.handlers, memory=self._memory, now=self.now(), mirror=self.mirror)
        except FAULTS as error:
            if refusal or is_the_stores(error):
                raise Unavailable(f"{type(error).__name__}: {error}") from error
            raise
