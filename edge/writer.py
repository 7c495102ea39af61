"""The one thread that owns the outbox: takes observations of all ports, follows tags, commits in groups, then tells the port.

A group gathers for at most GROUP_COMMIT_S (or until it is full) and is committed whole: passages, the tracks they leave, scans,
statuses, readings, and the batches that receipts have freed, in one transaction. Receipts and statuses do not queue behind
observations, so that what makes room on a full disk, and what tells of it, is never held up by what finds none.
"""

import errno
import logging
import queue
import shutil
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from core.messages import BarcodeScan, DeviceStatus, Item, Position, Readings, Series, StateChange, TagPassage
from edge.clock import Clock
from edge.drivers.observations import TagRead
from edge.outbox import MAX_BATCH_FACTS, Group, Outbox
from edge.presence import Presence, to_us

GROUP_COMMIT_S: Final = 0.1
"""Real seconds an observation waits for others before it is committed."""
MAX_GROUP: Final = 1000
"""Observations in one commit."""
MAX_WAITING: Final = 2000
"""Deliveries waiting for the writer; a port that brings one more waits, and the device with it."""
TICK_GRACE_S: Final = 0.5
"""Real seconds a read may take from its port to here before its tag can be called absent."""
COMMIT_RETRY_S: Final = 1.0
NEXT_TO_NOTHING_BYTES: Final = 256 * 1024
END_RATION_EVERY_S: Final = 5.0
"""Real seconds from finding the disk full, and between two looks whether it has room again."""
MAX_STATUSES: Final = 500
"""Statuses waiting; above it the oldest are dropped, and counted."""
MAX_FREED_RANGES: Final = 10_000
"""Receipted ranges waiting; above it they are forgotten, and counted: the batches are sent again after a restart."""
SERIES_STEP_BACK_US: Final = 60_000_000
"""A reading stamped up to a minute before the last of its series is moved just behind it; further back the clock was set."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PortalRead:
    """A tag read, the portal whose reader made it, and the shift of the clock (see `Instant`) that stamped it."""

    portal: str
    read: TagRead
    shift: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a series, at a moment of the agent's clock."""

    series: Series
    at: datetime
    value: float


FULL_DETAIL: Final = "disk_full: the disk of the outbox is full; receipted batches are freed first, then telemetry is dropped"

Delivery = PortalRead | Reading | BarcodeScan | Position | DeviceStatus | StateChange | TagPassage


