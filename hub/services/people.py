"""Who may come in: people with passwords and sessions, programs with tokens.

Every `now` here is real time, also when a scenario is told faster. Tokens are kept as their SHA-256 only. The caller owns the
transaction; the two functions that work on a password (`hash_password`, `password_matches`) are pure, slow on purpose, and
belong in a thread.
"""

import hashlib
import ipaddress
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Final, Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from psycopg import AsyncConnection

from core.errors import NotAllowed, NotFound, RuleViolation
from hub.sql import named

_SQL = named("people")

Role = Literal["gate", "storekeeper", "dispatcher", "driver", "maintainer", "auditor", "admin"]
Language = Literal["zh-CN", "en"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

MIN_PASSWORD_CHARACTERS: Final = 12
MAX_PASSWORD_CHARACTERS: Final = 256
SESSION_LIFE: Final = timedelta(hours=12)
MAX_SESSIONS_PER_PERSON: Final = 20
ATTEMPT_WINDOW: Final = timedelta(minutes=15)
MAX_FAILURES_IN_WINDOW: Final = 10
"""Of one name from one origin."""
MAX_FAILURES_OF_NAME: Final = 100
"""Of one name from everywhere: what somebody with many addresses may guess."""
TOKEN_PREFIX: Final = "qm_"  # noqa: S105 (marks our tokens for secret scanners, is none itself)
_TOKEN_BYTES: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,63}")

# RFC 9106, section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
_HASHER: Final = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)


class TooManyAttempts(NotAllowed):
    """Too many wrong passwords for this name; `retry_after_s` says how long to wait."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many wrong passwords for this name: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Caller:
    """A person or program that has proved who it is, and the credential it came with."""

    kind: Literal["person", "token"]
    name: str
    role: Role
    token_sha256: bytes
    language: Language = "zh-CN"
    vehicle: str | None = None
    csrf: str | None = None

    @property
    def signature(self) -> str:
        """How it signs a decision: a person by name, a program as what it is."""
        return self.name if self.kind == "person" else self.actor

    @property
    def actor(self) -> str:
        """How the ledger and the alerts name it."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class NewSession:
    """What the browser is given: the secret token, the CSRF token, and when both end (real time)."""

    token: str
    csrf: str
    expires_at: datetime


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def hash_password(password: str) -> str:
    """The Argon2id hash in PHC format. Slow on purpose. Raises RuleViolation when the password breaks the rules."""
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise RuleViolation(f"password: {len(password)} characters, must be at least {MIN_PASSWORD_CHARACTERS}")
    if len(password) > MAX_PASSWORD_CHARACTERS:
        raise RuleViolation(f"password: {len(password)} characters, must be at most {MAX_PASSWORD_CHARACTERS}")
    return _HASHER.hash(password)


@cache
def _nobodys_hash() -> str:
    # Verified for people who do not exist, so that their answer takes as long. Nobody knows its password.
    return _HASHER.hash(secrets.token_urlsafe(_TOKEN_BYTES))


