"""Positions that phones tell over HTTP: Traccar Client, OsmAnd, and whoever speaks their protocol."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from api.auth import client_address
from api.context import Context, Here
from api.errors import BadRequest, ErrorAnswer, NotSignedIn, TooFast
from core.errors import InvalidInput
from hub.domain import osmand
from hub.domain.osmand import Report
from hub.services import trackers
from hub.services.people import origin_of

MAX_BYTES: Final = 16_384
"""Of a body; a fix has hundreds."""
MAX_FIELDS: Final = 100

router = APIRouter(prefix="/trackers", tags=["trackers"])
_bearer = HTTPBearer(
    scheme_name="tracker",
    auto_error=False,
    description="Of phones: made by `quartermaster tracker add NAME --vehicle VEHICLE`. Clients that cannot send the header carry"
    " it as the last part of the address, or as their device identifier.",
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
_ERRORS: Final[dict[int | str, dict[str, object]]] = {
    400: {"model": ErrorAnswer, "description": "The request is no fix; `where` and the message say why"},
    401: {"model": ErrorAnswer, "description": "No token of a tracker that is in force"},
    422: {"model": ErrorAnswer, "description": "The address is not one of this route"},
    413: {"model": ErrorAnswer, "description": f"More than {MAX_BYTES} bytes"},
    429: {"model": ErrorAnswer, "description": "Too many requests of this tracker, or unknown ones from this address"},
}


class Taken(BaseModel):
    """The fix was taken. One that cannot be true (0, 0; the future) is kept among the rejected messages, not asked for again."""

    status: str = "ok"


async def _take(request: Request, here: Context, token: str) -> Taken:
    body = await _body(request)
    fields = _form(request.url.query)
    document: object = None
    if request.headers.get("content-type", "").startswith("application/json"):
        document = _json(body)
    else:
        fields |= _form(body)
    token = token or osmand.device_of_json(document) or osmand.device_of(fields)
    tracker = await _find(request, here, token)
    now = here.now()
    report = _read(fields, document, now)
    async with here.pool.connection() as db:
        await trackers.take_report(db, tracker, report, now)
    return Taken()


async def _body(request: Request) -> bytes:
    taken = bytearray()
    async for part in request.stream():
        taken += part
        if len(taken) > MAX_BYTES:
            raise HTTPException(413, f"a fix has no more than {MAX_BYTES} bytes: send one a request")
    return bytes(taken)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(["the body is not JSON in UTF-8"]) from error


def _form(text: bytes | str) -> dict[str, str]:
    try:
        decoded = text if isinstance(text, str) else text.decode()
        return dict(parse_qsl(decoded, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise BadRequest([f"the form is not UTF-8, or has more than {MAX_FIELDS} fields"]) from error


async def _find(request: Request, here: Context, token: str) -> trackers.Tracker:
    """The phone of a token. Raises NotSignedIn, and TooFast for a phone or an address that asks too often."""
    async with here.pool.connection() as db:
        tracker = await trackers.find(db, token)
    limit, caller = (here.tracker_rate, tracker.name) if tracker else (here.stranger_rate, origin_of(client_address(request)))
    wait_s = limit.wait_s(caller, time.monotonic())
    if wait_s:
        raise TooFast(wait_s)
    if tracker is None:
        raise NotSignedIn("no tracker has this token: `quartermaster tracker add NAME --vehicle VEHICLE` makes one")
    return tracker


def _read(fields: Mapping[str, str], document: object, now: datetime) -> Report:
    try:
        return osmand.read_form(fields, now) if document is None else osmand.read_json(document, now)
    except InvalidInput as error:
        raise BadRequest(error.problems) from error


@router.get("/osmand", summary="Tell a fix", responses=_ERRORS)
async def tell_by_query(request: Request, here: Here, bearer: Bearer) -> Taken:
    """One fix as query: `lat`, `lon` or `location=lat,lon`; `timestamp` (seconds or milliseconds since 1970, ISO 8601, or
    `yyyy-MM-dd HH:mm:ss` in UTC; now when left out), `speed` in knots, `bearing` or `heading`, `accuracy` in metres, `hdop`,
    `valid`. The token stands in the header, or in `id` or `deviceid`. The same fix told again changes nothing."""
    return await _take(request, here, bearer.credentials if bearer else "")


@router.post("/osmand", summary="Tell a fix as form or JSON", responses=_ERRORS)
async def tell(request: Request, here: Here, bearer: Bearer) -> Taken:
    """As by query, as a form; or the JSON of newer clients: `device_id`, `location.timestamp` and `location.coords` with
    `latitude`, `longitude`, `accuracy`, `speed` in metres a second and `heading`, -1 for what is unknown."""
    return await _take(request, here, bearer.credentials if bearer else "")


@router.get("/osmand/{token}", summary="Tell a fix, the token in the address", responses=_ERRORS)
async def tell_by_query_at(request: Request, here: Here, token: str) -> Taken:
    """As without: for clients that can send no header and whose identifier is taken."""
    return await _take(request, here, token)


@router.post("/osmand/{token}", summary="Tell a fix as form or JSON, the token in the address", responses=_ERRORS)
async def tell_at(request: Request, here: Here, token: str) -> Taken:
    """As without: for clients that can send no header and whose identifier is taken."""
    return await _take(request, here, token)
