"""The mirror to InfluxDB: in order, nothing lost while it is away, nothing in the way when it refuses for good."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from psycopg import AsyncConnection

from hub.adapters.influx import Mirror
from hub.services import mirror
from hub.services.mirror import Backlog, backlog

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
WAIT_S = 20.0


class Influx:
    """A server that answers writes with the statuses it was given, then 204, and keeps what it took."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.taken: list[bytes] = []
        self.headers: list[tuple[str, str | None]] = []
        self.asked = threading.Semaphore(0)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.answers.pop(0) if outer.answers else 204
                outer.headers.append((self.path, self.headers["Authorization"]))
                if status == 204:
                    outer.taken.append(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                outer.asked.release()

            def log_message(self, format: str, *args: object) -> None:  # noqa: ARG002
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def influx() -> Iterator[Influx]:
    server = Influx()
    yield server
    server.server.shutdown()
    server.server.server_close()


def mirror_to(url: str, uri: str) -> Mirror:
    @asynccontextmanager
    async def begin() -> AsyncIterator[AsyncConnection]:
        async with await AsyncConnection.connect(uri) as db:
            yield db

    return Mirror(url=url, org="hospital", bucket="cold", token="sesame", transaction=begin, now=lambda: NOW, retry_first_s=0.01)


async def queue(db: AsyncConnection, count: int) -> list[bytes]:
    lines = [f"reading,site=depot value={n} {n}".encode() for n in range(count)]
    for each in lines:
        await db.execute("INSERT INTO mirror_queue (lines) VALUES (%s)", (each,))
    return lines


@asynccontextmanager
async def running(mirror: Mirror) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(mirror.run(), name="mirror under test")
        yield
        task.cancel()


async def asked(server: Influx, times: int) -> None:
    for _ in range(times):
        assert await asyncio.to_thread(server.asked.acquire, timeout=WAIT_S)


async def empty(db: AsyncConnection) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await backlog(db)).rows:  # every look is a wait for the database's answer
            continue


async def test_an_outage_loses_nothing_and_keeps_the_order(database_uri: str, db: AsyncConnection, influx: Influx) -> None:
    lines = await queue(db, 10)
    influx.answers = [503, 500, 204, 429, 503]
    async with running(mirror_to(influx.url, database_uri)):
        await asked(influx, 14)
        await empty(db)
    assert influx.taken == lines
    assert influx.headers[0] == ("/api/v2/write?org=hospital&bucket=cold&precision=ns", "Token sesame")


async def test_what_waits_is_counted_in_rows_and_bytes(database_uri: str, db: AsyncConnection) -> None:
    lines = await queue(db, 3)
    assert await backlog(db) == Backlog(3, sum(len(each) for each in lines))


async def test_beyond_its_bound_the_oldest_lines_go_are_counted_and_told(
    db: AsyncConnection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines = await queue(db, 10)
    monkeypatch.setattr(mirror, "MIRROR_MAX_BYTES", sum(len(each) for each in lines[6:]))
    assert await mirror.keep_within_bounds(db, NOW) == 6
    assert await backlog(db) == Backlog(4, sum(len(each) for each in lines[6:]))
    assert await mirror.loss(db) == mirror.Loss(6, sum(len(each) for each in lines[:6]), NOW)
    assert "were let go" in caplog.text
    alert = "SELECT source, rule, cleared_at IS NULL FROM alert"
    assert await (await db.execute(alert)).fetchall() == [("mirror:influxdb", "mirror-full", True)]
    assert await mirror.keep_within_bounds(db, NOW) == 0
    assert await (await db.execute(alert)).fetchall() == [("mirror:influxdb", "mirror-full", True)], "it is full still"
    await db.execute("DELETE FROM mirror_queue")
    assert await mirror.keep_within_bounds(db, NOW) == 0
    assert await (await db.execute(alert)).fetchall() == [("mirror:influxdb", "mirror-full", False)]
    assert (await mirror.loss(db)).dropped_rows == 6


async def test_the_mirror_is_bounded_in_rows_too(db: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    await queue(db, 10)
    monkeypatch.setattr(mirror, "MIRROR_MAX_ROWS", 3)
    assert await mirror.keep_within_bounds(db, NOW) == 7
    assert (await backlog(db)).rows == 3


async def test_nobody_listening_is_waited_out(
    database_uri: str, db: AsyncConnection, influx: Influx, caplog: pytest.LogCaptureFixture
) -> None:
    await queue(db, 1)
    nowhere = mirror_to("http://127.0.0.1:1", database_uri)
    async with running(nowhere), asyncio.timeout(WAIT_S):
        while "does not answer" not in caplog.text:
            assert (await backlog(db)).rows == 1
    async with running(mirror_to(influx.url, database_uri)):
        await empty(db)
    assert len(influx.taken) == 1


async def test_lines_refused_for_good_are_set_aside_and_the_rest_goes_on(
    database_uri: str, db: AsyncConnection, influx: Influx
) -> None:
    lines = await queue(db, 3)
    influx.answers = [204, 400]
    async with running(mirror_to(influx.url, database_uri)):
        await empty(db)
    assert influx.taken == [lines[0], lines[2]]
    row = await (await db.execute("SELECT topic, payload, reason FROM rejected_message")).fetchone()
    assert row is not None
    assert row[:2] == ("mirror", lines[1])
    assert "InfluxDB answered 400" in row[2]
