"""The hub put together: real broker, real database, from a batch on the wire to the receipt that frees it."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from core.errors import ConfigurationError
from core.messages import AgentStatus, Batch, Readings, Receipt, Series, decode_receipt, encode
from core.topics import AgentAddress
from hub import bootstrap
from hub.bootstrap import run_hub
from hub.services import rejections
from hub.settings import HubSettings, MqttSettings

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
WAIT_S = 30.0
GATEWAY = AgentAddress("depot", "depot-gateway")
BOOT = "boot-0001"


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: nothing was tried against it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n", encoding="utf-8")
    process = subprocess.Popen([MOSQUITTO, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        assert process.poll() is None, "mosquitto ended"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=WAIT_S).close()
            break
    yield port
    process.kill()
    process.wait()


def settings_for(uri: str, port: int, **mqtt: str) -> HubSettings:
    return HubSettings(database_uri=uri, mqtt=MqttSettings(host="127.0.0.1", port=port, client_id="hub-under-test", **mqtt))  # type: ignore[arg-type]


@asynccontextmanager
async def running(settings: HubSettings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        hub = tasks.create_task(run_hub(settings, stop=stop), name="hub under test")
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(WAIT_S):
                await asyncio.wait([hub])


class Gateway:
    """An agent that sends until it hears that it may forget."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.receipts: asyncio.Queue[Receipt] = asyncio.Queue()

    async def listen(self) -> None:
        await self.client.subscribe(GATEWAY.receipt, qos=1)
        async for each in self.client.messages:
            self.receipts.put_nowait(decode_receipt(bytes(each.payload)))

    async def deliver(self, seq: int) -> Receipt:
        """Sends a batch again and again until the receipt names it."""
        now = datetime.now(UTC)
        at_us = int((now - timedelta(minutes=seq)).timestamp() * 1e6)
        batch = Batch("depot-gateway", BOOT, seq, now, [Readings([Series("probe", "celsius")], [0], [at_us], [4.0 + seq])])
        async with asyncio.timeout(WAIT_S):
            while True:
                await self.client.publish(GATEWAY.up, encode(batch), qos=1)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        while True:
                            receipt = await self.receipts.get()
                            if any(first <= seq <= last for first, last in receipt.committed):
                                return receipt


@asynccontextmanager
async def gateway(port: int) -> AsyncIterator[Gateway]:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        agent = Gateway(client)
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(agent.listen(), name="gateway")
            yield agent
            listener.cancel()


async def rows(uri: str, query: str) -> list[tuple[object, ...]]:
    async with await AsyncConnection.connect(uri) as db:
        return await (await db.execute(query)).fetchall()


@pytest.mark.mosquitto
@pytest.mark.parametrize("share", [{}, {"share": "hubs"}])
async def test_a_batch_is_committed_when_its_receipt_comes(database_uri: str, broker_port: int, share: dict[str, str]) -> None:
    async with running(settings_for(database_uri, broker_port, **share)), gateway(broker_port) as agent:
        receipt = await agent.deliver(1)
        assert await rows(database_uri, "SELECT value FROM reading") == [(5.0,)]
        assert receipt.boot == BOOT
        assert (await agent.deliver(1)).committed == [(1, 1)]
    assert await rows(database_uri, "SELECT count(*) FROM reading") == [(1,)]


@pytest.mark.mosquitto
async def test_a_retained_status_and_an_unknown_version_reach_the_store(database_uri: str, broker_port: int) -> None:
    status = AgentStatus("depot-gateway", online=True, at=datetime.now(UTC), boot=BOOT, version="9.9")
    async with gateway(broker_port) as agent:
        await agent.client.publish(GATEWAY.status, encode(status), qos=1, retain=True)
        async with running(settings_for(database_uri, broker_port)):
            await agent.deliver(1)
            await agent.client.publish("qm/v7/depot/depot-gateway/up", b"from the future", qos=1)
            await agent.deliver(2)
    assert await rows(database_uri, "SELECT online, version FROM agent") == [(True, "9.9")]
    ((reason, payload),) = await rows(database_uri, "SELECT reason, payload FROM rejected_message")
    assert "version 'v7' is not spoken here" in str(reason)
    assert payload == b"from the future"


def _maintenance(uri: str) -> tuple[str, str]:
    parts = conninfo_to_dict(uri)
    return make_conninfo(uri, dbname="postgres"), str(parts["dbname"])


