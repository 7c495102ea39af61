"""Gaps in the data: the same findings whether the hub waited through them or was told of both sides at once."""

import asyncio
import random
from datetime import datetime, timedelta

import pytest
from psycopg import AsyncConnection

from core.coldchain import Reading, excursions, gaps
from hub.services import alerts, limits
from tests.hub.cold_room import LIMIT, MINUTE, START, START_US, add_series, arrive, at, found

NOT_YET_S = 0.5
SILENCES = "SELECT opened_at, cleared_at FROM alert WHERE source = %s AND kind = 'silence' AND NOT details ? 'retracted' ORDER BY 1"


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


async def gaps_of(db: AsyncConnection, series_id: int = 1) -> list[tuple[object, ...]]:
    cursor = await db.execute("SELECT started_at, ended_at FROM data_gap WHERE series_id = %s ORDER BY 1", (series_id,))
    return await cursor.fetchall()


async def silences(db: AsyncConnection, device: str = "probe-1") -> list[tuple[object, ...]]:
    return await (await db.execute(SILENCES, (f"series:depot.{device}.celsius",))).fetchall()


async def test_a_gap_that_the_hub_slept_through_is_a_finding_with_a_cleared_alert(room: AsyncConnection) -> None:
    await arrive(room, limits.Rules(), [(0, 5.0), (600, 5.0)])
    assert await gaps_of(room) == [(after(0), after(600))]
    (alert,) = await alerts.list_alerts(room, state=None, limit=10)
    assert (alert["kind"], alert["state"], alert["opened_at"], alert["cleared_at"]) == ("silence", "open", after(15), after(600))
    assert await limits.find_silence(room, after(601)) == 0


async def test_a_gap_between_two_groups_is_found_after_a_restart_too(room: AsyncConnection) -> None:
    await arrive(room, limits.Rules(), [(0, 5.0)])
    await arrive(room, limits.Rules(), [(15, 5.0)])
    assert await gaps_of(room) == []
    await arrive(room, limits.Rules(), [(31, 5.0)])
    assert await gaps_of(room) == [(after(15), after(31))]


async def test_readings_that_come_late_shorten_a_gap_split_it_and_take_it_back(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(0, 5.0), (60, 5.0)])
    await arrive(room, rules, [(10, 5.0)], at_minute=60)
    assert (await gaps_of(room), await silences(room)) == ([(after(10), after(60))], [(after(25), after(60))])
    await arrive(room, rules, [(30, 5.0)], at_minute=60)
    assert await silences(room) == [(after(25), after(30)), (after(45), after(60))]
    await arrive(room, rules, [(20, 5.0), (40, 5.0), (50, 5.0)], at_minute=60)
    assert (await gaps_of(room), await silences(room)) == ([], [])
    cursor = await room.execute("SELECT count(*) FROM alert WHERE cleared_at IS NULL")
    assert await cursor.fetchone() == (0,)


async def test_a_reading_from_before_the_first_one_may_leave_a_gap_behind_it(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(60, 5.0)])
    await arrive(room, rules, [(0, 5.0)], at_minute=60)
    assert await gaps_of(room) == [(after(0), after(60))]


async def test_a_silence_that_was_waited_through_and_its_gap_are_one_finding(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(0, 5.0)])
    assert await limits.find_silence(room, after(16)) == 1
    await arrive(room, rules, [(20, 5.0)])
    await limits.find_silence(room, after(21))
    assert (await gaps_of(room), await silences(room)) == ([(after(0), after(20))], [(after(15), after(20))])


async def test_a_backlog_moves_the_silence_along_and_takes_it_back_when_nothing_is_missing(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(0, 5.0)])
    assert await limits.find_silence(room, after(120)) == 1
    await arrive(room, rules, [(minute, 5.0) for minute in range(10, 60, 10)], at_minute=120)
    assert await limits.find_silence(room, after(121)) == 0
    assert await silences(room) == [(after(65), None)]
    await arrive(room, rules, [(minute, 5.0) for minute in range(60, 130, 10)], at_minute=122)
    assert (await gaps_of(room), await silences(room)) == ([], [])
    (alert,) = await alerts.list_alerts(room, state=None, limit=10)
    assert alert["cleared_at"] is not None
    assert await limits.find_silence(room, after(123)) == 0


