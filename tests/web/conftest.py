"""The built web app in a real browser, on the real API over a real database with a small depot in it."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, get_args

import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from api.app import create_app
from api.site import BUILT
from hub.bootstrap import make_solver
from hub.services import people
from tests.web.depot import Depot, fill

CHROMIUM: Final = shutil.which("chromium")
BROWSER_FLAGS: Final = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
WAIT_MS: Final = 15_000
PASSWORD: Final = "a long enough password"
WIDE: Final = (1440, 900)


@pytest.fixture
def password() -> str:
    """Of everybody."""
    return PASSWORD


@pytest.fixture
async def depot(database_uri: str, db: AsyncConnection) -> AsyncIterator[Depot]:
    """The depot, served by uvicorn on a real socket with the built web app."""
    if not (BUILT / "index.html").is_file():
        pytest.fail(f"the web app is not built: {BUILT} has no index.html; run `make setup`")
    now = datetime.now(UTC)
    await fill(db, now)
    for role in get_args(people.Role):
        await people.create_person(db, role, role=role, password=PASSWORD, vehicle="van-1" if role == "driver" else None)
    app = create_app(AsyncConnectionPool(database_uri, min_size=1, max_size=6, open=False, timeout=10), make_solver())
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, lifespan="on"))

    def stop() -> None:
        app.state.context.live.stop()
        server.should_exit = True

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([listener]), name="uvicorn")
        try:
            await asyncio.wait_for(app.state.context.live.ready.wait(), 10)
            yield Depot(f"http://127.0.0.1:{listener.getsockname()[1]}", db, lambda: app.state.context.live.clients, stop)
        finally:
            stop()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's chromium, without a window."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH: no screen was tried in a browser")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=BROWSER_FLAGS)
        yield started
        await started.close()


OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture
async def open_page(browser: Browser, depot: Depot) -> AsyncIterator[OpenPage]:
    """Opens the app in a browser of its own, signed in as a role unless it is None; afterwards no page may have failed."""
    failures: list[str] = []

    async def opened(
        role: str | None,
        path: str = "/",
        size: tuple[int, int] = WIDE,
        language: str = "en",
        theme: str = "light",
        zone: str = "Asia/Shanghai",
    ) -> Page:
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            locale=language,
            color_scheme="dark" if theme == "dark" else "light",
            timezone_id=zone,
        )
        context.set_default_timeout(WAIT_MS)
        page = await context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        if role is not None:
            await people.set_language(depot.db, role, "en" if language == "en" else "zh-CN")
            session = await people.open_session(depot.db, role, datetime.now(UTC))
            await context.add_cookies([{"name": "qm_session", "value": session.token, "url": depot.url}])
        await page.goto(depot.url + path)
        return page

    yield opened
    for context in browser.contexts:
        await context.close()
    assert failures == [], "a page threw an error"
