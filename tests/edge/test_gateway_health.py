"""What a gateway tells of itself: skew, vitals, and metrics that Prometheus can read."""

import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.errors import ConfigurationError
from core.messages import AgentHealth
from core.timescale import TimeScale
from edge.clock import Clock
from edge.metrics import MetricsServer
from edge.skew import FEWEST, LIMIT_S, Skew
from edge.snapshot import DeviceSnapshot, Snapshot
from edge.vitals import cpu_celsius, disk_free_bytes, memory_bytes

T = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


class Watch:
    """A wall clock and a steady one, set by the test."""

    def __init__(self) -> None:
        self.wall, self.steady = T, 0.0

    def clock(self, scale: TimeScale | None = None) -> Clock:
        return Clock(*([scale] if scale else []), wall=lambda: self.wall, steady=lambda: self.steady)


def test_the_median_of_a_few_receipts_is_the_skew_and_one_that_was_long_on_its_way_counts_little() -> None:
    skew = Skew(Watch().clock())
    for late_s in (0.02, 9.0, 0.04):
        assert skew.seconds is None
        skew.learn(T - timedelta(seconds=late_s))
    assert skew.seconds == 0.04
    assert not skew.is_too_large


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clock_off_by_more_than_the_limit_is_flagged(sign: int) -> None:
    skew = Skew(Watch().clock())
    for _ in range(FEWEST):
        skew.learn(T - timedelta(seconds=sign * (LIMIT_S + 1)))
    assert skew.seconds == sign * (LIMIT_S + 1)
    assert skew.is_too_large


def test_a_clock_that_was_set_is_judged_anew() -> None:
    watch = Watch()
    skew = Skew(watch.clock())
    for _ in range(FEWEST):
        skew.learn(T + timedelta(hours=1))
    assert skew.is_too_large
    watch.wall = T + timedelta(hours=1)
    skew.learn(T + timedelta(hours=1))
    assert not skew.is_too_large


def test_a_receipt_of_a_hub_that_tells_no_time_teaches_nothing() -> None:
    skew = Skew(Watch().clock())
    for _ in range(9):
        skew.learn(None)
    assert skew.seconds is None


def test_vitals_are_read_or_unknown(tmp_path: Path) -> None:
    for name, text in (("thermal_zone0", "41500\n"), ("thermal_zone1", "nonsense"), ("thermal_zone2", "38000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "temp").write_text(text)
    assert cpu_celsius(tmp_path) == 41.5
    assert cpu_celsius(tmp_path / "nothing") is None
    assert (disk_free_bytes(tmp_path) or 0) > 0
    assert disk_free_bytes(tmp_path / "nothing") is None
    assert (memory_bytes() or 0) > 1_000_000
    assert memory_bytes(tmp_path / "nothing") is None


SEEN = Snapshot(
    health=AgentHealth(cpu_celsius=41.5, disk_free_bytes=10**9, clock_skew_s=None, counts={"strays": 3}),
    connected=True,
    waiting_batches=7,
    waiting_bytes=4096,
    uplink={"sent": 12},
    devices=(
        DeviceSnapshot("cr-1-probe", "xymd02", "fault", T, {"bad_crc": 2}),
        DeviceSnapshot("new", "r200", "unknown", None, {}),
    ),
    alarms=("cr-1-warm",),
)


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    made = MetricsServer("127.0.0.1", 0, lambda: SEEN)
    yield made
    made.stop()


def test_prometheus_reads_every_figure(server: MetricsServer) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = {
        (sample.name.removeprefix("quartermaster_edge_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found[("connected",)] == 1
    assert found[("outbox_batches",)] == 7
    assert found[("cpu_celsius",)] == 41.5
    assert found[("outbox_items_total", "strays")] == 3
    assert found[("uplink_events_total", "sent")] == 12
    assert found[("device_state", "cr-1-probe", "fault", "xymd02")] == 1
    assert found[("device_state", "cr-1-probe", "online", "xymd02")] == 0
    assert found[("device_heard_timestamp_seconds", "cr-1-probe")] == T.timestamp()
    assert found[("device_events_total", "bad_crc", "cr-1-probe")] == 2
    assert found[("local_alarm", "cr-1-warm")] == 1
    assert ("clock_skew_seconds",) not in found, "what is not known is not told as a number"


def test_an_address_that_is_taken_is_refused_with_its_setting(server: MetricsServer) -> None:
    with pytest.raises(ConfigurationError, match=rf"metrics.bind: 127.0.0.1:{server.port} cannot be listened on"):
        MetricsServer("127.0.0.1", server.port, lambda: SEEN)