async def test_a_backlog_with_a_hole_in_it_tells_of_the_hole_and_of_the_silence(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(0, 5.0)])
    await limits.find_silence(room, after(120))
    await arrive(room, rules, [(20, 5.0), (30, 5.0)], at_minute=120)
    assert await silences(room) == [(after(15), after(20)), (after(45), None)]


async def test_a_rule_that_allows_the_pause_after_all_takes_the_silence_back(room: AsyncConnection) -> None:
    await arrive(room, limits.Rules(), [(0, 5.0)])
    assert await limits.find_silence(room, after(16)) == 1
    await room.execute("UPDATE limit_rule SET max_gap_s = 3600")
    assert await limits.find_silence(room, after(17)) == 0
    assert (await gaps_of(room), await silences(room)) == ([], [])


async def test_a_series_that_nobody_watches_has_no_gaps(room: AsyncConnection) -> None:
    await room.execute("INSERT INTO device (site, device) VALUES ('depot', 'spare')")
    spare = await add_series(room, "spare")
    await arrive(room, limits.Rules(), [(0, 5.0), (600, 5.0)], spare)
    assert await gaps_of(room, spare) == []


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_repetition_and_grouping_ends_in_the_same_gaps_and_excursions(room: AsyncConnection, seed: int) -> None:
    generator = random.Random(seed)
    for case in range(8):
        device = f"p{case}"
        await room.execute("INSERT INTO device (site, device, location) VALUES ('depot', %s, 'cr-1')", (device,))
        series_id = await add_series(room, device)
        minutes = sorted(generator.sample(range(400), 45))
        series = [(minute, generator.choice([5.0, 5.0, 5.0, 7.7, 9.5, 9.5, 1.0])) for minute in minutes]
        arrivals = series + generator.sample(series, 8)
        if case:
            generator.shuffle(arrivals)
        rules = limits.Rules()
        newest = 0
        while arrivals:
            size = generator.randint(1, 9)
            group, arrivals = arrivals[:size], arrivals[size:]
            newest = max(newest, *(minute for minute, _ in group))
            if generator.random() < 0.2:
                rules = limits.Rules()
            await arrive(room, rules, group, series_id, at_minute=newest)
            if generator.random() < 0.3:
                await limits.find_silence(room, after(newest + generator.randint(0, 40)))
        readings = [Reading(START_US + minute * MINUTE, value) for minute, value in series]
        expected = [(at(since), at(until)) for since, until in gaps(readings, longest_s=LIMIT.max_gap_s)]
        over = [gap for gap in await gaps_of(room, series_id) if gap[1] is not None]
        assert over == expected, f"case {case}"
        assert [each for each in await silences(room, device) if each[1] is not None] == [
            (since + timedelta(seconds=LIMIT.max_gap_s), until) for since, until in expected
        ], f"case {case}"
        assert [(row[0], row[1]) for row in await found(room, series_id)] == [
            (at(each.started_us), at(each.alarmed_us)) for each in excursions(LIMIT, readings)
        ], f"case {case}"


async def test_two_hubs_with_the_same_series_agree_on_the_gap_that_is_left(room: AsyncConnection, database_uri: str) -> None:
    await arrive(room, limits.Rules(), [(0, 5.0)])
    async with await AsyncConnection.connect(database_uri, autocommit=True) as other:
        async with room.transaction():
            await arrive(room, limits.Rules(), [(40, 5.0)])
            late = asyncio.create_task(arrive(other, limits.Rules(), [(10, 5.0)], at_minute=40), name="the other hub")
            done, _ = await asyncio.wait([late], timeout=NOT_YET_S)
            assert not done
        await late
    assert (await gaps_of(room), await silences(room)) == ([(after(10), after(40))], [(after(25), after(40))])
