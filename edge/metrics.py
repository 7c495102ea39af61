"""The agent for Prometheus: GET /metrics on an address of this gateway, read by whoever may reach it, changing nothing."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from core.errors import ConfigurationError
from edge.snapshot import DeviceSnapshot, Snapshot

PREFIX: Final = "quartermaster_edge"
STOP_S: Final = 5.0
STATES: Final = ("online", "offline", "fault", "unknown")


class AgentCollector(Collector):
    """Turns a snapshot into metric families when it is asked."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Every family, of one snapshot."""
        seen = self._look()
        yield from _gauges(seen)
        yield _totals("outbox_items", "Items given up, refused or judged strays, by name", seen.health.counts)
        yield _totals("uplink_events", "What the uplink did, by name", seen.uplink)
        yield from _devices(seen.devices)
        alarms = GaugeMetricFamily(f"{PREFIX}_local_alarm", "1 while the excursion of a local limit lasts", labels=["limit"])
        for name in seen.alarms:
            alarms.add_metric([name], 1)
        yield alarms


class MetricsServer:
    """The listener; `stop` ends it."""

    def __init__(self, host: str, port: int, look: Callable[[], Snapshot]) -> None:
        """Begins to listen. Raises ConfigurationError when the address cannot be had."""
        registry = CollectorRegistry()
        registry.register(AgentCollector(look))
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigurationError(f"metrics.bind: {host}:{port} cannot be listened on: {error.strerror}") from error
        self._server: WSGIServer = server
        self._thread: threading.Thread = thread
        self.port = server.server_port

    def stop(self) -> None:
        """Listens no more; waits at most STOP_S."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_S)


def _gauges(seen: Snapshot) -> Iterable[Metric]:
    values: list[tuple[str, str, float | None]] = [
        ("connected", "1 while the broker is connected", float(seen.connected)),
        ("outbox_batches", "Batches that wait for the hub's receipt", seen.waiting_batches),
        ("outbox_bytes", "Bytes that wait for the hub's receipt", seen.waiting_bytes),
        ("clock_skew_seconds", "How far this clock is ahead of the hub's", seen.health.clock_skew_s),
        ("cpu_celsius", "Warmest thermal zone of the gateway", seen.health.cpu_celsius),
        ("disk_free_bytes", "Free on the disk of the outbox", seen.health.disk_free_bytes),
        ("resident_memory_bytes", "Memory of the agent", seen.health.memory_bytes),
    ]
    return [GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value) for name, text, value in values if value is not None]


def _totals(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["name"])
    for key, value in sorted(counts.items()):
        family.add_metric([key], value)
    return family


def _devices(devices: Iterable[DeviceSnapshot]) -> Iterator[Metric]:
    state = GaugeMetricFamily(f"{PREFIX}_device_state", "1 for the state a device is in", labels=["device", "driver", "state"])
    heard = GaugeMetricFamily(f"{PREFIX}_device_heard_timestamp_seconds", "When a device last said anything", labels=["device"])
    counts = CounterMetricFamily(f"{PREFIX}_device_events", "What a device's driver and line counted", labels=["device", "name"])
    for each in devices:
        for name in STATES:
            state.add_metric([each.name, each.driver, name], float(each.state == name))
        if each.heard_at is not None:
            heard.add_metric([each.name], each.heard_at.timestamp())
        for name, value in sorted(each.counts.items()):
            counts.add_metric([each.name, name], value)
    yield from (state, heard, counts)
