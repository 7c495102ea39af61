"""What must survive: batches on their way to the hub and tags still in a gate, in one SQLite file.

Whatever `commit` returned for is on the disk (WAL, synchronous=FULL). A batch leaves only when the hub has receipted it or, if it
is telemetry, when the file is over its cap (then it is thinned before it is dropped, see edge.thinning) or the disk is full; both
leave its number used for ever. `boot` names the life of
the file. Payloads keep the life they were written in; a batch is sent under the life the file has then.
"""

import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from core.errors import ConfigurationError, MessageRejected
from core.messages import MAX_BATCH_BYTES, Batch, Item, Readings, decode_batch, encode
from edge.outbox_file import open_file
from edge.presence import Changes
from edge.reserve import RESERVE_BYTES, Reserve
from edge.shelf import Priority
from edge.thinning import Thinner, thinners

FILE_NAME: Final = "outbox.sqlite"
DEFAULT_CAP_BYTES: Final = 256 * 1024 * 1024
MAX_BATCH_FACTS: Final = 200
DROP_STEP: Final = 100
"""Batches thinned or dropped at a time while the file is over its cap or the disk is full."""
FREE_STEP: Final = 100
"""Batches forgotten in one transaction on a full disk, so that its log fits the reserve."""
URGENT_PAGES: Final = 16
"""Pages by which the file may grow on a full disk, for what tells of it."""


