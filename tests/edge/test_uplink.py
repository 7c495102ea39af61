"""Batches reach a hub through a real broker, and only its receipts free them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from core.messages import AgentStatus, BarcodeScan, Batch, Readings, Receipt, Series, decode_batch, decode_status, encode
from core.topics import AgentAddress
from edge.clock import Clock
from edge.outbox import FILE_NAME, Outbox
from edge.presence import Presence
from edge.settings import Broker
from edge.shelf import Priority, Row
from edge.uplink import Uplink
from edge.window import MAX_WINDOW_BYTES, RESEND_AFTER_S, WINDOW, Window
from edge.writer import Reading, Writer

PATIENCE_S = 30.0
ADDRESS = AgentAddress("depot", "depot-gateway")
PROBE = Series("cr-1-probe", "celsius")


def row(seq: int, priority: Priority = Priority.BUSINESS, size: int = 10) -> Row:
    return Row(seq, priority, b"x" * size)


def test_the_window_of_telemetry_leaves_room_for_business_facts() -> None:
    window = Window()
    for seq in range(1, WINDOW[Priority.TELEMETRY] + 1):
        window.sent(row(seq, Priority.TELEMETRY), 0.0)
    assert window.room(Priority.TELEMETRY) == 0
    assert window.room(Priority.BUSINESS) == WINDOW[Priority.BUSINESS]
    assert window.receipted([(1, 3), (5, 2**53)]) == WINDOW[Priority.TELEMETRY] - 1
    assert 4 in window


def test_the_window_is_bounded_in_bytes_too() -> None:
    window = Window()
    window.sent(row(1, size=MAX_WINDOW_BYTES), 0.0)
    assert window.room(Priority.BUSINESS) == 0
    window.receipted([(1, 1)])
    assert window.room(Priority.BUSINESS) == WINDOW[Priority.BUSINESS]


def test_a_batch_without_a_receipt_is_due_again_after_twice_the_time() -> None:
    window = Window()
    window.sent(row(2, Priority.TELEMETRY), 0.0)
    window.sent(row(7), 0.0)
    assert window.overdue(RESEND_AFTER_S - 0.1) == []
    assert [each.seq for each in window.overdue(RESEND_AFTER_S)] == [7, 2]
    window.sent(row(7), RESEND_AFTER_S)
    assert [each.seq for each in window.overdue(RESEND_AFTER_S * 3 - 0.1)] == [2]
    assert [each.seq for each in window.overdue(RESEND_AFTER_S * 3)] == [7, 2]


def test_a_lost_connection_makes_everything_on_its_way_due() -> None:
    window = Window()
    window.sent(row(1), 1000.0)
    window.connection_lost()
    assert [each.seq for each in window.overdue(1000.0)] == [1]


class Listens(Protocol):
    port: int

    def start(self) -> None: ...
    def kill(self) -> None: ...


class Hub:
    """The other side: keeps batches and statuses, sends receipts when it is minded to."""

    def __init__(self, port: int) -> None:
        self.batches: list[Batch] = []
        self.statuses: list[AgentStatus] = []
        self.receipting = True
        self.boot: str | None = None
        self.news = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="hub", protocol=mqtt.MQTTv311)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe([(ADDRESS.up, 1), (ADDRESS.status, 1)])
        self._client.on_message = lambda _client, _data, message: self._take(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, message: mqtt.MQTTMessage) -> None:
        with self.news:
            if message.topic == ADDRESS.status:
                self.statuses.append(decode_status(bytes(message.payload)))
            else:
                self.batches.append(decode_batch(bytes(message.payload)))
                if self.receipting:
                    self.receipt(self.batches[-1])
            self.news.notify_all()

    def receipt(self, *batches: Batch, boot: str | None = None) -> None:
        for batch in batches:
            message = Receipt(boot or batch.boot, [(batch.seq, batch.seq)])
            self._client.publish(ADDRESS.receipt, encode(message), qos=1)

    def seqs(self) -> set[int]:
        return {batch.seq for batch in self.batches}

    def until(self, what: Callable[["Hub"], bool]) -> None:
        with self.news:
            assert self.news.wait_for(lambda: what(self), PATIENCE_S), f"seen: {len(self.batches)} batches, {self.statuses}"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Sender:
    """A writer and an uplink over one outbox, in their threads."""

    def __init__(self, folder: Path, port: int, *, replay_per_s: float = 500.0) -> None:
        self.committed = threading.Condition()
        self._stop_writer, self._stop_uplink = threading.Event(), threading.Event()
        clock, path = Clock(), folder / FILE_NAME
        self.writer = Writer(lambda: Outbox(path, ADDRESS.agent), Presence([]), clock, stop=self._stop_writer)
        broker = Broker(host="127.0.0.1", port=port, tls=False, username=None, password=None, ca_file=None)
        self.uplink = Uplink(broker, ADDRESS, self.writer, path, clock=clock, stop=self._stop_uplink, replay_per_s=replay_per_s)
        self.writer.on_commit = self.uplink.wake
        self._threads = [threading.Thread(target=self.writer.run), threading.Thread(target=self.uplink.run)]
        for thread in self._threads:
            thread.start()
        assert self.writer.ready.wait(PATIENCE_S)

    def scan(self, text: str) -> None:
        assert self.writer.deliver([BarcodeScan("dock-1", text, datetime.now(UTC))]).wait(PATIENCE_S)

    def reading(self, value: float) -> None:
        assert self.writer.deliver([Reading(PROBE, datetime.now(UTC), value)]).wait(PATIENCE_S)

    def until_empty(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.writer.waiting_batches:
            assert self.writer.free([]).wait(PATIENCE_S)
            assert time.monotonic() < deadline, f"{self.writer.waiting_batches} batches are never receipted"

    def close(self) -> None:
        self._stop_uplink.set()
        self.uplink.wake()
        self._threads[1].join(PATIENCE_S)
        self._stop_writer.set()
        self._threads[0].join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in self._threads)


@contextmanager
def talking(folder: Path, broker: Listens) -> Iterator[tuple[Sender, Hub]]:
    hub = Hub(broker.port)
    sender = Sender(folder, broker.port)
    try:
        yield sender, hub
    finally:
        sender.close()
        hub.close()


@pytest.mark.mosquitto
def test_a_receipt_frees_and_the_brokers_own_ack_does_not(tmp_path: Path, mosquitto: Listens) -> None:
    with talking(tmp_path, mosquitto) as (sender, hub):
        hub.receipting = False
        sender.scan("A")
        hub.until(lambda hub: hub.seqs() == {1})
        hub.receipt(hub.batches[0], boot="another-life")
        # The same connection carries both receipts in order: when the second has worked, the first was seen.
        assert sender.writer.waiting_batches == 1
        hub.receipt(hub.batches[0])
        sender.until_empty()
        assert sender.uplink.counts["foreign_receipts"] == 1


@pytest.mark.mosquitto
def test_a_batch_without_a_receipt_is_sent_again_unchanged(tmp_path: Path, mosquitto: Listens) -> None:
    with talking(tmp_path, mosquitto) as (sender, hub):
        hub.receipting = False
        sender.scan("A")
        hub.until(lambda hub: len(hub.batches) >= 2)
        assert hub.batches[0] == hub.batches[1]
        hub.receipt(hub.batches[0])
        sender.until_empty()


@pytest.mark.mosquitto
def test_the_status_is_online_while_connected_and_offline_after_a_clean_end(tmp_path: Path, mosquitto: Listens) -> None:
    hub = Hub(mosquitto.port)
    sender = Sender(tmp_path, mosquitto.port)
    hub.until(lambda hub: bool(hub.statuses) and hub.statuses[-1].online)
    assert hub.statuses[-1].boot == sender.writer.boot
    sender.close()
    hub.until(lambda hub: not hub.statuses[-1].online)
    hub.close()


@pytest.mark.mosquitto
def test_a_killed_broker_is_found_again_and_nothing_is_lost(tmp_path: Path, mosquitto: Listens) -> None:
    with talking(tmp_path, mosquitto) as (sender, hub):
        sender.scan("before")
        hub.until(lambda hub: 1 in hub.seqs())
        mosquitto.kill()
        for index in range(20):
            sender.scan(f"while away {index}")
        mosquitto.start()
        hub.until(
            lambda hub: len({item.text for batch in hub.batches for item in batch.items if isinstance(item, BarcodeScan)}) == 21
        )
        sender.until_empty()
        assert sender.uplink.connected.wait(PATIENCE_S)


@pytest.mark.mosquitto
def test_business_facts_overtake_a_backlog_of_telemetry(tmp_path: Path, mosquitto: Listens) -> None:
    with Outbox(tmp_path / FILE_NAME, ADDRESS.agent) as outbox:
        for index in range(600):
            outbox.append([Readings([PROBE], [0], [index], [5.0])], Priority.TELEMETRY, datetime.now(UTC))
    hub = Hub(mosquitto.port)
    sender = Sender(tmp_path, mosquitto.port, replay_per_s=50)
    hub.until(lambda hub: len(hub.batches) > 10)
    sender.scan("urgent")
    sender.reading(7.0)
    hub.until(lambda hub: {601, 602} <= hub.seqs())
    assert len(hub.seqs()) < 602, "live facts waited for the whole backlog"
    sender.close()
    hub.close()


@pytest.mark.mosquitto
def test_an_unread_window_stays_bounded_while_the_hub_is_silent(tmp_path: Path, mosquitto: Listens) -> None:
    with Outbox(tmp_path / FILE_NAME, ADDRESS.agent) as outbox:
        for index in range(400):
            outbox.append([BarcodeScan("dock-1", str(index), datetime.now(UTC))], Priority.BUSINESS, datetime.now(UTC))
    hub = Hub(mosquitto.port)
    hub.receipting = False
    sender = Sender(tmp_path, mosquitto.port)
    hub.until(lambda hub: len(hub.seqs()) == WINDOW[Priority.BUSINESS])
    assert sender.uplink.counts["sent"] == WINDOW[Priority.BUSINESS]
    with hub.news:
        hub.receipting = True
        hub.receipt(*hub.batches)
    hub.until(lambda hub: len(hub.seqs()) == 400)
    sender.until_empty()
    sender.close()
    hub.close()


@pytest.mark.mosquitto
def test_a_restarted_uplink_sends_what_was_never_receipted(tmp_path: Path, mosquitto: Listens) -> None:
    hub = Hub(mosquitto.port)
    hub.receipting = False
    first = Sender(tmp_path, mosquitto.port)
    first.scan("A")
    hub.until(lambda hub: 1 in hub.seqs())
    first.close()
    hub.receipting = True
    second = Sender(tmp_path, mosquitto.port)
    second.until_empty()
    assert len({batch.boot for batch in hub.batches}) == 1
    assert hub.seqs() == {1}
    second.close()
    hub.close()


@pytest.mark.mosquitto
def test_an_outbox_that_is_a_copy_begins_a_new_life_at_the_first_receipt_beyond_its_own_numbers(
    tmp_path: Path, mosquitto: Listens
) -> None:
    with talking(tmp_path, mosquitto) as (sender, hub):
        hub.receipting = False
        sender.scan("A")
        sender.reading(5.0)
        hub.until(lambda hub: hub.seqs() == {1, 2})
        copied = hub.batches[0].boot
        # What the hub says to the other copy; of it nothing may be freed here.
        hub._client.publish(ADDRESS.receipt, encode(Receipt(copied, [(1, 7)])), qos=1)
        hub.until(lambda hub: {batch.seq for batch in hub.batches if batch.boot != copied} == {1, 2})
        assert sender.writer.boot != copied
        assert sender.writer.waiting_batches == 2
        with hub.news:
            hub.receipting = True
            hub.receipt(*[batch for batch in hub.batches if batch.boot != copied])
        sender.until_empty()
        sender.scan("B")
        sender.until_empty()
        assert {batch.boot for batch in hub.batches if batch.seq == 3} == {sender.writer.boot}
    with Outbox(tmp_path / FILE_NAME, ADDRESS.agent) as outbox:
        assert outbox.boot == sender.writer.boot
