"""Takes PUBLISH packets off an MQTT 3.1.1 connection several at a time, and leaves every other packet to paho.

aiomqtt hands over one message a task switch, after paho has read it with several calls a packet: about 110 microseconds a
message. Here one `recv` brings up to CHUNK_BYTES, all PUBLISH packets in it are taken in one loop, handed over as one burst and
acknowledged in one write. Connecting, subscribing, keepalive, publishing and reconnecting stay with aiomqtt and paho, which see a
socket that simply never carries a PUBLISH.

What is leaned on beyond the documented interfaces of aiomqtt 2.5 and paho 2.2 (and pinned by tests): `Client._client`,
`Client._on_socket_open`, `Client._misc_loop` of aiomqtt; `Client._sock`, `_packet_queue`, `_loop_rc_handle`, `_ping_t` of paho.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import aiomqtt
from paho.mqtt import client as paho

from core.errors import MessageRejected
from core.messages import MAX_BATCH_BYTES
from hub.domain.inbound import Inbound

CHUNK_BYTES: Final = 262_144
READS_AT_ONCE: Final = 16
MAX_PACKET_BYTES: Final = 2 * MAX_BATCH_BYTES
KEPT_OF_OVERSIZED_BYTES: Final = 65_536
TOPICS_REMEMBERED: Final = 10_000
MISC_INTERVAL_S: Final = 1.0

_PUBLISH: Final = 0x30
_PUBACK_HEAD: Final = b"\x40\x02"


class MalformedStream(MessageRejected):
    """The bytes from the broker are not MQTT; the connection cannot go on."""


class PacketSplitter:
    """Splits a stream of MQTT 3.1.1 bytes: `burst` collects PUBLISHes, `acks` their PUBACKs, `rest` all other packets.

    Memory is bounded by MAX_PACKET_BYTES and one chunk: of a longer PUBLISH the beginning is kept and the rest is let go.
    """

    def __init__(self) -> None:
        self.burst: list[Inbound] = []
        self.acks = bytearray()
        self.rest = bytearray()
        self._partial = bytearray()
        self._needed = 0
        self._skip = 0
        self._topics: dict[bytes, str] = {}

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the stream, cut anywhere. Raises MalformedStream."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return
            data = bytes(self._partial)
            self._partial.clear()
        end = self._split(data)
        if end < len(data):
            self._partial += data[end:]

    def _split(self, data: bytes) -> int:
        """Takes all whole packets and returns where the first one that is not whole begins."""
        position, size = 0, len(data)
        while size - position >= 2:
            head, length, body = data[position], data[position + 1], position + 2
            if length >= 128:
                length, body = _long_length(data, position + 1)
                if body == 0:
                    self._needed = size - position + 1
                    return position
            stop = body + length
            if stop > size:
                if head & 0xF0 == _PUBLISH and length > MAX_PACKET_BYTES:
                    if size - body < KEPT_OF_OVERSIZED_BYTES:
                        self._needed = body - position + KEPT_OF_OVERSIZED_BYTES
                        return position
                    problem = f"packet of {length} bytes is over the limit of {MAX_PACKET_BYTES}; only its beginning is kept"
                    self._take(data, head, body, size, problem=problem, length=length)
                    self._skip = stop - size
                    return size
                self._needed = stop - position
                return position
            if head & 0xF0 == _PUBLISH:
                self._take(data, head, body, stop)
            else:
                self.rest += data[position:stop]
            position = stop
        self._needed = size - position + 1
        return position

    def _take(self, data: bytes, head: int, body: int, stop: int, *, problem: str | None = None, length: int = 0) -> None:
        start = body + 2
        if start > stop:
            raise MalformedStream("PUBLISH without a topic")
        after = start + (data[body] << 8 | data[body + 1])
        raw = data[start:after]
        topic = self._topics.get(raw) or self._remember(raw)
        quality = head & 0x06
        if quality:
            if quality != 0x02:
                raise MalformedStream("PUBLISH with QoS 2, which was not subscribed to, or 3")
            self.acks += _PUBACK_HEAD + data[after : after + 2]
            after += 2
        if after > stop:
            raise MalformedStream("PUBLISH shorter than its topic says")
        size = None if problem is None else length - (after - body)
        self.burst.append(Inbound(topic, data[after:stop], problem, size))

    def _remember(self, raw: bytes) -> str:
        if len(self._topics) >= TOPICS_REMEMBERED:
            self._topics.clear()
        topic = raw.decode("utf-8", "backslashreplace")
        self._topics[raw] = topic
        return topic


def _long_length(data: bytes, position: int) -> tuple[int, int]:
    """Remaining length and where the body begins; (0, 0) when its bytes are not all there yet. MQTT 3.1.1, 2.2.3."""
    length = 0
    for count, byte in enumerate(data[position : position + 4]):
        length |= (byte & 127) << (7 * count)
        if byte < 128:
            return length, position + count + 1
    if len(data) - position >= 4:
        raise MalformedStream("remaining length of more than four bytes")
    return 0, 0


class Sink(Protocol):
    """Where bursts go. `full` asks the connection to stop reading until `drained` is called."""

    drained: Callable[[], None]

    @property
    def full(self) -> bool:
        """True when nothing more should be read from the broker."""

    def put(self, burst: list[Inbound]) -> None:
        """Takes a burst over; never refuses what was already read."""


class FilteredSocket:
    """The connection as paho sees it: `recv` serves all packets but PUBLISH; everything else goes to the real socket."""

    def __init__(self, real: socket.socket) -> None:
        self.real = real
        self.splitter = PacketSplitter()
        self.ended: OSError | None = None
        self.wants_write = False

    def fill(self) -> bool:
        """Reads what is there, at most READS_AT_ONCE chunks; True when more may be waiting. Raises MalformedStream."""
        self.wants_write = False
        for _ in range(READS_AT_ONCE):
            try:
                data = self.real.recv(CHUNK_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
            except ssl.SSLWantWriteError:
                self.wants_write = True
                return False
            except OSError as error:
                self.ended = error
                return False
            if not data:
                self.ended = ConnectionResetError("closed by the broker")
                return False
            self.splitter.feed(data)
        return True

    @property
    def has_news_for_paho(self) -> bool:
        """True when paho has packets to read or an end to notice."""
        return bool(self.splitter.rest) or self.ended is not None

    def recv(self, buffer_size: int) -> bytes:
        """Bytes of packets that are not PUBLISH. Raises BlockingIOError when there are none, and the error that ended it all."""
        rest = self.splitter.rest
        if rest:
            data = bytes(rest[:buffer_size])
            del rest[:buffer_size]
            return data
        if self.ended is not None:
            raise self.ended
        raise BlockingIOError

    def send(self, buffer: bytes | bytearray) -> int:
        """Sends on the real socket."""
        return self.real.send(buffer)

    def pending(self) -> int:
        """Bytes that paho can read without waiting."""
        return len(self.splitter.rest)

    def close(self) -> None:
        """Closes the real socket."""
        self.real.close()

    def fileno(self) -> int:
        """The real socket's descriptor."""
        return self.real.fileno()

    def setblocking(self, flag: bool) -> None:
        """Sets the real socket."""
        self.real.setblocking(flag)