@dataclass(slots=True)
class Group:
    """What one commit brings: items by priority, changed tracks, receipted ranges (closed)."""

    business: list[Item] = field(default_factory=list)
    telemetry: list[Item] = field(default_factory=list)
    tracks: Changes = field(default_factory=Changes)
    receipted: list[tuple[int, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.business or self.telemetry or self.tracks or self.receipted)


class Outbox:
    """The file, open for writing. One thread makes it, uses it and closes it; another one may read through a `Shelf`.

    `counts` totals since opening: `thinned_items` (telemetry over the cap), `dropped_batches`, `dropped_items` (telemetry over the
    cap when all is thin, or on a full disk), `unspeakable_items` (values that no message may carry). `recovered_from` is the name
    a corrupt file was given, None when there was none.
    """

    def __init__(self, path: Path, agent: str, *, cap_bytes: int = DEFAULT_CAP_BYTES, reserve_bytes: int = RESERVE_BYTES) -> None:
        """Opens or makes the file, on a full disk with the room of its reserve.

        Raises ConfigurationError when it cannot be, or was written by a newer version.
        """
        self.path = path
        self.counts: Counter[str] = Counter()
        self.recovered_from: Path | None = None
        self._agent = agent
        self._cap_bytes = cap_bytes
        self._reserve_bytes = reserve_bytes
        self._reserve = Reserve(path, reserve_bytes)
        self._page_limit = self._urgent_limit = 0
        self._thinners = thinners()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db, self.recovered_from = open_file(path)
            except sqlite3.OperationalError:
                self._reserve.release()
                self._db, self.recovered_from = open_file(path)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"agent.state_dir: outbox {str(path)!r} cannot be opened: {error}") from error
        self.boot: str
        self._last_seq: int
        self.boot, self._last_seq = self._db.execute("SELECT boot, last_seq FROM life").fetchone()
        self.batches, self.bytes = self._db.execute("SELECT count(*), coalesce(sum(size), 0) FROM batch").fetchone()
        if not self._reserve.keep():
            self.ration()

    def append(self, items: Sequence[Item], priority: Priority, now: datetime) -> int:
        """Commits the items and returns the number of their (last) batch; 0 when nothing could be said."""
        business = priority is Priority.BUSINESS
        group = Group(business=list(items)) if business else Group(telemetry=list(items))
        seqs = self.commit(group, now)
        return seqs[-1] if seqs else 0

    def commit(self, group: Group, now: datetime) -> list[int]:
        """All of the group or, when it raises sqlite3.Error, nothing of it. Returns the numbers of its new batches."""
        before = (self._last_seq, self.batches, self.bytes, self.counts.copy())
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._free(group.receipted)
            self._store_tracks(group.tracks)
            for priority, items in ((Priority.BUSINESS, group.business), (Priority.TELEMETRY, group.telemetry)):
                for part in _parts(items):
                    self._put(part, priority, now)
            self._make_room()
            self._db.execute("UPDATE life SET last_seq = ?", (self._last_seq,))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._last_seq, self.batches, self.bytes, self.counts = before
            self._thinners = thinners()
            raise
        return list(range(before[0] + 1, self._last_seq + 1))

    def free(self, ranges: Iterable[tuple[int, int]], now: datetime) -> None:
        """Forgets batches the hub has receipted: closed ranges, of which parts may be gone already."""
        self.commit(Group(receipted=list(ranges)), now)

    @property
    def is_rationed(self) -> bool:
        """True while the disk is full: the reserve is given away and the file may not grow."""
        return not self._reserve.is_kept

    def ration(self) -> None:
        """The disk is full: gives the reserve to SQLite's log, and keeps the file from growing into it."""
        if not self._page_limit:
            (self._page_limit,) = self._db.execute("PRAGMA max_page_count").fetchone()
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            self._urgent_limit = min(pages + URGENT_PAGES, self._page_limit)
            self._allow_pages(pages)
        self._reserve.release()

    def end_ration(self) -> bool:
        """Takes the reserve back and lets the file grow again; False while the disk has no room for it."""
        # The room just given away is free on the disk: as much again must be, or the next commit finds it full again.
        if not self._reserve.keep(spare_bytes=self._reserve_bytes):
            return False
        if self._page_limit:
            self._allow_pages(self._page_limit)
            self._page_limit = 0
        return True

    def free_rationed(self, ranges: Iterable[tuple[int, int]], now: datetime) -> int:
        """`free` in transactions so small that a full disk takes them; returns how many batches were there."""
        freed = 0
        for first, last in ranges:
            while True:
                seqs = self._db.execute(
                    "SELECT seq FROM batch WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?", (first, last, FREE_STEP)
                ).fetchall()
                if not seqs:
                    break
                self.commit(Group(receipted=[(seqs[0][0], seqs[-1][0])]), now)
                freed += len(seqs)
        return freed

    def drop_telemetry(self) -> int:
        """Drops the oldest batches of telemetry, at most DROP_STEP; returns how many. For a full disk."""
        oldest = self._db.execute(
            "SELECT seq, size, items FROM batch WHERE priority = ? ORDER BY seq LIMIT ?", (Priority.TELEMETRY, DROP_STEP)
        ).fetchall()
        if oldest:
            self._db.execute("DELETE FROM batch WHERE priority = ? AND seq <= ?", (Priority.TELEMETRY, oldest[-1][0]))
            self.batches -= len(oldest)
            self.bytes -= sum(size for _, size, _ in oldest)
            self.counts["dropped_batches"] += len(oldest)
            self.counts["dropped_items"] += sum(items for *_, items in oldest)
        return len(oldest)

    def commit_urgent(self, items: Sequence[Item], now: datetime) -> list[int]:
        """Commits business facts that tell of the full disk: for them the file may grow by URGENT_PAGES. Raises as `commit`."""
        if self._page_limit:
            self._allow_pages(self._urgent_limit)
        try:
            return self.commit(Group(business=list(items)), now)
        finally:
            if self._page_limit:
                self._allow_pages(1)  # SQLite makes of it the size that the file has

    def begin_new_life(self) -> str:
        """Gives the file a new `boot`; waiting batches keep their numbers and are sent under the new one. Returns it."""
        boot = str(uuid.uuid4())
        self._db.execute("UPDATE life SET boot = ?", (boot,))
        self.boot = boot
        return boot

    def tracks(self) -> list[bytes]:
        """The tracks that earlier commits kept."""
        return [state for (state,) in self._db.execute("SELECT state FROM track")]

    @property
    def last_seq(self) -> int:
        """The highest number ever given in this life."""
        return self._last_seq

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _allow_pages(self, pages: int) -> None:
        self._db.execute(f"PRAGMA max_page_count = {int(pages)}").fetchone()

    def _free(self, ranges: Iterable[tuple[int, int]]) -> None:
        for first, last in ranges:
            removed = self._db.execute("DELETE FROM batch WHERE seq BETWEEN ? AND ? RETURNING size", (first, last)).fetchall()
            self.batches -= len(removed)
            self.bytes -= sum(size for (size,) in removed)

    def _store_tracks(self, changes: Changes) -> None:
        self._db.executemany("INSERT OR REPLACE INTO track VALUES (?, ?, ?)", changes.kept)
        self._db.executemany("DELETE FROM track WHERE portal = ? AND epc = ?", changes.gone)

    def _put(self, items: Sequence[Item], priority: Priority, now: datetime) -> None:
        batch = Batch(self._agent, self.boot, self._last_seq + 1, now, list(items))
        payload = encode(batch)
        if not _is_speakable(payload):
            halves = _halves(items)
            if not halves:
                self.counts["unspeakable_items"] += 1
            for half in halves:
                self._put(half, priority, now)
            return
        self._last_seq = batch.seq
        self._db.execute(
            "INSERT INTO batch (seq, priority, size, items, payload) VALUES (?, ?, ?, ?, ?)",
            (batch.seq, priority, len(payload), _weight(items), payload),
        )
        self.batches += 1
        self.bytes += len(payload)

    def _make_room(self) -> None:
        """Brings the file under its cap: thins telemetry level by level, oldest first, and drops it only when all is thin."""
        while self.bytes > self._cap_bytes:
            if not (self._thin_some() or self._drop_some()):
                return

    def _thin_some(self) -> bool:
        """Thins the oldest batches of the lowest level that is not the last; False when there are none."""
        for level, thinner in enumerate(self._thinners):
            rows = self._db.execute(
                "SELECT seq, size, items, payload FROM batch WHERE priority = ? AND level = ? ORDER BY seq LIMIT ?",
                (Priority.TELEMETRY, level, DROP_STEP),
            ).fetchall()
            for seq, size, items, payload in rows:
                self._thin(seq, size=size, items=items, payload=payload, level=level + 1, thinner=thinner)
            if rows:
                return True
        return False

    def _thin(self, seq: int, *, size: int, items: int, payload: bytes, level: int, thinner: Thinner) -> None:
        batch = decode_batch(payload)
        kept = thinner.thin(batch.items)
        left = sum(_weight([item]) for item in kept)
        self.counts["thinned_items"] += items - left
        if not kept:
            self._db.execute("DELETE FROM batch WHERE seq = ?", (seq,))
            self.batches -= 1
            self.bytes -= size
            return
        thin = encode(Batch(batch.agent, batch.boot, batch.seq, batch.sent_at, kept))
        self._db.execute(
            "UPDATE batch SET payload = ?, size = ?, items = ?, level = ? WHERE seq = ?", (thin, len(thin), left, level, seq)
        )
        self.bytes -= size - len(thin)

    def _drop_some(self) -> bool:
        oldest = self._db.execute(
            "SELECT seq, size, items FROM batch WHERE priority = ? ORDER BY seq LIMIT ?", (Priority.TELEMETRY, DROP_STEP)
        ).fetchall()
        for seq, size, items in oldest:
            self._db.execute("DELETE FROM batch WHERE seq = ?", (seq,))
            self.batches -= 1
            self.bytes -= size
            self.counts["dropped_batches"] += 1
            self.counts["dropped_items"] += items
            if self.bytes <= self._cap_bytes:
                break
        return bool(oldest)


