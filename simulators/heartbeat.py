"""Whether this process was held up: a late answer may not have been read, and must not be counted as told."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

BEAT_S: Final = 0.05
LATE_S: Final = 0.4
"""Less than half of the shortest time any agent waits for an answer."""


@dataclass(slots=True)
class Heartbeat:
    """Beats every BEAT_S while the event loop runs freely."""

    _last: float = field(default_factory=monotonic)

    @property
    def is_late(self) -> bool:
        """True when the loop has stood still for longer than LATE_S."""
        return monotonic() - self._last > LATE_S

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            self._last = monotonic()
            await asyncio.sleep(BEAT_S)
