"""The broker of compose.yaml, really started with its own start script, settings and ACL: everybody has only their own topics."""

import os
import queue
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from core.messages import MAX_BATCH_BYTES
from core.topics import ANY_STATUS, ANY_UP, AgentAddress, shared
from simulators.secret_files import make_secrets

pytestmark = pytest.mark.mosquitto
ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICE: dict[str, Any] = COMPOSE["services"]["mosquitto"]
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
TOOLS = ("mosquitto", "mosquitto_passwd", "mosquitto_sub")
WAIT_S = 10.0
QUIET_S = 0.3
"""How long a message that must not come is given to come, after one that was sent later has arrived."""
DEPOT = AgentAddress("depot", "depot-gateway")
CLINIC = AgentAddress("clinic", "clinic-gateway")


@dataclass(frozen=True)
class Broker:
    """A running one."""

    port: int
    secrets: Path
    substitute: Callable[[str], str]

    def password(self, name: str) -> str:
        return (self.secrets / f"mqtt_{name.rsplit('/', 1)[-1]}").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    missing = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} not installed: compose.yaml's broker was NOT tried (apt-get install mosquitto{{,-clients}})"
        )
    folder, port = tmp_path_factory.mktemp("mosquitto"), free_port()
    for name in ("secrets", "config", "data", "tmp"):
        (folder / name).mkdir()
    make_secrets(folder / "secrets")
    places = {"/run/secrets": "secrets", "/mosquitto/config": "config", "/mosquitto/data": "data", "/tmp": "tmp"}

    def substitute(text: str) -> str:
        text = re.sub("|".join(places), lambda match: str(folder / places[match[0]]), text.replace("$$", "$"))
        return re.sub(r"^listener 1883$", f"listener {port} 127.0.0.1", text, flags=re.MULTILINE)

    for config in SERVICE["configs"]:
        text = substitute(COMPOSE["configs"][config["source"]]["content"])
        # As root, mosquitto would become another user, who may not read this test's folder. In the container it is never root.
        more = "user root\n" if os.geteuid() == 0 and config["target"].endswith(".conf") else ""
        Path(substitute(config["target"])).write_text(text + more, encoding="utf-8")
    shell, options = SERVICE["entrypoint"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [shell, options, *map(substitute, SERVICE["command"])], env={"PATH": PATH}, stdout=log, stderr=log
        )
        try:
            _wait_until_it_listens(port, process, folder / "log")
            yield Broker(port, folder / "secrets", substitute)
        finally:
            process.terminate()
            process.wait(WAIT_S)
    assert (folder / "data" / "mosquitto.db").exists(), "it remembers nothing"


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"mosquitto does not listen:\n{log.read_text()}") from None
            time.sleep(0.02)
        else:
            return


@dataclass
class Client:
    """One connection; `heard` are (topic, payload)."""

    refused: str | None = None
    heard: queue.Queue[tuple[str, bytes]] = field(default_factory=queue.Queue)
    paho: mqtt.Client = field(default_factory=lambda: mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311))

    def hear(self) -> tuple[str, bytes]:
        return self.heard.get(timeout=WAIT_S)

    def hears_nothing_more(self) -> bool:
        try:
            self.heard.get(timeout=QUIET_S)
        except queue.Empty:
            return True
        return False

    def hear_all(self) -> list[tuple[str, bytes]]:
        heard = [self.hear()]
        while True:
            try:
                heard.append(self.heard.get(timeout=QUIET_S))
            except queue.Empty:
                return heard

    def listen(self, *filters: str) -> "Client":
        answers: queue.Queue[object] = queue.Queue()
        self.paho.on_subscribe = lambda *_: answers.put(None)
        self.paho.subscribe([(each, 1) for each in filters])
        answers.get(timeout=WAIT_S)
        return self

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        info = self.paho.publish(topic, payload, qos=1, retain=retain)
        info.wait_for_publish(WAIT_S)
        assert info.is_published()


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(name: str | None, password: str | None = None) -> Client:
        client, answered = Client(), queue.Queue[object]()
        clients.append(client)
        if name is not None:
            client.paho.username_pw_set(name, broker.password(name) if password is None else password)

        def connected(_client: object, _data: object, _flags: object, reason: mqtt.ReasonCode, _properties: object) -> None:
            client.refused = str(reason) if reason.is_failure else None
            answered.put(None)

        client.paho.on_connect = connected
        client.paho.on_message = lambda _client, _data, message: client.heard.put((message.topic, bytes(message.payload)))
        client.paho.connect("127.0.0.1", broker.port)
        client.paho.loop_start()
        answered.get(timeout=WAIT_S)
        return client

    yield make
    for client in clients:
        client.paho.disconnect()
        client.paho.loop_stop()


Connect = Callable[..., Client]


@pytest.mark.parametrize(
    ("name", "password"),
    [(None, None), ("hub", "guess"), ("hub", ""), ("depot-gateway", "guess"), ("nobody", "guess"), ("depot/depot-gateway", "")],
)
def test_nobody_comes_in_without_a_right_password(connect: Connect, name: str | None, password: str | None) -> None:
    assert connect(name, password).refused == "Not authorized"