def _is_speakable(payload: bytes) -> bool:
    """True when a hub will be able to read the batch; asked here so that one bad value spoils no other."""
    if len(payload) > MAX_BATCH_BYTES:
        return False
    try:
        decode_batch(payload)
    except MessageRejected:
        return False
    return True


def _parts(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The items in order, each part of at most MAX_BATCH_FACTS (a reading counts as one; columns are not torn)."""
    part: list[Item] = []
    size = 0
    for item in items:
        weight = _weight([item])
        if part and size + weight > MAX_BATCH_FACTS:
            yield part
            part, size = [], 0
        part.append(item)
        size += weight
    if part:
        yield part


def _halves(items: Sequence[Item]) -> list[list[Item]]:
    """The items in two parts, a lone column of readings in two shorter ones; nothing when there is nothing to part."""
    middle = len(items) // 2
    if middle:
        return [list(items[:middle]), list(items[middle:])]
    only = items[0]
    if not isinstance(only, Readings) or len(only.values) < 2:
        return []
    middle = len(only.values) // 2
    return [
        [Readings(only.series, only.which[part], only.at_us[part], only.values[part])]
        for part in (slice(None, middle), slice(middle, None))
    ]


def _weight(items: Sequence[Item]) -> int:
    return sum(len(item.values) if isinstance(item, Readings) else 1 for item in items)
