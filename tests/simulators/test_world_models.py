"""The world's models are pure: same seed, same day; and they behave like rooms, vans and pallets."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.timescale import TimeScale
from simulators.pace import Pace
from simulators.scenario import Room, Van, load_scenario
from simulators.truth import Warming
from simulators.world.cold_room import ColdRoom
from simulators.world.driving import Driving, Stop, course_deg, distance_m
from simulators.world.goods import Goods, data_matrix
from simulators.world.pallet import STRAY_RSSI_DBM, PassingPallet, Strays
from simulators.world.warmth import warmings

ROOM = Room(name="cold", set_point=4.5)
DEPOT = (30.6, 114.3)
VAN = Van(name="van", site="depot", start=DEPOT, speed_mps=13.0, road_factor=1.3)
NORTH = (30.6 + 0.009, 114.3)
EAST = (30.6, 114.32)


def test_a_room_whose_compressor_works_stays_in_its_limits() -> None:
    room = ColdRoom(ROOM, 1, [])
    assert all(2.0 < room.celsius(second) < 8.0 for second in range(0, 4 * 3600, 10))


def test_a_room_without_compressor_warms_by_newtons_law() -> None:
    room = ColdRoom(ROOM, 1, [(600, 7200)])
    begin = room.celsius(600)
    expected = ROOM.ambient + (begin - ROOM.ambient) * math.exp(-1200 / (ROOM.time_constant_min * 60))
    assert room.celsius(1800) == pytest.approx(expected, abs=0.01)


def test_the_first_cold_room_of_the_depot_day_crosses_eight_degrees_five_minutes_after_its_failure() -> None:
    scenario = load_scenario("depot-day")
    spec = next(room for room in scenario.rooms if room.name == "cr-1")
    room = ColdRoom(spec, scenario.scenario.seed, [(600, 38 * 60)])
    crossed = next(second for second in range(600, 3600, 5) if room.celsius(second) > 8)
    assert 13.5 * 60 < crossed < 16.5 * 60
    assert room.celsius(50 * 60) < 7.5


def test_a_repaired_compressor_cools_the_room_again() -> None:
    room = ColdRoom(ROOM, 1, [(600, 2400)])
    assert room.celsius(2400) > 12
    assert room.celsius(4800) < 5.5


def test_the_depot_day_has_one_warm_spell_told_by_one_probe() -> None:
    scenario = load_scenario("depot-day")
    rooms = {room.name: ColdRoom(room, 20, [(600, 38 * 60)] if room.name == "cr-1" else []) for room in scenario.rooms}
    start = datetime(2026, 3, 2, tzinfo=UTC)
    pace = Pace(TimeScale(start, start, 60.0))

    def told(minutes: float) -> list[Warming]:
        return list(warmings(scenario, rooms, pace, ended_s=minutes * 60))

    (whole,) = told(60)
    assert (whole.rule, whole.site, whole.device, whole.certain) == ("cr-1-cold", "depot", "cr-1-probe", True)
    assert whole.ended_at is not None
    assert timedelta(minutes=13.5) < whole.started_at - start < timedelta(minutes=16.5)
    assert timedelta(minutes=44) < whole.ended_at - start < timedelta(minutes=49)
    assert told(20) == []  # above the limit, but not yet for the ten minutes of the rule
    assert [spell.certain for spell in told(25)] == [False]
    assert [(spell.certain, spell.ended_at) for spell in told(35)] == [(True, None)]


@given(st.lists(st.floats(0, 7200), min_size=1, max_size=30))
def test_a_room_does_not_depend_on_when_it_is_asked(moments: list[float]) -> None:
    asked, other = ColdRoom(ROOM, 3, [(900, 1800)]), ColdRoom(ROOM, 3, [(900, 1800)])
    assert [asked.measured("p", at) for at in moments] == [other.measured("p", at) for at in reversed(moments)][::-1]


def test_another_seed_gives_other_noise() -> None:
    assert ColdRoom(ROOM, 1, []).measured("p", 60.0) != ColdRoom(ROOM, 2, []).measured("p", 60.0)


def test_distance_and_course_agree_with_known_values() -> None:
    assert distance_m((0.0, 0.0), (0.0, 1.0)) == pytest.approx(111_195, abs=1)
    assert course_deg((0.0, 0.0), (1.0, 0.0)) == pytest.approx(0)
    assert course_deg((0.0, 0.0), (0.0, -1.0)) == pytest.approx(270)


def test_a_van_makes_good_its_speed_over_the_road_factor() -> None:
    driving = Driving(VAN, [])
    driving.follow([Stop("a", NORTH, 0, 60)])
    driving.advance(50)
    assert distance_m(DEPOT, driving.place) == pytest.approx(500, abs=1)
    assert driving.fix.speed_mps == 13.0
    assert driving.fix.course_deg == pytest.approx(0, abs=0.01)


def test_a_van_waits_for_the_window_serves_and_goes_home() -> None:
    driving = Driving(VAN, [])
    driving.follow([Stop("a", NORTH, 300, 120)])
    driving.advance(419)
    assert (driving.place, driving.served, driving.fix.speed_mps) == (NORTH, [], 0.0)
    driving.advance(425)
    assert driving.served == ["a"]
    driving.advance(1000)
    assert distance_m(driving.place, DEPOT) <= 1.0


def test_a_van_in_a_jam_stands_still() -> None:
    driving = Driving(VAN, [(20, 620)])
    driving.follow([Stop("a", NORTH, 0, 60)])
    driving.advance(600)
    assert distance_m(DEPOT, driving.place) == pytest.approx(200, abs=1)
    assert driving.fix.speed_mps == 0.0
    driving.advance(640)
    assert distance_m(DEPOT, driving.place) == pytest.approx(400, abs=1)


def test_a_new_plan_turns_the_van_round_but_not_off_the_stop_it_serves() -> None:
    driving = Driving(VAN, [])
    driving.follow([Stop("a", NORTH, 0, 60), Stop("b", EAST, 0, 60)])
    driving.advance(120)
    driving.follow([Stop("a", NORTH, 0, 60), Stop("c", DEPOT, 0, 60)])
    assert [stop.order for stop in driving.todo] == ["c"]
    driving.advance(400)
    assert driving.served == ["a", "c"]


@given(st.lists(st.floats(0.5, 200), min_size=1, max_size=40))
def test_a_van_does_not_depend_on_how_often_it_is_looked_at(steps: list[float]) -> None:
    stops = [Stop("a", NORTH, 200, 90), Stop("b", EAST, 0, 90)]
    often, once = Driving(VAN, [(150, 400)]), Driving(VAN, [(150, 400)])
    often.follow(stops)
    once.follow(stops)
    for step in steps:
        often.advance(often.now_s + step)
    once.advance(often.now_s)
    assert often.served == once.served
    assert distance_m(often.place, once.place) < 0.1


@given(st.lists(st.floats(0.5, 200.0), min_size=1, max_size=30))
def test_a_jam_is_told_once_and_for_as_long_as_it_lasted(steps: list[float]) -> None:
    driving = Driving(VAN, [(20, 620)])
    driving.follow([Stop("o", NORTH, 0.0, 60.0)])
    for step in steps:
        driving.advance(driving.now_s + step)
    stood_s = min(driving.now_s, 620.0) - 20
    assert [(jam.from_s, pytest.approx(jam.lasted_s)) for jam in driving.jams] == ([(20.0, stood_s)] if stood_s > 0 else [])


def test_a_van_with_nowhere_to_go_is_in_no_jam() -> None:
    driving = Driving(VAN, [(20, 620)])
    driving.advance(1000)
    assert driving.jams == []


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(8, 30))
def test_every_tag_of_a_pallet_answers_often_enough_in_one_pass(seed: int, tags: int, rounds: int) -> None:
    epcs = [f"{number:024X}" for number in range(tags)]
    pallet = PassingPallet(epcs, rounds, str(seed))
    reads = [read for number in range(rounds) for read in pallet.inventory(number, 2)]
    counted = Counter(read.epc for read in reads)
    assert set(counted) == set(epcs)
    assert min(counted.values()) >= 2
    assert max(read.rssi_dbm for read in reads) <= -30


def test_a_pallet_is_strongest_in_the_middle_and_never_read_in_every_round() -> None:
    epcs = [f"{number:024X}" for number in range(40)]
    pallet = PassingPallet(epcs, 20, "x")
    rounds = [pallet.inventory(number, 2) for number in range(20)]
    strength = [sum(read.rssi_dbm for read in reads) / len(reads) for reads in rounds]
    assert max(strength) == max(strength[8:12])
    middle = sum(len(reads) for reads in rounds[4:16]) / (12 * len(epcs))
    assert 0.65 < middle < 0.95


def test_strays_answer_seldom_and_faintly() -> None:
    strays = Strays(["00" * 12, "01" * 12], "x")
    reads = [read for _ in range(1000) for read in strays.inventory()]
    assert 10 < len(reads) < 120
    assert all(read.rssi_dbm < STRAY_RSSI_DBM + 8 for read in reads)


def test_a_pallet_carries_what_the_scenario_says_is_missing_and_wrong() -> None:
    scenario = load_scenario("depot-day")
    short = next(each for each in scenario.events if getattr(each, "shipment", "") == "ASN-1002")
    whole = next(each for each in scenario.events if getattr(each, "shipment", "") == "ASN-1001")
    goods = Goods(scenario)
    full, tags = goods.pallet(whole), goods.pallet(short)  # type: ignore[arg-type]
    assert (len(full), len(tags)) == (24, 17)
    assert len({*full, *tags}) == 41
    assert sum(not tag.startswith("30") for tag in tags) == 1
    assert Goods(scenario).pallet(whole) == full  # type: ignore[arg-type]


def test_a_data_matrix_separates_its_variable_fields() -> None:
    text = data_matrix("06901234001068", expiry="270131", lot="E2601", serial="A7K2")
    assert text == "]d20106901234001068" + "17270131" + "10E2601\x1d" + "21A7K2"
    label = data_matrix("06901234001068", expiry="270131", lot="E2601", serial=None)
    assert label == "]d20106901234001068" + "17270131" + "10E2601"
