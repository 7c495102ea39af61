"""Rules over readings in the database: any order, number and grouping of arrivals ends in the same excursions and alerts."""

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from psycopg import AsyncConnection

from core.coldchain import Limit, Reading, excursions
from core.errors import NotFound, RuleViolation
from hub.domain.reading_block import ReadingBlock
from hub.services import alerts, limits

START = datetime(2026, 11, 20, 8, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
MINUTE = 60_000_000
LIMIT = Limit(lower=2.0, upper=8.0, inclusive=True, delay_s=600, hysteresis=0.5, max_gap_s=900)


@pytest.fixture
async def room(db: AsyncConnection) -> AsyncConnection:
    """One cold room, 2 to 8 degrees with ten minutes' delay, and its probe's series 1."""
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', '仓库', 'Depot')")
    await db.execute(
        "INSERT INTO location (location, site, role, storage_class, name_zh, name_en)"
        " VALUES ('cr-1', 'depot', 'cold_room', 'refrigerated', '冷库一', 'Cold room 1')"
    )
    await db.execute("INSERT INTO device (site, device, location) VALUES ('depot', 'probe-1', 'cr-1')")
    await db.execute(
        "INSERT INTO limit_rule VALUES"
        " ('cr-1-celsius', 'cr-1', 'celsius', 2, 8, true, 600, 0.5, 900, 'critical', '2026-11-20 08:00Z')",
    )
    await add_series(db, "probe-1")
    await db.execute("SELECT ensure_partitions(%s, %s)", (START, START + timedelta(days=2)))
    return db


async def add_series(db: AsyncConnection, device: str) -> int:
    row = await (
        await db.execute(
            "INSERT INTO series (site, device, quantity) VALUES ('depot', %s, 'celsius') RETURNING series_id", (device,)
        )
    ).fetchone()
    assert row is not None
    return int(row[0])


async def arrive(db: AsyncConnection, rules: limits.Rules, readings: list[tuple[int, float]], series_id: int = 1) -> None:
    """One group of readings (minute, celsius), written and judged as the hub does; those already known are passed over."""
    async with db.transaction():
        fresh = []
        for minute, value in readings:
            at = START + timedelta(minutes=minute)
            cursor = await db.execute("INSERT INTO reading VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (series_id, at, value))
            if cursor.rowcount:
                fresh.append((START_US + minute * MINUTE, value))
            await db.execute(
                "INSERT INTO series_latest VALUES (%s, %s, %s, %s) ON CONFLICT (series_id) DO UPDATE SET at = excluded.at"
                " WHERE series_latest.at < excluded.at",
                (series_id, at, value, at),
            )
        at_us = np.array([at for at, _ in fresh], np.int64)
        block = ReadingBlock(np.full(len(fresh), series_id, np.int32), at_us, np.array([value for _, value in fresh], np.float64))
        await rules.apply_readings(db, block, START + timedelta(hours=10))


async def found(db: AsyncConnection, series_id: int = 1) -> list[tuple[object, ...]]:
    cursor = await db.execute(
        "SELECT started_at, alarmed_at, ended_at, peak, round(area::numeric, 6) FROM excursion WHERE series_id = %s ORDER BY 1",
        (series_id,),
    )
    return await cursor.fetchall()


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


def at(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


async def test_an_excursion_of_yesterday_told_late_leaves_the_alert_of_today_alone(room: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(room, rules, [(minute, 5.0 if minute == 180 else 9.0) for minute in range(180, 200)])
    (today,) = await alerts.list_alerts(room, state=None, limit=10)
    await alerts.acknowledge(room, today["id"], person="keeper", reason="compressor is being mended", now=START)
    await arrive(room, rules, [(minute, 9.0 if minute < 30 else 5.0) for minute in range(32)])
    told = {row["id"]: row for row in await alerts.list_alerts(room, state=None, limit=10)}
    assert len(told) == 2
    assert (told[today["id"]]["state"], told[today["id"]]["cleared_at"]) == ("acknowledged", None)
    late = next(row for row in told.values() if row["id"] != today["id"])
    assert (late["opened_at"], late["cleared_at"]) == (START + timedelta(minutes=10), START + timedelta(minutes=30))
    cursor = await room.execute("SELECT payload->>'change' FROM outgoing WHERE kind = 'alert' ORDER BY id")
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
    await arrive(room, rules, [(20, 5.0)])
    assert await limits.find_silence(room, START + timedelta(minutes=61)) == 0
    (alert,) = await alerts.list_alerts(room, state=None, limit=10)
    assert alert["cleared_at"] is None


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
