"""Devices that speak MQTT, at a real broker: nothing acknowledged before its commit, nothing retained taken as new, all bounded."""

import logging
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from core.messages import BarcodeScan, DeviceStatus
from core.topics import AgentAddress
from edge import subscription
from edge.clock import Clock
from edge.drivers.observations import PortChanged, Scan, TagRead
from edge.settings import EdgeSettings, parse_settings
from edge.subscription import MAX_MESSAGE_BYTES, Subscription
from edge.writer import PortalRead, Ticket
from simulators.devices.mqtt_publisher import MqttPublisher
from simulators.devices.zebra_reader import ZebraHandHeld, ZebraReader
from tests.edge.conftest import Mosquitto

pytestmark = pytest.mark.mosquitto
PATIENCE_S = 20.0
ADDRESS = AgentAddress("depot", "depot-gateway")
EPC = "E2003411B802011383257C3D"
AGENT = """
[agent]
site = "depot"
name = "depot-gateway"
state_dir = "state"
[uplink]
url = "mqtt://127.0.0.1"
[local_broker]
url = "mqtt://127.0.0.1:{port}"
username = "agent"
password = "secret"
[[portals]]
name = "dock-1"
"""
FIXED = """
[[devices]]
name = "fixed"
driver = "zebra"
port = "mqtt:zebra/fixed"
portal = "dock-1"
"""
HAND_HELD = """
[[devices]]
name = "hand-held"
driver = "zebra"
port = "mqtt:tenant/DATA/clients/data1event/1"
portal = "dock-1"
read_point = "desk"
"""
HAND_HELD_TOPIC = "tenant/DATA/clients/data1event/1"


class Paper:
    """Stands where the writer stands; what it is given is committed at once, or when the test says so."""

    def __init__(self, *, holds: bool = False) -> None:
        self.items: list[object] = []
        self.statuses: list[DeviceStatus] = []
        self.tickets: list[Ticket] = []
        self.holds = holds

    def deliver(self, items: list[object]) -> Ticket:
        ticket = Ticket()
        self.items += items
        self.tickets.append(ticket)
        if not self.holds:
            ticket.redeem()
        return ticket

    def tell(self, status: DeviceStatus) -> None:
        self.statuses.append(status)

    def commit(self) -> None:
        for ticket in self.tickets:
            ticket.redeem()

    @property
    def texts(self) -> list[str]:
        return [item.text for item in self.items if isinstance(item, BarcodeScan)]

    @property
    def epcs(self) -> list[str]:
        return [item.read.epc for item in self.items if isinstance(item, PortalRead)]


