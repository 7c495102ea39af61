"""The SQLite file behind the outbox: how it is opened, checked, brought to the newest layout, and set aside when it is corrupt."""

import sqlite3
import uuid
from pathlib import Path
from typing import Final

from core.errors import ConfigurationError

LAYOUT: Final = 2
BUSY_TIMEOUT_S: Final = 10.0
LOG_PAGES: Final = 256
"""Pages of the log after which it is written back and begun anew; far below the reserve."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS life (one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL, last_seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS batch (seq INTEGER PRIMARY KEY, priority INTEGER NOT NULL, size INTEGER NOT NULL, items INTEGER NOT NULL,
                                  payload BLOB NOT NULL, level INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS batch_by_priority ON batch (priority, seq);
CREATE INDEX IF NOT EXISTS batch_by_level ON batch (priority, level, seq);
CREATE TABLE IF NOT EXISTS track (portal TEXT NOT NULL, epc TEXT NOT NULL, state BLOB NOT NULL,
                                  PRIMARY KEY (portal, epc)) WITHOUT ROWID;
"""
_FROM_LAYOUT_1: Final = "ALTER TABLE batch ADD COLUMN level INTEGER NOT NULL DEFAULT 0;"


def open_file(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    """The file, sound and of the newest layout, and the name that a corrupt one was given.

    Raises sqlite3.Error when it cannot be opened or written, OSError, and ConfigurationError when a newer version wrote it.
    """
    db, recovered_from = _open_sound(path)
    try:
        _make(db, path)
    except BaseException:
        db.close()
        raise
    return db, recovered_from


def _open_sound(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    try:
        return _open_checked(path), None
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        aside = _set_aside(path)
        return _open_checked(path), aside


def _open_checked(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
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


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{uuid.uuid4().hex[:8]}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _make(db: sqlite3.Connection, path: Path) -> None:
    (layout,) = db.execute("PRAGMA user_version").fetchone()
    if layout > LAYOUT:
        raise ConfigurationError(f"outbox {str(path)!r} has layout {layout}, written by a newer version; this one reads {LAYOUT}")
    if layout < LAYOUT:
        older = _FROM_LAYOUT_1 if layout == 1 else ""
        db.executescript(f"BEGIN IMMEDIATE; {older} {_SCHEMA} PRAGMA user_version = {LAYOUT}; COMMIT;")
    db.execute("INSERT OR IGNORE INTO life VALUES (1, ?, 0)", (str(uuid.uuid4()),))
