"""The way to PostgreSQL: a pool, transactions, and one word for "it does not answer"."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from core.errors import ConfigurationError, Unavailable
from hub.sql.blame import store_is_down

CONNECT_TIMEOUT_S: Final = 5
WAIT_FOR_CONNECTION_S: Final = 5.0
POOL_MAX: Final = 8
RECONNECT_FOR_S: Final = 30.0

Pool = AsyncConnectionPool[AsyncConnection]


def conninfo(uri: str, application_name: str) -> str:
    """What libpq needs to know, with a name that shows in pg_stat_activity. Raises ConfigurationError."""
    try:
        return make_conninfo(uri, application_name=application_name, connect_timeout=CONNECT_TIMEOUT_S, options="-c timezone=UTC")
    except psycopg.ProgrammingError as error:
        # What libpq says of it may repeat the password.
        raise ConfigurationError("QM_DATABASE_URI: is no database's address; use postgresql://user:password@host/name") from error


def make_pool(uri: str, *, application_name: str = "quartermaster", max_size: int = POOL_MAX) -> Pool:
    """A pool that is not open yet: use it as an async context manager. It connects in the background and again after an outage."""
    return AsyncConnectionPool(
        conninfo(uri, application_name),
        min_size=1,
        max_size=max_size,
        timeout=WAIT_FOR_CONNECTION_S,
        reconnect_timeout=RECONNECT_FOR_S,
        check=AsyncConnectionPool.check_connection,
        open=False,
    )


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[AsyncConnection]:
    """A connection inside a transaction, committed at the end.

    Raises Unavailable when no connection can be had, the one in use breaks, or the database takes nothing now (it is read-only,
    full, shutting down); other errors of the database pass.
    """
    try:
        async with pool.connection() as db:
            yield db
    except (PoolTimeout, PoolClosed, TooManyRequests) as error:
        raise Unavailable(f"no connection to the database within {WAIT_FOR_CONNECTION_S:g} s: {error}") from error
    except psycopg.Error as error:
        if store_is_down(error):
            raise Unavailable(f"the database cannot answer now: {error}") from error
        raise


@asynccontextmanager
async def outside_transaction(pool: Pool) -> AsyncIterator[AsyncConnection]:
    """A connection whose user takes short transactions of its own between long thoughts.

    Raises Unavailable as `transaction` does.
    """
    async with transaction(pool) as db:
        await db.set_autocommit(True)
        try:
            yield db
        finally:
            if not db.closed:
                await db.set_autocommit(False)
