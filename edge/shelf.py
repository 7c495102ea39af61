"""The outbox file as the uplink reads it: what is committed and not yet receipted, in order, by priority."""

import sqlite3
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from edge.outbox_file import BUSY_TIMEOUT_S

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
