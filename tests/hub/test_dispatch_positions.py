"""Fixes of trackers on a real database: what is kept, what is refused, and that order and doubling change nothing."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import AsyncConnection

from core.messages import Position
from hub.domain.forecast import Remaining, forecast_route
from hub.domain.geo import gcj02_to_wgs84, great_circle_m
from hub.domain.visits import USABLE_ACCURACY_M, Fix, Target, believable, departures, visits
from hub.services import dispatch, positions

START = datetime(2026, 11, 21, 0, 0, tzinfo=UTC)
NOW = START + timedelta(hours=2)
DEPOT = (30.6, 114.3)
STOPS = {"a": (30.62, 114.3), "b": (30.62, 114.33)}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def fix(seconds: float, place: tuple[float, float] = DEPOT, speed: float | None = 10.0) -> Position:
    return Position("gps-1", at(seconds), place[0], place[1], speed)


@pytest.fixture
async def road(db: AsyncConnection) -> AsyncConnection:
    """One van with a running plan of two stops that it has not left for."""
    await db.execute("INSERT INTO site (site, name_zh, name_en, latitude, longitude) VALUES ('depot', '仓', 'Depot', 30.6, 114.3)")
    await db.execute(
        "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, cold_box, speed_mps,"
        " shift_from, shift_until) VALUES ('van-1', 'depot', '车', 'Van', 'fleet', 'gps-1', 40, true, 12, %s, %s)",
        (START, START + timedelta(hours=10)),
    )
    await db.execute(
        "INSERT INTO plan (site, state, trigger, engine, elapsed_s, distance_m, made_at)"
        " VALUES ('depot', 'active', 'day', 'test', 0, 0, %s)",
        (START,),
    )
    for place, (name, (latitude, longitude)) in enumerate(STOPS.items()):
        await db.execute("INSERT INTO destination VALUES (%s, '站', 'Clinic', %s, %s)", (name, latitude, longitude))
        await db.execute(
            "INSERT INTO delivery_order (id, site, destination, window_from, window_until, service_s, demand, created_at)"
            " VALUES (%s, 'depot', %s, %s, %s, 300, 5, %s)",
            (name, name, START, NOW, START),
        )
        await db.execute(
            "INSERT INTO plan_stop (plan, vehicle, place, order_id, arrival_at, start_at, departure_at)"
            " SELECT id, 'van-1', %s, %s, %s, %s, %s FROM plan",
            (place, name, START, START, START),
        )
    return db


async def everything(db: AsyncConnection) -> list[list[tuple[object, ...]]]:
    """Live place, trail and orders: what a stream of fixes may end in."""
    queries = (
        "SELECT vehicle, at, latitude, longitude, speed_mps, course_deg FROM vehicle_live",
        "SELECT * FROM position ORDER BY at",
        "SELECT id, state, arrived_at, delivered_at FROM delivery_order ORDER BY id",
    )
    return [await (await db.execute(query)).fetchall() for query in queries]


def a_morning(seed: int) -> list[Position]:
    """A fix every 20 s: parked, to stop a, six minutes there, to stop b, there until the end; with jitter."""
    draw = random.Random(seed)
    legs = [(DEPOT, DEPOT, 6, 0.0), (DEPOT, STOPS["a"], 12, 10.0), (STOPS["a"], STOPS["a"], 18, 0.0)]
    legs += [(STOPS["a"], STOPS["b"], 15, 10.0), (STOPS["b"], STOPS["b"], 9, 0.0)]
    found: list[Position] = []
    for begin, end, count, speed in legs:
        for step in range(count):
            share = step / count
            place = tuple(begin[i] + (end[i] - begin[i]) * share + draw.uniform(-1e-4, 1e-4) for i in (0, 1))
            found.append(fix(20 * len(found), (place[0], place[1]), speed))
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_shuffled_doubled_and_late_fixes_end_in_the_same_state(road: AsyncConnection, seed: int) -> None:
    draw = random.Random(seed)
    morning = a_morning(1)
    for each in morning:
        await dispatch.take_positions(road, "fleet", [each], NOW)
    expected = await everything(road)
    assert [row[1] for row in expected[2]] == ["delivered", "arrived"]
    for query in (
        "DELETE FROM vehicle_live",
        "DELETE FROM position",
        "UPDATE delivery_order SET state = 'planned_for', arrived_at = NULL, delivered_at = NULL",
    ):
        await road.execute(query)
    stream = morning + draw.choices(morning, k=20)
    draw.shuffle(stream)
    while stream:
        size = draw.randint(1, 15)
        await dispatch.take_positions(road, "fleet", stream[:size], NOW)
        stream = stream[size:]
    assert await everything(road) == expected


async def orders_after(road: AsyncConnection, stream: list[Position]) -> list[tuple[object, ...]]:
    await dispatch.take_positions(road, "fleet", stream, NOW)
    return (await everything(road))[2]


async def test_one_late_fix_in_a_day_of_a_fix_a_second_undoes_nothing(road: AsyncConnection) -> None:
    day, leaves = START + timedelta(hours=9), 8 * 3600
    await road.execute("SELECT ensure_partitions(%s, %s)", (START, day))
    await road.execute(
        "INSERT INTO position (tracker_id, at, latitude, longitude, speed_mps)"
        " SELECT tracker_id, %s + second * interval '1 s', 30.6, 114.3, 0 FROM vehicle, generate_series(0, %s) AS second"
        " WHERE second <> 3600",
        (START, leaves - 1),
    )
    legs = [(DEPOT, STOPS["a"], 240, 10.0), (STOPS["a"], STOPS["a"], 120, 0.0), (STOPS["a"], STOPS["b"], 300, 10.0)]
    drive: list[Position] = []
    for begin, end, seconds, speed in legs:
        for step in range(seconds):
            place = [begin[i] + (end[i] - begin[i]) * step / seconds for i in (0, 1)]
            drive.append(fix(leaves + len(drive), (place[0], place[1]), speed))
    await dispatch.take_positions(road, "fleet", drive, day)
    before = (await everything(road))[2]
    assert [row[1] for row in before] == ["delivered", "loaded"]
    await dispatch.take_positions(road, "fleet", [fix(3600, DEPOT, 0.0)], day)
    assert (await everything(road))[2] == before


@pytest.mark.parametrize("limit", [2, 5, 10, 20, 35, 59, 60, 61])
async def test_of_a_trail_too_long_to_read_only_the_end_is_told_again(
    road: AsyncConnection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: int
) -> None:
    morning = a_morning(1)
    expected = await orders_after(road, morning)
    assert [row[1] for row in expected] == ["delivered", "arrived"]
    monkeypatch.setattr(positions, "TRAIL_MAX", limit)
    assert await orders_after(road, [fix(1, DEPOT, 0.0)]) == expected
    assert ("more than" in caplog.text) == (limit <= len(morning) + 1)
    left = fix(20 * len(morning) + 100, (30.63, 114.35), 10.0)
    after = await orders_after(road, [left, fix(2, DEPOT, 0.0)])
    assert after == [expected[0], ("b", "delivered", expected[1][2], left.at)]


async def test_a_halt_of_many_hours_ends_when_the_van_goes_on(road: AsyncConnection) -> None:
    late = START + timedelta(hours=9)
    expected = await orders_after(road, a_morning(1))
    for hour in range(1, 8):
        await dispatch.take_positions(road, "fleet", [fix(3600 * hour, STOPS["b"], 0.0)], late)
    await dispatch.take_positions(road, "fleet", [fix(8 * 3600, (30.63, 114.35))], late)
    assert (await everything(road))[2] == [expected[0], ("b", "delivered", expected[1][2], at(8 * 3600))]


async def test_fixes_from_before_the_orders_say_nothing_about_them(road: AsyncConnection) -> None:
    expected = await orders_after(road, a_morning(1))
    before = [fix(-3600 - second, STOPS["a"], 0.0) for second in range(0, 600, 20)]
    assert await orders_after(road, before) == expected


def hours_of_road(seed: int) -> list[Position]:
    """A fix every 40 s or so over five hours: to stop a, two hours there, back past it, to stop b, an hour there, away."""
    draw = random.Random(seed)
    legs = [(DEPOT, DEPOT, 40, 0.0), (DEPOT, STOPS["a"], 9, 8.0), (STOPS["a"], STOPS["a"], 180, 0.0)]
    legs += [(STOPS["a"], DEPOT, 9, 8.0), (DEPOT, STOPS["a"], 9, 8.0), (STOPS["a"], STOPS["b"], 12, 8.0)]
    legs += [(STOPS["b"], STOPS["b"], 90, 0.0), (STOPS["b"], DEPOT, 15, 8.0)]
    found: list[Position] = []
    for begin, end, count, speed in legs:
        for step in range(count):
            place = tuple(begin[i] + (end[i] - begin[i]) * step / count + draw.uniform(-1e-4, 1e-4) for i in (0, 1))
            found.append(fix(40 * len(found) + draw.randint(0, 9), (place[0], place[1]), speed))
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_a_long_day_in_any_order_gives_the_visits_of_the_day_in_order(road: AsyncConnection, seed: int) -> None:
    draw, evening = random.Random(seed), START + timedelta(hours=9)
    stream = hours_of_road(seed)
    targets = [Target(name, *place, since=START) for name, place in STOPS.items()]
    whole = believable([Fix(each.at, each.latitude, each.longitude, each.speed_mps) for each in stream])
    expected = [(visit.order, "delivered", visit.arrived_at, visit.left_at) for visit in visits(whole, targets)]
    assert [row[0] for row in expected] == ["a", "b"]
    draw.shuffle(stream)
    while stream:
        size = draw.randint(1, 40)
        await dispatch.take_positions(road, "fleet", stream[:size], evening)
        stream = stream[size:]
    assert (await everything(road))[2] == expected


async def test_what_cannot_be_true_is_returned_with_its_reason_and_out_of_the_trail(road: AsyncConnection) -> None:
    bad = [
        Position("gps-9", at(0), 30.6, 114.3),
        Position("gps-1", at(0), 0.0, 0.0),
        Position("gps-1", NOW + timedelta(hours=1), 30.6, 114.3),
        Position("gps-1", NOW - timedelta(days=400), 30.6, 114.3),
    ]
    refused = await dispatch.take_positions(road, "fleet", [fix(10), *bad], NOW)
    for each, place, word in zip(refused, (1, 2, 3, 4), ("no vehicle", "no fix", "future", "days ago"), strict=True):
        assert (each.place, word in each.reason) == (place, True)
    live, trail, _ = await everything(road)
    assert len(trail) == 1
    assert live[0][1] == at(10)


async def test_a_jump_stays_out_of_the_live_place_until_a_second_fix_confirms_it(road: AsyncConnection) -> None:
    await dispatch.take_positions(road, "fleet", [fix(0), fix(20)], NOW)
    far = (31.6, 114.3)
    refused = await dispatch.take_positions(road, "fleet", [fix(40, far)], NOW)
    live, trail, _ = await everything(road)
    assert live[0][1] == at(20)
    assert len(trail) == 3
    assert [("jumped" in each.reason) for each in refused] == [True]
    await dispatch.take_positions(road, "fleet", [fix(60, far)], NOW)
    assert (await everything(road))[0][0][1] == at(60)


async def test_the_same_fix_again_changes_nothing(road: AsyncConnection) -> None:
    await dispatch.take_positions(road, "fleet", [fix(0), fix(0), fix(20)], NOW)
    before = await everything(road)
    await dispatch.take_positions(road, "fleet", [fix(20), fix(0)], NOW)
    assert await everything(road) == before
    assert len(before[1]) == 2


async def test_gcj02_is_kept_as_wgs84(road: AsyncConnection) -> None:
    latitude, longitude = 30.597694, 114.305489
    await dispatch.take_positions(road, "fleet", [Position("gps-1", at(0), latitude, longitude, coordinate_system="gcj02")], NOW)
    live = (await everything(road))[0][0]
    assert isinstance(live[2], float)
    assert isinstance(live[3], float)
    assert 300 < great_circle_m(latitude, longitude, live[2], live[3]) < 800


async def test_the_track_leaves_out_what_nobody_can_believe(road: AsyncConnection) -> None:
    await dispatch.take_positions(road, "fleet", [fix(0), fix(20), fix(40, (31.6, 114.3)), fix(60)], NOW)
    track = await dispatch.vehicle_track(road, "van-1", START, NOW)
    assert track["at"] == [at(s).timestamp() for s in (0, 20, 60)]
    assert {len(column) for column in track.values()} == {3}


def test_gcj02_agrees_with_published_points() -> None:
    # Tiananmen: 39.90734, 116.39108 in WGS-84 is 39.90873, 116.39732 in GCJ-02 (public examples, to some metres).
    latitude, longitude = gcj02_to_wgs84(39.908739, 116.397326)
    assert great_circle_m(latitude, longitude, 39.907336, 116.391083) < 15
    assert gcj02_to_wgs84(51.5, -0.12) == (51.5, -0.12)


def test_a_great_circle_is_as_long_as_the_book_says() -> None:
    assert great_circle_m(0, 0, 0, 1) == pytest.approx(111_195, abs=1)
    assert great_circle_m(10, 20, 10, 20) == 0


def test_one_wrong_fix_is_left_out_and_two_that_agree_are_not() -> None:
    home, far = [Fix(at(s), *DEPOT) for s in (0, 20, 60)], Fix(at(40), 31.6, 114.3)
    assert believable([*home[:2], far, home[2]]) == home
    moved = [Fix(at(s), 31.6, 114.3) for s in (40, 60)]
    assert believable([*home[:2], *moved]) == [*home[:2], *moved]


def test_jitter_at_the_edge_of_a_stop_is_one_visit() -> None:
    edge = 120 / 111_195
    fixes = [Fix(at(20 * i), DEPOT[0] + edge * (0.9 if i % 2 else 1.2), DEPOT[1], 0.5) for i in range(10)]
    gone = Fix(at(300), DEPOT[0] + 3 * edge, DEPOT[1], 9.0)
    (visit,) = visits([*fixes, gone], [Target("a", *DEPOT, since=START)])
    assert (visit.arrived_at, visit.left_at) == (at(20), at(300))


def test_a_parked_van_that_jitters_never_leaves() -> None:
    draw = random.Random(5)
    fixes = [Fix(at(30 * i), DEPOT[0] + draw.gauss(0, 2e-4), DEPOT[1] + draw.gauss(0, 2e-4), 0.3) for i in range(2880)]
    assert departures(fixes, *DEPOT, from_there=True) == []


def remaining(order: str, place: tuple[float, float], until: float = 3600) -> Remaining:
    return Remaining(order, place[0], place[1], START, at(until), 300)


def test_a_forecast_goes_on_from_the_last_fix_and_waits_for_windows() -> None:
    here = Fix(at(-10), *DEPOT, 12.0)
    later = Remaining("b", *STOPS["b"], at(3000), at(3600), 60)
    forecast = forecast_route(here, DEPOT, [remaining("a", STOPS["a"], 100), later], now=START, leaves_at=START, speed_mps=10)
    metres = 1.3 * great_circle_m(*DEPOT, *STOPS["a"])
    first, second = forecast.stops
    assert (first.arrival_at - at(-10)).total_seconds() == pytest.approx(metres / 10, abs=0.01)
    assert first.lateness_s == int((first.arrival_at - at(100)).total_seconds())
    assert second.start_at == at(3000)
    assert second.lateness_s == 0
    assert not forecast.stale


@pytest.mark.parametrize(("age", "stale"), [(0, False), (299, False), (301, True)])
def test_a_forecast_from_an_old_position_is_stale(age: int, stale: bool) -> None:
    forecast = forecast_route(Fix(at(-age), *DEPOT), DEPOT, [remaining("a", STOPS["a"])], now=START, leaves_at=START, speed_mps=10)
    assert forecast.stale is stale
    assert forecast_route(None, DEPOT, [], now=START, leaves_at=START, speed_mps=10).stale


def test_goods_still_in_the_depot_make_the_way_longer() -> None:
    far = Fix(START, *STOPS["b"], 0.0)
    stop = remaining("a", STOPS["a"])
    direct = forecast_route(far, DEPOT, [stop], now=START, leaves_at=START, speed_mps=10)
    collected = Remaining("a", *STOPS["a"], START, at(3600), 300, collect=DEPOT)
    round_way = forecast_route(far, DEPOT, [collected], now=START, leaves_at=START, speed_mps=10)
    assert round_way.stops[0].arrival_at > direct.stops[0].arrival_at


async def test_what_a_gcj02_tracker_told_is_kept_beside_what_it_means(road: AsyncConnection) -> None:
    told = Position("gps-1", at(0), 30.6, 114.3, accuracy_m=9.0, coordinate_system="gcj02")
    await dispatch.take_positions(road, "fleet", [told, fix(20)], NOW)
    rows = await (
        await road.execute(
            "SELECT latitude, longitude, coordinate_system, told_latitude, told_longitude, accuracy_m FROM position ORDER BY at"
        )
    ).fetchall()
    assert rows[0] == (*gcj02_to_wgs84(30.6, 114.3), "gcj02", 30.6, 114.3, 9.0)
    assert rows[1] == (*DEPOT, "wgs84", None, None, None)


async def test_a_fix_that_claims_a_wide_radius_is_kept_and_moves_no_vehicle(road: AsyncConnection) -> None:
    wide = Position("gps-1", at(20), 30.7, 114.4, accuracy_m=USABLE_ACCURACY_M + 1)
    await dispatch.take_positions(road, "fleet", [fix(0), wide], NOW)
    live, trail, _ = await everything(road)
    assert [row[1] for row in live] == [at(0)]
    assert len(trail) == 2
    assert (await dispatch.vehicle_track(road, "van-1", START, NOW))["at"] == [at(0).timestamp()]
    good = Position("gps-1", at(40), *DEPOT, accuracy_m=USABLE_ACCURACY_M)
    await dispatch.take_positions(road, "fleet", [good], NOW)
    assert (await everything(road))[0][0][1] == at(40)


async def test_wide_fixes_at_a_stop_deliver_nothing(road: AsyncConnection) -> None:
    wide = [
        Position(each.tracker, each.at, each.latitude, each.longitude, each.speed_mps, accuracy_m=900.0) for each in a_morning(1)
    ]
    assert [row[1] for row in await orders_after(road, wide)] == ["planned_for", "planned_for"]
