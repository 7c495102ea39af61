"""Which batches are on their way without a receipt, how many more may go, and when to send one again."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edge.shelf import Priority, Row

WINDOW: Final = {Priority.BUSINESS: 128, Priority.TELEMETRY: 256}
"""Batches without a receipt, by priority: telemetry that piles up leaves room for business facts."""
MAX_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Payload bytes without a receipt, by priority; one batch may always go."""
RESEND_AFTER_S: Final = 5.0
MAX_RESEND_AFTER_S: Final = 60.0


@dataclass(slots=True)
class _Flight:
    row: Row
    wait_s: float
    due_at: float


class Window:
    """Bookkeeping alone; `now` is any steady clock in real seconds."""

    def __init__(self) -> None:
        self._flights: dict[int, _Flight] = {}
        self._count = dict.fromkeys(Priority, 0)
        self._bytes = dict.fromkeys(Priority, 0)

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, seq: int) -> bool:
        return seq in self._flights

    def room(self, priority: Priority) -> int:
        """How many more batches of that priority may go."""
        if self._count[priority] and self._bytes[priority] >= MAX_WINDOW_BYTES:
            return 0
        return max(0, WINDOW[priority] - self._count[priority])

    def sent(self, row: Row, now: float) -> None:
        """A batch went out, the first time or again; each time without a receipt it waits twice as long."""
        flight = self._flights.get(row.seq)
        if flight is not None:
            flight.wait_s = min(flight.wait_s * 2, MAX_RESEND_AFTER_S)
            flight.due_at = now + flight.wait_s
            return
        self._flights[row.seq] = _Flight(row, RESEND_AFTER_S, now + RESEND_AFTER_S)
        self._count[row.priority] += 1
        self._bytes[row.priority] += len(row.payload)

    def receipted(self, ranges: Iterable[tuple[int, int]]) -> int:
        """The hub has these (closed ranges); returns how many of them were on their way."""
        before = len(self._flights)
        for first, last in ranges:
            if last - first < len(self._flights):
                found = [seq for seq in range(first, last + 1) if seq in self._flights]
            else:
                found = [seq for seq in self._flights if first <= seq <= last]
            for seq in found:
                row = self._flights.pop(seq).row
                self._count[row.priority] -= 1
                self._bytes[row.priority] -= len(row.payload)
        return before - len(self._flights)

    def overdue(self, now: float) -> list[Row]:
        """Batches to send again, business facts first, in the order of their numbers."""
        due = [flight.row for flight in self._flights.values() if flight.due_at <= now]
        return sorted(due, key=lambda row: (row.priority, row.seq))

    def connection_lost(self) -> None:
        """What was on its way may be gone: all of it is due with the next connection, and waits anew from the start."""
        for flight in self._flights.values():
            flight.wait_s, flight.due_at = RESEND_AFTER_S / 2, 0.0
