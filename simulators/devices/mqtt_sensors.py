"""Sensors that speak MQTT: a Zigbee2MQTT or Ruuvi bridge, a Tasmota board, a phone with OwnTracks, each with its last will."""

import json
import socket
import threading
from datetime import UTC, datetime
from typing import Final, cast

from msgspec import Struct
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from core.errors import CodeError, Unavailable
from edge.drivers import load_driver
from edge.drivers.observations import Fault, Observation, Online
from edge.drivers.protocol import DeviceOptions

PATIENCE_S: Final = 10.0
"""Real seconds for the broker to answer."""
_RETAINED: Final = frozenset({"owntracks"})
"""Families whose messages the broker keeps for whoever comes later; of all families it keeps the presence."""


class MqttSensor:
    """One sensor's connection to the broker. Every method raises Unavailable when the broker does not answer."""

    def __init__(self, driver: str, topic: str, *, host: str, port: int, own: Struct | None = None) -> None:
        """Connects, names what the broker is to say when the sensor vanishes, and says that it is there."""
        kind = load_driver(driver)
        self._driver = kind(DeviceOptions(topic=topic, own=own))
        self._topics = [pattern.replace("{topic}", topic) for pattern in kind.topics]
        self._retain = driver in _RETAINED
        self._up = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"sim-{driver}-{topic}".replace("/", "-"),
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        self._client.on_connect = self._on_connect
        self._client.will_set(self._topics[-1], self._presence(is_there=False), qos=1, retain=len(self._topics) > 1)
        try:
            self._client.connect(host, port)
        except OSError as error:
            raise Unavailable(f"mqtt://{host}:{port}: {error}") from error
        self._client.loop_start()
        if not self._up.wait(PATIENCE_S):
            raise Unavailable(f"mqtt://{host}:{port}: no answer to CONNECT in {PATIENCE_S:g} s")
        if len(self._topics) > 1:
            self.publish(self._presence(is_there=True), topic=self._topics[1], retain=True)

    def tell(self, observation: Observation) -> None:
        """Publishes what the real device would. Raises CodeError for what it cannot say."""
        self.publish(self._driver.encode(observation), topic=self._topics[0], retain=self._retain)

    def publish(self, payload: bytes, *, topic: str | None = None, retain: bool = False) -> None:
        """Sends any payload, a broken one too; the broker has it when this returns."""
        try:
            sent = self._client.publish(topic or self._topics[0], payload, qos=1, retain=retain)
            sent.wait_for_publish(PATIENCE_S)
        except (RuntimeError, ValueError) as error:
            raise Unavailable(f"message to {topic or self._topics[0]!r} was not sent: {error}") from error
        if not sent.is_published():
            raise Unavailable(f"message to {topic or self._topics[0]!r} was not acknowledged in {PATIENCE_S:g} s")

    def vanish(self) -> None:
        """Loses its power: the connection breaks without a word, and the broker tells the last will."""
        wire = cast("socket.socket | None", self._client.socket())
        if wire is not None:
            wire.shutdown(socket.SHUT_RDWR)
        self._client.loop_stop()

    def close(self) -> None:
        """Says good-bye; the last will is not told."""
        self._client.disconnect()
        self._client.loop_stop()

    def _presence(self, *, is_there: bool) -> bytes:
        now = datetime.now(UTC)
        try:
            return self._driver.encode(Online(now) if is_there else Fault("offline", "", now))
        except CodeError:
            return json.dumps({"_type": "lwt", "tst": int(now.timestamp())}).encode()

    def _on_connect(
        self, _client: mqtt.Client, _data: object, _flags: mqtt.ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not reason.is_failure:
            self._up.set()
