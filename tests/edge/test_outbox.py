"""What the outbox said is safe is there after anything; what is receipted is gone; numbers are never used twice."""

import json
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.messages import BarcodeScan, Readings, Series, decode_batch
from edge.outbox import FILE_NAME, Group, Outbox
from edge.presence import Changes
from edge.shelf import Priority, Shelf

NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
PROBE = Series("cr-1-probe", "celsius")


def scan(text: str) -> BarcodeScan:
    return BarcodeScan("dock-1", text, NOW)


def readings(count: int, first: int = 0) -> Readings:
    return Readings([PROBE], [0] * count, list(range(first, first + count)), [5.0] * count)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


def test_a_batch_carries_its_own_number_and_the_life_of_the_file(path: Path) -> None:
    with Outbox(path, "depot-gateway") as outbox:
        seq = outbox.append([scan("A")], Priority.BUSINESS, NOW)
        (row,) = Shelf(path).next_batches(Priority.BUSINESS, 10, after=0)
        batch = decode_batch(row.payload)
        assert (row.seq, batch.seq, batch.boot, batch.agent) == (seq, seq, outbox.boot, "depot-gateway")
        assert batch.items == [scan("A")]


def test_the_life_of_the_file_outlasts_the_process_and_numbers_are_never_used_twice(path: Path) -> None:
    with Outbox(path, "a") as outbox:
        boot = outbox.boot
        assert [outbox.append([scan(text)], Priority.BUSINESS, NOW) for text in "ABC"] == [1, 2, 3]
        outbox.free([(1, 3)], NOW)
        assert (outbox.batches, outbox.bytes) == (0, 0)
    with Outbox(path, "a") as outbox:
        assert outbox.boot == boot
        assert outbox.append([scan("D")], Priority.BUSINESS, NOW) == 4


def test_batches_are_read_by_priority_in_the_order_of_their_numbers(path: Path) -> None:
    with Outbox(path, "a") as outbox:
        for index in range(4):
            outbox.append([readings(1, index)], Priority.TELEMETRY, NOW)
            outbox.append([scan(str(index))], Priority.BUSINESS, NOW)
        shelf = Shelf(path)
        assert [row.seq for row in shelf.next_batches(Priority.BUSINESS, 3, after=0)] == [2, 4, 6]
        assert [row.seq for row in shelf.next_batches(Priority.TELEMETRY, 9, after=1, upto=5)] == [3, 5]
        shelf.close()


def test_receipts_free_what_they_name_and_may_come_twice(path: Path) -> None:
    with Outbox(path, "a") as outbox:
        for text in "ABCDE":
            outbox.append([scan(text)], Priority.BUSINESS, NOW)
        outbox.free([(1, 2), (4, 4), (90, 2**52)], NOW)
        outbox.free([(1, 2)], NOW)
        assert [row.seq for row in Shelf(path).next_batches(Priority.BUSINESS, 9, after=0)] == [3, 5]
        assert outbox.batches == 2


def test_over_the_cap_telemetry_gives_way_and_business_facts_never(path: Path) -> None:
    with Outbox(path, "a", cap_bytes=20_000) as outbox:
        business = [outbox.append([scan("x" * 1000)], Priority.BUSINESS, NOW) for _ in range(10)]
        telemetry = [outbox.append([readings(100)], Priority.TELEMETRY, NOW) for _ in range(20)]
        shelf = Shelf(path)
        assert [row.seq for row in shelf.next_batches(Priority.BUSINESS, 99, after=0)] == business
        left = [row.seq for row in shelf.next_batches(Priority.TELEMETRY, 99, after=0)]
        assert set(left) <= set(telemetry)
        assert outbox.bytes <= 20_000
        assert outbox.counts["thinned_items"] > 0
        for _ in range(20):
            outbox.append([scan("y" * 1000)], Priority.BUSINESS, NOW)
        assert len(shelf.next_batches(Priority.BUSINESS, 99, after=0)) == 30
        assert shelf.next_batches(Priority.TELEMETRY, 99, after=0) == []
        shelf.close()


def test_one_value_that_cannot_be_said_spoils_no_other(path: Path) -> None:
    with Outbox(path, "a") as outbox:
        bad = Readings([PROBE], [0] * 5, [1, 2, 3, 4, 5], [1.0, 2.0, float("nan"), 4.0, 5.0])
        outbox.commit(Group(business=[scan("A"), scan(""), scan("B")], telemetry=[bad]), NOW)
        assert outbox.counts["unspeakable_items"] == 2
        rows = Shelf(path).next_batches(Priority.BUSINESS, 99, after=0) + Shelf(path).next_batches(Priority.TELEMETRY, 99, after=0)
        items = [item for row in rows for item in decode_batch(row.payload).items]
        assert [item.text for item in items if isinstance(item, BarcodeScan)] == ["A", "B"]
        assert [value for item in items if isinstance(item, Readings) for value in item.values] == [1.0, 2.0, 4.0, 5.0]
        assert sorted(row.seq for row in rows) == list(range(1, len(rows) + 1))


