"""Packets off the socket several at a time: the splitter against every cut, the client against real brokers."""

import asyncio
import contextlib
import getpass
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import aiomqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.adapters import mqtt_burst
from hub.adapters.intake import Intake
from hub.adapters.mqtt_burst import BurstClient, FilteredSocket, MalformedStream, PacketSplitter
from hub.domain.inbound import Inbound

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
WAIT_S = 20.0
TOPIC = "qm/v1/depot/depot-gateway/up"


def length_bytes(size: int) -> bytes:
    encoded = bytearray()
    while True:
        size, low = divmod(size, 128)
        encoded.append(low | (128 if size else 0))
        if not size:
            return bytes(encoded)


def publish(topic: str, payload: bytes, *, packet_id: int = 0) -> bytes:
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + (packet_id.to_bytes(2, "big") if packet_id else b"") + payload
    return bytes([0x32 if packet_id else 0x30]) + length_bytes(len(body)) + body


def fed(data: bytes, cuts: list[int]) -> PacketSplitter:
    splitter = PacketSplitter()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for first, last in pairwise(edges):
        splitter.feed(data[first:last])
    return splitter


packets = st.one_of(
    st.builds(publish, st.text("abc/", min_size=1, max_size=20), st.binary(max_size=300), packet_id=st.integers(0, 65_535)),
    st.sampled_from([b"\xd0\x00", b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x01", b"\x40\x02\x00\x07"]),
    st.builds(lambda n: publish("big", bytes(n), packet_id=1), st.sampled_from([127, 128, 16_383, 16_384, 70_000])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(packets, max_size=12), st.lists(st.integers(min_value=0), max_size=8))
def test_however_the_stream_is_cut_the_same_packets_come_out(stream: list[bytes], cuts: list[int]) -> None:
    whole, cut = fed(b"".join(stream), []), fed(b"".join(stream), cuts)
    assert (cut.burst, cut.acks, cut.rest) == (whole.burst, whole.acks, whole.rest)
    assert len(whole.burst) == sum(1 for each in stream if each[0] & 0xF0 == 0x30)
    assert bytes(whole.rest) == b"".join(each for each in stream if each[0] & 0xF0 != 0x30)


def test_a_stream_cut_at_every_byte_comes_out_whole() -> None:
    stream = publish(TOPIC, b"x" * 200, packet_id=258) + b"\xd0\x00" + publish("a/b", b"")
    splitter = PacketSplitter()
    for position in range(len(stream)):
        splitter.feed(stream[position : position + 1])
    assert splitter.burst == [Inbound(TOPIC, b"x" * 200), Inbound("a/b", b"")]
    assert bytes(splitter.acks) == b"\x40\x02\x01\x02"
    assert bytes(splitter.rest) == b"\xd0\x00"


def test_an_oversized_packet_is_let_go_but_for_its_beginning_and_the_stream_goes_on() -> None:
    size = 3_000_000
    stream = publish(TOPIC, b"y" * size, packet_id=9) + publish(TOPIC, b"after", packet_id=10)
    assert length_bytes(size)[3:]  # four bytes of remaining length
    splitter = PacketSplitter()
    held = 0
    for first in range(0, len(stream), 50_000):
        splitter.feed(stream[first : first + 50_000])
        held = max(held, len(splitter._partial))
    big, after = splitter.burst
    assert after == Inbound(TOPIC, b"after")
    assert big.problem is not None
    assert "over the limit of 2097152" in big.problem
    assert big.size == size
    assert 0 < len(big.payload) <= mqtt_burst.KEPT_OF_OVERSIZED_BYTES + 50_000
    assert held <= mqtt_burst.KEPT_OF_OVERSIZED_BYTES + 50_000
    assert bytes(splitter.acks) == b"\x40\x02\x00\x09\x40\x02\x00\x0a"


@pytest.mark.parametrize(
    "stream",
    [
        b"\x30\xff\xff\xff\xff\x01",
        b"\x30\x01a",
        b"\x30\x04\x00\x09ab",
        b"\x34\x07\x00\x01a\x00\x01xx",
        b"\x36\x07\x00\x01a\x00\x01xx",
    ],
)
def test_bytes_that_are_not_mqtt_end_the_connection(stream: bytes) -> None:
    with pytest.raises(MalformedStream):
        PacketSplitter().feed(stream)


def test_a_topic_that_is_not_utf8_is_kept_readable() -> None:
    splitter = PacketSplitter()
    splitter.feed(b"\x30\x05\x00\x02a\xffx")
    assert splitter.burst == [Inbound("a\\xff", b"x")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A real Mosquitto that can be stopped and started at the same port."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._settings = folder / "mosquitto.conf"
        listener = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence false", "max_queued_messages 0"]
        self._settings.write_text("\n".join([*listener, *lines, ""]), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while True:
            assert self._process.poll() is None, "mosquitto ended"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S).close()
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Broker]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: nothing was tried against it")
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@asynccontextmanager
async def amqtt_port() -> AsyncIterator[int]:
    from amqtt.broker import Broker as Amqtt

    port = free_port()
    settings_ = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Amqtt(settings_)
    await broker.start()
    try:
        yield port
    finally:
        await broker.shutdown()


async def collect(intake: Intake, count: int) -> list[Inbound]:
    found: list[Inbound] = []
    async with asyncio.timeout(WAIT_S):
        while len(found) < count:
            found += await intake.take()
    return found


async def send(port: int, payloads: list[bytes], **options: object) -> None:
    async with aiomqtt.Client("127.0.0.1", port, max_inflight_messages=1000, **options) as sender:  # type: ignore[arg-type]
        sender.pending_calls_threshold = len(payloads)
        async with asyncio.TaskGroup() as tasks:
            for payload in payloads:
                tasks.create_task(sender.publish(TOPIC, payload, qos=1))


@pytest.mark.mosquitto
async def test_every_message_arrives_once_in_order_and_is_acknowledged(mosquitto: Broker) -> None:
    intake = Intake()
    payloads = [b"%d" % n for n in range(3_000)]
    async with BurstClient("127.0.0.1", mosquitto.port, intake, timeout=WAIT_S) as client:
        await client.subscribe("qm/+/+/+/up", qos=1)
        await send(mosquitto.port, payloads)
        # Mosquitto has at most 20 unacknowledged messages under way: without PUBACKs the rest would never come.
        assert [each.payload for each in await collect(intake, len(payloads))] == payloads


async def test_the_broker_inside_the_demo_is_served_too() -> None:
    intake = Intake()
    payloads = [b"%d" % n for n in range(200)]
    async with amqtt_port() as port, BurstClient("127.0.0.1", port, intake, timeout=WAIT_S) as client:
        await client.subscribe("qm/+/+/+/up", qos=1)
        await send(port, payloads)
        assert sorted(each.payload for each in await collect(intake, len(payloads))) == sorted(payloads)


@pytest.mark.mosquitto
async def test_a_message_longer_than_a_read_arrives_whole(mosquitto: Broker) -> None:
    intake = Intake()
    big = bytes(range(256)) * 3_900  # 998,400 bytes: remaining length of three bytes
    async with BurstClient("127.0.0.1", mosquitto.port, intake, timeout=WAIT_S) as client:
        await client.subscribe("qm/+/+/+/up", qos=1)
        await send(mosquitto.port, [big, b"small", big])
        assert [each.payload for each in await collect(intake, 3)] == [big, b"small", big]


@pytest.mark.mosquitto
async def test_publish_and_keepalive_still_work_beside_the_bursts(mosquitto: Broker) -> None:
    intake = Intake()
    async with (
        BurstClient("127.0.0.1", mosquitto.port, intake, timeout=WAIT_S, keepalive=1) as client,
        aiomqtt.Client("127.0.0.1", mosquitto.port) as listener,
    ):
        await client.subscribe("qm/+/+/+/up", qos=1)
        await listener.subscribe("qm/v1/depot/depot-gateway/receipt", qos=1)
        pings = asyncio.Event()
        sent: list[int] = []
        original = client._client._send_pingreq

        def noted() -> object:
            sent.append(1)
            if len(sent) == 3:
                pings.set()
            return original()

        client._client._send_pingreq = noted  # type: ignore[method-assign,assignment]
        async with asyncio.timeout(WAIT_S):
            await pings.wait()
        await client.publish("qm/v1/depot/depot-gateway/receipt", b"r", qos=1)
        async with asyncio.timeout(WAIT_S):
            assert (await anext(aiter(listener.messages))).payload == b"r"
        assert not client._disconnected.done()


@pytest.mark.mosquitto
async def test_a_full_intake_stops_the_reading_and_a_drained_one_goes_on(mosquitto: Broker) -> None:
    stopped = asyncio.Event()

    class Telling(BurstClient):
        def _rest(self, filtered: FilteredSocket) -> None:
            super()._rest(filtered)
            stopped.set()

    intake = Intake(max_messages=100, max_bytes=10_000_000)
    payloads = [b"%06d" % n + bytes(20_000) for n in range(2_000)]
    async with Telling("127.0.0.1", mosquitto.port, intake, timeout=WAIT_S, keepalive=1) as client:
        await client.subscribe("qm/+/+/+/up", qos=1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send(mosquitto.port, payloads))
            async with asyncio.timeout(WAIT_S):
                await stopped.wait()
            held = len(intake)
            # Longer than two keepalives: resting must not look like a dead broker, to either side.
            await asyncio.wait([client._disconnected], timeout=3.0)
            assert not client._disconnected.done()
            assert len(intake) == held < 1_000
            found = await collect(intake, len(payloads))
    assert [each.payload[:6] for each in found] == [each[:6] for each in payloads]


@pytest.mark.mosquitto
async def test_the_end_of_the_connection_is_noticed_and_the_next_one_serves(mosquitto: Broker) -> None:
    intake = Intake()
    async with BurstClient("127.0.0.1", mosquitto.port, intake, timeout=WAIT_S) as client:
        await client.subscribe("qm/+/+/+/up", qos=1)
        mosquitto.stop()
        with pytest.raises(aiomqtt.MqttError, match="Disconnected"):
            await asyncio.wait_for(anext(aiter(client.messages)), WAIT_S)
    mosquitto.start()
    async with BurstClient("127.0.0.1", mosquitto.port, intake, timeout=WAIT_S) as client:
        await client.subscribe("qm/+/+/+/up", qos=1)
        await send(mosquitto.port, [b"again"])
        assert [each.payload for each in await collect(intake, 1)] == [b"again"]


@pytest.mark.mosquitto
async def test_an_idle_connection_costs_no_turns_of_the_loop(mosquitto: Broker) -> None:
    intake = Intake()
    async with BurstClient("127.0.0.1", mosquitto.port, intake, timeout=WAIT_S) as client:
        await client.subscribe("qm/+/+/+/up", qos=1)
        await send(mosquitto.port, [b"x"] * 50)
        await collect(intake, 50)
        writes = 0
        original: Callable[[], object] = client._client.loop_write

        def counted() -> object:
            nonlocal writes
            writes += 1
            return original()

        client._client.loop_write = counted  # type: ignore[method-assign,assignment]
        await asyncio.wait([client._disconnected], timeout=0.3)
        assert writes < 5


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, its key beside it in key.pem."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: TLS was not tried")
    key, made = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture
def tls_mosquitto(tmp_path: Path, certificate: Path) -> Iterator[Broker]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: nothing was tried against it")
    broker = Broker(tmp_path, f"certfile {certificate}", f"keyfile {certificate.parent / 'key.pem'}", f"user {getpass.getuser()}")
    broker.start()
    yield broker
    broker.stop()


@pytest.mark.mosquitto
async def test_tls_carries_bursts_larger_than_its_records(tls_mosquitto: Broker, certificate: Path) -> None:
    intake = Intake()
    payloads = [b"%06d" % n + bytes(n * 150) for n in range(300)] + [bytes(900_000)]
    context = ssl.create_default_context(cafile=str(certificate))
    async with BurstClient("127.0.0.1", tls_mosquitto.port, intake, timeout=WAIT_S, tls_context=context) as client:
        await client.subscribe("qm/+/+/+/up", qos=1)
        await send(tls_mosquitto.port, payloads, tls_context=ssl.create_default_context(cafile=str(certificate)))
        found = await collect(intake, len(payloads))
    assert [each.payload for each in found] == payloads
