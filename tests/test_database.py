"""The store itself."""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from core.errors import ConfigurationError
from hub.adapters.migrations import migrate

CONTROL_PATH_SINCE: Final = 180_000


async def test_a_second_migration_changes_nothing(database_uri: str) -> None:
    assert await migrate(database_uri) == []


async def test_partitions_are_made_for_every_week_asked_for(db: AsyncConnection) -> None:
    await db.execute("SELECT ensure_partitions('2026-11-20Z', '2026-12-02Z')")
    await db.execute(
        "INSERT INTO reading SELECT 1, t, 4.0 FROM generate_series(timestamptz '2026-11-20Z', '2026-12-02Z', '1 day') t"
    )
    row = await (await db.execute("SELECT sum(readings), max(max_value) FROM reading_hourly")).fetchone()
    assert row == (13, 4.0)


class Offer:
    """A fresh database on whose server something lies that calls itself TimescaleDB."""

    def __init__(self, server: psycopg.Connection, name: str, folder: Path) -> None:
        self.server, self.name, self.folder = server, name, folder
        self.uri = make_conninfo(server.info.dsn, dbname=name)

    def extension(self, version: str, script: str) -> None:
        (self.folder / "timescaledb.control").write_text(f"default_version = '{version}'\nsuperuser = true\n", encoding="utf-8")
        (self.folder / f"timescaledb--{version}.sql").write_text(script, encoding="utf-8")


@pytest.fixture
def offer(native_server: Any) -> Iterator[Offer]:
    name = f"qm_test_{uuid.uuid4().hex[:12]}_offered"
    with (
        tempfile.TemporaryDirectory(prefix="qm-share-") as root,
        psycopg.connect(native_server.uri, autocommit=True) as server,
    ):
        if server.info.server_version < CONTROL_PATH_SINCE:
            pytest.skip("this PostgreSQL finds extensions in its own folder only: nothing was tried")
        Path(root).chmod(0o755)  # the server may run as somebody else
        folder = Path(root) / "extension"
        folder.mkdir()
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        server.execute(f"ALTER DATABASE \"{name}\" SET extension_control_path = '{root}:$system'")
        yield Offer(server, name, folder)
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


APACHE = "SELECT set_config('timescaledb.license', 'apache', false)"
NOT_PRELOADED = "DO $$ BEGIN RAISE EXCEPTION 'extension \"timescaledb\" must be preloaded' USING ERRCODE = 'XX000'; END $$"
SESSION_ENDED = "DO $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); END $$"
WITHOUT_HYPERTABLES = (
    "CREATE FUNCTION create_hypertable(text, text, create_default_indexes boolean) RETURNS void LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'functionality not supported under the current \"apache\" license' USING ERRCODE = '0A000'; END $$;"
    "CREATE FUNCTION by_range(text, interval) RETURNS text LANGUAGE sql AS $$ SELECT $1 $$"
)


@pytest.mark.parametrize(
    ("version", "script", "complaint"),
    [
        ("2.17.2", "", "TimescaleDB 2.17.2 loses readings .*: install 2.18 or newer"),
        ("2.9.0", "", "install 2.18 or newer"),
        ("2.18.0", APACHE, r"timescaledb.license = 'apache'.*set timescaledb.license = 'timescale'"),
        ("2.26.4", NOT_PRELOADED, "must be preloaded.*Add timescaledb to shared_preload_libraries"),
        ("2.26.4", SESSION_ENDED, "cannot be created in this database: .*Add timescaledb to shared_preload_libraries"),
        ("3.0", WITHOUT_HYPERTABLES, "migration 0002_time_series asks for what this server lacks: .*timescaledb.license"),
    ],
)
async def test_an_unfit_timescaledb_is_refused_with_what_to_do(offer: Offer, version: str, script: str, complaint: str) -> None:
    offer.extension(version, script)
    with pytest.raises(ConfigurationError, match=f"(?s){complaint}"):
        await migrate(offer.uri)


async def test_an_old_timescaledb_already_in_the_database_is_refused(offer: Offer) -> None:
    offer.extension("2.17.2", "")
    with psycopg.connect(offer.uri, autocommit=True) as db:
        db.execute("CREATE EXTENSION timescaledb")
    offer.extension("2.20.0", "")
    with pytest.raises(ConfigurationError, match=r"TimescaleDB 2\.17\.2 loses readings.*ALTER EXTENSION timescaledb UPDATE"):
        await migrate(offer.uri)
