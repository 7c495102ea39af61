"""Deliveries are committed in groups; the ticket is redeemed after, never before."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.messages import BarcodeScan, Item, Readings, Series, TagPassage, decode_batch
from core.timescale import TimeScale
from edge.clock import Clock
from edge.drivers.observations import TagRead
from edge.health import COUNTS_GAP_S, STATE_GAP_S, Health
from edge.outbox import FILE_NAME, MAX_BATCH_FACTS, Group, Outbox
from edge.presence import PortalRule, Presence
from edge.shelf import Priority, Shelf
from edge.writer import SERIES_STEP_BACK_US, PortalRead, Reading, Writer

PATIENCE_S = 20.0
NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
PROBE = Series("cr-1-probe", "celsius")
DOCK = PortalRule("dock-1", absent_after_s=60.0, min_reads=2)
EPC = "3034257BF7194E4000001A85"


class Stubborn(Outbox):
    """A real outbox on a disk that refuses the first commits."""

    refusals = 2

    def commit(self, group: Group, now: datetime) -> list[int]:
        if self.refusals:
            self.refusals -= 1
            raise sqlite3.OperationalError("database or disk is full")
        return super().commit(group, now)


@contextmanager
def working(path: Path, clock: Clock | None = None, kind: type[Outbox] = Outbox) -> Iterator[Writer]:
    stop = threading.Event()
    writer = Writer(lambda: kind(path, "a"), Presence([DOCK]), clock or Clock(), stop=stop)
    thread = threading.Thread(target=writer.run)
    thread.start()
    assert writer.ready.wait(PATIENCE_S)
    yield writer
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


def items(path: Path, priority: Priority) -> list[Item]:
    shelf = Shelf(path)
    rows = shelf.next_batches(priority, 10_000, after=0)
    shelf.close()
    return [item for row in rows for item in decode_batch(row.payload).items]


def test_a_redeemed_ticket_means_committed(path: Path) -> None:
    with working(path) as writer:
        assert writer.deliver([BarcodeScan("dock-1", "A", NOW)]).wait(PATIENCE_S)
        assert items(path, Priority.BUSINESS) == [BarcodeScan("dock-1", "A", NOW)]


def test_many_deliveries_become_few_batches_in_columns(path: Path) -> None:
    with working(path) as writer:
        tickets = [writer.deliver([Reading(PROBE, NOW + timedelta(seconds=index), 5.0)]) for index in range(500)]
        assert all(ticket.wait(PATIENCE_S) for ticket in tickets)
        assert writer.last_seq < 50
    columns = [item for item in items(path, Priority.TELEMETRY) if isinstance(item, Readings)]
    assert sum(len(column.values) for column in columns) == 500
    assert max(len(column.values) for column in columns) <= MAX_BATCH_FACTS


def test_a_series_never_has_two_readings_at_one_moment(path: Path) -> None:
    with working(path) as writer:
        writer.deliver([Reading(PROBE, NOW, 1.0), Reading(PROBE, NOW, 2.0), Reading(PROBE, NOW - timedelta(seconds=1), 3.0)])
        set_back = NOW - timedelta(microseconds=SERIES_STEP_BACK_US * 2)
        writer.deliver([Reading(Series("other", "celsius"), NOW, 4.0), Reading(PROBE, set_back, 5.0)]).wait(PATIENCE_S)
    columns = [item for item in items(path, Priority.TELEMETRY) if isinstance(item, Readings)]
    stamped = [
        (column.series[which].device, at) for column in columns for which, at in zip(column.which, column.at_us, strict=True)
    ]
    assert len(set(stamped)) == 5
    first = stamped[0][1]
    assert [at - first for device, at in stamped if device == "cr-1-probe"] == [0, 1, 2, -SERIES_STEP_BACK_US * 2]


def test_a_full_disk_makes_the_device_wait_and_loses_nothing(path: Path) -> None:
    with working(path, kind=Stubborn) as writer:
        ticket = writer.deliver([BarcodeScan("dock-1", "A", NOW)])
        assert not ticket.is_safe
        assert ticket.wait(PATIENCE_S)
    assert items(path, Priority.BUSINESS) == [BarcodeScan("dock-1", "A", NOW)]


def test_a_tag_in_the_gate_when_the_agent_ends_is_one_passage_of_the_next(path: Path) -> None:
    start = datetime.now(UTC)

    def clock(seconds: float) -> Clock:
        return Clock(TimeScale(start, start + timedelta(seconds=seconds), 1.0))

    with working(path, clock(0)) as writer:
        for index in range(3):
            writer.deliver([PortalRead("dock-1", TagRead(EPC, 1, -50.0, start + timedelta(milliseconds=index)))])
    assert items(path, Priority.BUSINESS) == []
    with working(path, clock(7200)) as writer:
        assert writer.deliver([BarcodeScan("dock-1", "later", NOW)]).wait(PATIENCE_S)
    for _ in range(2):
        (passage,) = [item for item in items(path, Priority.BUSINESS) if isinstance(item, TagPassage)]
        assert (passage.epc, passage.reads, passage.first_seen) == (EPC, 3, start)
        with working(path, clock(9000)) as writer:
            assert writer.deliver([]).wait(PATIENCE_S)


def test_a_device_that_flaps_is_told_as_it_stands_and_not_in_a_flood() -> None:
    health = Health("probe")
    assert health.due({}, NOW, real_s=0.0) is None
    health.note("online")
    told = health.due({"opened": 1}, NOW, real_s=0.0)
    assert told is not None
    assert (told.state, told.counts) == ("online", {"opened": 1})
    health.note("offline", "x" * 5000)
    assert health.due({"opened": 1}, NOW, real_s=STATE_GAP_S - 0.1) is None
    health.note("online")
    assert health.due({"opened": 1}, NOW, real_s=STATE_GAP_S) is None
    assert health.due({"opened": 2}, NOW, real_s=COUNTS_GAP_S - 0.1) is None
    told = health.due({"opened": 2}, NOW, real_s=COUNTS_GAP_S)
    assert told is not None
    assert told.counts == {"opened": 2}
    health.note("fault", "y" * 5000)
    told = health.due({"opened": 2}, NOW, real_s=COUNTS_GAP_S * 2)
    assert told is not None
    assert (told.state, len(told.detail)) == ("fault", 1000)
