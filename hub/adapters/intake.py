"""What came off the wire and waits for the ingest: bounded by messages and bytes, with a mark at which reading goes on."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from hub.domain.inbound import Inbound

_log = logging.getLogger(__name__)

MAX_PENDING_MESSAGES: Final = 20_000
MAX_PENDING_BYTES: Final = 8 * 1_048_576
GO_ON_BELOW: Final = 0.5
TAKEN_AT_ONCE: Final = 200


def _nothing() -> None:
    return None


class Intake:
    """A queue of messages that never refuses, but says when it is full; `drained` is called when half of it is free again.

    `times_full` counts how often reading had to rest.
    It may pass its bounds by what one read brings (mqtt_burst: READS_AT_ONCE chunks).
    """

    def __init__(self, *, max_messages: int = MAX_PENDING_MESSAGES, max_bytes: int = MAX_PENDING_BYTES) -> None:
        self.drained: Callable[[], None] = _nothing
        self.times_full = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[Inbound] = deque()
        self._bytes = 0
        self._was_full = False
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Payload bytes that wait."""
        return self._bytes

    @property
    def full(self) -> bool:
        """True when a bound is reached, until half of both is free again."""
        if not self._was_full and (len(self._waiting) >= self._max_messages or self._bytes >= self._max_bytes):
            self._was_full = True
            if not self.times_full:
                _log.warning("%d messages, %d bytes wait for the store: reading from the broker rests", len(self), self._bytes)
            self.times_full += 1
        return self._was_full

    def put(self, burst: list[Inbound]) -> None:
        """Adds messages in order."""
        self._waiting.extend(burst)
        self._bytes += sum([len(each.payload) for each in burst])
        self._news.set()

    async def take(self) -> list[Inbound]:
        """Up to TAKEN_AT_ONCE messages in order; waits until there is one."""
        await self._news.wait()
        waiting = self._waiting
        if len(waiting) <= TAKEN_AT_ONCE:
            taken = list(waiting)
            waiting.clear()
            self._news.clear()
        else:
            taken = [waiting.popleft() for _ in range(TAKEN_AT_ONCE)]
        self._bytes -= sum([len(each.payload) for each in taken])
        if self._was_full and len(waiting) <= self._max_messages * GO_ON_BELOW and self._bytes <= self._max_bytes * GO_ON_BELOW:
            self._was_full = False
            self.drained()
        return taken
