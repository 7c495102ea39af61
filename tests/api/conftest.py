"""The API over a real database: called in-process for single answers, over a socket for streams."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from api.app import create_app
from api.live import Pool
from hub.bootstrap import make_solver
from hub.services import people

PASSWORD = "a long enough password"
BASE = "http://quartermaster.test"


@pytest.fixture
async def pool(database_uri: str) -> Pool:
    """What create_app opens and closes."""
    return AsyncConnectionPool(database_uri, min_size=1, max_size=6, open=False, timeout=10)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[FastAPI]:
    """The app between its start and its stop, in one task as servers do it."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.router.lifespan_context(app):
            started.set()
            await stop.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live(), name="lifespan")
        await asyncio.wait_for(started.wait(), 10)
        await app.state.context.pool.wait(10)
        try:
            yield app
        finally:
            stop.set()


@pytest.fixture
async def app(pool: Pool, tmp_path: Path) -> AsyncIterator[FastAPI]:
    """A running API without a web app."""
    async with running(create_app(pool, make_solver(), static=tmp_path / "static")) as started:
        yield started


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has not signed in."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as each:
        yield each


@dataclass(frozen=True)
class Signed:
    """A signed-in browser."""

    http: httpx.AsyncClient
    csrf: str

    async def get(self, path: str, **params: str | int) -> httpx.Response:
        return await self.http.get(f"/api/v1{path}", params=params or None)

    async def send(self, method: str, path: str, body: object = None) -> httpx.Response:
        return await self.http.request(method, f"/api/v1{path}", json=body, headers={"X-CSRF-Token": self.csrf})


SignIn = Callable[[str], Awaitable[Signed]]


@pytest.fixture
async def sign_in(app: FastAPI, db: AsyncConnection) -> AsyncIterator[SignIn]:
    """Adds a person of a role (named like it) and signs in, each in a browser of its own."""
    async with AsyncExitStack() as stack:

        async def as_role(role: str) -> Signed:
            await people.create_person(db, role, role=role, password=PASSWORD)
            session = await people.open_session(db, role, datetime.now(UTC))
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            http = await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url=BASE, cookies={"qm_session": session.token})
            )
            return Signed(http, session.csrf)

        yield as_role


@pytest.fixture
async def served(pool: Pool, tmp_path: Path) -> AsyncIterator[str]:
    """The address of an API served by uvicorn on a real socket, for streams."""
    app = create_app(pool, make_solver(), static=tmp_path / "static")
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, lifespan="on")
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([listener]), name="uvicorn")
        try:
            # The listener takes connections from now on; streams are given once the place in the table is known.
            await asyncio.wait_for(app.state.context.live.ready.wait(), 10)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            app.state.context.live.stop()
            server.should_exit = True
