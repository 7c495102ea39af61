"""Agents under load: a closed loop over raw sockets. Each keeps a bounded window of batches that are not receipted yet.

All packets are made before the clock starts, so that the generator takes as little of the machine as it can.
"""

import json
import selectors
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.messages import Batch, Readings, Series, decode_receipt, encode
from core.topics import AgentAddress
from hub.adapters.mqtt_burst import PacketSplitter
from hub.domain.reading_block import ReadingBlock

SITE: Final = "bench"
CONNACK_BYTES: Final = 4
QUIET_S: Final = 30.0


@dataclass(frozen=True)
class Load:
    """How much is sent, and how it is cut."""

    agents: int
    devices: int  # of each agent, two series a device
    messages: int  # of each agent
    readings: int  # in a message
    window: int  # messages of each agent without receipt
    start_us: int  # event time of the first reading
    boot: str

    @property
    def total(self) -> int:
        """Readings in all."""
        return self.agents * self.messages * self.readings

    def address(self, agent: int) -> AgentAddress:
        """Name of one agent."""
        return AgentAddress(SITE, f"agent-{agent}")

    def device(self, agent: int, number: int) -> str:
        """Name of one device."""
        return f"probe-{agent}-{number}"

    def series(self, agent: int) -> list[Series]:
        """All series of one agent."""
        quantities = ("celsius", "humidity_percent")
        return [Series(self.device(agent, n), quantity) for n in range(self.devices) for quantity in quantities]  # type: ignore[arg-type]

    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """The series (index), time offset in microseconds and value of every reading of one agent, in order of sending."""
        count = self.messages * self.readings
        which = np.arange(count) % (2 * self.devices)
        at_us = self.start_us + (np.arange(count) // (2 * self.devices)) * 1_000_000
        values = np.round(5.0 + 2.0 * np.sin(np.arange(count) / 500.0), 2)
        values[which % 2 == 1] += 40.0
        return which, at_us, values

    def packets(self, agent: int) -> list[bytes]:
        """Every message of one agent as a PUBLISH packet with QoS 1."""
        which, at_us, values = (each.tolist() for each in self.columns())
        series = self.series(agent)
        sent_at = _moment(self.start_us)
        topic = self.address(agent).up.encode()
        made = []
        for number in range(self.messages):
            cut = slice(number * self.readings, (number + 1) * self.readings)
            used = sorted(set(which[cut])) if self.readings < len(series) else list(range(len(series)))
            place = {each: index for index, each in enumerate(used)}
            item = Readings([series[each] for each in used], [place[each] for each in which[cut]], at_us[cut], values[cut])
            payload = encode(Batch(f"agent-{agent}", self.boot, number + 1, sent_at, [item]))
            made.append(_publish(topic, number % 65_535 + 1, payload))
        return made

    def block(self, numbers: dict[tuple[str, str], int]) -> ReadingBlock:
        """All readings with the numbers their series have in the table, message by message, the agents taking turns."""
        which, at_us, values = self.columns()
        parts = []
        for agent in range(self.agents):
            ids = np.array([numbers[each.device, each.quantity] for each in self.series(agent)], dtype=np.int32)
            parts.append(ids[which].reshape(self.messages, self.readings))
        series_id = np.stack(parts, axis=1).reshape(-1)
        shape = (self.messages, self.readings)
        at_turns = np.repeat(at_us.reshape(shape)[:, None, :], self.agents, axis=1).reshape(-1)
        value_turns = np.repeat(values.reshape(shape)[:, None, :], self.agents, axis=1).reshape(-1)
        return ReadingBlock(series_id, at_turns, value_turns)


def _moment(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def _length(size: int) -> bytes:
    encoded = bytearray()
    while True:
        size, low = divmod(size, 128)
        encoded.append(low | (128 if size else 0))
        if not size:
            return bytes(encoded)


def _publish(topic: bytes, packet_id: int, payload: bytes) -> bytes:
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", packet_id) + payload
    return b"\x32" + _length(len(body)) + body


def _connect(client_id: bytes) -> bytes:
    body = b"\x00\x04MQTT\x04\x02" + struct.pack("!H", 120) + struct.pack("!H", len(client_id)) + client_id
    return b"\x10" + _length(len(body)) + body


def _subscribe(topic: bytes) -> bytes:
    body = b"\x00\x01" + struct.pack("!H", len(topic)) + topic + b"\x00"
    return b"\x82" + _length(len(body)) + body


@dataclass
class _Agent:
    connection: socket.socket
    packets: deque[bytes]
    window: int
    splitter: PacketSplitter = field(default_factory=PacketSplitter)
    out: bytearray = field(default_factory=bytearray)
    open: int = 0
    receipted: int = 0

    def fill_window(self) -> None:
        while self.open < self.window and self.packets:
            self.out += self.packets.popleft()
            self.open += 1

    def take(self, data: bytes) -> None:
        self.splitter.feed(data)
        self.splitter.rest.clear()
        for message in self.splitter.burst:
            done = sum(last - first + 1 for first, last in decode_receipt(message.payload).committed)
            self.open -= done
            self.receipted += done
        self.splitter.burst.clear()


def _open_all(load: Load, port: int) -> Iterator[_Agent]:
    for number in range(load.agents):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(_connect(f"bench-{load.boot}-{number}".encode()))
        if len(connection.recv(CONNACK_BYTES, socket.MSG_WAITALL)) != CONNACK_BYTES:
            raise RuntimeError("the broker refused an agent")
        connection.sendall(_subscribe(load.address(number).receipt.encode()))
        connection.recv(5, socket.MSG_WAITALL)
        connection.setblocking(False)
        yield _Agent(connection, deque(load.packets(number)), load.window)


def send_all(load: Load, port: int) -> float:
    """Sends everything and returns the seconds from the first packet to the last receipt."""
    agents = list(_open_all(load, port))
    with selectors.DefaultSelector() as selector:
        for agent in agents:
            selector.register(agent.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, agent)
        began = time.perf_counter()
        waiting = load.agents * load.messages
        heard = began
        while waiting:
            for key, events in selector.select(1.0):
                agent = key.data
                if events & selectors.EVENT_READ:
                    before = agent.receipted
                    agent.take(agent.connection.recv(262_144))
                    waiting -= agent.receipted - before
                    heard = time.perf_counter()
                agent.fill_window()
                if agent.out:
                    try:
                        sent = agent.connection.send(agent.out)
                        del agent.out[:sent]
                    except BlockingIOError:
                        pass
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if agent.out else 0)
                if key.events != wanted:
                    selector.modify(agent.connection, wanted, agent)
            if time.perf_counter() - heard > QUIET_S:
                raise RuntimeError(f"{waiting} batches have no receipt after {QUIET_S:g} s of silence")
        elapsed = time.perf_counter() - began
    for agent in agents:
        agent.connection.close()
    return elapsed


def main() -> None:
    """One load as a process of its own: settings as JSON in, seconds as JSON out."""
    asked = json.loads(sys.argv[1])
    port = asked.pop("port")
    sys.stdout.write(json.dumps({"elapsed_s": send_all(Load(**asked), port)}))


if __name__ == "__main__":
    main()
