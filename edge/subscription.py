"""Devices that speak MQTT at the site's own broker: one connection for all, each message to the driver of its topic.

A message of QoS 1 is acknowledged once what it said is committed; until then the broker keeps it for this agent. What a broker
retained is of unknown age: states are taken from it, measured values and tags are not.
"""

import logging
import queue
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from core.errors import Unavailable
from core.topics import AgentAddress
from edge.alarms import Judge, judge_nothing
from edge.clock import Clock
from edge.drivers.observations import Measured, Observation, Scan, TagRead
from edge.settings import Broker, Device
from edge.station import Station
from edge.writer import Ticket, Writer

KEEPALIVE_S: Final = 15
CONNECT_TIMEOUT_S: Final = 5.0
FIRST_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 10.0
LOOK_S: Final = 0.1
COMMIT_LOOK_S: Final = 0.01
"""Real seconds between two looks at what waits for its commit: a broker sends only so many messages that are not acknowledged."""
END_S: Final = 3.0
"""Real seconds that messages already taken may still wait for their commit when the agent stops."""
MAX_MESSAGES: Final = 2_000
"""Messages heard and not looked at; the connection then rests until there is room, and the broker keeps the rest."""
MAX_UNACKNOWLEDGED: Final = 1_000
"""Messages whose facts are not committed yet; above it no more are looked at."""
MAX_MESSAGE_BYTES: Final = 262_144
_UNDATED: Final = (Measured, TagRead, Scan)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Owed:
    """An acknowledgement that waits for a commit."""

    client: mqtt.Client
    mid: int
    qos: int
    ticket: Ticket | None


