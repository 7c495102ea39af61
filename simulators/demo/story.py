"""Tells what is happening, in words: what the simulated world does, and what the hub makes of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from simulators.demo.rows import queries

LOOK_EVERY_S: Final = 0.5
MAX_READ_BYTES: Final = 65_536
QUIET: Final = "listens at"
_SQL: Final = queries("story")

Tell = Callable[[str], None]


@dataclass(slots=True)
class Story:
    """Follows the simulators' log and the hub's outgoing events, and tells each thing once."""

    log: Path
    database_uri: str
    start: datetime
    tell: Tell
    _read: int = 0
    _after: int = 0
    _told: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Tells until cancelled."""
        async with await psycopg.AsyncConnection.connect(self.database_uri, autocommit=True) as db:
            while True:
                for line in await asyncio.to_thread(self._new_lines):
                    if QUIET not in line:
                        self.tell(line)
                rows = await (await db.execute(_SQL["news"], {"after": self._after})).fetchall()
                for row in rows:
                    self._after = row[0]
                    self._say(row[1], words(row[2:]))
                await asyncio.sleep(LOOK_EVERY_S)

    def _new_lines(self) -> list[str]:
        with self.log.open("rb") as log:
            log.seek(self._read)
            whole, newline, _ = log.read(MAX_READ_BYTES).rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()

    def _say(self, at: datetime, what: str | None) -> None:
        if what is None or what in self._told:
            return
        self._told.add(what)
        minutes, seconds = divmod(round((at - self.start).total_seconds()), 60)
        self.tell(f"{minutes:3d}:{seconds:02d}    -> {what}")


def words(news: tuple[Any, ...]) -> str | None:
    """One outgoing event in words; None for what is not worth a line."""
    kind, subject, alert, place, alert_state, cleared, gate, shipment, receipt_state, verdict, site, trigger, plan_state = news
    if kind == "alert" and alert is not None:
        after = "over" if cleared and alert_state == "open" else alert_state
        return f"alert {subject}, {alert} at {place}: {after}"
    if kind == "receipt" and receipt_state is not None:
        said = verdict if receipt_state == "posted" else "filling"
        return f"receipt {subject} of {shipment or 'nothing expected'} at {gate}: {said}"
    if kind == "plan" and plan_state is not None:
        return f"plan {subject} for {site} ({trigger}): {plan_state}"
    return None