class Ticket:
    """Says when what was delivered is safe on the disk."""

    __slots__ = ("_done",)

    def __init__(self) -> None:
        self._done = threading.Event()

    @property
    def is_safe(self) -> bool:
        """True once committed."""
        return self._done.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Waits at most so many real seconds; True once committed."""
        return self._done.wait(timeout_s)

    def redeem(self) -> None:
        """Called by the writer after its commit."""
        self._done.set()


@dataclass(slots=True)
class _Entry:
    deliveries: list[Delivery]
    ticket: Ticket = field(default_factory=Ticket)


class Writer:
    """Runs in its own thread through `run`; the other methods may be called by any other thread.

    Once `ready` is set: `boot` and `recovered_from` of the outbox, `last_seq`, what is waiting, `losses` (named totals of what
    was dropped, refused or judged a stray), and `trouble` (why nothing can be committed, or only on short rations; else empty).
    Any thread may read them.
    """

    def __init__(self, open_outbox: Callable[[], Outbox], presence: Presence, clock: Clock, *, stop: threading.Event) -> None:
        self.ready = threading.Event()
        self.on_commit: Callable[[int], None] = lambda _last_seq: None
        self.boot = ""
        self.last_seq = 0
        self.waiting_bytes = 0
        self.waiting_batches = 0
        self.losses: dict[str, int] = {}
        self.trouble = ""
        self.recovered_from: Path | None = None
        self._open_outbox = open_outbox
        self._presence = presence
        self._clock = clock
        self._stop = stop
        self._closing = threading.Event()
        self._inbox: queue.Queue[_Entry] = queue.Queue(MAX_WAITING)
        self._side = threading.Lock()
        self._statuses: deque[DeviceStatus] = deque()
        self._freed: list[tuple[int, int]] = []
        self._free_ticket = Ticket()
        self._owed: list[Ticket] = []
        self._disowned = ""
        self._counts: Counter[str] = Counter()
        self._shift = timedelta()
        self._full_at = 0.0
        self._last_at: dict[Series, int] = {}

    def deliver(self, deliveries: Iterable[Delivery]) -> Ticket:
        """Hands observations over; waits while MAX_WAITING deliveries are before it. Dropped only when the agent is stopping."""
        entry = _Entry(list(deliveries))
        while True:
            try:
                self._inbox.put(entry, timeout=GROUP_COMMIT_S)
            except queue.Full:
                if self._closing.is_set() or self._stop.is_set():
                    log.warning("delivery_dropped reason=stopping observations=%d", len(entry.deliveries))
                    return entry.ticket
            else:
                return entry.ticket

    def close_inbox(self) -> None:
        """From now on `deliver` drops instead of waiting: what then finds no room would never be committed."""
        self._closing.set()

    def tell(self, status: DeviceStatus) -> None:
        """Hands over a status; never waits."""
        with self._side:
            if len(self._statuses) >= MAX_STATUSES:
                self._statuses.popleft()
                self._counts["dropped_statuses"] += 1
            self._statuses.append(status)

    def free(self, ranges: Iterable[tuple[int, int]]) -> Ticket:
        """Hands over receipted ranges (closed), to be forgotten before anything new is committed; never waits."""
        with self._side:
            self._freed = merged([*self._freed, *ranges])
            if len(self._freed) > MAX_FREED_RANGES:
                self._counts["forgotten_receipts"] += len(self._freed) - MAX_FREED_RANGES
                del self._freed[MAX_FREED_RANGES:]
            return self._free_ticket

    def disown(self, boot: str) -> None:
        """The life of that name has batches that this outbox knows nothing of: `boot` changes as soon as the disk lets it."""
        with self._side:
            self._disowned = boot

    def run(self) -> None:
        """Opens the outbox, works until told to stop, commits what is left."""
        with self._open_outbox() as outbox:
            self._presence.restore(outbox.tracks(), self._clock.now())
            self.boot, self.recovered_from = outbox.boot, outbox.recovered_from
            self.trouble = FULL_DETAIL if outbox.is_rationed else ""
            self._note(outbox, [])
            self.ready.set()
            while not (self._stop.is_set() and self._inbox.empty()):
                self._commit(outbox, self._gather())
            self._commit(outbox, [])

    def _gather(self) -> list[_Entry]:
        entries: list[_Entry] = []
        size = 0
        deadline = time.monotonic() + GROUP_COMMIT_S
        while size < MAX_GROUP:
            left = deadline - time.monotonic()
            try:
                entry = self._inbox.get(timeout=left) if left > 0 else self._inbox.get_nowait()
            except queue.Empty:
                break
            if not entries:
                deadline = time.monotonic() + GROUP_COMMIT_S
            entries.append(entry)
            size += max(1, len(entry.deliveries))
            if self._stop.is_set():
                deadline = 0.0
        return entries

    def _commit(self, outbox: Outbox, entries: list[_Entry]) -> None:
        group = self._sort(entries)
        self._take_side(group)
        if (group or self._disowned) and not self._store(outbox, group):
            return
        self._end_ration(outbox)
        self._redeem_owed()
        for entry in entries:
            entry.ticket.redeem()

    def _take_side(self, group: Group) -> None:
        """Puts waiting statuses and receipted ranges into the group."""
        with self._side:
            group.business += self._statuses
            self._statuses.clear()
            if not self._freed and self._owed:
                return
            group.receipted = merged([*group.receipted, *self._freed])
            self._freed = []
            self._owed.append(self._free_ticket)
            self._free_ticket = Ticket()

    def _redeem_owed(self) -> None:
        for ticket in self._owed:
            ticket.redeem()
        self._owed.clear()

    def _store(self, outbox: Outbox, group: Group) -> bool:
        """Commits; tries again while the disk refuses (full, worn, read-only). False when the agent is stopped meanwhile.

        On a full disk it first frees what is receipted, then drops the oldest telemetry, at last that of the group itself.
        """
        while True:
            try:
                self._renew(outbox)
                self._note(outbox, outbox.commit(group, self._clock.now()))
            except (sqlite3.OperationalError, OSError) as error:
                self.trouble = self.trouble or f"commit_failed: {error}"
                if self._make_room(outbox, group, is_full=_is_full(error, outbox.path)) or self._end_ration(outbox):
                    continue
                log.error("commit_failed path=%s error=%r retry_s=%s", outbox.path, str(error), COMMIT_RETRY_S)  # noqa: TRY400
                if self._stop.wait(COMMIT_RETRY_S):
                    return False
            else:
                break
        self.trouble = FULL_DETAIL if outbox.is_rationed else ""
        return True

    def _make_room(self, outbox: Outbox, group: Group, *, is_full: bool) -> bool:
        """True when something was freed or dropped, so that the group may be tried again at once."""
        try:
            if is_full:
                self.trouble = FULL_DETAIL
                self._full_at = self._full_at if outbox.is_rationed else time.monotonic()
                outbox.ration()
            freed = self._free_first(outbox, group)
            self._tell_first(outbox, group)
            if freed or not is_full:
                return freed
            if outbox.drop_telemetry():
                self._note(outbox, [])
                return True
        except (sqlite3.OperationalError, OSError) as error:
            log.error("no_room_made path=%s error=%r", outbox.path, str(error))  # noqa: TRY400
            return False
        if not group.telemetry:
            return False
        self._counts["dropped_items"] += sum(len(each.values) if isinstance(each, Readings) else 1 for each in group.telemetry)
        group.telemetry.clear()
        return True

    def _free_first(self, outbox: Outbox, group: Group) -> bool:
        self._take_side(group)
        freed = outbox.free_rationed(group.receipted, self._clock.now())
        group.receipted.clear()
        self._note(outbox, [])
        self._redeem_owed()
        return freed > 0

    def _tell_first(self, outbox: Outbox, group: Group) -> None:
        """The group's statuses before all else: one of them tells of the trouble."""
        statuses = [item for item in group.business if isinstance(item, DeviceStatus)]
        if statuses:
            try:
                self._note(outbox, outbox.commit_urgent(statuses, self._clock.now()))
            except sqlite3.OperationalError as error:
                log.warning("trouble_not_told statuses=%d error=%r", len(statuses), str(error))
                return
            group.business = [item for item in group.business if not isinstance(item, DeviceStatus)]

    def _end_ration(self, outbox: Outbox) -> bool:
        """True when the disk was found to have room again; looks now and then."""
        if not outbox.is_rationed or time.monotonic() - self._full_at < END_RATION_EVERY_S:
            return False
        self._full_at = time.monotonic()
        ended = outbox.end_ration()
        self.trouble = "" if ended else FULL_DETAIL
        return ended

    def _renew(self, outbox: Outbox) -> None:
        with self._side:
            disowned = self._disowned
        if disowned and disowned == outbox.boot:
            log.error("outbox_disowned boot=%s new_boot=%s", disowned, outbox.begin_new_life())
            self._counts["new_lives"] += 1
            self.boot = outbox.boot
        with self._side:
            self._disowned = ""

    def _note(self, outbox: Outbox, seqs: list[int]) -> None:
        self.last_seq, self.waiting_batches, self.waiting_bytes = outbox.last_seq, outbox.batches, outbox.bytes
        self.losses = dict(outbox.counts + self._presence.counts + self._counts)
        if seqs:
            self.on_commit(seqs[-1])

    def _sort(self, entries: list[_Entry]) -> Group:
        group = Group()
        readings: list[Reading] = []
        now = self._clock.instant()
        if now.shift != self._shift:
            self._presence.step(now.shift - self._shift)
            self._shift = now.shift
        for entry in entries:
            for delivery in entry.deliveries:
                if isinstance(delivery, PortalRead):
                    read = delivery.read
                    if delivery.shift != now.shift:
                        read = replace(read, read_at=read.read_at + (now.shift - delivery.shift))
                    group.business += self._presence.offer(delivery.portal, read)
                elif isinstance(delivery, Reading):
                    readings.append(delivery)
                elif isinstance(delivery, Position):
                    group.telemetry.append(delivery)
                else:
                    group.business.append(delivery)
        grace = timedelta(seconds=TICK_GRACE_S * self._clock.scale.speed)
        group.business += self._presence.tick(now.at - grace)
        group.tracks = self._presence.changes()
        group.telemetry += self._columns(readings)
        return group

    def _columns(self, readings: list[Reading]) -> list[Item]:
        items: list[Item] = []
        for start in range(0, len(readings), MAX_BATCH_FACTS):
            part = readings[start : start + MAX_BATCH_FACTS]
            index: dict[Series, int] = {}
            which = [index.setdefault(reading.series, len(index)) for reading in part]
            at_us = [self._stamp(reading) for reading in part]
            items.append(Readings(list(index), which, at_us, [reading.value for reading in part]))
        return items

    def _stamp(self, reading: Reading) -> int:
        """Rising within a series, so that (series, at) names one reading."""
        at, last = to_us(reading.at), self._last_at.get(reading.series)
        if last is not None and last - SERIES_STEP_BACK_US < at <= last:
            at = last + 1
        self._last_at[reading.series] = at
        return at


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in as few closed ranges as can be, rising."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(each for each in ranges if each[0] <= each[1]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _is_full(error: sqlite3.OperationalError | OSError, path: Path) -> bool:
    """Also for an error of another name on a disk that has next to nothing left: not all that SQLite writes reports it as full."""
    if shutil.disk_usage(path.parent).free < NEXT_TO_NOTHING_BYTES:
        return True
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_FULL if "disk is full" in str(error) else sqlite3.SQLITE_ERROR)
    return int(code) & 0xFF == sqlite3.SQLITE_FULL
