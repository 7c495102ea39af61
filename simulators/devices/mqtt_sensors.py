"""Sensors that speak MQTT: a Zigbee2MQTT or Ruuvi bridge, a Tasmota board, a phone with OwnTracks, each with its last will."""

import json
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from core.errors import CodeError
from edge.drivers import load_driver
from edge.drivers.observations import Fault, Observation, Online
from edge.drivers.protocol import DeviceOptions
from simulators.devices.mqtt_publisher import LastWill, MqttPublisher

_RETAINED: Final = frozenset({"owntracks"})
"""Families whose messages the broker keeps for whoever comes later; of all families it keeps the presence."""


class MqttSensor:
    """One sensor at the broker. Every method raises Unavailable when the broker does not answer."""

    def __init__(self, driver: str, topic: str, *, host: str, port: int, own: Struct | None = None) -> None:
        """Connects, names what the broker is to say when the sensor vanishes, and says that it is there."""
        kind = load_driver(driver)
        self._driver = kind(DeviceOptions(topic=topic, own=own))
        self._topics = [pattern.replace("{topic}", topic) for pattern in kind.topics]
        self._retain = driver in _RETAINED
        has_presence = len(self._topics) > 1
        self._link = MqttPublisher(
            host,
            port,
            client_id=f"sim-{driver}-{topic}".replace("/", "-"),
            will=LastWill(self._topics[-1], self._presence(is_there=False), has_presence),
        )
        if has_presence:
            self.publish(self._presence(is_there=True), topic=self._topics[1], retain=True)

    def tell(self, observation: Observation) -> None:
        """Publishes what the real device would. Raises CodeError for what it cannot say."""
        self.publish(self._driver.encode(observation), retain=self._retain)

    def publish(self, payload: bytes, *, topic: str | None = None, retain: bool = False) -> None:
        """Sends any payload, a broken one too; the broker has it when this returns."""
        self._link.publish(topic or self._topics[0], payload, retain=retain)

    def vanish(self) -> None:
        """Loses its power: the broker tells the last will."""
        self._link.vanish()

    def close(self) -> None:
        """Says good-bye; the last will is not told."""
        self._link.close()

    def _presence(self, *, is_there: bool) -> bytes:
        now = datetime.now(UTC)
        try:
            return self._driver.encode(Online(now) if is_there else Fault("offline", "", now))
        except CodeError:
            return json.dumps({"_type": "lwt", "tst": int(now.timestamp())}).encode()
