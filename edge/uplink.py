"""How batches get from the outbox to the hub, and receipts back, through any broker that speaks MQTT 3.1.1.

Nothing counts as delivered until the hub's receipt names it: the broker's PUBACK frees nothing. Each connection is a client of
its own, so that paho's queue starts empty; it never holds more than the window.
"""

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from core.errors import MessageRejected, Unavailable
from core.messages import AgentHealth, AgentStatus, Receipt, decode_receipt, encode
from core.topics import AgentAddress
from edge.clock import Clock
from edge.settings import Broker
from edge.shelf import Priority, Row, Shelf
from edge.skew import Skew
from edge.window import WINDOW, Window
from edge.writer import Writer

KEEPALIVE_S: Final = 15
CONNECT_TIMEOUT_S: Final = 5.0
FIRST_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 10.0
PUMP_S: Final = 0.1
"""Longest wait between two looks at the window."""
STATUS_EVERY_S: Final = 30.0
REPLAY_PER_S: Final = 500.0
"""Batches of the backlog sent in a second beside live ones."""
PAHO_QUEUE: Final = sum(WINDOW.values()) + 8
MAX_RECEIPTS_WAITING: Final = 4096
"""Receipts not looked at yet; above it the oldest are forgotten, and their batches are sent and receipted again."""
SILENT_HUB_S: Final = 30.0
"""Real seconds without any receipt, while batches wait for one, after which the log says so."""
DRAIN_S: Final = 2.0
"""Real seconds a stopping uplink still waits for receipts."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Lane:
    """What is still to be fetched of one priority: numbers above `after`, up to and with `upto`."""

    priority: Priority
    after: int = 0
    upto: int | None = None


class Uplink:
    """Runs in its own thread through `run`.

    `counts`: sent, resent, receipts, foreign_receipts, unreadable_receipts, rejected, disowned.
    """

    def __init__(
        self,
        broker: Broker,
        address: AgentAddress,
        writer: Writer,
        outbox_path: Path,
        *,
        clock: Clock,
        stop: threading.Event,
        replay_per_s: float = REPLAY_PER_S,
        health: Callable[[], AgentHealth | None] = lambda: None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.connected = threading.Event()
        self._broker = broker
        self._address = address
        self._writer = writer
        self._path = outbox_path
        self._clock = clock
        self._stop = stop
        self._replay_per_s = replay_per_s
        self._tokens = replay_per_s
        self._health = health
        self.skew = Skew(clock)
        self._refilled_at = time.monotonic()
        self._wake = threading.Event()
        self._down = threading.Event()
        self._ready = threading.Event()
        self._failure = ""
        self._receipts: deque[Receipt] = deque(maxlen=MAX_RECEIPTS_WAITING)
        self._unanswered_since = 0.0
        self._boot = ""
        self._disowned = ""
        self._begin_life()

    def _begin_life(self) -> None:
        """Nothing of this life of the outbox is on its way yet."""
        self._window = Window()
        self._business = _Lane(Priority.BUSINESS)
        self._live = _Lane(Priority.TELEMETRY)
        self._backlog = _Lane(Priority.TELEMETRY, upto=0)

    def wake(self, _last_seq: int = 0) -> None:
        """Something new is in the outbox, or it is time to stop."""
        self._wake.set()

    def run(self) -> None:
        """Connects, sends, takes receipts, and connects again for ever with a jittered, bounded backoff."""
        while not self._writer.ready.wait(PUMP_S):
            if self._stop.is_set():
                return
        shelf = Shelf(self._path)
        failures = 0
        try:
            while not self._stop.is_set():
                try:
                    self._session(shelf)
                    failures = 0
                except Unavailable as error:
                    log.warning("uplink_unavailable broker=%s:%d error=%r", self._broker.host, self._broker.port, str(error))
                    failures += 1
                backoff = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures, 10))
                self._stop.wait(backoff * random.uniform(0.5, 1.0))  # noqa: S311
        finally:
            shelf.close()

    def _session(self, shelf: Shelf) -> None:
        """One connection, until it is lost or the agent stops. Raises Unavailable when it could not be made."""
        client = self._client()
        try:
            self._connect(client)
            self._begin_lanes()
            self.connected.set()
            log.info("uplink_connected broker=%s:%d waiting=%d", self._broker.host, self._broker.port, self._writer.waiting_batches)
            self._serve(client, shelf)
        finally:
            self.connected.clear()
            self._window.connection_lost()
            client.disconnect()
            client.loop_stop()
        log.info("uplink_disconnected reason=%r totals=%s", self._failure or "stopping", dict(self.counts))

    def _client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"qm-edge-{self._address.site}-{self._address.agent}",
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(PAHO_QUEUE)
        client.max_queued_messages_set(PAHO_QUEUE)
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls:
            client.tls_set(ca_certs=str(self._broker.ca_file) if self._broker.ca_file is not None else None)
        client.will_set(self._address.status, encode(self._status(online=False)), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _connect(self, client: mqtt.Client) -> None:
        self._failure = ""
        self._down.clear()
        self._ready.clear()
        try:
            client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise Unavailable(str(error)) from error
        client.loop_start()
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._ready.wait(PUMP_S):
            if self._down.is_set():
                raise Unavailable(self._failure)
            if time.monotonic() > deadline:
                raise Unavailable(f"no answer to CONNECT and SUBSCRIBE in {CONNECT_TIMEOUT_S:g} s")

    def _begin_lanes(self) -> None:
        """What waited while offline is backlog; what comes from now on is live."""
        if self._backlog.upto is not None and self._backlog.after >= self._backlog.upto:
            self._backlog.after = max(self._backlog.after, self._live.after)
        self._live.after = self._backlog.upto = self._writer.last_seq

    def _serve(self, client: mqtt.Client, shelf: Shelf) -> None:
        next_status = 0.0
        self._unanswered_since = time.monotonic()
        drain_until: float | None = None
        while not self._down.is_set():
            now = time.monotonic()
            if now >= next_status:
                self._publish(client, self._address.status, encode(self._status(online=True)), retain=True)
                next_status = now + STATUS_EVERY_S
            self._take_receipts(shelf)
            self._complain_of_silence(now)
            fetched = self._pump(client, shelf)
            if self._stop.is_set():
                drain_until = drain_until or now + DRAIN_S
                if now >= drain_until or not (fetched or len(self._window)):
                    self._say_goodbye(client)
                    return
            self._wake.wait(PUMP_S)
            self._wake.clear()

    def _complain_of_silence(self, now: float) -> None:
        """Connected, sending, and nobody answers: says so once each SILENT_HUB_S, with what may be wrong."""
        if not len(self._window):
            self._unanswered_since = now
        elif now - self._unanswered_since >= SILENT_HUB_S:
            self._unanswered_since = now
            log.warning(
                "no_receipts for_s=%d topic=%s user=%s: the hub is away, or the broker lets this user not write there",
                SILENT_HUB_S,
                self._address.up,
                self._broker.username,
            )

    def _say_goodbye(self, client: mqtt.Client) -> None:
        info = client.publish(self._address.status, encode(self._status(online=False)), qos=1, retain=True)
        if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            info.wait_for_publish(DRAIN_S)

    def _take_receipts(self, shelf: Shelf) -> None:
        ranges: list[tuple[int, int]] = []
        while self._receipts:
            receipt = self._receipts.popleft()
            if receipt.boot != self._writer.boot or receipt.boot == self._disowned:
                self.counts["foreign_receipts"] += 1
                log.warning("receipt_ignored boot=%s own_boot=%s", receipt.boot, self._writer.boot)
                continue
            newest = max((last for _, last in receipt.committed), default=0)
            if newest > self._writer.last_seq and newest > shelf.last_seq():
                self._disown(receipt)
                continue
            self.counts["receipts"] += 1
            if receipt.rejected:
                self.counts["rejected"] += len(receipt.rejected)
                log.warning("batches_rejected boot=%s seqs=%s", receipt.boot, receipt.rejected)
            ranges += receipt.committed
        if ranges:
            self._unanswered_since = time.monotonic()
            self._window.receipted(ranges)
            self._writer.free(ranges)

    def _disown(self, receipt: Receipt) -> None:
        """The hub has more of this life than the outbox ever gave: the file is a copy of another, or came back from a backup.

        New batches under its numbers would be taken for old ones and lost, so a new life begins. What waits is sent under it,
        also what the hub may have of the other copy: better twice than never.
        """
        log.error("receipt_of_the_future boot=%s last_seq=%d committed=%s", receipt.boot, self._writer.last_seq, receipt.committed)
        self.counts["disowned"] += 1
        self._disowned = receipt.boot
        self._writer.disown(receipt.boot)

    def _pump(self, client: mqtt.Client, shelf: Shelf) -> int:
        """Sends what is overdue and what there is room for, business facts first; returns how many batches."""
        if self._writer.boot == self._disowned:
            return 0
        if self._writer.boot != self._boot:
            self._boot = self._writer.boot
            self._begin_life()
            self._begin_lanes()
        sent = 0
        for row in self._window.overdue(time.monotonic()):
            if not self._send(client, row):
                return sent
            self.counts["resent"] += 1
            sent += 1
        for lane in (self._business, self._live, self._backlog):
            sent += self._pump_lane(client, shelf, lane)
        return sent

    def _pump_lane(self, client: mqtt.Client, shelf: Shelf, lane: _Lane) -> int:
        room = self._window.room(lane.priority)
        if lane is self._backlog:
            room = min(room, self._replay_tokens())
        if room <= 0 or (lane.upto is not None and lane.after >= lane.upto):
            return 0
        rows = shelf.next_batches(lane.priority, room, after=lane.after, upto=lane.upto)
        for row in rows:
            if row.seq not in self._window and self._window.room(row.priority):
                if not self._send(client, row):
                    return len(rows)
                self.counts["sent"] += 1
                self._tokens -= lane is self._backlog
            elif row.seq not in self._window:
                return len(rows)
            lane.after = row.seq
        if lane.upto is not None and len(rows) < room:
            lane.after = lane.upto
        return len(rows)

    def _replay_tokens(self) -> int:
        now = time.monotonic()
        self._tokens = min(self._replay_per_s, self._tokens + (now - self._refilled_at) * self._replay_per_s)
        self._refilled_at = now
        return int(self._tokens)

    def _send(self, client: mqtt.Client, row: Row) -> bool:
        if self._down.is_set() or not self._publish(client, self._address.up, row.payload, retain=False):
            return False
        self._window.sent(row, time.monotonic())
        return True

    def _publish(self, client: mqtt.Client, topic: str, payload: bytes, *, retain: bool) -> bool:
        """False when paho is not connected or full; what it then queued goes with this client."""
        return client.publish(topic, payload, qos=1, retain=retain).rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def _status(self, *, online: bool) -> AgentStatus:
        return AgentStatus(
            agent=self._address.agent,
            online=online,
            at=self._clock.now(),
            boot=self._writer.boot,
            version=_own_version(),
            outbox_batches=self._writer.waiting_batches,
            outbox_bytes=self._writer.waiting_bytes,
            health=self._health() if online else None,
        )

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._down.set()
        self._wake.set()

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: mqtt.ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._fail(f"broker refuses user {self._broker.username!r}: {reason}")
        elif client.subscribe(self._address.receipt, qos=1)[0] != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._fail("connection lost before SUBSCRIBE")

    def _on_subscribe(
        self, _client: mqtt.Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._fail(f"broker does not let user {self._broker.username!r} read {self._address.receipt}")
        else:
            self._ready.set()

    def _on_disconnect(
        self, _client: mqtt.Client, _data: object, _flags: mqtt.DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._fail(str(reason))

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        try:
            receipt = decode_receipt(bytes(message.payload))
            self.skew.learn(receipt.at)
            self._receipts.append(receipt)
        except MessageRejected as error:
            self.counts["unreadable_receipts"] += 1
            log.warning("receipt_unreadable topic=%s error=%r", message.topic, str(error))
        self._wake.set()


def _own_version() -> str:
    try:
        return version("quartermaster")
    except PackageNotFoundError:
        return "unpacked"
