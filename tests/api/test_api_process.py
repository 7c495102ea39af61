"""The API as a process."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg import AsyncConnection

from api.__main__ import listen, main
from api.context import PASSWORDS_WAITING, PasswordDesk
from api.errors import Busy
from core.errors import ConfigurationError
from hub.services import people

ROOT = Path(__file__).parents[2]


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def answering(address: str) -> None:
    """Waits until the live stream can be had, for at most 30 s."""
    async with asyncio.timeout(30), httpx.AsyncClient() as http:
        while True:
            with suppress(httpx.TransportError):
                if (await http.get(f"{address}/api/v1/health")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.processes
async def test_sigterm_ends_it_at_once_although_a_stream_is_open(database_uri: str, db: AsyncConnection) -> None:
    token = await people.create_token(db, "erp", "admin", datetime.now(UTC))
    port = a_free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "api", "--bind", f"127.0.0.1:{port}"),
        cwd=ROOT,
        env={**os.environ, "QM_DATABASE_URI": database_uri},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        await answering(address)
        async with (
            httpx.AsyncClient(timeout=20) as http,
            http.stream("GET", f"{address}/api/v1/live", headers={"Authorization": f"Bearer {token}"}) as response,
        ):
            lines = response.aiter_lines()
            assert await anext(lines) == "event: hello"
            loop = asyncio.get_running_loop()
            began = loop.time()
            process.send_signal(signal.SIGTERM)
            _, log = await asyncio.wait_for(process.communicate(), 15)
            assert loop.time() - began < 2
        assert b"Traceback" not in log
        assert b"Application shutdown complete" in log
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_a_wrong_bind_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QM_DATABASE_URI", "postgresql://localhost/none")
    with pytest.raises(ConfigurationError, match="QM_API_BIND"):
        main(["--bind", "nonsense"])


def test_an_address_that_is_taken_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QM_DATABASE_URI", "postgresql://localhost/none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"QM_API_BIND {address}: cannot listen there: .*; give another"):
            main(["--bind", address])


def test_an_address_of_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QM_DATABASE_URI", "postgresql://localhost/none")
    with pytest.raises(ConfigurationError, match=r"QM_API_BIND no\.such\.host\.invalid:8080: cannot listen there"):
        main(["--bind", "no.such.host.invalid:8080"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_free_port_is_found(host: str) -> None:
    with listen(host, 0) as sock:
        assert sock.getsockname()[1] > 0


def test_without_a_database_setting_it_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QM_DATABASE_URI", raising=False)
    with pytest.raises(ConfigurationError, match="QM_DATABASE_URI"):
        main([])


def test_a_database_without_a_schema_is_told_what_to_do(native_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QM_DATABASE_URI", native_server.uri)
    with pytest.raises(ConfigurationError, match="quartermaster migrate"):
        main(["--bind", "127.0.0.1:0"])


async def test_more_passwords_than_can_wait_are_told_to_come_again() -> None:
    desk = PasswordDesk()
    results = await asyncio.gather(*(desk.matches(None, "x") for _ in range(PASSWORDS_WAITING + 3)), return_exceptions=True)
    assert sum(isinstance(each, Busy) for each in results) == 3
    assert sum(each is False for each in results) == PASSWORDS_WAITING
