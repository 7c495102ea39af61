"""Rules over readings in the database: any order, number and grouping of arrivals ends in the same excursions and alerts."""

import random
import tracemalloc
from datetime import timedelta

import pytest
from psycopg import AsyncConnection

from core.coldchain import Reading, excursions
from core.errors import NotFound, RuleViolation
from hub.services import alerts, limits
from tests.hub.cold_room import LIMIT, MINUTE, START, START_US, add_series, arrive, at, found


async def test_one_bad_stretch_is_one_excursion_and_one_alert_that_clears(room: AsyncConnection) -> None:
    rules = limits.Rules()
    for minute in range(12):
        await arrive(room, rules, [(minute, 9.0)])
    (alert,) = await alerts.list_alerts(room, state="open", limit=10)
    assert alert["opened_at"] == START + timedelta(minutes=10)
    assert alert["location_name_zh"] == "冷库一"
    await arrive(room, rules, [(12, 5.0)])
    (alert,) = await alerts.list_alerts(room, state=None, limit=10)
    assert (alert["state"], alert["cleared_at"]) == ("open", START + timedelta(minutes=12))
    after = await alerts.acknowledge(room, alert["id"], person="keeper", reason="door left open, closed", now=START)
    assert after["state"] == "resolved"


async def test_a_restart_at_any_minute_alarms_at_the_same_minute(room: AsyncConnection) -> None:
    for minute in range(12):
        await arrive(room, limits.Rules(), [(minute, 9.0)])
    assert [row[1] for row in await found(room)] == [START + timedelta(minutes=10)]


async def test_a_late_good_reading_takes_an_excursion_back(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(minute, 9.0) for minute in range(0, 14, 2)])
    assert len(await found(room)) == 1
    await arrive(room, rules, [(7, 5.0)])
    assert await found(room) == []
    (alert,) = await alerts.list_alerts(room, state=None, limit=10)
    assert alert["cleared_at"] is not None
    assert alert["details"]["retracted"] is True


async def test_any_order_repetition_and_grouping_ends_in_the_same_excursions(room: AsyncConnection) -> None:
    generator = random.Random(7)
    for case in range(25):
        # Each case is a device and series of its own, in the same room.
        await room.execute("INSERT INTO device (site, device, location) VALUES ('depot', %s, 'cr-1')", (f"p{case}",))
        series_id = await add_series(room, f"p{case}")
        series = [generator.choice([5.0, 7.7, 8.0, 9.5, 1.0]) for _ in range(60)]
        for minute in range(1, 60):
            if generator.random() < 0.75:
                series[minute] = series[minute - 1]
        arrivals = [(minute, value) for minute, value in enumerate(series)] + [
            (minute, series[minute]) for minute in range(0, 60, 7)
        ]
        if case:
            generator.shuffle(arrivals)
        rules = limits.Rules()
        while arrivals:
            size = generator.randint(1, 9)
            group, arrivals = arrivals[:size], arrivals[size:]
            if generator.random() < 0.2:
                rules = limits.Rules()
            await arrive(room, rules, group, series_id)
        expected = excursions(LIMIT, [Reading(START_US + minute * MINUTE, value) for minute, value in enumerate(series)])
        stored = await found(room, series_id)
        assert [(row[0], row[1], row[2], row[3]) for row in stored] == [
            (at(each.started_us), at(each.alarmed_us), None if each.ended_us is None else at(each.ended_us), each.peak)
            for each in expected
        ], f"case {case}"
        cursor = await room.execute(
            "SELECT opened_at, cleared_at FROM alert"
            " WHERE source = %s AND kind = 'excursion' AND NOT details ? 'retracted' ORDER BY 1",
            (f"series:depot.p{case}.celsius",),
        )
        assert await cursor.fetchall() == [
            (at(each.alarmed_us), None if each.ended_us is None else at(each.ended_us)) for each in expected
        ], f"case {case}"
        cursor = await room.execute(
            "SELECT count(*) FROM alert WHERE source = %s AND kind = 'excursion' AND cleared_at IS NULL",
            (f"series:depot.p{case}.celsius",),
        )
        assert await cursor.fetchone() == (sum(each.ended_us is None for each in expected),)


