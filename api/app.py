"""Puts the API together: pool, live stream, routes, errors, headers, and the web app's files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Protocol

from fastapi import APIRouter, FastAPI
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from api import errors
from api.body_limit import BodyLimit
from api.context import Context
from api.errors import ErrorAnswer
from api.headers import SafeHeaders
from api.live import Broadcaster, Pool
from api.routes import cold_chain, devices, master_data, orders, plans, receiving, session, stock, system, trackers, vehicles
from api.site import BUILT, site_router
from core.timescale import REAL_TIME, TimeScale
from hub.domain.routing import Solve

PREFIX: Final = "/api/v1"
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
GZIP_FROM_BYTES: Final = 1024

DESCRIPTION: Final = """
Goods, cold chain and deliveries of a medical store.

**People** sign in with `POST /api/v1/session`; the session travels in an HttpOnly cookie, and every unsafe method carries the
session's token in the header `X-CSRF-Token`. **Programs** carry `Authorization: Bearer <token>`, made on the hub with
`quartermaster token add NAME --role ROLE`; **phones** that tell positions carry one of `quartermaster tracker add`. Each role
may do only what its work needs; a refusal names what it lacks.

**Times** are RFC 3339 in UTC. Where a field is called `at`, `opened_at`, `seen_at` and the like it is *event time*, when the
thing happened; `recorded_at` is when the hub learned of it. Units are part of the names: `_s` seconds, `_m` metres, `_mps` metres
a second.

**Errors** always have the shape `{"error": {"code", "message", "where"}}`: `code` for programs, `message` for people, `where` the
path in the request of what is wrong, such as `lines[0].gtin`. A refused request has changed nothing.

**Live**: `GET /api/v1/live` is one stream of server-sent events for everything a screen follows.
"""

TAGS: Final = [
    {"name": "session", "description": "Signing in and out, and who one is."},
    {"name": "system", "description": "The clock, health, and the live stream."},
    {"name": "receiving", "description": "Gates, the receipts that write themselves there, and the shipments expected."},
    {"name": "cold chain", "description": "Alerts, cold rooms and their readings."},
    {"name": "stock", "description": "What lies where, by lot and expiry, and the movements behind it."},
    {"name": "dispatch", "description": "Vehicles, orders, and plans with their proposals."},
    {"name": "trackers", "description": "Positions that phones tell, each with a token of its own."},
    {"name": "master data", "description": "Sites, locations, products, destinations."},
    {"name": "devices", "description": "Agents and devices, and messages that were not taken as facts."},
]
_PERMITTED_ERRORS: Final[dict[int | str, dict[str, object]]] = {
    401: {"model": ErrorAnswer, "description": "Not signed in"},
    403: {"model": ErrorAnswer, "description": "The caller's role may not do this, or the CSRF token is missing"},
    422: {"model": ErrorAnswer, "description": "The request is not what this route takes; `where` says what"},
}


def _version() -> str:
    try:
        return version("quartermaster")
    except PackageNotFoundError:
        return "0"


def _routes() -> APIRouter:
    router = APIRouter(prefix=PREFIX)
    router.include_router(system.public)
    for noun in (session, system, receiving, cold_chain, stock, vehicles, orders, plans, master_data, devices):
        router.include_router(noun.router, responses=_PERMITTED_ERRORS)
    router.include_router(trackers.router)
    return router


class Solver(Solve, AbstractAsyncContextManager["Solver"], Protocol):
    """What makes plans, and ends whatever it started when the application stops."""


def create_app(pool: Pool, solver: Solver, *, time_scale: TimeScale = REAL_TIME, static: Path = BUILT) -> FastAPI:
    """The application. `pool` and `solver` live as long as it does; until the database answers, requests get 503."""
    context = Context(pool=pool, time_scale=time_scale, live=Broadcaster(pool), solve=solver)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await pool.open(wait=False)
        try:
            async with solver, asyncio.TaskGroup() as tasks:
                follower = tasks.create_task(context.live.run(), name="live")
                yield
                context.live.stop()
                follower.cancel()
        finally:
            await pool.close()

    app = FastAPI(
        title="Quartermaster",
        summary="Gates that log receipts, cold rooms that are watched, routes that are planned again.",
        description=DESCRIPTION,
        version=_version(),
        openapi_tags=TAGS,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=life,
    )
    app.state.context = context
    errors.install(app)
    app.add_middleware(
        GZipMiddleware,
        minimum_size=GZIP_FROM_BYTES,
        compresslevel=5,
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/octet-stream"),
    )
    app.add_middleware(BodyLimit, largest=MAX_BODY_BYTES)
    app.add_middleware(SafeHeaders)
    app.include_router(_routes())
    app.include_router(site_router(static))
    return app
