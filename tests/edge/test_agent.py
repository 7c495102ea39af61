"""A whole agent over socket:// ports and a real broker: seen, committed, sent, once."""

import os
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from core.errors import ConfigurationError
from core.messages import (
    BarcodeScan,
    Batch,
    DeviceStatus,
    Item,
    Position,
    Readings,
    Receipt,
    TagPassage,
    decode_batch,
    encode,
)
from core.topics import AgentAddress
from edge.agent import Agent
from edge.drivers import barcode, nmea, r200, xymd02
from edge.drivers.observations import Fix, Scan, TagRead
from edge.drivers.protocol import DeviceOptions
from edge.line import open_device
from edge.outbox import FILE_NAME, Outbox
from edge.ports import Port
from edge.presence import EPOCH
from edge.settings import Device, EdgeSettings, parse_settings

PATIENCE_S = 30.0
ADDRESS = AgentAddress("depot", "depot-gateway")
CARTONS = [f"3034257BF7194E40000000{number:02X}" for number in range(1, 6)]


class Listens(Protocol):
    port: int


class TcpDevice:
    """A device behind a serial server: a listening socket, one thread, one connection at a time."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self._talk = talk
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                try:
                    self._talk(connection)
                except OSError:
                    continue

    def refuse(self) -> None:
        """From now on nobody can connect; who is connected stays so."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def close(self) -> None:
        self.refuse()
        self._thread.join(PATIENCE_S)


class Probe:
    """Units 1 and 2 of one bus. Every answer is one tenth of a degree warmer; the next poll of a unit proves the answer safe."""

    def __init__(self) -> None:
        self.answered: dict[int, list[float]] = {1: [], 2: []}
        self.safe: dict[int, list[float]] = {1: [], 2: []}
        self.news = threading.Condition()
        self._drivers = {unit: xymd02.Driver(DeviceOptions(unit_id=unit)) for unit in (1, 2)}

    def talk(self, connection: socket.socket) -> None:
        last: dict[int, float] = {}
        while request := connection.recv(64):
            unit = request[0]
            with self.news:
                if unit in last:
                    self.safe[unit].append(last[unit])
                value = len(self.answered[unit]) / 10
                answer = self._drivers[unit].answer(request, value, 50.0)
                self.answered[unit].append(value)
                last[unit] = value
                self.news.notify_all()
            connection.sendall(answer)

    def until(self, answers: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: all(len(each) >= answers for each in self.safe.values()), PATIENCE_S)


def says(data: bytes) -> Callable[[socket.socket], None]:
    """A device that says its piece on every connection and then waits to be left."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(data)
        while connection.recv(64):
            continue

    return talk


class Hub:
    """Keeps every item of every batch once, and sends receipts."""

    def __init__(self, port: int) -> None:
        self.items: list[Item] = []
        self._seen: set[tuple[str, int]] = set()
        self.news = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="hub", protocol=mqtt.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe(ADDRESS.up, 1)
        self._client.on_message = lambda _client, _data, message: self._take(decode_batch(bytes(message.payload)))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, batch: Batch) -> None:
        with self.news:
            if (batch.boot, batch.seq) not in self._seen:
                self._seen.add((batch.boot, batch.seq))
                self.items += batch.items
            self._client.publish(ADDRESS.receipt, encode(Receipt(batch.boot, [(batch.seq, batch.seq)])), qos=1)
            self.news.notify_all()

    def until(self, what: Callable[[], bool]) -> None:
        with self.news:
            assert self.news.wait_for(what, PATIENCE_S), f"the hub has {len(self.items)} items: {self.items[:9]}"

    def celsius(self, device: str) -> list[tuple[int, float]]:
        return [
            (at, value)
            for item in self.items
            if isinstance(item, Readings)
            for which, at, value in zip(item.which, item.at_us, item.values, strict=True)
            if item.series[which].device == device and item.series[which].quantity == "celsius"
        ]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def hub(mosquitto: Listens) -> Iterator[Hub]:
    hub = Hub(mosquitto.port)
    yield hub
    hub.close()


def document(folder: Path, port: int, devices: str) -> str:
    return f"""