async def test_an_excursion_of_yesterday_told_late_leaves_the_alert_of_today_alone(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(minute, 5.0 if minute == 180 else 9.0) for minute in range(180, 200)])
    (today,) = await alerts.list_alerts(room, state=None, limit=10)
    await alerts.acknowledge(room, today["id"], person="keeper", reason="compressor is being mended", now=START)
    await arrive(room, rules, [(minute, 9.0 if minute < 30 else 5.0) for minute in range(32)])
    told = {row["id"]: row for row in await alerts.list_alerts(room, state=None, limit=10) if row["kind"] == "excursion"}
    assert len(told) == 2
    assert (told[today["id"]]["state"], told[today["id"]]["cleared_at"]) == ("acknowledged", None)
    late = next(row for row in told.values() if row["id"] != today["id"])
    assert (late["opened_at"], late["cleared_at"]) == (START + timedelta(minutes=10), START + timedelta(minutes=30))
    cursor = await room.execute(
        "SELECT payload->>'change' FROM outgoing WHERE kind = 'alert' AND payload->>'kind' = 'excursion' ORDER BY id"
    )
    assert [row[0] for row in await cursor.fetchall()] == ["opened", "acknowledged", "opened"]


async def test_a_room_that_was_never_heard_is_silent_until_its_first_reading(room: AsyncConnection) -> None:
    assert await limits.find_silence(room, START + timedelta(minutes=15)) == 0
    assert await limits.find_silence(room, START + timedelta(minutes=16)) == 1
    assert await limits.find_silence(room, START + timedelta(minutes=17)) == 0
    (alert,) = await alerts.list_alerts(room, state=None, limit=10)
    assert (alert["kind"], alert["source"], alert["location"]) == ("silence", "rule:cr-1-celsius", "cr-1")
    await arrive(room, limits.Rules(), [(18, 5.0)])
    await limits.find_silence(room, START + timedelta(minutes=19))
    (alert,) = await alerts.list_alerts(room, state=None, limit=10)
    assert alert["cleared_at"] is not None


async def test_a_late_reading_of_long_ago_ends_no_silence(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(0, 5.0)])
    assert await limits.find_silence(room, START + timedelta(minutes=60)) == 1
    await arrive(room, rules, [(10, 5.0)], at_minute=60)
    assert await limits.find_silence(room, START + timedelta(minutes=61)) == 0
    (alert,) = await alerts.list_alerts(room, state=None, limit=10)
    assert (alert["opened_at"], alert["cleared_at"]) == (START + timedelta(minutes=25), None)


async def test_a_device_that_says_it_is_well_raises_no_version_of_the_rules(room: AsyncConnection) -> None:
    before = await (await room.execute("SELECT version FROM rule_book")).fetchone()
    for _ in range(3):
        await room.execute(
            "INSERT INTO device (site, device) VALUES ('depot', 'probe-1')"
            " ON CONFLICT (site, device) DO UPDATE SET state = 'online'"
        )
    assert await (await room.execute("SELECT version FROM rule_book")).fetchone() == before


async def test_a_changed_rule_is_used_from_the_next_reading_on(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(0, 7.0)])
    await room.execute("UPDATE limit_rule SET upper = 6, delay_s = 0")
    await arrive(room, rules, [(1, 7.0)])
    assert len(await found(room)) == 1


