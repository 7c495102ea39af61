"""Makes an empty database a site's: schema, master data, the first administrator, a program's token. Safe at every start.

`python -m hub.first_start --master FILE --admin-password-file FILE [--token NAME FILE]`
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from psycopg import AsyncConnection, AsyncCursor

from core.errors import ConfigurationError, QuartermasterError
from hub.adapters.migrations import migrate
from hub.adapters.postgres import transaction
from hub.bootstrap import make_clock, open_pool
from hub.commands import read_document
from hub.services import master_data, people
from hub.settings import read_settings
from hub.sql import named

ADMIN: Final = "admin"
MIN_TOKEN_CHARACTERS: Final = 32

_SQL = named("operation")
_PEOPLE = named("people")


@dataclass(frozen=True, slots=True)
class FirstThings:
    """What a new site begins with. `token` is the name and secret of a program that may do what an administrator may."""

    master: Mapping[str, Any]
    admin_password: str
    token: tuple[str, str] | None = None


async def begin_site(db: AsyncConnection, things: FirstThings, now: datetime) -> list[str]:
    """Does what has not been done and returns it in words: master data only where there is no site, an administrator only
    where there is none of that name; a token whose secret changed is replaced.

    The caller owns the transaction. Raises InvalidInput and RuleViolation.
    """
    await db.execute(_SQL["lock_first_start"])
    done = []
    if not await _says_yes(await db.execute(_SQL["has_sites"])):
        counts = await master_data.load(db, things.master, now, "command:first_start")
        done.append(f"loaded {sum(counts.values())} rows of master data")
    if not await _says_yes(await db.execute(_SQL["has_person"], {"name": ADMIN})):
        await people.create_person(db, ADMIN, role="admin", password=things.admin_password)
        done.append(f"added {ADMIN}")
    if things.token is not None and await _put_token(db, *things.token):
        done.append(f"put the token of {things.token[0]} in force")
    return done


async def _says_yes(cursor: AsyncCursor) -> bool:
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def _put_token(db: AsyncConnection, name: str, secret: str) -> bool:
    """True when it was not in force yet."""
    if len(secret) < MIN_TOKEN_CHARACTERS:
        raise ConfigurationError(f"token of {name}: {len(secret)} characters, must be at least {MIN_TOKEN_CHARACTERS}")
    now = datetime.now(UTC)
    known = await people.find_token(db, secret, now)
    if known is not None and known.name == name:
        return False
    await db.execute(_PEOPLE["end_token"], {"name": name})
    values = {"token_sha256": people.digest(secret), "name": name, "role": "admin", "created_at": now, "expires_at": None}
    if await (await db.execute(_PEOPLE["add_token"], values)).fetchone() is None:
        raise ConfigurationError(f"token of {name}: could not be added")
    return True


async def _run(arguments: argparse.Namespace) -> list[str]:
    settings = read_settings(os.environ)
    token: tuple[str, str] | None = None
    if arguments.token is not None:
        name, path = arguments.token
        token = (name, _secret(Path(path)))
    things = FirstThings(read_document(arguments.master), _secret(arguments.admin_password_file), token)
    done = [f"applied {name}" for name in await migrate(settings.database_uri)]
    async with open_pool(settings, application_name="quartermaster first start") as pool, transaction(pool) as db:
        return done + await begin_site(db, things, make_clock(settings)())


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(prog="python -m hub.first_start", description=__doc__)
    parser.add_argument("--master", type=Path, required=True, metavar="FILE", help="the site's master data, TOML or JSON")
    parser.add_argument("--admin-password-file", type=Path, required=True, metavar="FILE", help="of the first administrator")
    parser.add_argument("--token", nargs=2, metavar=("NAME", "FILE"), help="a program and the file that holds its secret")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 done, 1 refused or unavailable, 2 a setting is wrong."""
    arguments = make_parser().parse_args(argv)
    try:
        done = asyncio.run(_run(arguments))
    except QuartermasterError as error:
        sys.stderr.write(f"first start: {error}\n")
        return 2 if isinstance(error, ConfigurationError) else 1
    sys.stdout.write("\n".join(done or ["nothing to do: the site has begun already"]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