class Subscription:
    """All devices heard at one broker. `run` belongs to one thread.

    A station's counts tell `too_large` and `retained_values`; `counts` here tells `foreign_topic`, which belong to no device.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        broker: Broker,
        *,
        address: AgentAddress,
        writer: Writer,
        clock: Clock,
        stop: threading.Event,
        judge: Judge = judge_nothing,
    ) -> None:
        self.url = f"mqtt://{broker.host}:{broker.port}"
        self.stations = [Station(device, writer, clock, judge=judge) for device in devices]
        self.counts: Counter[str] = Counter()
        self.listening = threading.Event()
        self._by_topic: dict[str, list[Station]] = {}
        for station in self.stations:
            for pattern in station.driver.topics:
                topic = pattern.replace("{topic}", station.device.options.topic)
                self._by_topic.setdefault(topic, []).append(station)
        self._broker = broker
        self._client_id = f"qm-edge-{address.site}-{address.agent}-local"
        self._clock = clock
        self._stop = stop
        self._inbox: queue.Queue[mqtt.MQTTMessage] = queue.Queue(MAX_MESSAGES)
        self._owed: deque[_Owed] = deque()
        self._down = threading.Event()
        self._failure = ""
        self._failures = 0
        self._heard_at: float | None = None

    def run(self) -> None:
        """Connects, listens, and connects again after a jittered, bounded backoff; until told to stop."""
        while not self._stop.is_set():
            try:
                self._session()
            except Unavailable as error:
                self._note_lost(str(error))
                self._stop.wait(min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0))  # noqa: S311

    def _note_lost(self, reason: str) -> None:
        """Tells that the broker is lost; the backoff is small again after a session that outlived the longest one."""
        if self._heard_at is not None and time.monotonic() - self._heard_at > MAX_BACKOFF_S:
            self._failures = 0
        self._failures += 1
        for station in self.stations:
            station.health.note("offline", reason)
            station.tell()
        if self._failures == 1:
            log.warning("local_broker_lost broker=%s error=%r", self.url, reason)

    def _session(self) -> None:
        """One connection, until it is lost or the agent stops. Raises Unavailable."""
        self._failure = ""
        self._heard_at = None
        self._down.clear()
        client = self._client()
        try:
            try:
                client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
            except (OSError, ValueError) as error:
                raise Unavailable(f"{self.url}: {error}") from error
            client.loop_start()
            for station in self.stations:
                station.begin()
            self._listen(client)
            self._end_well()
        finally:
            self.listening.clear()
            self._down.set()  # lets go of the network's thread, which may wait for room in the inbox
            client.disconnect()
            client.loop_stop()
            # Only now can nothing come any more. What is not acknowledged comes again with the next connection of this session.
            self._owed.clear()
            self._forget_inbox()
        if not self._stop.is_set():
            raise Unavailable(f"{self.url}: {self._failure}")

    def _watch_subscribing(self, deadline: float) -> None:
        """Tells that the broker is heard, once it is. Raises Unavailable when it takes too long.

        A broker sends what it kept before it answers SUBSCRIBE, so that messages must be taken meanwhile.
        """
        if self._heard_at is None and self.listening.is_set():
            self._heard_at = time.monotonic()
            log.info("local_broker_heard broker=%s topics=%d", self.url, len(self._by_topic))
            for station in self.stations:
                if not station.standing_fault:  # what it last said may have come before the answer to SUBSCRIBE
                    station.health.note("online")
        elif self._heard_at is None and time.monotonic() > deadline and not self._inbox.full():
            raise Unavailable(f"{self.url}: no answer to CONNECT and SUBSCRIBE in {CONNECT_TIMEOUT_S:g} s")

    def _listen(self, client: mqtt.Client) -> None:
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._down.is_set() and not self._stop.is_set():
            self._watch_subscribing(deadline)
            self._acknowledge()
            for station in self.stations:
                station.tell()
            if len(self._owed) >= MAX_UNACKNOWLEDGED:
                first = self._owed[0].ticket
                if first is not None:
                    first.wait(LOOK_S)
                continue
            try:
                message = self._inbox.get(timeout=COMMIT_LOOK_S if self._owed else LOOK_S)
            except queue.Empty:
                continue
            ticket = self._take(client, message)
            if message.qos:
                self._owed.append(_Owed(client, message.mid, message.qos, ticket))
        self._acknowledge()

    def _end_well(self) -> None:
        """Acknowledges what is being committed while the agent stops, so that it does not come again."""
        deadline = time.monotonic() + END_S
        while self._owed and not self._down.is_set() and (left_s := deadline - time.monotonic()) > 0:
            first = self._owed[0].ticket
            if first is not None:
                first.wait(min(left_s, LOOK_S))
            self._acknowledge()

    def _acknowledge(self) -> None:
        while self._owed and (self._owed[0].ticket is None or self._owed[0].ticket.is_safe):
            owed = self._owed.popleft()
            owed.client.ack(owed.mid, owed.qos)

    def _take(self, client: mqtt.Client, message: mqtt.MQTTMessage) -> Ticket | None:
        """Gives a message to the devices of its topic; the ticket of the last thing committed for it."""
        payload = bytes(message.payload)
        stations = self._by_topic.get(message.topic)
        if not stations:
            # This session subscribed to it before a device left the settings.
            self.counts["foreign_topic"] += 1
            log.warning("foreign_topic broker=%s topic=%r: nobody here listens to it; unsubscribed", self.url, message.topic)
            client.unsubscribe(message.topic)
            return None
        ticket: Ticket | None = None
        for station in stations:
            if len(payload) > MAX_MESSAGE_BYTES:
                station.counts["too_large"] += 1
                continue
            now = self._clock.instant()
            observations = station.driver.message(message.topic, payload, now.at)
            if message.retain:
                observations = self._dated(station, observations)
            station.ticket = None
            station.deliver(observations, now)
            ticket = station.ticket or ticket
        return ticket

    def _dated(self, station: Station, observations: list[Observation]) -> list[Observation]:
        kept: list[Observation] = [each for each in observations if not isinstance(each, _UNDATED)]
        if len(kept) < len(observations):
            station.counts["retained_values"] += len(observations) - len(kept)
        return kept

    def _forget_inbox(self) -> None:
        while not self._inbox.empty():
            self._inbox.get_nowait()

    def _client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=False,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls:
            try:
                client.tls_set(ca_certs=str(self._broker.ca_file) if self._broker.ca_file is not None else None)
            except (OSError, ValueError) as error:
                raise Unavailable(
                    f"{self.url}: local_broker.ca_file {str(self._broker.ca_file)!r} cannot be used: {error}"
                ) from error
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._down.set()

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: mqtt.ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._fail(f"refuses user {self._broker.username!r}: {reason}; look at local_broker.username and its password_file")
        elif client.subscribe([(topic, 1) for topic in sorted(self._by_topic)])[0] != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._fail("connection lost before SUBSCRIBE")

    def _on_subscribe(
        self, _client: mqtt.Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = [topic for topic, reason in zip(sorted(self._by_topic), reasons, strict=False) if reason.is_failure]
        if refused:
            self._fail(f"does not let user {self._broker.username!r} read {', '.join(refused)}")
        else:
            self.listening.set()

    def _on_disconnect(
        self, _client: mqtt.Client, _data: object, _flags: mqtt.DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._fail(str(reason))

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        while not self._down.is_set() and not self._stop.is_set():
            try:
                self._inbox.put(message, timeout=LOOK_S)
            except queue.Full:
                continue
            return