def password_matches(stored: str | None, password: str) -> bool:
    """Does it match? Takes as long for a person who does not exist (`stored` None)."""
    try:
        matches = _HASHER.verify(stored or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return matches and stored is not None


async def create_person(
    db: AsyncConnection, name: str, *, role: str, password: str, language: str = "zh-CN", vehicle: str | None = None
) -> None:
    """Adds a person. Raises RuleViolation when name, role, password, language or vehicle is wrong, or the name is taken."""
    checked_role = _checked_identity(name, role)
    if language not in LANGUAGES:
        raise RuleViolation(f"language {language!r}: must be one of {', '.join(LANGUAGES)}")
    if password.casefold() == name.casefold():
        raise RuleViolation("password: must not be the person's name")
    await _check_vehicle(db, vehicle)
    values = {
        "name": name,
        "role": checked_role,
        "password_hash": hash_password(password),
        "language": language,
        "vehicle": vehicle,
    }
    if await (await db.execute(_SQL["add_person"], values)).fetchone() is None:
        raise RuleViolation(f"person {name!r} already exists")


async def _check_vehicle(db: AsyncConnection, vehicle: str | None) -> None:
    if vehicle is None:
        return
    if await (await db.execute(_SQL["known_vehicle"], {"vehicle": vehicle})).fetchone() is None:
        raise NotFound(f"vehicle {vehicle!r} does not exist")


def _checked_identity(name: str, role: str) -> Role:
    if not _NAME.fullmatch(name):
        raise RuleViolation(f"name {name!r}: 2 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit")
    if role not in ROLES:
        raise RuleViolation(f"role {role!r}: must be one of {', '.join(ROLES)}")
    return role


@dataclass(frozen=True, slots=True)
class Listed:
    """A person or a program as administrators see it. `note` says what is special about it, in a few words."""

    name: str
    role: Role
    note: str


async def list_people(db: AsyncConnection) -> list[Listed]:
    """Everybody who was added, by name."""
    rows = await (await db.execute(_SQL["people"])).fetchall()
    return [
        Listed(name, role, ", ".join([language, *([vehicle] if vehicle else []), *(["disabled"] if disabled else [])]))
        for name, role, language, vehicle, disabled in rows
    ]


async def list_tokens(db: AsyncConnection) -> list[Listed]:
    """Every program's token, by name; what is kept of it does not let anybody in."""
    rows = await (await db.execute(_SQL["tokens"])).fetchall()
    return [
        Listed(name, role, f"made {made_at:%Y-%m-%d}" + (f", ends {expires_at:%Y-%m-%d}" if expires_at else ""))
        for name, role, made_at, expires_at in rows
    ]


async def set_password(db: AsyncConnection, name: str, password: str) -> None:
    """Gives a person a new password and ends every session of theirs. Raises NotFound, RuleViolation."""
    if password.casefold() == name.casefold():
        raise RuleViolation("password: must not be the person's name")
    values = {"name": name, "password_hash": hash_password(password)}
    if await (await db.execute(_SQL["set_password"], values)).fetchone() is None:
        raise NotFound(f"person {name!r} does not exist")
    await db.execute(_SQL["end_sessions_of"], {"name": name})


async def set_language(db: AsyncConnection, name: str, language: Language) -> None:
    """Chooses the language in which a person is spoken to. Raises NotFound."""
    if await (await db.execute(_SQL["set_language"], {"name": name, "language": language})).fetchone() is None:
        raise NotFound(f"person {name!r} does not exist")


async def disable(db: AsyncConnection, name: str, *, disabled: bool = True) -> None:
    """Shuts a person out and ends every session of theirs, or lets them in again. Raises NotFound."""
    if await (await db.execute(_SQL["set_disabled"], {"name": name, "disabled": disabled})).fetchone() is None:
        raise NotFound(f"person {name!r} does not exist")
    await db.execute(_SQL["end_sessions_of"], {"name": name})


def origin_of(address: str) -> str:
    """Where an attempt comes from, of a client's address: of IPv6 the /64 network, since each of its hosts has all of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))


async def begin_attempt(db: AsyncConnection, name: str, now: datetime, *, address: str) -> str | None:
    """Counts an attempt to sign in and gives the hash to verify against; None when nobody of that name may sign in.

    The attempt counts as a failure until `finish_attempt`, so that many at once cannot outrun the limit. Raises
    TooManyAttempts after MAX_FAILURES_IN_WINDOW failures from this address within ATTEMPT_WINDOW, or MAX_FAILURES_OF_NAME
    from all addresses, for unknown names alike. Needs a transaction.
    """
    origin = origin_of(address)
    await db.execute(_SQL["forget_old_attempts"], {"before": now - ATTEMPT_WINDOW})
    await db.execute(_SQL["lock_attempts"], {"name": name})
    for counted, limit in ((origin, MAX_FAILURES_IN_WINDOW), (None, MAX_FAILURES_OF_NAME)):
        values = {"name": name, "origin": counted, "since": now - ATTEMPT_WINDOW, "limit": limit}
        row = await (await db.execute(_SQL["failures"], values)).fetchone()
        if row is not None and row[0] >= limit:
            raise TooManyAttempts(max(1, int((row[1] + ATTEMPT_WINDOW - now).total_seconds()) + 1))
    await db.execute(_SQL["note_attempt"], {"name": name, "origin": origin, "at": now, "ok": False})
    found = await (await db.execute(_SQL["password_of"], {"name": name})).fetchone()
    return None if found is None else str(found[0])


async def finish_attempt(db: AsyncConnection, name: str, now: datetime, *, address: str) -> NewSession:
    """After the password matched: forgets the failures of that name from that address and opens a session."""
    origin = origin_of(address)
    await db.execute(_SQL["forget_failures"], {"name": name, "origin": origin})
    await db.execute(_SQL["note_attempt"], {"name": name, "origin": origin, "at": now, "ok": True})
    return await open_session(db, name, now)


async def open_session(db: AsyncConnection, name: str, now: datetime) -> NewSession:
    """A fresh session for a person; the oldest of more than MAX_SESSIONS_PER_PERSON end, expired ones are cleared away."""
    session = NewSession(secrets.token_urlsafe(_TOKEN_BYTES), secrets.token_urlsafe(_TOKEN_BYTES), now + SESSION_LIFE)
    await db.execute(_SQL["forget_expired_sessions"], {"now": now})
    await db.execute(_SQL["keep_newest_sessions"], {"person": name, "keep": MAX_SESSIONS_PER_PERSON - 1})
    values = {
        "token_sha256": digest(session.token),
        "person": name,
        "csrf": session.csrf,
        "created_at": now,
        "expires_at": session.expires_at,
    }
    await db.execute(_SQL["add_session"], values)
    return session


async def find_session(db: AsyncConnection, token: str, now: datetime) -> Caller | None:
    """The person of a session that has not ended, or None."""
    key = digest(token)
    row = await (await db.execute(_SQL["session"], {"token_sha256": key, "now": now})).fetchone()
    if row is None:
        return None
    name, role, language, vehicle, csrf, _ = row
    return Caller("person", name, role, token_sha256=key, language=language, vehicle=vehicle, csrf=csrf)


async def end_session(db: AsyncConnection, token: str) -> None:
    """Signs out; says nothing when the session had ended already."""
    await db.execute(_SQL["end_session"], {"token_sha256": digest(token)})


async def create_token(db: AsyncConnection, name: str, role: str, now: datetime, *, expires_at: datetime | None = None) -> str:
    """A token for a program; it is shown once and kept as its SHA-256. Raises RuleViolation when the name is taken or wrong."""
    checked_role = _checked_identity(name, role)
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    values = {"token_sha256": digest(token), "name": name, "role": checked_role, "created_at": now, "expires_at": expires_at}
    if await (await db.execute(_SQL["add_token"], values)).fetchone() is None:
        raise RuleViolation(f"token {name!r} already exists: revoke it first, or choose another name")
    return token


async def revoke_token(db: AsyncConnection, name: str) -> None:
    """Ends a program's token. Raises NotFound."""
    if await (await db.execute(_SQL["end_token"], {"name": name})).fetchone() is None:
        raise NotFound(f"token {name!r} does not exist")


async def find_token(db: AsyncConnection, token: str, now: datetime) -> Caller | None:
    """The program of a token that has not ended, or None."""
    key = digest(token)
    row = await (await db.execute(_SQL["token"], {"token_sha256": key, "now": now})).fetchone()
    return None if row is None else Caller("token", row[0], row[1], token_sha256=key)


async def still_in(db: AsyncConnection, tokens: list[bytes], now: datetime) -> set[bytes]:
    """Which of these credentials (SHA-256 of sessions and tokens) still let their bearer in."""
    rows = await (await db.execute(_SQL["still_in"], {"tokens": tokens, "now": now})).fetchall()
    return {bytes(row[0]) for row in rows}
