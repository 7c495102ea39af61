"""How many messages a second go from a device through the agent's outbox to the broker, beside a bare publisher of the same."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from core.messages import BarcodeScan, Receipt, decode_batch, encode
from core.topics import AgentAddress
from tests.benchmarks import servers
from tests.benchmarks.ingest import Figure

ADDRESS: Final = AgentAddress("bench", "gateway")
MESSAGES: Final = 40_000
ROUNDS: Final = 3
PATIENCE_S: Final = 120.0
AIM_PER_S: Final = 5_000
AIM_PEAK_MEMORY_MB: Final = 80


class Hub:
    """Counts what arrives on the agent's topic and receipts it."""

    def __init__(self, port: int) -> None:
        self.texts: set[str] = set()
        self.messages = 0
        self.news = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-hub", protocol=mqtt.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe(ADDRESS.up, 1)
        self._client.on_message = lambda _client, _data, message: self._take(bytes(message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, payload: bytes) -> None:
        batch = decode_batch(payload)
        with self.news:
            self.texts.update(item.text for item in batch.items if isinstance(item, BarcodeScan))
            self.messages += 1
            self.news.notify_all()
        self._client.publish(ADDRESS.receipt, encode(Receipt(batch.boot, [(batch.seq, batch.seq)])), qos=1)

    def until(self, count: int) -> None:
        """Waits for so many scans. Raises RuntimeError when they do not come."""
        with self.news:
            if not self.news.wait_for(lambda: len(self.texts) >= count, PATIENCE_S):
                raise RuntimeError(f"{len(self.texts)} of {count} scans arrived in {PATIENCE_S:g} s")

    def close(self) -> None:
        """Leaves the broker."""
        self._client.disconnect()
        self._client.loop_stop()


class Scanner:
    """A scanner behind a serial server that scans as fast as it is read."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._connected = threading.Event()
        self._connection: socket.socket | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        self._connection, _ = self._server.accept()
        self._connected.set()

    def scan(self, first: int, count: int) -> None:
        """Sends so many scans, each with a number of its own."""
        if not self._connected.wait(PATIENCE_S) or self._connection is None:
            raise RuntimeError("the agent did not open the scanner's port")
        self._connection.sendall(b"".join(b"]C10106901234567892\x1d21%08d\r" % number for number in range(first, first + count)))

    def close(self) -> None:
        """Pulls the plug."""
        if self._connection is not None:
            self._connection.close()
        self._server.close()


@contextmanager
def _agent(folder: Path, broker_port: int, scanner_port: int) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "agent.toml"
    config.write_text(
        f'[agent]\nsite = "bench"\nname = "gateway"\nstate_dir = "{folder / "state"}"\n'
        f'[uplink]\nurl = "mqtt://127.0.0.1:{broker_port}"\n'
        f'[[devices]]\nname = "scanner"\ndriver = "barcode"\nport = "socket://127.0.0.1:{scanner_port}"\nread_point = "dock-1"\n'
    )
    with (folder / "agent.log").open("wb") as log:
        command = [sys.executable, "-m", "edge", "--config", str(config)]
        process = subprocess.Popen(command, cwd=servers.REPOSITORY, stdout=log, stderr=log, env={**os.environ})
        try:
            yield process
        finally:
            servers.stop(process)


def run() -> Iterator[Figure]:
    """The figures. Raises RuntimeError when anything is lost or doubled."""
    with (
        tempfile.TemporaryDirectory(prefix="qm-bench-edge-") as folder,
        servers.mosquitto(max_inflight=0) as broker_port,
    ):
        hub, scanner = Hub(broker_port), Scanner()
        with _agent(Path(folder), broker_port, scanner.port) as process:
            scanner.scan(0, 100)
            hub.until(100)
            rates = [_round(hub, scanner, 100 + number * MESSAGES) for number in range(ROUNDS)]
            peak_mb = servers.peak_memory_mb(process)
        hub.close()
        scanner.close()
        bare = sorted(_bare(broker_port) for _ in range(ROUNDS))[ROUNDS // 2]
    rate = sorted(rates)[ROUNDS // 2]
    name = "messages from a device through the outbox to the broker"
    yield Figure(name, rate, "messages/s", "bare publisher, QoS 1", bare, AIM_PER_S)
    yield Figure("peak memory of the agent", peak_mb, "MB", "limit", AIM_PEAK_MEMORY_MB, AIM_PEAK_MEMORY_MB, at_most=True)


def _round(hub: Hub, scanner: Scanner, first: int) -> float:
    began = time.monotonic()
    scanner.scan(first, MESSAGES)
    hub.until(first + MESSAGES)
    rate = MESSAGES / (time.monotonic() - began)
    sys.stderr.write(f"  outbox: {rate:,.0f} messages/s, all {MESSAGES:,} there once in {hub.messages:,} batches so far\n")
    return rate


def _bare(port: int) -> float:
    """The same messages published one by one, acknowledged by the broker and kept nowhere."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-bare", protocol=mqtt.MQTTv311)
    client.max_inflight_messages_set(200)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    began = time.monotonic()
    infos = [client.publish("bench/bare", b"]C10106901234567892\x1d21%08d" % number, qos=1) for number in range(MESSAGES)]
    for info in infos:
        info.wait_for_publish(PATIENCE_S)
    rate = MESSAGES / (time.monotonic() - began)
    client.disconnect()
    client.loop_stop()
    return rate
