"""What must survive: batches on their way to the hub and tags still in a gate, in one SQLite file.

Whatever `commit` returned for is on the disk (WAL, synchronous=FULL). A batch leaves only when the hub has receipted it or, if it
is telemetry, when the file is over its cap or the disk is full; both leave its number used for ever. `boot` names the life of
the file. Payloads keep the life they were written in; a batch is sent under the life the file has then.
"""

import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

from core.errors import ConfigurationError, MessageRejected
from core.messages import MAX_BATCH_BYTES, Batch, Item, Readings, decode_batch, encode
from edge.presence import Changes
from edge.reserve import RESERVE_BYTES, Reserve

FILE_NAME: Final = "outbox.sqlite"
LAYOUT: Final = 1
DEFAULT_CAP_BYTES: Final = 256 * 1024 * 1024
BUSY_TIMEOUT_S: Final = 10.0
MAX_BATCH_FACTS: Final = 200
DROP_STEP: Final = 100
"""Batches dropped at a time while the file is over its cap or the disk is full."""
FREE_STEP: Final = 100
"""Batches forgotten in one transaction on a full disk, so that its log fits the reserve."""
LOG_PAGES: Final = 256
"""Pages of the log after which it is written back and begun anew; far below the reserve."""
URGENT_PAGES: Final = 16
"""Pages by which the file may grow on a full disk, for what tells of it."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS life (one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL, last_seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS batch (seq INTEGER PRIMARY KEY, priority INTEGER NOT NULL, size INTEGER NOT NULL, items INTEGER NOT NULL,
                                  payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS batch_by_priority ON batch (priority, seq);
CREATE TABLE IF NOT EXISTS track (portal TEXT NOT NULL, epc TEXT NOT NULL, state BLOB NOT NULL,
                                  PRIMARY KEY (portal, epc)) WITHOUT ROWID;
"""
_BOOT: Final = b'"boot":"'


class Priority(IntEnum):
    """Business facts are never dropped and overtake telemetry."""

    BUSINESS = 0
    TELEMETRY = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One batch as it goes on the wire."""

    seq: int
    priority: Priority
    payload: bytes


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

    `counts` totals since opening: `dropped_batches`, `dropped_items` (telemetry over the cap or on a full disk),
    `unspeakable_items` (values that no message may carry). `recovered_from` is the name a corrupt file was given, None when there
    was none.
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
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._open_made()
            except sqlite3.OperationalError:
                self._reserve.release()
                self._db = self._open_made()
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
            self._drop_over_cap()
            self._db.execute("UPDATE life SET last_seq = ?", (self._last_seq,))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._last_seq, self.batches, self.bytes, self.counts = before
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

    def _open_made(self) -> sqlite3.Connection:
        db = self._open_sound()
        try:
            self._make(db)
        except BaseException:
            db.close()
            raise
        return db

    def _open_sound(self) -> sqlite3.Connection:
        try:
            return self._open_checked()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.recovered_from = self._set_aside()
            return self._open_checked()

    def _open_checked(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA secure_delete = OFF").fetchone()  # else every freed page is written out in zeros first
            db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}").fetchone()
            (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.Error:
            db.close()
            raise
        if verdict != "ok":
            db.close()
            raise sqlite3.DatabaseError(verdict)
        return db

    def _set_aside(self) -> Path:
        aside = self.path.with_name(f"{self.path.name}.corrupt-{uuid.uuid4().hex[:8]}")
        for suffix in ("-wal", "-shm", ""):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        return aside

    def _make(self, db: sqlite3.Connection) -> None:
        (layout,) = db.execute("PRAGMA user_version").fetchone()
        if layout > LAYOUT:
            raise ConfigurationError(
                f"outbox {str(self.path)!r} has layout {layout}, written by a newer version; this one reads {LAYOUT}"
            )
        if layout < LAYOUT:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {LAYOUT}; COMMIT;")
        db.execute("INSERT OR IGNORE INTO life VALUES (1, ?, 0)", (str(uuid.uuid4()),))

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
        self._db.execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?)", (batch.seq, priority, len(payload), _weight(items), payload))
        self.batches += 1
        self.bytes += len(payload)

    def _drop_over_cap(self) -> None:
        while self.bytes > self._cap_bytes:
            oldest = self._db.execute(
                "SELECT seq, size, items FROM batch WHERE priority = ? ORDER BY seq LIMIT ?", (Priority.TELEMETRY, DROP_STEP)
            ).fetchall()
            if not oldest:
                return
            for seq, size, items in oldest:
                self._db.execute("DELETE FROM batch WHERE seq = ?", (seq,))
                self.batches -= 1
                self.bytes -= size
                self.counts["dropped_batches"] += 1
                self.counts["dropped_items"] += items
                if self.bytes <= self._cap_bytes:
                    return


class Shelf:
    """The same file, for reading by one other thread: what is committed and not yet receipted."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)

    def next_batches(self, priority: Priority, limit: int, *, after: int, upto: int | None = None) -> list[Row]:
        """At most `limit` batches of that priority with `after < seq <= upto`, in the order of their numbers."""
        rows = self._db.execute(
            "SELECT seq, payload, (SELECT boot FROM life) FROM batch"
            " WHERE priority = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (priority, after, 2**53 if upto is None else upto, limit),
        )
        return [Row(seq, priority, _of_life(payload, boot)) for seq, payload, boot in rows]

    def last_seq(self) -> int:
        """The highest number ever given in this life, as committed."""
        return int(self._db.execute("SELECT last_seq FROM life").fetchone()[0])

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()


def _of_life(payload: bytes, boot: str) -> bytes:
    """The batch as one of this life. Before `boot` on the wire stands the agent's name alone, which holds no quote."""
    start = payload.index(_BOOT) + len(_BOOT)
    end = payload.index(b'"', start)
    return payload if payload[start:end] == boot.encode() else payload[:start] + boot.encode() + payload[end:]


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