def test_a_batch_too_large_for_the_wire_is_parted(path: Path) -> None:
    with Outbox(path, "a") as outbox:
        outbox.append([scan("\x1d" * 4096) for _ in range(100)], Priority.BUSINESS, NOW)
        rows = Shelf(path).next_batches(Priority.BUSINESS, 99, after=0)
        assert len(rows) > 1
        assert sum(len(decode_batch(row.payload).items) for row in rows) == 100


def test_passages_and_the_tracks_they_leave_are_one_transaction(path: Path) -> None:
    with Outbox(path, "a") as outbox:
        outbox.commit(Group(tracks=Changes(kept=[("dock-1", "AA", b"old")])), NOW)
        outbox._db.execute("CREATE TRIGGER full BEFORE INSERT ON batch BEGIN SELECT RAISE(ABORT, 'disk'); END")
        with pytest.raises(sqlite3.IntegrityError):
            outbox.commit(Group(business=[scan("A")], tracks=Changes(gone=[("dock-1", "AA")])), NOW)
        assert outbox.tracks() == [b"old"]
        assert (outbox.last_seq, outbox.batches, outbox.bytes) == (0, 0, 0)
        outbox._db.execute("DROP TRIGGER full")
        assert outbox.commit(Group(business=[scan("A")], tracks=Changes(gone=[("dock-1", "AA")])), NOW) == [1]
        assert outbox.tracks() == []


@pytest.mark.parametrize("damage", ["not a database", "torn page"])
def test_a_corrupt_file_is_set_aside_whole_and_a_new_life_begins(path: Path, damage: str) -> None:
    with Outbox(path, "a") as outbox:
        boot = outbox.boot
        for _ in range(50):
            outbox.append([scan("x" * 3000)], Priority.BUSINESS, NOW)
    content = bytearray(path.read_bytes())
    content[:16] = b"not a database.." if damage == "not a database" else content[:16]
    content[4096:40960] = b"\xa5" * (40960 - 4096)
    path.write_bytes(content)
    with Outbox(path, "a") as outbox:
        assert outbox.boot != boot
        assert outbox.recovered_from is not None
        assert outbox.recovered_from.read_bytes() == content
        assert outbox.append([scan("A")], Priority.BUSINESS, NOW) == 1
    with Outbox(path, "a") as outbox:
        assert outbox.recovered_from is None


def test_a_file_of_a_newer_version_or_a_folder_in_its_place_is_refused(path: Path, tmp_path: Path) -> None:
    with Outbox(path, "a") as outbox:
        outbox._db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="newer version"):
        Outbox(path, "a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        Outbox(tmp_path / "folder", "a")


CHILD = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from core.messages import BarcodeScan
from edge.outbox import Outbox
from edge.shelf import Priority
outbox = Outbox(Path(sys.argv[1]), "a")
now = datetime.now(UTC)
for index in range(1_000_000):
    seq = outbox.append([BarcodeScan("dock-1", str(index), now)], Priority.BUSINESS, now)
    print(seq, flush=True)
"""


@pytest.mark.processes
def test_what_was_committed_survives_kill_9_and_nothing_else_appears(path: Path) -> None:
    told = 0
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(40):
            told = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.communicate(timeout=20)[0].split()
        told = int(rest[-1]) if rest else told
        with Outbox(path, "a") as outbox:
            assert outbox.recovered_from is None
            shelf = Shelf(path)
            seqs = [row.seq for row in shelf.next_batches(Priority.BUSINESS, 10**6, after=0)]
            shelf.close()
            # One commit may have been told to nobody; nobody then assumes it either way.
            assert seqs in (list(range(1, told + 1)), list(range(1, told + 2)))
            told = outbox.last_seq


def test_a_payload_is_plain_json(path: Path) -> None:
    with Outbox(path, "a") as outbox:
        outbox.append([readings(2)], Priority.TELEMETRY, NOW)
        (row,) = Shelf(path).next_batches(Priority.TELEMETRY, 1, after=0)
    assert json.loads(row.payload)["items"] == [
        {"kind": "readings", "series": [["cr-1-probe", "celsius"]], "which": [0, 0], "at_us": [0, 1], "values": [5.0, 5.0]}
    ]
