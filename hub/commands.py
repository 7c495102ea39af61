"""What an administrator does from the command line: schema, master data, people and programs."""

import asyncio
import json
import os
import secrets
import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection

from core.errors import ConfigurationError, RuleViolation
from hub.adapters.migrations import migrate
from hub.adapters.postgres import transaction
from hub.bootstrap import make_clock, make_handlers, open_pool
from hub.services import master_data, people, set_aside, trackers, upkeep
from hub.settings import HubSettings, read_settings

DRAWN_PASSWORD_BYTES: Final = 12
Result = TypeVar("Result")


def migrate_database() -> list[str]:
    """Brings the configured database to the newest schema; the names applied. Raises ConfigurationError and Unavailable."""
    return asyncio.run(migrate(_settings().database_uri))


def load_file(path: Path) -> dict[str, int]:
    """Loads a master data document (TOML or JSON), all of it or nothing; how many rows of each noun it holds.

    Raises ConfigurationError when the file is no document, and RuleViolation with every problem in it or when it is empty.
    """
    document = read_document(path)
    if not any(document.values()):
        raise RuleViolation(f"{path}: is empty, so nothing was loaded; docs/master-data.md says what such a document holds")
    settings = _settings()
    now = make_clock(settings)

    async def load(db: AsyncConnection) -> dict[str, int]:
        return await master_data.load(db, document, now(), "command:load")

    return _in_transaction(settings, load)


def add_person(name: str, *, role: str, language: str, vehicle: str | None, password_file: Path | None) -> str | None:
    """Adds a person who may sign in. Returns the password when it was drawn here, to be shown once. Raises RuleViolation."""
    password, drawn = _password(password_file)

    async def add(db: AsyncConnection) -> None:
        await people.create_person(db, name, role=role, password=password, language=language, vehicle=vehicle)

    _in_transaction(_settings(), add)
    return drawn


def new_password(name: str, *, password_file: Path | None) -> str | None:
    """Gives a person another password and ends their sessions. Returns it when it was drawn here. Raises RuleViolation."""
    password, drawn = _password(password_file)
    _in_transaction(_settings(), lambda db: people.set_password(db, name, password))
    return drawn


def disable_person(name: str, *, disabled: bool) -> None:
    """Shuts a person out and ends their sessions, or lets them in again. Raises RuleViolation."""
    _in_transaction(_settings(), lambda db: people.disable(db, name, disabled=disabled))


def list_people() -> list[people.Listed]:
    """Who may sign in, and who no longer may."""
    return _in_transaction(_settings(), people.list_people)


def list_tokens() -> list[people.Listed]:
    """Which programs have a token."""
    return _in_transaction(_settings(), people.list_tokens)


def revoke_token(name: str) -> None:
    """Ends a program's token. Raises RuleViolation."""
    _in_transaction(_settings(), lambda db: people.revoke_token(db, name))


def _password(file: Path | None) -> tuple[str, str | None]:
    """The password in a file, or one drawn now, and that one again when it was drawn."""
    if file is None:
        drawn = secrets.token_urlsafe(DRAWN_PASSWORD_BYTES)
        return drawn, drawn
    try:
        return file.read_text(encoding="utf-8").strip(), None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--password-file {file}: cannot be read: {error}") from error


def add_token(name: str, *, role: str) -> str:
    """Makes a token for a program; only its hash is kept. Raises RuleViolation."""

    async def add(db: AsyncConnection) -> str:
        return await people.create_token(db, name, role=role, now=datetime.now(UTC))

    return _in_transaction(_settings(), add)


def list_set_aside(*, site: str | None, agent: str | None, settled: bool) -> list[dict[str, Any]]:
    """Facts that were read and not taken, newest first; with `settled` also those taken in again or dismissed since."""
    return _in_transaction(_settings(), lambda db: set_aside.list_facts(db, site=site, agent=agent, settled=settled))


def take_in_set_aside(which: set_aside.Which, *, shift_s: float | None, by: str) -> tuple[set_aside.Settled, float]:
    """Takes facts in again with their times shifted; also returns by how many seconds.

    A shift of None undoes how far the clock of the one agent named is off now. Raises RuleViolation and NotFound.
    """
    settings = _settings()

    async def take(db: AsyncConnection) -> tuple[set_aside.Settled, float]:
        shift = shift_s
        if shift is None:
            if which.site is None or which.agent is None:
                raise RuleViolation("--clock-skew is an agent's: name it with --site and --agent")
            shift = await set_aside.correction_for(db, site=which.site, agent=which.agent)
        settled = await set_aside.take_in(
            db,
            which,
            shift_s=shift,
            handlers=make_handlers(),
            now=make_clock(settings)(),
            by=by,
            mirror=settings.influx is not None,
        )
        return settled, shift

    return _in_transaction(settings, take)


def dismiss_set_aside(which: set_aside.Which, *, by: str, reason: str) -> int:
    """Gives facts up for good; returns how many. Raises RuleViolation."""
    settings = _settings()

    async def dismiss(db: AsyncConnection) -> int:
        return len((await set_aside.dismiss(db, which, now=make_clock(settings)(), by=by, reason=reason)).ids)

    return _in_transaction(settings, dismiss)


def add_tracker(name: str, *, vehicle: str, coordinate_system: trackers.System) -> str:
    """Makes a token for a phone that tells where a vehicle is; only its hash is kept. Raises RuleViolation."""

    async def add(db: AsyncConnection) -> str:
        return await trackers.create(db, name, vehicle=vehicle, coordinate_system=coordinate_system, now=datetime.now(UTC))

    return _in_transaction(_settings(), add)


def revoke_tracker(name: str) -> None:
    """Ends a phone's token. Raises RuleViolation."""
    _in_transaction(_settings(), lambda db: trackers.revoke(db, name))


def list_trackers() -> list[trackers.Listed]:
    """Which phones have a token, and for which vehicle they speak."""
    return _in_transaction(_settings(), trackers.list_all)


def _settings() -> HubSettings:
    return read_settings(os.environ)


def _in_transaction(settings: HubSettings, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with open_pool(settings, application_name="quartermaster command") as pool, transaction(pool) as db:
            if not await upkeep.has_schema(db):
                raise ConfigurationError("the database has no schema yet: run `quartermaster migrate` first")
            return await work(db)

    return asyncio.run(run())


def read_document(path: Path) -> dict[str, Any]:
    """A master data document, TOML or JSON by its ending. Raises ConfigurationError when the file is none."""
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}; name a TOML or JSON document") from error
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is no {'JSON' if path.suffix == '.json' else 'TOML'} document: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: a master data document is a table of tables, this is a {type(document).__name__}")
    return document