[agent]
site = "depot"
name = "depot-gateway"
state_dir = "{folder / "state"}"
[uplink]
url = "mqtt://127.0.0.1:{port}"
{devices}
[[portals]]
name = "dock-1"
default_direction = "in"
absent_after_s = 0.5
"""


def settings(folder: Path, port: int, devices: str) -> EdgeSettings:
    return parse_settings(tomllib.loads(document(folder, port, devices)), {})


def probes(url: str) -> str:
    return "".join(
        f'[[devices]]\nname = "cr-{unit}-probe"\ndriver = "xymd02"\nport = "{url}"\nunit_id = {unit}\ninterval_s = 0.05\n'
        for unit in (1, 2)
    )


@contextmanager
def running(agent: Agent) -> Iterator[Agent]:
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(agent.run()))
    thread.start()
    try:
        yield agent
    finally:
        agent.stop()
        thread.join(PATIENCE_S)
        assert status == [0]


@pytest.mark.mosquitto
def test_four_kinds_of_devices_reach_the_hub_as_facts(tmp_path: Path, mosquitto: Listens, hub: Hub) -> None:
    reader = r200.Driver(DeviceOptions())
    reads = b"".join(reader.encode(TagRead(epc, None, -50.0, EPOCH)) for epc in CARTONS * 4)
    when = datetime.now(UTC).replace(microsecond=0)
    devices = {
        "reader": ("r200", says(reads), 'portal = "dock-1"'),
        "scanner": (
            "barcode",
            says(barcode.Driver(DeviceOptions()).encode(Scan("]d20104006381333931", EPOCH))),
            'read_point = "dock-1"',
        ),
        "van-1-gps": ("nmea", says(nmea.Driver(DeviceOptions()).encode(Fix(when, 31.2, 121.4, 5.0, 90.0, 9, 1.0, EPOCH)) * 2), ""),
    }
    servers = {name: TcpDevice(talk) for name, (_, talk, _) in devices.items()}
    bus = TcpDevice(Probe().talk)
    text = "".join(
        f'[[devices]]\nname = "{name}"\ndriver = "{driver}"\nport = "{servers[name].url}"\n{place}\n'
        for name, (driver, _, place) in devices.items()
    )
    with running(Agent(settings(tmp_path, mosquitto.port, text + probes(bus.url)))):
        hub.until(lambda: {item.epc for item in hub.items if isinstance(item, TagPassage)} == set(CARTONS))
        hub.until(lambda: any(isinstance(item, BarcodeScan) for item in hub.items))
        hub.until(lambda: any(isinstance(item, Position) for item in hub.items))
        hub.until(lambda: len(hub.celsius("cr-1-probe")) > 3 and len(hub.celsius("cr-2-probe")) > 3)
        online = {"reader", "scanner", "van-1-gps", "cr-1-probe", "cr-2-probe", "depot-gateway"}
        hub.until(
            lambda: {item.device for item in hub.items if isinstance(item, DeviceStatus) and item.state == "online"} == online
        )
    passages = [item for item in hub.items if isinstance(item, TagPassage)]
    assert [(each.direction, each.reads, each.portal) for each in passages] == [("in", 4, "dock-1")] * 5
    assert len({each.group for each in passages}) == 1
    for server in (*servers.values(), bus):
        server.close()


@pytest.mark.mosquitto
def test_a_port_that_is_gone_is_told_and_opened_again(tmp_path: Path, mosquitto: Listens, hub: Hub) -> None:
    probe = Probe()
    bus = TcpDevice(probe.talk)
    lines: list[Port] = []

    def open_once_then_break(device: Device) -> Port:
        lines.append(open_device(device))
        return lines[-1]

    def statuses() -> list[str]:
        return [item.state for item in hub.items if isinstance(item, DeviceStatus) and item.device == "cr-1-probe"]

    with running(Agent(settings(tmp_path, mosquitto.port, probes(bus.url)), open_line=open_once_then_break)):
        hub.until(lambda: "online" in statuses())
        bus.refuse()
        lines[0]._socket.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        hub.until(lambda: statuses()[-1] == "offline")
        again = socket.create_server(("127.0.0.1", int(bus.url.rsplit(":", 1)[1])))
        connection, _ = again.accept()
        thread = threading.Thread(target=lambda: probe.talk(connection), daemon=True)
        thread.start()
        hub.until(lambda: statuses()[-1] == "online")
    connection.close()
    again.close()


@pytest.mark.mosquitto
def test_a_crashed_port_thread_is_told_and_started_again(tmp_path: Path, mosquitto: Listens, hub: Hub) -> None:
    bus = TcpDevice(Probe().talk)
    crashes = iter([RuntimeError("a fault of ours")])

    def open_crashing(device: Device) -> Port:
        for crash in crashes:
            raise crash
        return open_device(device)

    with running(Agent(settings(tmp_path, mosquitto.port, probes(bus.url)), open_line=open_crashing)):
        hub.until(lambda: len(hub.celsius("cr-1-probe")) > 3)
        hub.until(
            lambda: any(
                item.device == "depot-gateway" and item.counts.get("crashed_threads") == 1
                for item in hub.items
                if isinstance(item, DeviceStatus)
            )
        )
    bus.close()


@contextmanager
def process(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (path.parent / "agent.log").open("ab") as log:
        child = subprocess.Popen([sys.executable, "-m", "edge", "--config", str(path)], stderr=log, env={**os.environ})
    try:
        yield child
    finally:
        child.kill()
        child.wait(PATIENCE_S)


@pytest.mark.mosquitto
@pytest.mark.processes
def test_kill_9_of_the_agent_loses_no_answer_it_was_asked_past_and_doubles_none(
    tmp_path: Path, mosquitto: Listens, hub: Hub
) -> None:
    probe = Probe()
    bus = TcpDevice(probe.talk)
    path = tmp_path / "agent.toml"
    path.write_text(document(tmp_path, mosquitto.port, probes(bus.url)))
    for answers in (5, 12):
        with process(path) as child:
            probe.until(answers)
            child.send_signal(signal.SIGKILL)
    with process(path) as child:
        probe.until(20)
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 0
    bus.close()
    for unit in (1, 2):
        device = f"cr-{unit}-probe"
        hub.until(lambda device=device, unit=unit: set(probe.safe[unit]) <= {value for _, value in hub.celsius(device)})  # type: ignore[misc]
        received = hub.celsius(device)
        assert len({value for _, value in received}) == len(received), "an answer came twice"
        assert len({at for at, _ in received}) == len(received)
        assert {value for _, value in received} <= set(probe.answered[unit])
        # A clean end leaves nothing unsaid, so only the answers cut off by the two kills may be missing.
        assert len(received) >= len(probe.answered[unit]) - 2
    with Outbox(tmp_path / "state" / FILE_NAME, ADDRESS.agent) as outbox:
        assert outbox.batches == 0


def test_two_agents_cannot_share_a_state_directory(tmp_path: Path) -> None:
    first = Agent(settings(tmp_path, 1, ""))
    with running(first):
        assert first.writer.ready.wait(PATIENCE_S)
        with pytest.raises(ConfigurationError, match="another agent is at work"):
            Agent(settings(tmp_path, 1, "")).run()
