"""How a simulated device that speaks MQTT reaches its broker: one connection, messages of QoS 1, each until it is acknowledged."""

import socket
from dataclasses import dataclass
from typing import Final, cast

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from core.errors import Unavailable

PUBLISH_S: Final = 10.0
"""Real seconds for the broker to take a message."""


@dataclass(frozen=True, slots=True)
class LastWill:
    """What the broker says when the connection breaks without a good-bye."""

    topic: str
    payload: bytes
    retain: bool


class MqttPublisher:
    """One device's connection. Every method raises Unavailable when the broker does not answer."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        client_id: str,
        username: str | None = None,
        password: str | None = None,
        will: LastWill | None = None,
    ) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        if username is not None:
            self._client.username_pw_set(username, password)
        try:
            self._client.connect(host, port)
        except OSError as error:
            raise Unavailable(f"mqtt://{host}:{port}: {error}") from error
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Sends a message; the broker has it when this returns."""
        try:
            sent = self._client.publish(topic, payload, qos=1, retain=retain)
            sent.wait_for_publish(PUBLISH_S)
        except (RuntimeError, ValueError) as error:
            raise Unavailable(f"message to {topic!r} was not sent: {error}") from error
        if not sent.is_published():
            raise Unavailable(f"message to {topic!r} was not acknowledged in {PUBLISH_S:g} s")

    def vanish(self) -> None:
        """Loses its power: the connection breaks without a word, and the broker tells the last will."""
        wire = cast("socket.socket | None", self._client.socket())
        self._client.loop_stop()
        if wire is not None:
            wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Says good-bye; the last will is not told."""
        self._client.disconnect()
        self._client.loop_stop()