def _shut_database(uri: str) -> None:
    maintenance, name = _maintenance(uri)
    with psycopg.connect(maintenance, autocommit=True) as db:
        db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def _open_database(uri: str) -> None:
    maintenance, name = _maintenance(uri)
    with psycopg.connect(maintenance, autocommit=True) as db:
        db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def _set_read_only(uri: str) -> None:
    _change(uri, "SET default_transaction_read_only = on")


def _set_writable(uri: str) -> None:
    _change(uri, "RESET default_transaction_read_only")


def _change(uri: str, setting: str) -> None:
    maintenance, name = _maintenance(uri)
    with psycopg.connect(maintenance, autocommit=True) as db:
        db.execute(f'ALTER DATABASE "{name}" {setting}')
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


@pytest.mark.mosquitto
@pytest.mark.parametrize(("shut", "reopen"), [(_shut_database, _open_database), (_set_read_only, _set_writable)])
async def test_while_the_database_takes_nothing_nothing_is_receipted_and_afterwards_nothing_is_lost(
    database_uri: str, broker_port: int, shut: Callable[[str], None], reopen: Callable[[str], None]
) -> None:
    async with running(settings_for(database_uri, broker_port)), gateway(broker_port) as agent:
        await agent.deliver(1)
        await asyncio.to_thread(shut, database_uri)
        waiting = asyncio.ensure_future(agent.deliver(2))
        done, _ = await asyncio.wait([waiting], timeout=3.0)
        assert not done
        await asyncio.to_thread(reopen, database_uri)
        assert (await waiting).boot == BOOT
        for seq in range(3, 8):
            await agent.deliver(seq)
    assert await rows(database_uri, "SELECT count(*) FROM reading") == [(7,)]


async def test_a_database_without_the_schema_is_refused_with_what_to_do(database_uri: str) -> None:
    maintenance, _ = _maintenance(database_uri)
    with pytest.raises(ConfigurationError, match="run `quartermaster migrate` first"):
        await run_hub(settings_for(maintenance, 1), stop=asyncio.Event())


async def test_a_hub_waiting_for_its_database_stops_when_told(tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(run_hub(settings_for(f"host={tmp_path} dbname=nowhere", 1), stop=stop), name="hub")
        tasks.create_task(_set_later(stop), name="stop")


async def _set_later(stop: asyncio.Event) -> None:
    stop.set()


async def test_a_chore_that_fails_is_told_and_comes_again(database_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    rounds = asyncio.Queue[int]()

    async def chore(db: AsyncConnection, now: datetime) -> None:
        rounds.put_nowait(rounds.qsize())
        await db.execute("INSERT INTO no_such_table VALUES (1)")

    @asynccontextmanager
    async def begin() -> AsyncIterator[AsyncConnection]:
        async with await AsyncConnection.connect(database_uri) as db:
            yield db

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bootstrap._repeat(bootstrap.Chore("sweep", 0.01, chore), begin, lambda: datetime.now(UTC)))
        for _ in range(3):
            await rounds.get()
        task.cancel()
    assert "chore sweep failed" in caplog.text


@pytest.mark.mosquitto
async def test_a_hub_writes_down_what_it_counts(database_uri: str, broker_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "STATUS_EVERY_S", 0.05)
    settings = settings_for(database_uri, broker_port)
    asked = "SELECT hub, counts FROM hub_status WHERE counts ->> 'batches' = '1' AND counts ->> 'repeated_batches' <> '0'"
    async with running(settings), gateway(broker_port) as agent, asyncio.timeout(WAIT_S):
        await agent.deliver(1)
        await agent.deliver(1)
        while not (found := await rows(database_uri, asked)):
            await agent.deliver(1)
    ((hub, counts),) = found
    assert hub == settings.require_mqtt().client_id
    assert isinstance(counts, dict)
    assert counts.keys() >= {"known_readings", "conflicting_readings", "misdated_statuses", "held_back", "receipts_dropped"}
    assert (counts["broker_connected"], counts["intake_times_full"]) == (1, 0)


async def test_the_store_of_rejections_is_bounded(database_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "REJECTIONS_KEPT", 3)
    async with await AsyncConnection.connect(database_uri, autocommit=True) as db:
        await db.execute(
            "INSERT INTO rejected_message (topic, payload, reason, received_at)"
            " SELECT n::text, '', '', now() FROM generate_series(1, 9) n"
        )
        await rejections.trim_all(db, datetime.now(UTC))
    assert await rows(database_uri, "SELECT topic FROM rejected_message ORDER BY id") == [("7",), ("8",), ("9",)]