async def test_silence_is_its_own_alert_and_ends_when_heard_again(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(0, 5.0)])
    assert await limits.find_silence(room, START + timedelta(minutes=15)) == 0
    assert await limits.find_silence(room, START + timedelta(minutes=16)) == 1
    assert await limits.find_silence(room, START + timedelta(minutes=17)) == 0
    (rooms,) = await limits.cold_rooms(room, START + timedelta(minutes=17))
    assert rooms["state"] == "silent"
    await arrive(room, rules, [(18, 5.0)])
    await limits.find_silence(room, START + timedelta(minutes=19))
    (alert,) = await alerts.list_alerts(room, state=None, limit=10)
    assert (alert["kind"], alert["opened_at"], alert["cleared_at"]) == (
        "silence",
        START + timedelta(minutes=15),
        START + timedelta(minutes=18),
    )


async def test_an_alert_is_acknowledged_once_with_a_reason(room: AsyncConnection) -> None:
    await arrive(room, limits.Rules(), [(minute, 9.0) for minute in range(12)])
    (alert,) = await alerts.list_alerts(room, state="open", limit=10)
    with pytest.raises(RuleViolation, match="reason is needed"):
        await alerts.acknowledge(room, alert["id"], person="keeper", reason="  ", now=START)
    answered = await alerts.acknowledge(room, alert["id"], person="keeper", reason="moved the goods", now=START)
    assert answered["state"] == "acknowledged"
    with pytest.raises(RuleViolation, match="already"):
        await alerts.acknowledge(room, alert["id"], person="other", reason="me too", now=START)
    with pytest.raises(RuleViolation, match="cause still stands"):
        await alerts.resolve(room, alert["id"], person="keeper", reason="done", now=START)
    with pytest.raises(NotFound):
        await alerts.acknowledge(room, 999_999, person="keeper", reason="what", now=START)


async def test_every_change_of_an_alert_is_told_once(room: AsyncConnection) -> None:
    rules = limits.Rules()
    for minute in range(14):
        await arrive(room, rules, [(minute, 9.0)])
    await arrive(room, rules, [(14, 5.0)])
    cursor = await room.execute("SELECT payload->>'change' FROM outgoing WHERE kind = 'alert' ORDER BY id")
    assert [row[0] for row in await cursor.fetchall()] == ["opened", "cleared"]


class _CutOffError(Exception):
    """The connection breaks before the commit."""


async def test_a_first_contact_that_was_rolled_back_leaves_no_rules_behind(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(0, 5.0)])
    await room.execute("INSERT INTO device (site, device, location) VALUES ('depot', 'probe-2', 'cr-1')")

    async def cut_off() -> None:
        async with room.transaction():
            await arrive(room, rules, [(1, 9.0)], await add_series(room, "probe-2"))
            raise _CutOffError

    with pytest.raises(_CutOffError):
        await cut_off()
    async with room.transaction():
        series_id = await add_series(room, "probe-2")
        await arrive(room, rules, [(1, 9.0)], series_id)
    await arrive(room, rules, [(minute, 9.0) for minute in range(2, 14)], series_id)
    assert [row[:2] for row in await found(room, series_id)] == [(START + timedelta(minutes=1), START + timedelta(minutes=11))]


async def test_late_data_on_a_series_that_was_outside_for_long_is_folded_page_by_page(room: AsyncConnection) -> None:
    await room.execute("INSERT INTO reading SELECT 1, %s + n * interval '1 second', 9 FROM generate_series(2, 60000) n", (START,))
    await arrive(room, limits.Rules(), [(1001, 9.0)])
    tracemalloc.start()
    try:
        await arrive(room, limits.Rules(), [(0, 9.0)], at_minute=1001)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [row[:3] for row in await found(room)] == [(START, START + timedelta(minutes=10), None)]
    assert peak < 3_000_000


async def test_pages_of_any_size_fold_to_the_same(room: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [(minute, 9.0 if minute % 20 < 14 else 5.0) for minute in range(100)]
    expected = excursions(LIMIT, [Reading(START_US + minute * MINUTE, value) for minute, value in readings])
    monkeypatch.setattr(limits, "FOLD_PAGE", 7)
    await arrive(room, limits.Rules(), readings)
    assert [(row[0], row[1]) for row in await found(room)] == [(at(each.started_us), at(each.alarmed_us)) for each in expected]
