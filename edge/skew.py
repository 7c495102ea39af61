"""How far the agent's clock is from the hub's, from the hub's own time in its receipts."""

import statistics
import threading
from collections import deque
from datetime import datetime
from typing import Final

from edge.clock import Clock

REMEMBERED: Final = 15
"""Receipts whose difference counts; the median leaves out those that were long on their way."""
FEWEST: Final = 3
LIMIT_S: Final = 5.0
"""Real seconds of difference from which the clock is a fault."""


class Skew:
    """`learn` is called for every receipt, by any thread. A receipt's way from the hub makes the clock look ahead by as much."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: deque[float] = deque(maxlen=REMEMBERED)
        self._steps = clock.steps

    def learn(self, hub_at: datetime | None) -> None:
        """Takes the hub's clock as told just now; None teaches nothing. A clock that was set begins anew."""
        if hub_at is None:
            return
        now = self._clock.now()
        with self._lock:
            if self._clock.steps != self._steps:
                self._steps = self._clock.steps
                self._seen.clear()
            self._seen.append((now - hub_at).total_seconds())

    @property
    def seconds(self) -> float | None:
        """Scenario seconds by which this clock is ahead (behind: negative); None until a few receipts have come."""
        with self._lock:
            return round(statistics.median(self._seen), 3) if len(self._seen) >= FEWEST else None

    @property
    def is_too_large(self) -> bool:
        """True when the clock is off by more than LIMIT_S real seconds."""
        seconds = self.seconds
        return seconds is not None and self._clock.real_seconds(abs(seconds)) > LIMIT_S
