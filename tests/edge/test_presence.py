"""Many reads become one passage, whatever the order and the pieces they come in."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.messages import Batch as WireBatch
from core.messages import TagPassage, decode_batch, encode
from edge.drivers.observations import TagRead
from edge.presence import MAX_DWELL_S, RESUME_WITHIN_S, PortalRule, Presence, from_us, to_us

START = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
DOCK = PortalRule("dock-1", absent_after_s=2.0, min_reads=2, min_rssi_dbm=-70.0, default_direction="in")
A, B, C = "3034000000000000000000AA", "3034000000000000000000BB", "3034000000000000000000CC"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def read(epc: str, seconds: float, *, rssi: float | None = -50.0, antenna: int | None = 1) -> TagRead:
    return TagRead(epc, antenna, rssi, at(seconds))


def through(rule: PortalRule, reads: Iterable[TagRead], *, until: float = 10_000) -> list[TagPassage]:
    presence = Presence([rule])
    passages = [passage for each in reads for passage in presence.offer(rule.name, each)]
    return passages + presence.tick(at(until))


def test_many_reads_are_one_passage() -> None:
    (passage,) = through(DOCK, [read(A, s / 10, rssi=-60 + s) for s in range(10)])
    assert (passage.epc, passage.portal, passage.direction, passage.reads) == (A, "dock-1", "in", 10)
    assert (passage.first_seen, passage.last_seen, passage.peak_rssi_dbm) == (at(0), at(0.9), -51)


def test_a_passage_is_told_only_after_the_tag_was_absent_long_enough() -> None:
    presence = Presence([DOCK])
    for seconds in (0, 1):
        assert presence.offer("dock-1", read(A, seconds)) == []
    assert presence.tick(at(3)) == []
    assert [passage.epc for passage in presence.tick(at(3.001))] == [A]
    assert presence.tick(at(100)) == []
    assert presence.open_tracks() == 0


def test_a_tag_that_comes_back_after_its_absence_passes_again() -> None:
    passages = through(DOCK, [read(A, s) for s in (0, 1, 10, 11)])
    assert [(passage.first_seen, passage.last_seen) for passage in passages] == [(at(0), at(1)), (at(10), at(11))]


def test_a_read_just_within_the_window_keeps_the_passage_whole() -> None:
    assert [passage.reads for passage in through(DOCK, [read(A, 0), read(A, 2.0)])] == [2]


def test_strays_give_no_passage() -> None:
    assert through(DOCK, [read(A, 0)]) == []
    assert through(DOCK, [read(A, s / 10, rssi=-71) for s in range(20)]) == []


def test_a_reader_that_tells_no_rssi_is_not_held_to_it() -> None:
    (passage,) = through(DOCK, [read(A, s / 10, rssi=None) for s in range(3)])
    assert passage.peak_rssi_dbm is None


def test_direction_follows_the_antennas() -> None:
    rule = PortalRule("gate", inside_antennas=frozenset({1}), outside_antennas=frozenset({2}), default_direction="none")
    inward = [read(A, s / 10, antenna=2 if s < 5 else 1) for s in range(10)]
    outward = [read(B, s / 10, antenna=1 if s < 5 else 2) for s in range(10)]
    one_side = [read(C, s / 10, antenna=1) for s in range(10)]
    passages = {
        passage.epc: passage for passage in through(rule, sorted(inward + outward + one_side, key=lambda each: each.read_at))
    }
    assert {epc: passage.direction for epc, passage in passages.items()} == {A: "in", B: "out", C: "none"}
    assert passages[A].confidence > passages[C].confidence


def test_confidence_is_the_documented_formula() -> None:
    (passage,) = through(DOCK, [read(A, s / 10, rssi=-64.0) for s in range(4)])
    assert passage.confidence == round((1 - 0.5**2) * (1 - 0.5**2), 3)


def test_tags_that_overlap_are_one_group_and_the_next_pallet_another() -> None:
    reads = [read(A, 0), read(A, 1), read(B, 1), read(B, 2.5), read(C, 3), read(C, 4), read(A, 20), read(A, 21)]
    passages = through(DOCK, reads)
    groups = {(passage.epc, passage.first_seen): passage.group for passage in passages}
    assert groups[A, at(0)] == groups[B, at(1)] == groups[C, at(3)] != groups[A, at(20)]


def test_portals_do_not_mix() -> None:
    presence = Presence([DOCK, PortalRule("dock-2")])
    for seconds in (0, 1):
        presence.offer("dock-1", read(A, seconds))
        presence.offer("dock-2", read(A, seconds))
    first, second = presence.tick(at(100))
    assert {first.portal, second.portal} == {"dock-1", "dock-2"}
    assert first.group != second.group


def test_a_tag_that_stands_in_the_gate_is_told_once_and_again_only_after_it_left() -> None:
    standing = [read(A, s) for s in range(int(MAX_DWELL_S) * 3)]
    passages = through(DOCK, standing)
    assert [passage.reads for passage in passages] == [int(MAX_DWELL_S) + 1]
    assert len(through(DOCK, [*standing, read(A, 5000), read(A, 5001)])) == 2


def test_a_read_that_comes_after_its_passage_was_told_makes_no_second_one() -> None:
    presence = Presence([DOCK])
    told = [passage for each in (read(A, 0), read(A, 1)) for passage in presence.offer("dock-1", each)] + presence.tick(at(4))
    assert len(told) == 1
    for seconds in (0.5, 2.5):
        presence.offer("dock-1", read(A, seconds))
    assert presence.tick(at(1000)) == []
    assert presence.counts["late_reads"] == 2


def test_reads_out_of_order_within_the_window_count_as_if_in_order() -> None:
    (passage,) = through(DOCK, [read(A, 1.0), read(A, 0.2), read(A, 0.8), read(A, 2.5)])
    assert (passage.first_seen, passage.last_seen, passage.reads) == (at(0.2), at(2.5), 4)


def test_open_tracks_go_on_after_a_restart_and_the_time_without_an_agent_is_no_absence() -> None:
    before = Presence([DOCK])
    before.offer("dock-1", read(A, 0))
    before.offer("dock-1", read(A, 0.5))
    after = Presence([DOCK])
    after.restore(before.snapshot(), at(60))
    assert after.tick(at(61)) == []
    after.offer("dock-1", read(A, 61))
    after.offer("dock-1", read(B, 61))
    after.offer("dock-1", read(B, 61.5))
    first, second = after.tick(at(100))
    assert (first.epc, first.reads, first.first_seen, first.last_seen) == (A, 3, at(0), at(61))
    assert first.group == second.group


def test_a_track_kept_by_a_clock_that_has_gone_back_goes_on_from_now() -> None:
    before = Presence([DOCK])
    for seconds in (3600, 3600.5):
        before.offer("dock-1", read(A, seconds))
    after = Presence([DOCK])
    after.restore(before.snapshot(), at(0))
    after.offer("dock-1", read(A, 1))
    (passage,) = after.tick(at(3.5))
    assert (passage.reads, passage.first_seen, passage.last_seen) == (3, at(-0.5), at(1))


def test_an_end_is_not_remembered_over_a_restart_so_that_a_clock_gone_back_swallows_no_passage() -> None:
    before = Presence([DOCK])
    for seconds in (3600, 3600.5):
        before.offer("dock-1", read(A, seconds))
    assert len(before.tick(at(3700))) == 1
    after = Presence([DOCK])
    after.restore(before.snapshot(), at(0))
    for seconds in (1, 1.5):
        after.offer("dock-1", read(A, seconds))
    assert len(after.tick(at(10))) == 1


def test_after_a_restart_the_tag_that_stood_there_first_is_told_first() -> None:
    wide = PortalRule("dock-1", absent_after_s=1000, min_reads=2)
    before = Presence([wide])
    for epc, seconds in ((A, 0), (B, 299), (A, 300)):  # B was read last before A was read again
        before.offer("dock-1", read(epc, seconds))
        before.offer("dock-1", read(epc, seconds))
    rows = before.snapshot()
    after = Presence([wide])
    after.restore(rows, at(300))
    assert [passage.epc for passage in after.tick(at(301))] == [A]


def test_tracks_of_a_portal_no_longer_set_up_are_forgotten_and_counted() -> None:
    before = Presence([DOCK])
    before.offer("dock-1", read(A, 0))
    after = Presence([])
    after.restore(before.snapshot(), at(1))
    assert after.counts["tracks_of_unknown_portal"] == 1
    assert after.changes().gone == [("dock-1", A)]


def test_changes_name_what_a_store_must_keep_and_forget() -> None:
    presence = Presence([DOCK])
    presence.offer("dock-1", read(A, 0))
    changes = presence.changes()
    assert [(portal, epc) for portal, epc, _ in changes.kept] == [("dock-1", A)]
    assert [row for *_, row in changes.kept] == presence.snapshot()
    assert not presence.changes()
    presence.tick(at(100))
    assert presence.changes().gone == [("dock-1", A)]


MILLISECONDS = st.integers(0, 40_000)
READS = st.lists(
    st.tuples(st.sampled_from([A, B, C]), MILLISECONDS, st.integers(-90, -30), st.integers(1, 2)), min_size=1, max_size=60
).map(
    lambda rows: [read(epc, ms / 1000, rssi=rssi, antenna=antenna) for epc, ms, rssi, antenna in sorted(rows, key=lambda r: r[1])]
)


def in_pieces(reads: list[TagRead], ticks: Iterable[float], restarts: Iterable[int] = ()) -> list[TagPassage]:
    """The same reads with the clock ticking between them, at moments not after the next read."""
    presence, passages, pending = Presence([DOCK]), [], sorted(ticks)
    for index, each in enumerate(reads):
        while pending and at(pending[0]) <= each.read_at:
            passages += presence.tick(at(pending.pop(0)))
        passages += presence.offer("dock-1", each)
        if index in restarts:
            rows, presence = presence.snapshot(), Presence([DOCK])
            presence.restore(rows, at(RESUME_WITHIN_S + 100))  # so late that the time away is left as it was
    return passages + presence.tick(at(10_000))


def in_order(passages: list[TagPassage]) -> list[TagPassage]:
    return sorted(passages, key=lambda passage: (passage.first_seen, passage.epc))


@given(READS, st.lists(st.floats(0, 50), max_size=20))
def test_the_passages_do_not_depend_on_when_the_clock_ticks(reads: list[TagRead], ticks: list[float]) -> None:
    assert in_order(in_pieces(reads, ticks)) == in_order(in_pieces(reads, []))


@given(READS, st.sets(st.integers(0, 59), max_size=3))
def test_an_agent_killed_between_reads_tells_the_same_passages(reads: list[TagRead], restarts: set[int]) -> None:
    told = in_order(in_pieces(reads, [], restarts))
    assert [(each.epc, each.reads, each.first_seen) for each in told] == [
        (each.epc, each.reads, each.first_seen) for each in in_order(in_pieces(reads, []))
    ]


@given(READS)
def test_every_stay_that_was_read_enough_is_exactly_one_passage(reads: list[TagRead]) -> None:
    expected = []
    for epc in (A, B, C):
        stays: list[list[TagRead]] = []
        for each in (each for each in reads if each.epc == epc):
            if stays and each.read_at - stays[-1][-1].read_at <= timedelta(seconds=DOCK.absent_after_s):
                stays[-1].append(each)
            else:
                stays.append([each])
        expected += [
            (epc, len(stay), stay[0].read_at, stay[-1].read_at)
            for stay in stays
            if len(stay) >= DOCK.min_reads and max(each.rssi_dbm or 0 for each in stay) >= -70
        ]
    told = [(each.epc, each.reads, each.first_seen, each.last_seen) for each in through(DOCK, reads)]
    assert sorted(told) == sorted(expected)


@given(READS)
def test_every_passage_can_be_said_on_the_wire(reads: list[TagRead]) -> None:
    passages = through(DOCK, reads)
    batch = WireBatch("depot-gateway", "boot-boot", 1, at(0), list(passages))
    assert decode_batch(encode(batch)).items == passages


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001
def test_moments_survive_as_microseconds(naive: datetime) -> None:
    moment = naive.replace(tzinfo=UTC)
    assert from_us(to_us(moment)) == moment
