"""What every route shares: the database, the clock, and the things that live as long as the process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from psycopg import AsyncConnection

from api.errors import Busy
from api.live import Broadcaster, Pool
from api.rate_limit import RateLimit
from core.timescale import TimeScale
from hub.domain.routing import Solve
from hub.services import people

PASSWORDS_AT_ONCE: Final = 2
PASSWORDS_WAITING: Final = 32
PLANS_AT_ONCE: Final = 2
TRACKER_PER_S: Final = 20.0
TRACKER_BURST: Final = 200.0
"""Fixes of one phone: one a second when driving, and all it kept when it comes back into the network."""
STRANGERS_PER_S: Final = 0.5
STRANGERS_BURST: Final = 30.0
"""Requests with an unknown tracker's token from one address."""


@dataclass(slots=True)
class PasswordDesk:
    """Verifies passwords in threads, a few at a time: each takes 64 MiB and tens of milliseconds of a core."""

    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PASSWORDS_AT_ONCE))
    _waiting: int = 0

    async def matches(self, stored: str | None, password: str) -> bool:
        """Does the password match? Raises Busy when PASSWORDS_WAITING others wait already."""
        if self._waiting >= PASSWORDS_WAITING:
            raise Busy
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(people.password_matches, stored, password)
        finally:
            self._waiting -= 1


@dataclass(slots=True)
class Context:
    """One process of the API. `time_scale` maps real to scenario time; sessions and attempts use real time.

    `solve` makes plans in a process of its own.
    """

    pool: Pool
    time_scale: TimeScale
    live: Broadcaster
    solve: Solve
    planning: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PLANS_AT_ONCE))
    passwords: PasswordDesk = field(default_factory=PasswordDesk)
    tracker_rate: RateLimit = field(default_factory=lambda: RateLimit(TRACKER_PER_S, TRACKER_BURST))
    stranger_rate: RateLimit = field(default_factory=lambda: RateLimit(STRANGERS_PER_S, STRANGERS_BURST))
    real_now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def now(self) -> datetime:
        """The scenario's present moment, UTC."""
        return self.time_scale.at(self.real_now())


def context_of(request: Request) -> Context:
    """The context of the process that serves this request."""
    return cast("Context", request.app.state.context)


Here = Annotated[Context, Depends(context_of)]


async def _transaction(here: Here) -> AsyncIterator[AsyncConnection]:
    async with here.pool.connection() as db:
        yield db


@asynccontextmanager
async def for_planning(here: Context) -> AsyncIterator[AsyncConnection]:
    """A connection for a service that takes short transactions of its own, since it solves between them.

    Raises Busy when PLANS_AT_ONCE are being made: each holds a connection for as long as the solver takes.
    """
    if here.planning.locked():
        raise Busy("plans are being made already: try again when they are done")
    async with here.planning, here.pool.connection() as db:
        await db.set_autocommit(True)
        try:
            yield db
        finally:
            if not db.closed:
                await db.set_autocommit(False)


Db = Annotated[AsyncConnection, Depends(_transaction, scope="function")]
"""A connection inside a transaction that is committed before the answer leaves, and rolled back by any error."""
