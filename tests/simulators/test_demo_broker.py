"""The embedded broker lets nobody in without a password, and nobody touch another's topics."""

import socket
import sys
import threading
from collections.abc import Iterator
from subprocess import DEVNULL, Popen

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from core.topics import ANY_STATUS, ANY_UP, AgentAddress
from simulators.demo.broker import account, may_hear, may_publish, write_accounts

DEPOT = AgentAddress("depot", "depot-gateway")
CLINIC = AgentAddress("clinic", "clinic-gateway")
AGENT = account("agent-secret", "agent", "depot")
HUB = account("hub-secret", "hub")
WAIT_S = 20.0


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [(DEPOT.up, True), (DEPOT.status, True), (DEPOT.receipt, False), (CLINIC.up, False), ("elsewhere", False), ("#", False)],
)
def test_an_agent_publishes_only_its_own_batches_and_status(topic: str, allowed: bool) -> None:
    assert may_publish("depot-gateway", AGENT, topic) is allowed


@pytest.mark.parametrize(
    ("topic", "allowed"), [(DEPOT.receipt, True), (CLINIC.receipt, False), (DEPOT.up, False), (ANY_UP, False), ("#", False)]
)
def test_an_agent_hears_only_its_own_receipts(topic: str, allowed: bool) -> None:
    assert may_hear("depot-gateway", AGENT, topic) is allowed


@pytest.mark.parametrize(
    ("topic", "publish", "hear"),
    [
        (DEPOT.receipt, True, False),
        (DEPOT.up, False, True),
        (CLINIC.status, False, True),
        (ANY_UP, False, True),
        (ANY_STATUS, False, True),
        ("#", False, False),
    ],
)
def test_the_hub_hears_everybody_and_publishes_receipts(topic: str, publish: bool, hear: bool) -> None:
    assert (may_publish("hub", HUB, topic), may_hear("hub", HUB, topic)) == (publish, hear)


def test_an_agent_cannot_take_anothers_name_by_its_site() -> None:
    assert not may_publish("depot-gateway", account("x", "agent", "clinic"), DEPOT.up)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A broker in a process of its own."""
    accounts = tmp_path_factory.mktemp("broker") / "accounts.json"
    write_accounts(accounts, {"hub": HUB, "depot-gateway": AGENT, "clinic-gateway": account("other", "agent", "clinic")})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    command = [sys.executable, "-m", "simulators.demo.broker", "--port", str(number), "--accounts", str(accounts)]
    with Popen(command, stdout=DEVNULL, stderr=DEVNULL) as broker:
        try:
            _wait_for(number)
            yield number
        finally:
            broker.terminate()


def _wait_for(number: int) -> None:
    give_up = threading.Event()
    for _ in range(int(WAIT_S / 0.1)):
        try:
            socket.create_connection(("127.0.0.1", number), timeout=1).close()
        except OSError:
            give_up.wait(0.1)
        else:
            return
    raise TimeoutError("the broker does not listen")


class Client:
    """A paho client that remembers what it was told."""

    def __init__(self, port: int, name: str, password: str | None, will: str | None = None) -> None:
        self.told: list[tuple[str, bytes]] = []
        self.connected, self.granted, self.heard = threading.Event(), threading.Event(), threading.Event()
        self.refused: bool | None = None
        self.codes: list[int] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"{name}-{id(self)}")
        if password is not None:
            self._client.username_pw_set(name, password)
        if will is not None:
            self._client.will_set(will, b"gone", 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self.connected.wait(WAIT_S)

    def _on_connect(self, *arguments: object) -> None:
        self.refused = bool(getattr(arguments[3], "is_failure", True))
        self.connected.set()

    def _on_subscribe(self, *arguments: object) -> None:
        codes = arguments[3]
        assert isinstance(codes, list)
        self.codes = [code.value for code in codes]
        self.granted.set()

    def _on_message(self, *arguments: object) -> None:
        message = arguments[2]
        assert isinstance(message, mqtt.MQTTMessage)
        self.told.append((message.topic, bytes(message.payload)))
        self.heard.set()

    def subscribe(self, topic: str) -> int:
        self.granted.clear()
        self._client.subscribe(topic, 1)
        assert self.granted.wait(WAIT_S)
        return self.codes[0]

    def publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, 1).wait_for_publish(WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def clients(port: int) -> Iterator[list[Client]]:
    """Clients to close at the end."""
    opened: list[Client] = []
    yield opened
    for client in opened:
        client.close()


@pytest.mark.parametrize(
    ("name", "password", "will"),
    [
        ("depot-gateway", "wrong", None),
        ("nobody", "agent-secret", None),
        ("anonymous", None, None),
        ("depot-gateway", "agent-secret", CLINIC.status),
    ],
)
def test_the_broker_refuses(port: int, clients: list[Client], name: str, password: str | None, will: str | None) -> None:
    clients.append(Client(port, name, password, will))
    assert clients[0].refused


def test_batches_reach_the_hub_and_receipts_the_agent_and_nothing_else_passes(port: int, clients: list[Client]) -> None:
    hub, agent = Client(port, "hub", "hub-secret"), Client(port, "depot-gateway", "agent-secret", DEPOT.status)
    clients += [hub, agent]
    assert (hub.refused, agent.refused) == (False, False)
    assert hub.subscribe(ANY_UP) == 1
    assert agent.subscribe(DEPOT.receipt) == 1
    assert agent.subscribe(CLINIC.receipt) == 0x80
    agent.publish(CLINIC.up, b"forged")
    agent.publish(DEPOT.up, b"batch")
    assert hub.heard.wait(WAIT_S)
    hub.publish(DEPOT.receipt, b"receipt")
    assert agent.heard.wait(WAIT_S)
    assert hub.told == [(DEPOT.up, b"batch")]
    assert agent.told == [(DEPOT.receipt, b"receipt")]