class BurstClient(aiomqtt.Client):
    """An aiomqtt client whose incoming messages go to a Sink in bursts, and which stops reading while the sink is full.

    `messages` never yields; iterating it waits for the end of the connection. Subscribe with QoS 0 or 1. PUBACKs are sent
    when a burst has been handed over: the broker is not the store, so they promise nothing but room.
    """

    def __init__(self, hostname: str, port: int, sink: Sink, **options: Any) -> None:  # noqa: ANN401 - aiomqtt's own options
        super().__init__(hostname, port, protocol=aiomqtt.ProtocolVersion.V311, **options)
        self._sink = sink
        self._filtered: FilteredSocket | None = None
        self._resting = False
        sink.drained = self._go_on

    @property
    def resting(self) -> bool:
        """True while reading is stopped because the sink is full."""
        return self._resting

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ANN401
        filtered = FilteredSocket(cast("socket.socket", sock))
        client._sock = cast("Any", filtered)  # noqa: SLF001
        super()._on_socket_open(client, userdata, cast("Any", filtered))
        self._loop.call_soon_threadsafe(self._begin, filtered)

    def _begin(self, filtered: FilteredSocket) -> None:
        self._filtered = filtered
        self._resting = False
        if filtered.fileno() >= 0:
            self._loop.add_reader(filtered.fileno(), self._readable, filtered)

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ANN401
        # aiomqtt registers one turn of the loop later; by then loop_write may have emptied the queue and unregistered, and the
        # writer would stay, and spin.
        if self._in_loop():
            self._loop.add_writer(sock.fileno(), self._writable)
        else:
            super()._on_socket_register_write(client, userdata, sock)

    def _in_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _writable(self) -> None:
        try:
            self._client.loop_write()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _readable(self, filtered: FilteredSocket) -> None:
        if filtered is not self._filtered or self._resting or filtered.fileno() < 0:
            return
        client = self._client
        try:
            more = filtered.fill()
            self._hand_over(filtered)
            while filtered.has_news_for_paho and client.socket() is not None:
                client.loop_read()
        except (OSError, ValueError, struct.error, MalformedStream) as error:
            self._lose(error)
            return
        if self._sink.full:
            self._rest(filtered)
        elif more and isinstance(filtered.real, ssl.SSLSocket):
            # Decrypted bytes wait inside the TLS layer, where the selector cannot see them.
            self._loop.call_soon(self._readable, filtered)

    def _hand_over(self, filtered: FilteredSocket) -> None:
        splitter, client = filtered.splitter, self._client
        if filtered.wants_write:
            client._call_socket_register_write()  # noqa: SLF001
        if splitter.burst:
            burst, splitter.burst = splitter.burst, []
            self._sink.put(burst)
        if splitter.acks:
            acks, splitter.acks = splitter.acks, bytearray()
            client._packet_queue(paho.PUBACK, acks, 0, 1)  # noqa: SLF001
            client.loop_write()

    def _lose(self, error: BaseException) -> None:
        self._client._loop_rc_handle(paho.MQTT_ERR_PROTOCOL)  # noqa: SLF001
        if not self._disconnected.done():
            self._disconnected.set_exception(error)

    def _rest(self, filtered: FilteredSocket) -> None:
        self._resting = True
        if filtered.fileno() >= 0:
            self._loop.remove_reader(filtered.fileno())

    def _go_on(self) -> None:
        filtered = self._filtered
        if self._resting and filtered is not None and filtered.fileno() >= 0:
            self._resting = False
            self._loop.add_reader(filtered.fileno(), self._readable, filtered)
            self._loop.call_soon(self._readable, filtered)

    async def _misc_loop(self) -> None:
        while True:
            if self._resting:
                # The broker's answer to a ping waits unread with the messages: its absence does not mean that it is gone.
                self._client._ping_t = 0.0  # noqa: SLF001
            if self._client.loop_misc() != paho.MQTT_ERR_SUCCESS:
                return
            await asyncio.sleep(MISC_INTERVAL_S)
