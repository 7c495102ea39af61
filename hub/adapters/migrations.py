"""Brings a database to the newest schema: each file once, in order, under one lock, its text remembered."""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, LiteralString

import psycopg
from psycopg import AsyncConnection

from core.errors import ConfigurationError, Unavailable

LOCK: Final = 0x51_4D_00_01
NO_TRANSACTION: Final = "-- no-transaction"
TIMESCALE_OLDEST: Final = (2, 18)
"""Before it, INSERT ... ON CONFLICT DO NOTHING into a compressed chunk ended at the first conflict (timescaledb issue 7672)."""
_FLAVOURS: Final = ("native", "timescale")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `flavour` is None when it serves PostgreSQL with and without TimescaleDB."""

    name: str
    flavour: str | None
    sql: LiteralString

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """False when the first line says that the file cannot run inside one."""
        return not self.sql.startswith(NO_TRANSACTION)


def _trusted(text: str) -> LiteralString:
    # The files ship with the program and hold no input of anyone's.
    return text


def all_migrations(flavour: str) -> list[Migration]:
    """The files for one flavour, `native` or `timescale`, in order."""
    found = []
    for entry in sorted(files("hub.sql").joinpath("migrations").iterdir(), key=lambda each: each.name):
        stem, *tags = entry.name.removesuffix(".sql").split(".")
        own = tags[0] if tags else None
        if own not in (None, *_FLAVOURS):
            raise ConfigurationError(f"hub/sql/migrations/{entry.name}: {own!r} is none of {', '.join(_FLAVOURS)}")
        if own in (None, flavour):
            found.append(Migration(stem, own, _trusted(entry.read_text(encoding="utf-8"))))
    return found


async def migrate(uri: str) -> list[str]:
    """Applies what is missing and returns the names applied.

    With the TimescaleDB extension in the database (or on the server, and a role that may create it) the store is made of
    hypertables; that choice is made once, at the first migration. Raises Unavailable when the database does not answer and
    ConfigurationError when an applied file was changed afterwards, or TimescaleDB is there but too old, not loaded, or without
    the compression the store is built on.
    """
    try:
        connection = await AsyncConnection.connect(uri, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise Unavailable(f"database does not answer: {error}") from error
    except psycopg.ProgrammingError as error:
        # What libpq says of it may repeat the password.
        raise ConfigurationError("QM_DATABASE_URI: is no database's address; use postgresql://user:password@host/name") from error
    async with connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        try:
            return await _apply(connection)
        finally:
            if not connection.closed:
                await connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


async def _apply(connection: AsyncConnection) -> list[str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration ("
        " name text PRIMARY KEY, flavour text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    rows = await (await connection.execute("SELECT name, flavour, checksum FROM schema_migration")).fetchall()
    applied = {name: checksum for name, _, checksum in rows}
    flavour = rows[0][1] if rows else await _choose_flavour(connection)
    if flavour == "timescale":
        await _check_timescale(connection)
    done = []
    for migration in all_migrations(flavour):
        if migration.name in applied:
            if applied[migration.name] != migration.checksum:
                raise ConfigurationError(
                    f"migration {migration.name} was changed after it was applied: restore it, and put the change in a new file"
                )
            continue
        if migration.in_transaction:
            try:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await _remember(connection, migration, flavour)
            except psycopg.errors.FeatureNotSupported as error:
                raise ConfigurationError(
                    f"migration {migration.name} asks for what this server lacks: {error}. {_EDITION}"
                ) from error
        else:
            for statement in migration.sql.split(";\n"):
                if statement.strip():
                    await connection.execute(_trusted(statement))
            await _remember(connection, migration, flavour)
        done.append(migration.name)
    return done


async def _remember(connection: AsyncConnection, migration: Migration, flavour: str) -> None:
    await connection.execute(
        "INSERT INTO schema_migration (name, flavour, checksum) VALUES (%s, %s, %s)", (migration.name, flavour, migration.checksum)
    )


async def _choose_flavour(connection: AsyncConnection) -> str:
    available = await connection.execute(
        "SELECT installed_version, default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
    )
    row = await available.fetchone()
    if row is None:
        return "native"
    installed, offered = row
    if installed is None:
        _refuse_old(offered)
        await _create_timescale(connection)
    return "timescale"


_EDITION: Final = (
    "The store needs TimescaleDB with compression, the community edition: set timescaledb.license = 'timescale' in postgresql.conf "
    "and reload, install the community packages when that value is refused, or use a server without TimescaleDB"
)


async def _create_timescale(connection: AsyncConnection) -> None:
    try:
        async with connection.transaction():
            await connection.execute("CREATE EXTENSION timescaledb")
            await _check_timescale(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            "TimescaleDB is on this server but not in this database, and this role may not create it: "
            "run CREATE EXTENSION timescaledb as a superuser, then migrate again"
        ) from error
    except psycopg.Error as error:
        # Not preloaded, its loader ends the session: the message may come as a fatal error or be lost with the connection.
        raise ConfigurationError(
            f"TimescaleDB is on this server but cannot be created in this database: {error}. Add timescaledb to "
            "shared_preload_libraries in postgresql.conf and restart the server, or use a server without TimescaleDB"
        ) from error


async def _check_timescale(connection: AsyncConnection) -> None:
    row = await (
        await connection.execute(
            "SELECT extversion, current_setting('timescaledb.license', true) FROM pg_extension WHERE extname = 'timescaledb'"
        )
    ).fetchone()
    if row is None:
        raise ConfigurationError("this database was migrated with TimescaleDB, which is gone from it: restore the extension")
    version, edition = row
    _refuse_old(version)
    if edition == "apache":
        raise ConfigurationError(f"TimescaleDB {version} runs here with timescaledb.license = 'apache'. {_EDITION}")


def _refuse_old(version: str) -> None:
    if tuple(int(each) for each in re.findall(r"\d+", version)[:2]) < TIMESCALE_OLDEST:
        oldest = ".".join(map(str, TIMESCALE_OLDEST))
        raise ConfigurationError(
            f"TimescaleDB {version} loses readings that come twice into a compressed chunk: install {oldest} or newer, "
            "run ALTER EXTENSION timescaledb UPDATE where it is in the database already, then migrate again"
        )
