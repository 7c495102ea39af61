"""Every error leaves the API in one shape: `{"error": {"code", "message", "where"}}`."""

import logging
import math
from collections.abc import Mapping
from typing import Final

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from api.invalid_request import LONGEST_PATH, SEND_JSON, in_words
from core.errors import (
    InvalidInput,
    MessageRejected,
    NotAllowed,
    NotFound,
    QuartermasterError,
    RuleViolation,
    Unavailable,
)
from hub.services.people import TooManyAttempts

_log = logging.getLogger(__name__)

RETRY_UNAVAILABLE_S: Final = 2
SEE_DESCRIPTION: Final = "the API describes itself at /api/v1/openapi.json"
_CODE_BY_STATUS: Final[Mapping[int, str]] = {
    400: "bad_request",
    401: "not_signed_in",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    409: "rule_violation",
    413: "too_large",
    422: "invalid",
    429: "too_many_attempts",
    503: "unavailable",
}


class ErrorDetail(BaseModel):
    """What was wrong, where, and what to do."""

    code: str = Field(description="A word for programs; it does not change", examples=["not_found"])
    message: str = Field(description="A sentence for people", examples=["alert 17 does not exist"])
    where: str = Field(
        description="Path in the request of what is wrong; empty when it is no single field", examples=["lines[0].gtin"]
    )


class ErrorAnswer(BaseModel):
    """Every answer with a status of 400 or above has this shape."""

    error: ErrorDetail


class NotSignedIn(NotAllowed):
    """Sign in first: the request carries no session or token that is in force."""


class BadRequest(InvalidInput):
    """What was sent is not what the protocol of this route says."""


class TooFast(NotAllowed):
    """More requests than one caller may send; `retry_after_s` says how long to wait."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"more requests than one tracker may send: wait {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Busy(Unavailable):
    """More requests of this kind are waiting than this process takes; try again shortly."""


def answer(status: int, message: str, *, where: str = "", headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error answer in the one shape."""
    body = {"error": {"code": _CODE_BY_STATUS.get(status, "error"), "message": message, "where": where}}
    return JSONResponse(body, status_code=status, headers=None if headers is None else dict(headers))


def status_of(error: QuartermasterError) -> int:
    """The HTTP status of an error of ours."""
    for kind, status in (
        (TooManyAttempts, 429),
        (TooFast, 429),
        (BadRequest, 400),
        (NotSignedIn, 401),
        (NotAllowed, 403),
        (NotFound, 404),
        (InvalidInput, 422),
        (MessageRejected, 422),
        (Unavailable, 503),
        (RuleViolation, 409),
    ):
        if isinstance(error, kind):
            return status
    return 500


def path_of(problem: str) -> str:
    """The path that a problem of InvalidInput begins with: `lines[0].gtin: unknown product` gives `lines[0].gtin`."""
    path, colon, _ = problem.partition(": ")
    return path if colon and " " not in path else ""


async def _on_ours(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, QuartermasterError):
        raise error
    status = status_of(error)
    if status == 500:
        _log.error("unexpected %s", type(error).__name__, exc_info=error)
        return answer(500, "something went wrong inside; the log of the API says what")
    headers: dict[str, str] = {}
    if isinstance(error, TooManyAttempts | TooFast):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    elif status == 503:
        headers["Retry-After"] = str(RETRY_UNAVAILABLE_S)
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    where = path_of(error.problems[0]) if isinstance(error, InvalidInput) and error.problems else ""
    return answer(status, str(error), where=where, headers=headers)


async def _on_invalid_request(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    message, where = in_words(error.errors(), error.body)
    return answer(422, message, where=where)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        return _wrong_method(request)
    if error.status_code == 400:
        # The framework says it of a body that cannot be decoded: not UTF-8, or nested beyond what Python follows.
        return answer(400, f"the body cannot be read as JSON: it is not UTF-8, or nested too deeply; {SEND_JSON}")
    return answer(error.status_code, str(error.detail), headers=error.headers)


def _wrong_method(request: Request) -> JSONResponse:
    path = request.url.path
    methods = methods_at(request.app, path) if path.startswith("/api/") else ["GET", "HEAD"]
    shown = path if len(path) <= LONGEST_PATH else f"{path[:LONGEST_PATH]}..."
    if not methods:
        return answer(404, f"{shown} does not exist; {SEE_DESCRIPTION}")
    allowed = ", ".join(methods)
    return answer(405, f"{shown} does not take {request.method}, only {allowed}; {SEE_DESCRIPTION}", headers={"Allow": allowed})


def methods_at(app: FastAPI, path: str) -> list[str]:
    """The methods that the API describes for a path, sorted; none when it describes no such path."""
    for template, operations in app.openapi()["paths"].items():
        if compile_path(template)[0].match(path):
            return sorted(method.upper() for method in operations)
    return []


async def _on_database_away(_: Request, error: Exception) -> JSONResponse:
    _log.warning("database does not answer: %s", error)
    return answer(503, "the database does not answer: try again", headers={"Retry-After": str(RETRY_UNAVAILABLE_S)})


async def _on_impossible_value(_: Request, error: Exception) -> JSONResponse:
    _log.warning("a value of a request was refused by the database: %s", error)
    return answer(422, "a value cannot be stored: it holds a character or number that is out of range")


async def _on_the_unexpected(_: Request, error: Exception) -> JSONResponse:
    # Starlette logs the traceback after this; nothing of it goes out.
    del error
    return answer(500, "something went wrong inside; the log of the API says what")


def install(app: FastAPI) -> None:
    """Makes every error of `app` leave in the one shape."""
    app.add_exception_handler(QuartermasterError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(psycopg.OperationalError, _on_database_away)
    app.add_exception_handler(psycopg.DataError, _on_impossible_value)
    app.add_exception_handler(Exception, _on_the_unexpected)
