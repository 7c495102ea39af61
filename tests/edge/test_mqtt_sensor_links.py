"""Sensors that speak MQTT, heard by the agent's own subscription at a real broker: values, last wills, what was retained."""

import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.messages import DeviceStatus, Item, Position, Readings, StateChange, decode_batch
from edge.clock import Clock
from edge.drivers.observations import Fix, Measured, Switched
from edge.outbox import FILE_NAME, Outbox
from edge.presence import Presence
from edge.settings import EdgeSettings, parse_settings
from edge.shelf import Priority, Shelf
from edge.subscription import Subscription
from edge.writer import Writer
from simulators.devices.mqtt_sensors import MqttSensor
from tests.edge.conftest import Mosquitto

PATIENCE_S = 20.0
pytestmark = pytest.mark.mosquitto
AGENT = """
[agent]
site = "depot"
name = "depot-gateway"
state_dir = "/tmp"
[uplink]
url = "mqtt://127.0.0.1"
[local_broker]
url = "mqtt://127.0.0.1:{port}"
[[devices]]
name = "cr-3-zigbee"
driver = "zigbee2mqtt"
port = "mqtt:zigbee2mqtt/cr-3"
[[devices]]
name = "cr-4-board"
driver = "tasmota"
port = "mqtt:cr-4"
[[devices]]
name = "van-2-phone"
driver = "owntracks"
port = "mqtt:owntracks/depot/van-2"
"""


def settings(broker: Mosquitto) -> EdgeSettings:
    return parse_settings(tomllib.loads(AGENT.format(port=broker.port)), {})


@contextmanager
def listening(broker: Mosquitto, folder: Path) -> Iterator[Callable[[], list[Item]]]:
    """An agent's subscription; gives what its outbox holds."""
    stop = threading.Event()
    given = settings(broker)
    assert given.local_broker is not None
    writer = Writer(lambda: Outbox(folder / FILE_NAME, "a"), Presence([]), Clock(), stop=stop)
    subscription = Subscription(given.devices, given.local_broker, address=given.address, writer=writer, clock=Clock(), stop=stop)
    threads = [threading.Thread(target=each.run) for each in (writer, subscription)]
    threads[0].start()
    assert writer.ready.wait(PATIENCE_S)
    threads[1].start()
    assert subscription.listening.wait(PATIENCE_S)

    def held() -> list[Item]:
        shelf = Shelf(folder / FILE_NAME)
        try:
            rows = [row for priority in Priority for row in shelf.next_batches(priority, 10_000, after=0)]
        finally:
            shelf.close()
        return [item for row in sorted(rows, key=lambda row: row.seq) for item in decode_batch(row.payload).items]

    try:
        yield held
    finally:
        stop.set()
        for thread in reversed(threads):
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def until(held: Callable[[], list[Item]], good: Callable[[list[Item]], bool]) -> list[Item]:
    deadline = time.monotonic() + PATIENCE_S
    while not good(found := held()):
        assert time.monotonic() < deadline, found
        threading.Event().wait(0.05)
    return found


def values(items: list[Item]) -> list[tuple[str, str, float]]:
    return [
        (readings.series[index].device, readings.series[index].quantity, value)
        for readings in items
        if isinstance(readings, Readings)
        for index, value in zip(readings.which, readings.values, strict=True)
    ]


def states(items: list[Item], device: str) -> list[str]:
    return [f"{each.state} {each.detail}".strip() for each in items if isinstance(each, DeviceStatus) and each.device == device]


def test_what_sensors_publish_is_in_the_outbox_in_units(mosquitto: Mosquitto, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with listening(mosquitto, tmp_path) as held:
        zigbee = MqttSensor("zigbee2mqtt", "zigbee2mqtt/cr-3", host="127.0.0.1", port=mosquitto.port)
        board = MqttSensor("tasmota", "cr-4", host="127.0.0.1", port=mosquitto.port)
        phone = MqttSensor("owntracks", "owntracks/depot/van-2", host="127.0.0.1", port=mosquitto.port)
        zigbee.tell(Measured("celsius", 4.5, now))
        zigbee.tell(Switched("door_open", True, now))
        zigbee.publish(b'{"temperature": "broken')
        board.tell(Measured("celsius", -20.5, now))
        phone.tell(Fix(now.replace(microsecond=0), 30.6, 114.3, 10.0, 90.0, None, None, now, accuracy_m=8.0))
        items = until(held, lambda found: any(isinstance(each, Position) for each in found) and len(values(found)) >= 2)
        for sensor in (zigbee, board, phone):
            sensor.close()
    assert sorted(values(items)) == [("cr-3-zigbee", "celsius", 4.5), ("cr-4-board", "celsius", -20.5)]
    assert [(each.device, each.input, each.on) for each in items if isinstance(each, StateChange)] == [
        ("cr-3-zigbee", "door_open", True)
    ]
    (position,) = [each for each in items if isinstance(each, Position)]
    assert (position.tracker, position.speed_mps, position.accuracy_m) == ("van-2-phone", 10.0, 8.0)


@pytest.mark.parametrize(
    ("driver", "topic", "device"), [("zigbee2mqtt", "zigbee2mqtt/cr-3", "cr-3-zigbee"), ("tasmota", "cr-4", "cr-4-board")]
)
def test_a_sensor_that_loses_its_power_is_in_fault_until_it_is_back(
    mosquitto: Mosquitto, tmp_path: Path, driver: str, topic: str, device: str
) -> None:
    with listening(mosquitto, tmp_path) as held:
        sensor = MqttSensor(driver, topic, host="127.0.0.1", port=mosquitto.port)
        sensor.tell(Measured("celsius", 4.5, datetime.now(UTC)))
        until(held, lambda found: len(values(found)) == 1)
        sensor.vanish()
        until(held, lambda found: states(found, device)[-1].startswith("fault offline"))
        MqttSensor(driver, topic, host="127.0.0.1", port=mosquitto.port).close()
        items = until(held, lambda found: states(found, device)[-1] == "online")
    assert [state.split()[0] for state in states(items, device)] == ["online", "fault", "online"]


def test_an_agent_that_comes_later_learns_of_a_dead_sensor_and_takes_no_old_value(mosquitto: Mosquitto, tmp_path: Path) -> None:
    board = MqttSensor("tasmota", "cr-4", host="127.0.0.1", port=mosquitto.port)
    board.publish(b'{"AM2301":{"Temperature":4.0}}', topic="tele/cr-4/SENSOR", retain=True)
    board.vanish()
    with listening(mosquitto, tmp_path) as held:
        items = until(held, lambda found: any(state.startswith("fault offline") for state in states(found, "cr-4-board")))
    assert values(items) == []
