"""Over the cap: a minute keeps its first reading and its extremes, then ten minutes do; business facts are never touched."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.messages import BarcodeScan, Item, Position, Readings, Series, decode_batch
from edge.outbox import Group, Outbox
from edge.outbox_file import LAYOUT
from edge.shelf import Priority, Shelf
from edge.thinning import LEVELS_S, Thinner

T = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
T_US = int(T.timestamp()) * 1_000_000
PROBE = Series("cr-1-probe", "celsius")


def readings(values: list[tuple[float, float]], series: Series = PROBE) -> Readings:
    """One column; each reading as (seconds after T, value)."""
    return Readings(
        [series], [0] * len(values), [T_US + round(second * 1e6) for second, _ in values], [value for _, value in values]
    )


def told(items: list[Item]) -> list[tuple[float, float]]:
    return [
        ((at_us - T_US) / 1e6, value)
        for item in items
        if isinstance(item, Readings)
        for at_us, value in zip(item.at_us, item.values, strict=True)
    ]


def test_of_a_minute_the_first_reading_and_each_new_extreme_is_kept() -> None:
    kept = Thinner(60).thin([readings([(0, 4.0), (10, 4.2), (20, 4.1), (30, 3.9), (40, 4.2), (60, 4.1), (70, 4.1)])])
    assert told(kept) == [(0, 4.0), (10, 4.2), (30, 3.9), (60, 4.1)]


def test_series_and_batches_are_thinned_together_yet_each_for_itself() -> None:
    thinner = Thinner(60)
    other = Series("cr-2-probe", "celsius")
    first = Readings([PROBE, other], [0, 1, 1], [T_US, T_US, T_US + 1], [4.0, 5.0, 5.0])
    assert told(thinner.thin([first])) == [(0, 4.0), (0, 5.0)]
    assert thinner.thin([readings([(30, 4.0)]), readings([(31, 5.0)], other)]) == []


def test_a_tracker_keeps_its_first_position_of_a_minute_and_a_scan_is_never_thinned() -> None:
    positions = [Position("van-1", T + timedelta(seconds=second), 31.0, 121.0) for second in (1, 2, 59, 61)]
    scan = BarcodeScan("dock-1", "4006381333931", T)
    assert Thinner(60).thin([scan, *positions, scan]) == [scan, positions[0], positions[3], scan]


values = st.lists(st.tuples(st.integers(0, 3600), st.sampled_from([2.0, 4.0, 8.5, -1.0])), min_size=1, max_size=120)


@given(values, st.integers(1, 40))
def test_no_minute_loses_its_first_reading_or_its_extremes_however_it_is_cut_into_batches(
    told_values: list[tuple[int, float]], size: int
) -> None:
    ordered = sorted(dict(told_values).items())
    thinner = Thinner(60)
    kept = [
        pair for start in range(0, len(ordered), size) for pair in told(thinner.thin([readings(ordered[start : start + size])]))
    ]
    assert set(kept) <= set(ordered)
    for minute in {second // 60 for second, _ in ordered}:
        before = [value for second, value in ordered if second // 60 == minute]
        after = [value for second, value in kept if second // 60 == minute]
        assert (after[0], min(after), max(after)) == (before[0], min(before), max(before))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def fill(outbox: Outbox, batches: int) -> None:
    """Batches of a hundred readings, one a second, a spike of 20 degrees in each tenth one."""
    for number in range(batches):
        column = [(number * 100 + second, 20.0 if number % 10 == 0 and second == 50 else 4.0) for second in range(100)]
        outbox.append([readings(column)], Priority.TELEMETRY, T)


def held(path: Path) -> list[tuple[float, float]]:
    shelf = Shelf(path)
    rows = shelf.next_batches(Priority.TELEMETRY, 10_000, after=0)
    shelf.close()
    return told([item for row in rows for item in decode_batch(row.payload).items])


def test_everything_is_thinned_before_anything_is_dropped_and_no_spike_is_lost(path: Path) -> None:
    with Outbox(path, "a", cap_bytes=100_000) as outbox:
        fill(outbox, 200)
        assert outbox.bytes <= 100_000
        assert outbox.counts["thinned_items"] > 10_000
        assert outbox.counts["dropped_batches"] == 0
        assert [value for _, value in held(path)].count(20.0) == 20
        assert {int(second // LEVELS_S[1]) for second, _ in held(path)} == set(range(34))


def test_what_is_all_thin_and_still_too_much_is_dropped_oldest_first_beside_business_facts(path: Path) -> None:
    with Outbox(path, "a", cap_bytes=30_000) as outbox:
        scan = BarcodeScan("dock-1", "4006381333931", T)
        business = [outbox.append([scan], Priority.BUSINESS, T) for _ in range(50)]
        fill(outbox, 2_000)
        assert outbox.bytes <= 30_000
        assert outbox.counts["dropped_batches"] > 0
        oldest = min(second for second, _ in held(path))
        assert oldest > 0
        assert held(path)[-1][0] >= 2_000 * 100 - LEVELS_S[-1], "the newest span is there"
        assert [row.seq for row in Shelf(path).next_batches(Priority.BUSINESS, 99, after=0)] == business


def test_a_thinned_batch_keeps_its_number_and_counts_agree_after_a_restart(path: Path) -> None:
    with Outbox(path, "a", cap_bytes=100_000) as outbox:
        fill(outbox, 200)
        batches, size = outbox.batches, outbox.bytes
    with Outbox(path, "a", cap_bytes=100_000) as outbox:
        assert (outbox.batches, outbox.bytes) == (batches, size)
        assert outbox.last_seq == 200
        seqs = [row.seq for row in Shelf(path).next_batches(Priority.TELEMETRY, 999, after=0)]
        assert seqs == sorted(set(seqs))


def test_a_commit_that_fails_half_way_lets_no_reading_be_taken_for_one_already_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox(path, "a", cap_bytes=10**9) as outbox:
        fill(outbox, 200)
        before = set(held(path))
        outbox._cap_bytes = 100_000
        unthinned = outbox._drop_some

        def fail() -> bool:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(outbox, "_thin_some", lambda: Outbox._thin_some(outbox) and fail())
        with pytest.raises(OSError, match="No space"):
            outbox.commit(Group(telemetry=[readings([(30_000, 4.0)])]), T)
        monkeypatch.undo()
        assert set(held(path)) == before
        outbox.commit(Group(telemetry=[readings([(30_000, 4.0)])]), T)
        assert {int(second // 600) for second, _ in held(path)} >= set(range(34))
        assert [value for _, value in held(path)].count(20.0) == 20
        assert unthinned is not None


def test_a_file_of_the_first_layout_is_brought_to_this_one_with_all_it_holds(path: Path) -> None:
    with Outbox(path, "a") as outbox:
        fill(outbox, 3)
        outbox._db.execute("DROP INDEX batch_by_level")
        outbox._db.execute("ALTER TABLE batch DROP COLUMN level")
        outbox._db.execute("PRAGMA user_version = 1")
    with Outbox(path, "a") as outbox:
        assert outbox.batches == 3
        assert len(held(path)) == 300
        assert outbox._db.execute("PRAGMA user_version").fetchone() == (LAYOUT,)
