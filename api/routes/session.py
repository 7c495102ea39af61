"""Signing in and out, and who one is."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api import auth
from api.auth import allowed
from api.context import Context, Db, Here
from api.errors import ErrorAnswer, NotSignedIn
from api.permissions import PERMISSIONS, Permission
from core.errors import RuleViolation
from hub.services import people
from hub.services.people import Caller, Language, Role

router = APIRouter(prefix="/session", tags=["session"])
Me = Annotated[Caller, Depends(allowed(Permission.OWN_SESSION))]


class SignIn(BaseModel):
    """Name and password."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "storekeeper", "password": "correct horse battery"}]}
    )
    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00]*$")
    password: str = Field(min_length=1, max_length=people.MAX_PASSWORD_CHARACTERS)


class Person(BaseModel):
    """Who is signed in. `vehicle` is a driver's own; `permissions` is what screens may offer."""

    name: str
    role: Role
    language: Language
    vehicle: str | None
    permissions: list[str] = Field(examples=[["alerts.read", "stock.read"]])


class Session(BaseModel):
    """The person, and the token that unsafe methods carry in `X-CSRF-Token` (null for a program's token)."""

    person: Person
    csrf: str | None


class Choice(BaseModel):
    """What a person may change of the own session."""

    model_config = ConfigDict(extra="forbid")
    language: Language


def _told(caller: Caller) -> Session:
    permissions = sorted(PERMISSIONS[caller.role])
    person = Person(
        name=caller.name, role=caller.role, language=caller.language, vehicle=caller.vehicle, permissions=list(permissions)
    )
    return Session(person=person, csrf=caller.csrf)


async def _find(here: Context, token: str) -> Caller:
    async with here.pool.connection() as db:
        caller = await people.find_session(db, token, here.real_now())
    if caller is None:
        raise NotSignedIn
    return caller


@router.post(
    "",
    summary="Sign in",
    responses={
        401: {"model": ErrorAnswer, "description": "Name or password is wrong: one answer for both"},
        429: {
            "model": ErrorAnswer,
            "description": "Too many wrong passwords for this name from this address, or from everywhere; see Retry-After",
        },
    },
)
async def sign_in(request: Request, response: Response, here: Here, body: SignIn) -> Session:
    """Opens a session and sets its cookie. A session that the request still carries is ended."""
    session = await auth.sign_in(here, body.name, body.password, address=auth.client_address(request))
    await auth.sign_out(here, request.cookies.get(auth.COOKIE))
    auth.give_cookie(request, response, session)
    return _told(await _find(here, session.token))


@router.get("", summary="Who am I")
async def who_am_i(me: Me) -> Session:
    """The caller, and the CSRF token of the session."""
    return _told(me)


@router.patch("", summary="Choose a language")
async def choose(here: Here, me: Me, body: Choice, db: Db, request: Request) -> Session:
    """Chooses the language in which the person is spoken to, on every device."""
    if me.kind != "person":
        raise RuleViolation("a program's token has no language")
    await people.set_language(db, me.name, body.language)
    caller = await people.find_session(db, request.cookies.get(auth.COOKIE, ""), here.real_now())
    if caller is None:
        raise NotSignedIn
    return _told(caller)


@router.delete("", summary="Sign out", status_code=204)
async def sign_out(request: Request, response: Response, here: Here, me: Me) -> None:
    """Ends the session and takes back its cookie."""
    if me.kind != "person":
        raise RuleViolation("a program's token does not sign out: revoke it with `quartermaster token revoke NAME`")
    await auth.sign_out(here, request.cookies.get(auth.COOKIE))
    auth.take_cookie(request, response)