def test_an_agent_may_not_use_another_agents_password(connect: Connect, broker: Broker) -> None:
    assert connect("depot/depot-gateway", broker.password("clinic/clinic-gateway")).refused == "Not authorized"


@pytest.mark.parametrize("share", [None, "hubs"])
def test_the_hub_hears_every_agent_and_they_its_receipts(connect: Connect, share: str | None) -> None:
    hub = connect("hub").listen(shared(share, ANY_UP) if share else ANY_UP, ANY_STATUS)
    for address in (DEPOT, CLINIC, AgentAddress("fleet", "fleet-gateway")):
        agent = connect(f"{address.site}/{address.agent}").listen(address.receipt)
        agent.say(address.up, b"batch")
        assert hub.hear() == (address.up, b"batch")
        agent.say(address.status, b"here")
        assert hub.hear() == (address.status, b"here")
        hub.say(address.receipt, b"committed")
        assert agent.hear() == (address.receipt, b"committed")


def test_an_agent_cannot_speak_for_another(connect: Connect) -> None:
    hub = connect("hub").listen(ANY_UP, ANY_STATUS)
    clinic = connect("clinic/clinic-gateway").listen(CLINIC.receipt)
    depot = connect("depot/depot-gateway")
    foreign = [
        CLINIC.up,
        CLINIC.status,
        CLINIC.receipt,
        DEPOT.receipt,
        AgentAddress("clinic", "depot-gateway").up,
        AgentAddress("depot", "clinic-gateway").up,
    ]
    for topic in foreign:
        depot.say(topic, b"forged")
    depot.say(DEPOT.up, b"own")
    assert hub.hear() == (DEPOT.up, b"own")
    assert hub.hears_nothing_more()
    hub.say(CLINIC.receipt, b"true")
    assert clinic.hear() == (CLINIC.receipt, b"true")
    assert clinic.hears_nothing_more()


def test_an_agent_hears_nobodys_receipts_or_batches_but_its_own(connect: Connect) -> None:
    hub, clinic = connect("hub"), connect("clinic/clinic-gateway")
    curious = connect("depot/depot-gateway").listen(
        "#", "qm/#", "$SYS/#", "$share/hubs/qm/+/+/+/up", CLINIC.receipt, ANY_UP, DEPOT.receipt
    )
    clinic.say(CLINIC.up, b"private")
    clinic.say(CLINIC.status, b"private")
    hub.say(CLINIC.receipt, b"private")
    hub.say(DEPOT.receipt, b"own")
    assert set(curious.hear_all()) == {(DEPOT.receipt, b"own")}, "several of its filters may bring the same message"


def test_the_hub_only_writes_receipts(connect: Connect) -> None:
    hub = connect("hub").listen(ANY_UP, ANY_STATUS)
    depot = connect("depot/depot-gateway")
    hub.say(DEPOT.up, b"forged")
    hub.say(DEPOT.status, b"forged")
    depot.say(DEPOT.up, b"own")
    assert hub.hear() == (DEPOT.up, b"own")
    assert hub.hears_nothing_more()


def test_the_health_account_hears_no_facts_and_says_nothing(connect: Connect) -> None:
    hub, health = connect("hub").listen(ANY_UP, ANY_STATUS), connect("health").listen("#", "$SYS/broker/uptime")
    health.say(DEPOT.up, b"forged")
    connect("depot/depot-gateway").say(DEPOT.up, b"own")
    assert hub.hear() == (DEPOT.up, b"own")
    assert hub.hears_nothing_more()
    assert health.hear()[0] == "$SYS/broker/uptime"


def test_the_largest_batch_passes(connect: Connect) -> None:
    hub = connect("hub").listen(ANY_UP)
    connect("depot/depot-gateway").say(DEPOT.up, b"x" * MAX_BATCH_BYTES)
    topic, payload = hub.hear()
    assert (topic, len(payload)) == (DEPOT.up, MAX_BATCH_BYTES)


def test_the_health_check_passes_with_the_right_secret_only(broker: Broker) -> None:
    kind, command = SERVICE["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    command = broker.substitute(command).replace("mosquitto_sub ", f"mosquitto_sub -p {broker.port} ")

    def check(text: str) -> int:
        return subprocess.run(
            ["/bin/sh", "-c", text], env={"PATH": PATH}, capture_output=True, timeout=WAIT_S, check=False
        ).returncode

    assert check(command) == 0
    assert check(command.replace("mqtt_health", "mqtt_hub")) != 0
    assert check(command.replace(str(broker.port), str(free_port()))) != 0


def test_the_line_that_hub_and_gateways_look_for_is_there_while_connected(connect: Connect, broker: Broker) -> None:
    (command,) = {COMPOSE["services"][name]["healthcheck"]["test"][1].split(" && ")[0] for name in ("hub", "edge")}
    command = command.replace(f":{1883:04X} ", f":{broker.port:04X} ")

    def check() -> int:
        return subprocess.run(["/bin/sh", "-c", command], check=False, timeout=WAIT_S).returncode

    client = connect("hub")
    assert check() == 0
    client.paho.disconnect()
    client.paho.loop_stop()
    deadline = time.monotonic() + WAIT_S
    while check() == 0:
        assert time.monotonic() < deadline, "the connection never ends"
        time.sleep(0.02)