def until(condition: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        pause.wait(0.01)


def settings(port: int, devices: str = FIXED + HAND_HELD) -> EdgeSettings:
    return parse_settings(tomllib.loads(AGENT.format(port=port) + devices), {})


@contextmanager
def hearing(port: int, paper: Paper, devices: str = FIXED + HAND_HELD, *, waits: bool = True) -> Iterator[Subscription]:
    told = settings(port, devices)
    assert told.local_broker is not None
    stop = threading.Event()
    heard = Subscription(
        told.devices,
        told.local_broker,
        address=ADDRESS,
        writer=paper,  # type: ignore[arg-type]
        clock=Clock(),
        stop=stop,
    )
    thread = threading.Thread(target=heard.run, daemon=True)
    thread.start()
    try:
        if waits:
            assert heard.listening.wait(PATIENCE_S)
        yield heard
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture
def devices(mosquitto: Mosquitto) -> Iterator[MqttPublisher]:
    publisher = MqttPublisher("127.0.0.1", mosquitto.port, client_id="devices")
    yield publisher
    publisher.close()


def now() -> datetime:
    return datetime.now(UTC)


def scan(devices: MqttPublisher, *texts: str) -> None:
    hand_held = ZebraHandHeld(devices, HAND_HELD_TOPIC)
    for text in texts:
        hand_held.pull([Scan(text, now())], now())


def test_tags_barcodes_and_inputs_go_to_the_devices_of_their_topics(mosquitto: Mosquitto, devices: MqttPublisher) -> None:
    paper = Paper()
    with hearing(mosquitto.port, paper) as heard:
        reader = ZebraReader(devices, "zebra/fixed", batching=True)
        reader.see([TagRead(EPC, 2, -47.0, now()), PortChanged(1, True, now()), TagRead(EPC, 1, -50.0, now())])
        reader.beat(now())
        ZebraHandHeld(devices, HAND_HELD_TOPIC).pull(
            [TagRead("300833B2DDD9014000000000", None, -52.0, now()), Scan("A1", now())], now()
        )
        until(lambda: paper.texts == ["A1"])
        assert paper.epcs == [EPC, EPC, "300833B2DDD9014000000000"]
        assert [item.portal for item in paper.items if isinstance(item, PortalRead)] == ["dock-1"] * 3
        until(lambda: heard.stations[0].totals().get("ignored_heartbeat") == 1)
    assert {status.device for status in paper.statuses if status.state == "online"} == {"fixed", "hand-held"}


def test_a_message_is_acknowledged_only_when_what_it_said_is_committed(
    mosquitto: Mosquitto, devices: MqttPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "END_S", 0.0)
    killed, second, third = Paper(holds=True), Paper(), Paper()
    with hearing(mosquitto.port, killed):
        scan(devices, "A1", "A2")
        until(lambda: killed.texts == ["A1", "A2"])
    with hearing(mosquitto.port, second) as heard:
        until(lambda: second.texts == ["A1", "A2"])
        until(lambda: not heard._owed)
    with hearing(mosquitto.port, third):
        scan(devices, "A3")
        until(lambda: "A3" in third.texts)
    assert third.texts == ["A3"]


def test_what_is_being_committed_when_the_agent_stops_does_not_come_again(mosquitto: Mosquitto, devices: MqttPublisher) -> None:
    paper, again = Paper(holds=True), Paper()
    with hearing(mosquitto.port, paper):
        scan(devices, "A1")
        until(lambda: paper.texts == ["A1"])
        commit = threading.Timer(0.3, paper.commit)
        commit.start()
    commit.join()
    with hearing(mosquitto.port, again):
        scan(devices, "A2")
        until(lambda: "A2" in again.texts)
    assert again.texts == ["A2"]


def test_what_comes_while_no_agent_listens_is_kept_by_the_broker(mosquitto: Mosquitto, devices: MqttPublisher) -> None:
    with hearing(mosquitto.port, Paper()):
        pass
    scan(devices, "A1", "A2", "A3")
    paper = Paper()
    with hearing(mosquitto.port, paper):
        until(lambda: len(paper.texts) == 3)
    assert paper.texts == ["A1", "A2", "A3"]


def test_retained_tags_and_barcodes_are_no_new_ones(mosquitto: Mosquitto, devices: MqttPublisher) -> None:
    tag = b'{"type":"SIMPLE","data":{"idHex":"%s","antenna":1}}'
    devices.publish("zebra/fixed", tag % EPC.encode(), retain=True)
    paper = Paper()
    with hearing(mosquitto.port, paper) as heard:
        devices.publish("zebra/fixed", tag % b"300833B2DDD9014000000000")
        until(lambda: "300833B2DDD9014000000000" in paper.epcs)
        assert heard.stations[0].totals() == {"retained_values": 1}
    assert paper.epcs == ["300833B2DDD9014000000000"]


def test_a_retained_fault_stands_although_it_came_before_the_broker_answered(mosquitto: Mosquitto, devices: MqttPublisher) -> None:
    devices.publish("zebra/fixed", b'{"type":"error","data":{"message":"radio failed"}}', retain=True)
    paper = Paper()
    with hearing(mosquitto.port, paper) as heard:
        until(lambda: bool(heard.stations[0].standing_fault) and heard._heard_at is not None)
        until(lambda: [status.state for status in paper.statuses if status.device == "fixed"][-1:] == ["fault"])


def test_a_message_that_is_too_large_is_counted_at_its_device_and_costs_no_other(
    mosquitto: Mosquitto, devices: MqttPublisher
) -> None:
    paper = Paper()
    with hearing(mosquitto.port, paper) as heard:
        devices.publish(HAND_HELD_TOPIC, b" " * (MAX_MESSAGE_BYTES + 1))
        scan(devices, "A1")
        until(lambda: paper.texts == ["A1"])
        assert heard.stations[1].totals() == {"too_large": 1}
        until(lambda: not heard._owed)


def test_the_topic_of_a_device_that_left_the_settings_is_given_up(mosquitto: Mosquitto, devices: MqttPublisher) -> None:
    paper = Paper()
    with hearing(mosquitto.port, Paper()):
        pass
    with hearing(mosquitto.port, paper, HAND_HELD) as heard:
        reader = ZebraReader(devices, "zebra/fixed")
        reader.see([TagRead(EPC, 1, -50.0, now())])
        until(lambda: heard.counts["foreign_topic"] == 1)
        scan(devices, "A1")
        until(lambda: paper.texts == ["A1"])
        reader.see([TagRead(EPC, 1, -50.0, now())])
        scan(devices, "A2")
        until(lambda: paper.texts == ["A1", "A2"])
        assert heard.counts == {"foreign_topic": 1}
    assert paper.epcs == []


def test_a_writer_that_cannot_commit_stops_the_intake_and_nothing_is_lost(
    mosquitto: Mosquitto, devices: MqttPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "MAX_MESSAGES", 3)
    monkeypatch.setattr(subscription, "MAX_UNACKNOWLEDGED", 4)
    paper = Paper(holds=True)
    texts = [f"A{number}" for number in range(60)]
    with hearing(mosquitto.port, paper) as heard:
        scan(devices, *texts)
        until(lambda: len(paper.texts) == 4 and heard._inbox.full())
        assert len(heard._owed) == 4
        while len(paper.texts) < len(texts):
            taken = len(paper.texts)
            paper.commit()
            until(lambda taken=taken: len(paper.texts) > taken)  # type: ignore[misc]
            assert len(heard._owed) <= 4
            assert heard._inbox.qsize() <= 3
        assert paper.texts == texts


def test_an_agent_stops_although_the_inbox_is_full(
    mosquitto: Mosquitto, devices: MqttPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "MAX_MESSAGES", 1)
    monkeypatch.setattr(subscription, "MAX_UNACKNOWLEDGED", 1)
    monkeypatch.setattr(subscription, "END_S", 0.2)
    paper = Paper(holds=True)
    began = time.monotonic()
    with hearing(mosquitto.port, paper) as heard:
        scan(devices, *(f"A{number}" for number in range(10)))
        until(heard._inbox.full)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    again = Paper()
    with hearing(mosquitto.port, again):
        until(lambda: len(again.texts) == 10)


def test_a_broker_that_is_gone_is_told_and_heard_again(mosquitto: Mosquitto) -> None:
    paper = Paper()
    with hearing(mosquitto.port, paper) as heard:
        mosquitto.kill()
        until(lambda: any(status.state == "offline" for status in paper.statuses))
        mosquitto.start()
        assert heard.listening.wait(PATIENCE_S)
        devices = MqttPublisher("127.0.0.1", mosquitto.port, client_id="devices")
        scan(devices, "A1")
        until(lambda: paper.texts == ["A1"])
        until(lambda: paper.statuses[-1].state == "online")
        devices.close()


def test_a_session_that_outlived_the_longest_backoff_is_told_when_it_is_lost(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscription, "MAX_BACKOFF_S", 0.05)
    with hearing(mosquitto.port, Paper()) as heard, caplog.at_level(logging.WARNING, logger="edge.subscription"):
        for _ in range(3):
            until(lambda: heard.listening.is_set() and time.monotonic() - (heard._heard_at or time.monotonic()) > 0.05)
            mosquitto.kill()
            until(lambda: not heard.listening.is_set())
            mosquitto.start()
        assert heard.listening.wait(PATIENCE_S)
    assert sum("local_broker_lost" in record.getMessage() for record in caplog.records) == 3


def test_a_login_that_the_broker_refuses_is_named(mosquitto: Mosquitto) -> None:
    mosquitto.kill()
    mosquitto._config.write_text(f"listener {mosquitto.port} 127.0.0.1\nallow_anonymous false\n")
    mosquitto.start()
    paper = Paper()
    with hearing(mosquitto.port, paper, waits=False):
        until(lambda: bool(paper.statuses))
    assert {status.state for status in paper.statuses} == {"offline"}
    assert re.search("refuses user 'agent': .*local_broker.username", paper.statuses[0].detail), paper.statuses[0].detail


def test_a_topic_that_the_broker_does_not_let_this_agent_read_is_named(mosquitto: Mosquitto) -> None:
    with hearing(mosquitto.port, Paper()) as heard:
        refused, granted = ReasonCode(PacketTypes.SUBACK, identifier=0x80), ReasonCode(PacketTypes.SUBACK, identifier=1)
        heard._on_subscribe(None, None, 1, [refused, granted], None)  # type: ignore[arg-type]
        assert heard._failure == f"does not let user 'agent' read {HAND_HELD_TOPIC}"
