"""A full disk stops the agent for as long as it is full, costs old telemetry at most, and is told."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.messages import BarcodeScan, DeviceStatus, Item, Readings, Series, decode_batch
from edge import writer as writer_module
from edge.agent import END_SHARES
from edge.clock import Clock
from edge.outbox import FILE_NAME, Outbox
from edge.presence import Presence
from edge.reserve import FILE_SUFFIX, Reserve
from edge.shelf import Priority, Shelf
from edge.writer import MAX_STATUSES, MAX_WAITING, Reading, Writer, merged

PATIENCE_S = 30.0
NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
PROBE = Series("cr-1-probe", "celsius")
DISK_BYTES = 4 * 1024 * 1024
FAULT = DeviceStatus("depot-gateway", NOW, "fault", "disk_full")


def scan(index: int) -> BarcodeScan:
    return BarcodeScan("dock-1", f"{index:06}" + "x" * 3000, NOW)


def readings(count: int) -> Readings:
    return Readings([PROBE], [0] * count, list(range(count)), [5.0] * count)


@contextmanager
def working(open_outbox: Callable[[], Outbox]) -> Iterator[Writer]:
    stop = threading.Event()
    writer = Writer(open_outbox, Presence([]), Clock(), stop=stop)
    thread = threading.Thread(target=writer.run)
    thread.start()
    assert writer.ready.wait(PATIENCE_S)
    try:
        yield writer
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def items(path: Path, priority: Priority) -> list[Item]:
    shelf = Shelf(path)
    rows = shelf.next_batches(priority, 100_000, after=0)
    shelf.close()
    return [item for row in rows for item in decode_batch(row.payload).items]


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not what():
        assert time.monotonic() < deadline
        pause.wait(0.02)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "GROUP_COMMIT_S", 0.005)
    monkeypatch.setattr(writer_module, "COMMIT_RETRY_S", 0.05)
    monkeypatch.setattr(writer_module, "END_RATION_EVERY_S", 0.2)


@pytest.fixture
def small(tmp_path: Path) -> Callable[[], Outbox]:
    """An outbox whose file SQLite lets grow to 800 kB."""

    def open_outbox() -> Outbox:
        outbox = Outbox(tmp_path / FILE_NAME, "a")
        outbox._db.execute("PRAGMA max_page_count = 200")
        return outbox

    return open_outbox


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes of its own."""
    mount = tmp_path / "disk"
    mount.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(mount)]
    try:
        done = subprocess.run(["mount", *options], capture_output=True, text=True, timeout=10, check=False)
        reason = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError as error:
        reason = str(error)
    if reason:
        pytest.skip(f"a small tmpfs cannot be mounted, so NO REALLY FULL DISK WAS TRIED (needs root): {reason}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True, timeout=10)


def fill_file(path: Path) -> None:
    """Takes what the disk has left."""
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                return


def fill(writer: Writer, wait_s: float = 1.0) -> list[BarcodeScan]:
    """Scans until one finds no room; that one and all before it."""
    sent = []
    for index in range(1000):
        sent.append(scan(index))
        if not writer.deliver([sent[-1]]).wait(wait_s):
            return sent
    raise AssertionError("the disk never becomes full")


def test_receipts_free_a_full_disk_and_what_waited_is_committed(tmp_path: Path, small: Callable[[], Outbox]) -> None:
    with working(small) as writer:
        sent = fill(writer)
        assert writer.trouble.startswith("disk_full")
        last_seq = writer.last_seq
        assert writer.free([(1, last_seq)]).wait(PATIENCE_S)
        until(lambda: writer.last_seq > last_seq)
        assert writer.deliver([scan(7777)]).wait(PATIENCE_S)
        until(lambda: not writer.trouble)
    kept = [item for item in items(tmp_path / FILE_NAME, Priority.BUSINESS) if isinstance(item, BarcodeScan)]
    assert kept == [sent[-1], scan(7777)]


def test_neither_receipts_nor_statuses_wait_behind_a_full_inbox(small: Callable[[], Outbox]) -> None:
    with working(small) as writer:
        fill(writer)
        for index in range(MAX_WAITING):
            writer._inbox.put_nowait(writer_module._Entry([Reading(PROBE, NOW, float(index))]))
        began = time.monotonic()
        for _ in range(MAX_STATUSES + 5):
            writer.tell(FAULT)
        ticket = writer.free([(1, writer.last_seq)])
        assert time.monotonic() - began < 1.0
        assert ticket.wait(PATIENCE_S)
        assert writer.deliver([scan(1)]).wait(PATIENCE_S)


def test_telemetry_makes_room_for_business_facts_and_is_counted(tmp_path: Path, small: Callable[[], Outbox]) -> None:
    with small() as outbox:
        for _ in range(60):
            outbox.append([readings(200)], Priority.TELEMETRY, NOW)
    with working(small) as writer:
        sent = fill(writer, wait_s=3.0)
        assert writer.losses["dropped_batches"] == 60
        assert writer.losses["dropped_items"] == 60 * 200
        last_seq = writer.last_seq
        writer.free([(61, 70)])
        until(lambda: writer.last_seq > last_seq)
    kept = [item for item in items(tmp_path / FILE_NAME, Priority.BUSINESS) if isinstance(item, BarcodeScan)]
    assert kept == sent[10:]
    assert items(tmp_path / FILE_NAME, Priority.TELEMETRY) == []


def test_new_telemetry_does_not_hold_up_a_business_fact(small: Callable[[], Outbox]) -> None:
    with working(small) as writer:
        fill(writer)
        writer.free([(1, 1)])
        for index in range(50):
            for at in range(200):
                writer.deliver([Reading(PROBE, datetime.fromtimestamp(index * 200 + at, UTC), 5.0)])
        writer.free([(2, 20)])
        assert writer.deliver([scan(1)]).wait(PATIENCE_S)


def test_a_really_full_disk_is_emptied_by_receipts_and_told(disk: Path) -> None:
    path = disk / FILE_NAME
    with working(lambda: Outbox(path, "a", reserve_bytes=512 * 1024)) as writer:
        sent = fill(writer)
        assert writer.trouble.startswith("disk_full")
        assert not path.with_name(path.name + FILE_SUFFIX).exists()
        writer.tell(FAULT)
        until(lambda: FAULT in items(path, Priority.BUSINESS))
        last_seq = writer.last_seq
        assert writer.free([(1, last_seq)]).wait(PATIENCE_S)
        until(lambda: sent[-1] in items(path, Priority.BUSINESS))
        for index in range(200):
            assert writer.deliver([scan(index)]).wait(PATIENCE_S)
            writer.free([(1, writer.last_seq)])
    with Outbox(path, "a", reserve_bytes=512 * 1024) as outbox:
        assert outbox.recovered_from is None


def test_a_disk_filled_by_others_is_survived_and_the_reserve_comes_back(disk: Path) -> None:
    path = disk / FILE_NAME
    with working(lambda: Outbox(path, "a", reserve_bytes=512 * 1024)) as writer:
        for index in range(50):
            assert writer.deliver([scan(index), Reading(PROBE, datetime.fromtimestamp(index, UTC), 5.0)]).wait(PATIENCE_S)
        other = disk / "other.log"
        fill_file(other)
        fill(writer)
        assert writer.losses["dropped_batches"] > 0
        assert writer.trouble.startswith("disk_full")
        other.unlink()
        until(lambda: not writer.trouble)
        assert path.with_name(path.name + FILE_SUFFIX).stat().st_size == 512 * 1024
        assert writer.deliver([scan(1)]).wait(PATIENCE_S)


def test_an_outbox_opens_on_a_disk_that_has_nothing_left(disk: Path) -> None:
    path = disk / FILE_NAME
    with Outbox(path, "a", reserve_bytes=512 * 1024) as outbox:
        for index in range(20):
            outbox.append([scan(index)], Priority.BUSINESS, NOW)
    fill_file(disk / "other.log")
    with Outbox(path, "a", reserve_bytes=512 * 1024) as outbox:
        outbox.ration()
        assert outbox.free_rationed([(1, 20)], NOW) == 20
        assert outbox.append([scan(20)], Priority.BUSINESS, NOW) == 21


def test_on_short_rations_the_file_does_not_grow_into_the_reserve(tmp_path: Path) -> None:
    with Outbox(tmp_path / FILE_NAME, "a") as outbox:
        outbox.ration()
        with pytest.raises(sqlite3.OperationalError, match="full"):
            outbox.append([scan(index) for index in range(100)], Priority.BUSINESS, NOW)
        assert outbox.commit_urgent([FAULT], NOW) == [1]
        assert outbox.is_rationed
        assert outbox.end_ration()
        assert outbox.append([scan(index) for index in range(100)], Priority.BUSINESS, NOW) >= 2


def test_a_reserve_the_disk_has_not_got_is_not_kept(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / FILE_NAME, 2**60)
    assert not reserve.keep()
    assert not reserve.path.exists()


def test_ranges_are_merged() -> None:
    assert merged([(5, 6), (1, 2), (3, 3), (6, 9), (20, 10), (12, 12)]) == [(1, 3), (5, 9), (12, 12)]


AGENT = """
[agent]
site = "depot"
name = "depot-gateway"
state_dir = "{state}"
[uplink]
url = "mqtt://127.0.0.1:1"
"""
CHILD = """
import signal, sys, threading
from pathlib import Path
from core.messages import BarcodeScan
from datetime import UTC, datetime
import tomllib
from edge.agent import Agent
from edge.settings import parse_settings
agent = Agent(parse_settings(tomllib.loads(Path(sys.argv[1]).read_text()), {}))
signal.signal(signal.SIGTERM, lambda *_: agent.stop())
def flood():
    agent.writer.ready.wait()
    while True:
        agent.writer.deliver([BarcodeScan("dock-1", "x" * 3000, datetime.now(UTC))])
def watch():
    while not agent.writer._inbox.full():
        threading.Event().wait(0.05)
    print("wedged", flush=True)
for work in (flood, watch):
    threading.Thread(target=work, daemon=True).start()
sys.exit(agent.run())
"""


@pytest.mark.processes
def test_an_agent_on_a_full_disk_with_a_full_inbox_still_obeys_sigterm(tmp_path: Path, disk: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(AGENT.format(state=disk))
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "env": {**os.environ}}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(config)], **options)
    assert child.stdout is not None
    assert child.stdout.readline() == "wedged\n"
    child.send_signal(signal.SIGTERM)
    try:
        assert child.wait(sum(END_SHARES.values()) + 5.0) == 0
    finally:
        child.kill()
        child.stdout.close()
