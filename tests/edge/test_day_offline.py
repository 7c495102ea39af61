"""A day without the network, then connected: everything arrives once, in order per device, and live data does not wait for it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.messages import BarcodeScan, Batch, Readings, Series
from edge.outbox import FILE_NAME, Group, Outbox
from tests.edge.test_uplink import ADDRESS, PROBE, Hub, Listens, Sender

MINUTES = 24 * 60
PROBES = [Series(f"cr-{number}-probe", "celsius") for number in range(10)]
PATIENCE_S = 90.0
REPLAY_PER_S = 300.0
LIVE = [-1.0 - number for number in range(10)]
"""What one probe says once connected."""


def spend_a_day_offline(path: Path, until: datetime) -> tuple[dict[str, list[float]], list[str]]:
    """Ten probes a minute and a scan every ten minutes, as the writer would have committed them; what was measured and scanned."""
    measured: dict[str, list[float]] = {probe.device: [] for probe in PROBES}
    scans = []
    start_us = int((until - timedelta(minutes=MINUTES)).timestamp() * 1e6)
    with Outbox(path, ADDRESS.agent) as outbox:
        for minute in range(MINUTES):
            values = [float(minute + number * MINUTES) for number in range(len(PROBES))]
            for probe, value in zip(PROBES, values, strict=True):
                measured[probe.device].append(value)
            column = Readings(PROBES, list(range(len(PROBES))), [start_us + minute * 60_000_000] * len(PROBES), values)
            group = Group(telemetry=[column])
            if minute % 10 == 0:
                scans.append(f"scan-{minute}")
                group.business.append(BarcodeScan("dock-1", scans[-1], until))
            outbox.commit(group, until)
    return measured, scans


def values_of(hub: Hub, device: str) -> list[float]:
    """Every value of a device at the hub, in order of first arrival, each batch once."""
    once: dict[int, Batch] = {}
    for batch in hub.batches:
        once.setdefault(batch.seq, batch)
    return [
        value
        for batch in once.values()
        for item in batch.items
        if isinstance(item, Readings)
        for which, value in zip(item.which, item.values, strict=True)
        if item.series[which].device == device
    ]


def until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError(f"not in {PATIENCE_S:g} s")


@pytest.mark.mosquitto
@pytest.mark.timeout(200)
def test_a_day_offline_arrives_once_in_order_while_live_data_goes_first(
    tmp_path: Path, mosquitto: Listens, record_property: Callable[[str, object], None]
) -> None:
    now = datetime.now(UTC)
    measured, scans = spend_a_day_offline(tmp_path / FILE_NAME, now)
    hub = Hub(mosquitto.port)
    sender = Sender(tmp_path, mosquitto.port, replay_per_s=REPLAY_PER_S)
    waits: list[float] = []
    left_behind: list[int] = []
    try:
        until(lambda: len(hub.batches) > 50)
        for value in LIVE:
            spoken = datetime.now(UTC)
            sender.reading(value)
            seq = sender.writer.last_seq
            hub.until(lambda hub, seq=seq: seq in hub.seqs())  # type: ignore[misc]
            waits.append((datetime.now(UTC) - spoken).total_seconds())
            left_behind.append(sender.writer.waiting_batches)
        sender.until_empty()
    finally:
        sender.close()
        hub.close()
    record_property("longest wait of a live reading, s", max(waits))
    assert left_behind[-1] > 0, "the backlog was still on its way when the last live reading had arrived"
    for device, values in measured.items():
        received = values_of(hub, device)
        assert [value for value in received if value >= 0] == values, "the backlog, once and in order"
        assert [value for value in received if value < 0] == (LIVE if device == PROBE.device else [])
    texts = [item.text for batch in hub.batches for item in batch.items if isinstance(item, BarcodeScan)]
    assert list(dict.fromkeys(texts)) == scans
