"""Proving who calls: the session cookie of people with its CSRF token, the bearer token of programs, and what each may do."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request, Response
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api.context import Context, Here
from api.errors import NotSignedIn
from api.permissions import Permission, permits
from core.errors import NotAllowed
from hub.services import people
from hub.services.people import Caller, NewSession

COOKIE: Final = "qm_session"
CSRF_HEADER: Final = "X-CSRF-Token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_cookie = APIKeyCookie(
    name=COOKIE,
    scheme_name="session",
    auto_error=False,
    description=f"Of people: set by `POST /api/v1/session`. Unsafe methods also need the header `{CSRF_HEADER}`.",
)
_bearer = HTTPBearer(
    scheme_name="token", auto_error=False, description="Of programs: made by `quartermaster token add NAME --role ROLE`."
)


async def _caller(
    request: Request,
    here: Here,
    token: Annotated[str | None, Depends(_cookie)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    caller = await _find(here, token, bearer)
    if caller is None:
        raise NotSignedIn
    if caller.csrf is not None and request.method not in SAFE_METHODS:
        given = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(given.encode(), caller.csrf.encode()):
            raise NotAllowed(f"header {CSRF_HEADER}: missing or not the one of this session; GET /api/v1/session tells it")
    return caller


async def _find(here: Context, token: str | None, bearer: HTTPAuthorizationCredentials | None) -> Caller | None:
    if bearer is not None:
        async with here.pool.connection() as db:
            return await people.find_token(db, bearer.credentials, here.real_now())
    if token:
        async with here.pool.connection() as db:
            return await people.find_session(db, token, here.real_now())
    return None


def allowed(permission: Permission) -> Callable[..., Awaitable[Caller]]:
    """A dependency that gives the caller and refuses one whose role lacks `permission`; each route declares exactly one."""

    async def check(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        if not permits(caller.role, permission):
            raise NotAllowed(f"role {caller.role} may not do this: it lacks the permission {permission}")
        return caller

    check.permission = permission  # type: ignore[attr-defined]
    return check


def client_address(request: Request) -> str:
    """Where a request comes from; behind a trusted proxy (FORWARDED_ALLOW_IPS) what X-Forwarded-For says. Empty: a local socket."""
    return request.client.host if request.client is not None else ""


async def sign_in(here: Context, name: str, password: str, *, address: str) -> NewSession:
    """A fresh session for the right password, for a client at `address`.

    Raises NotSignedIn with one and the same message for an unknown name, a disabled person and a wrong password, after the
    same work; TooManyAttempts; Busy. No connection is held while the password is verified.
    """
    async with here.pool.connection() as db:
        stored = await people.begin_attempt(db, name, here.real_now(), address=address)
    if not await here.passwords.matches(stored, password):
        raise NotSignedIn("name or password is wrong")
    async with here.pool.connection() as db:
        return await people.finish_attempt(db, name, here.real_now(), address=address)


async def sign_out(here: Context, token: str | None) -> None:
    """Ends the session of a cookie, if there is one."""
    if token:
        async with here.pool.connection() as db:
            await people.end_session(db, token)


def give_cookie(request: Request, response: Response, session: NewSession) -> None:
    """Sets the session cookie; Secure when the request came by https.

    Behind a proxy the scheme is what X-Forwarded-Proto says, if the proxy's address is trusted (uvicorn's
    FORWARDED_ALLOW_IPS, the same machine by default).
    """
    response.set_cookie(
        COOKIE,
        session.token,
        max_age=int(people.SESSION_LIFE.total_seconds()),
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def take_cookie(request: Request, response: Response) -> None:
    """Tells the browser to forget the session cookie."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https")
