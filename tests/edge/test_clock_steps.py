"""A clock that is set back or on loses no passage, makes none twice and is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.messages import DeviceStatus, Item, Readings, Series, TagPassage, decode_batch
from core.timescale import TimeScale
from edge.agent import Agent
from edge.clock import STEP_S, Clock
from edge.drivers.observations import TagRead
from edge.outbox import FILE_NAME, Outbox
from edge.presence import PortalRule, Presence
from edge.settings import parse_settings
from edge.shelf import Priority, Shelf
from edge.writer import PortalRead, Reading, Writer

PATIENCE_S = 20.0
START = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DOCK = PortalRule("dock-1", absent_after_s=2.0, min_reads=2)
A, B = "3034000000000000000000AA", "3034000000000000000000BB"
PROBE = Series("cr-1-probe", "celsius")


class Machine:
    """A wall clock that can be set, beside a steady one."""

    def __init__(self) -> None:
        self.real_s = 0.0
        self.set_by = timedelta()
        self.clock = Clock(wall=self.wall, steady=lambda: self.real_s)

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.real_s) + self.set_by


def test_a_clock_that_only_runs_never_steps() -> None:
    machine = Machine()
    for _ in range(1000):
        machine.real_s += 10.0
        machine.set_by += timedelta(seconds=STEP_S / 1001)  # slewed
        machine.clock.now()
    assert (machine.clock.steps, machine.clock.instant().shift) == (0, timedelta())


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0, -1.0, 1_700_000_000.0])
def test_a_clock_that_is_set_steps_once_by_its_size(by_s: float) -> None:
    machine = Machine()
    machine.set_by = timedelta(seconds=by_s)
    machine.real_s = 5.0
    assert machine.clock.now() == START + timedelta(seconds=by_s + 5)
    assert machine.clock.instant().shift == timedelta(seconds=by_s)
    assert (machine.clock.steps, machine.clock.last_step_s) == (1, by_s)


def test_a_step_is_measured_in_the_time_of_the_story() -> None:
    machine = Machine()
    clock = Clock(TimeScale(START, START, 60.0), wall=machine.wall, steady=lambda: machine.real_s)
    machine.set_by = timedelta(seconds=-10)
    assert (clock.instant().shift, clock.last_step_s) == (timedelta(seconds=-600), -600.0)


def test_a_thread_held_up_between_two_readings_sees_no_step() -> None:
    machine = Machine()

    def slow_wall() -> datetime:
        machine.real_s += 3.0
        return machine.wall()

    clock = Clock(wall=slow_wall, steady=lambda: machine.real_s)
    for _ in range(5):
        clock.now()
    assert clock.steps == 0


def read(epc: str, at: datetime) -> TagRead:
    return TagRead(epc, 1, -50.0, at)


@given(
    st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 40_000)), min_size=1, max_size=40),
    st.integers(0, 40),
    st.timedeltas(timedelta(days=-9000), timedelta(days=9000)),
)
def test_the_passages_are_the_same_whenever_and_however_far_the_clock_is_set(
    rows: list[tuple[str, int]], step_at: int, by: timedelta
) -> None:
    steady, stepped = Presence([DOCK]), Presence([DOCK])
    moved = timedelta()
    expected: list[TagPassage] = []
    found: list[TagPassage] = []
    for index, (epc, ms) in enumerate(sorted(rows, key=lambda row: row[1])):
        if index == step_at:
            stepped.step(by)
            moved = by
        at = START + timedelta(milliseconds=ms)
        expected += steady.offer("dock-1", read(epc, at))
        found += stepped.offer("dock-1", read(epc, at + moved))
    end = START + timedelta(seconds=100)
    expected += steady.tick(end)
    found += stepped.tick(end + moved)
    assert [(each.epc, each.reads, each.last_seen - each.first_seen, each.direction) for each in found] == [
        (each.epc, each.reads, each.last_seen - each.first_seen, each.direction) for each in expected
    ]


@contextmanager
def working(path: Path, clock: Clock) -> Iterator[Writer]:
    stop = threading.Event()
    writer = Writer(lambda: Outbox(path, "a"), Presence([DOCK]), clock, stop=stop)
    thread = threading.Thread(target=writer.run)
    thread.start()
    assert writer.ready.wait(PATIENCE_S)
    try:
        yield writer
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def items(path: Path) -> list[Item]:
    shelf = Shelf(path)
    rows = [row for priority in Priority for row in shelf.next_batches(priority, 10_000, after=0)]
    shelf.close()
    return [item for row in rows for item in decode_batch(row.payload).items]


@pytest.mark.parametrize("by", [-HOUR, HOUR])
def test_a_step_while_a_pallet_passes_gives_each_tag_one_passage_at_once(tmp_path: Path, by: timedelta) -> None:
    machine = Machine()
    path = tmp_path / FILE_NAME
    with working(path, machine.clock) as writer:

        def pass_by(epc: str, times: int) -> None:
            for _ in range(times):
                machine.real_s += 0.2
                now = machine.clock.instant()
                assert writer.deliver([PortalRead("dock-1", read(epc, now.at), now.shift)]).wait(PATIENCE_S)

        pass_by(A, 3)
        before = machine.clock.instant()
        machine.set_by = by
        # A read stamped before the step that reaches the writer after it.
        assert writer.deliver([PortalRead("dock-1", read(A, before.at), before.shift)]).wait(PATIENCE_S)
        pass_by(A, 3)
        pass_by(B, 3)
        machine.real_s += 10.0
        assert writer.deliver([]).wait(PATIENCE_S)
        pass_by(A, 3)  # the pallet comes back
        machine.real_s += 10.0
        assert writer.deliver([]).wait(PATIENCE_S)
        assert writer.losses.get("late_reads", 0) == 0
    passages = [item for item in items(path) if isinstance(item, TagPassage)]
    assert [(each.epc, each.reads) for each in passages] == [(A, 7), (B, 3), (A, 3)]
    assert passages[0].first_seen == START + timedelta(seconds=0.2) + by
    assert passages[0].group == passages[1].group != passages[2].group


@pytest.mark.parametrize("by", [-HOUR, HOUR])
def test_a_series_goes_on_in_the_new_time_and_never_has_two_readings_at_one_moment(tmp_path: Path, by: timedelta) -> None:
    machine = Machine()
    path = tmp_path / FILE_NAME
    with working(path, machine.clock) as writer:
        for index in range(8):
            if index == 4:
                machine.set_by = by
            machine.real_s += 30.0
            assert writer.deliver([Reading(PROBE, machine.clock.now(), 5.0)]).wait(PATIENCE_S)
    at_us = [at for item in items(path) if isinstance(item, Readings) for at in item.at_us]
    gaps = [(later - earlier) / 1e6 for earlier, later in pairwise(at_us)]
    assert gaps == [30.0] * 3 + [30.0 + by.total_seconds()] + [30.0] * 3


def test_a_clock_that_is_set_is_a_fault_of_the_agent_with_its_size(tmp_path: Path) -> None:
    document = {
        "agent": {"site": "depot", "name": "depot-gateway", "state_dir": str(tmp_path)},
        "uplink": {"url": "mqtt://127.0.0.1:1"},
    }
    agent = Agent(parse_settings(document, {}))
    told: list[DeviceStatus] = []
    news = threading.Event()

    def tell(status: DeviceStatus) -> None:
        told.append(status)
        if status.state == "fault":
            news.set()

    agent.writer.tell = tell  # type: ignore[method-assign]
    thread = threading.Thread(target=agent.run)
    thread.start()
    assert agent.writer.ready.wait(PATIENCE_S)
    agent.clock._wall = lambda: datetime.now(UTC) - HOUR
    assert news.wait(PATIENCE_S)
    agent.stop()
    thread.join(PATIENCE_S)
    assert told[-1].detail == "clock_step: the clock was set back by 3600.0 s"
    assert told[-1].counts["clock_steps"] == 1
