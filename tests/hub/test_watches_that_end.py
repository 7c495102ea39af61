"""A probe is moved, or a rule: what stood under the old watch is ended, and every reading is judged where the probe stood then."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from core.errors import RuleViolation
from hub.services import alerts, limits
from tests.hub.cold_room import START, arrive, found


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


async def place(db: AsyncConnection, location: str | None) -> None:
    await db.execute("UPDATE device SET location = %s WHERE device = 'probe-1'", (location,))


async def alerts_of(db: AsyncConnection, kind: str = "excursion") -> list[dict[str, Any]]:
    return sorted(
        (row for row in await alerts.list_alerts(db, state=None, limit=20) if row["kind"] == kind), key=lambda row: row["opened_at"]
    )


@pytest.fixture
async def rooms(room: AsyncConnection) -> AsyncConnection:
    """Also a second cold room with a rule of its own, and a hall with none."""
    await room.execute(
        "INSERT INTO location (location, site, role, storage_class, name_zh, name_en) VALUES"
        " ('cr-2', 'depot', 'cold_room', 'refrigerated', '冷库二', 'Cold room 2'),"
        " ('hall', 'depot', 'zone', 'ambient', '大厅', 'Hall')"
    )
    await room.execute(
        "INSERT INTO limit_rule VALUES"
        " ('cr-2-celsius', 'cr-2', 'celsius', 2, 8, true, 600, 0.5, 900, 'critical', '2026-11-20 08:00Z')"
    )
    return room


async def test_an_excursion_of_a_moved_probe_ends_at_the_last_reading_in_the_room(rooms: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(rooms, rules, [(minute, 12.0) for minute in range(15)])
    await place(rooms, "hall")
    await arrive(rooms, rules, [(minute, 20.0) for minute in range(15, 40)])
    await limits.find_silence(rooms, after(40))
    assert [(row[0], row[2]) for row in await found(rooms)] == [(after(0), after(14))]
    (alert,) = await alerts_of(rooms)
    assert (alert["cleared_at"], alert["details"]["unwatched"], alert["state"]) == (after(14), True, "open")
    told = await alerts.acknowledge(rooms, alert["id"], person="keeper", reason="the probe was moved", now=after(41))
    assert told["state"] == "resolved"
    states = {row["location"]: row["state"] for row in await limits.cold_rooms(rooms, after(40))}
    assert states["cr-1"] == "silent"
    assert await (await rooms.execute("SELECT count(*) FROM rule_state")).fetchone() == (0,)


async def test_a_person_can_close_the_alert_of_a_moved_probe_before_the_hub_has_looked(rooms: AsyncConnection) -> None:
    await arrive(rooms, limits.Rules(), [(minute, 12.0) for minute in range(15)])
    (alert,) = await alerts_of(rooms)
    await alerts.acknowledge(rooms, alert["id"], person="keeper", reason="the probe is moved", now=after(15))
    with pytest.raises(RuleViolation, match="cause still stands"):
        await alerts.resolve(rooms, alert["id"], person="keeper", reason="moved", now=after(15))
    await place(rooms, None)
    told = await alerts.resolve(rooms, alert["id"], person="keeper", reason="moved", now=after(16))
    assert (told["state"], told["cleared_at"]) == ("resolved", after(16))
    await limits.find_silence(rooms, after(17))
    assert [row[2] for row in await found(rooms)] == [after(14)]


async def test_a_silence_of_a_retired_probe_is_cleared_and_says_why(rooms: AsyncConnection) -> None:
    await arrive(rooms, limits.Rules(), [(0, 5.0)])
    assert await limits.find_silence(rooms, after(60)) >= 1
    await place(rooms, None)
    await limits.find_silence(rooms, after(61))
    (alert,) = [row for row in await alerts_of(rooms, "silence") if row["source"] == "series:depot.probe-1.celsius"]
    assert (alert["cleared_at"], alert["details"]["unwatched"]) == (after(61), True)
    assert await (await rooms.execute("SELECT count(*) FROM data_gap")).fetchone() == (0,)


async def test_what_a_probe_measured_elsewhere_counts_nothing_in_its_new_room(rooms: AsyncConnection) -> None:
    rules = limits.Rules()
    await place(rooms, "hall")
    await arrive(rooms, rules, [(minute, 20.0) for minute in range(30)])
    await place(rooms, "cr-2")
    await arrive(rooms, rules, [(minute, 9.0) for minute in range(30, 39)])
    assert await found(rooms) == []
    await arrive(rooms, rules, [(minute, 9.0) for minute in range(39, 45)])
    assert [(row[0], row[1]) for row in await found(rooms)] == [(after(30), after(40))]


async def test_readings_from_before_a_move_are_judged_by_the_room_they_were_taken_in(rooms: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(rooms, rules, [(0, 5.0), (14, 9.0), (28, 9.0), (60, 5.0)])
    await place(rooms, "hall")
    await arrive(rooms, rules, [(70, 20.0)])
    late = [(minute, 9.0) for minute in range(15, 28)] + [(minute, 5.0) for minute in range(29, 60)]
    await arrive(rooms, rules, late, at_minute=71)
    assert [(row[0], row[1], row[2]) for row in await found(rooms)] == [(after(14), after(24), after(29))]
    (alert,) = await alerts_of(rooms)
    assert (alert["location"], alert["cleared_at"]) == ("cr-1", after(29))


async def test_a_late_reading_corrects_an_excursion_that_a_move_has_ended(rooms: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(rooms, rules, [(minute, 9.0) for minute in range(0, 22, 2)])
    await place(rooms, "hall")
    await limits.find_silence(rooms, after(21))
    assert [row[2] for row in await found(rooms)] == [after(20)]
    await arrive(rooms, rules, [(13, 5.0)], at_minute=30)
    assert [(row[0], row[2]) for row in await found(rooms)] == [(after(0), after(13))]
    (alert,) = await alerts_of(rooms)
    assert alert["cleared_at"] == after(13)


@pytest.mark.parametrize("looked", [True, False])
async def test_a_probe_that_comes_back_begins_a_new_excursion(rooms: AsyncConnection, looked: bool) -> None:
    rules = limits.Rules()
    await arrive(rooms, rules, [(minute, 9.0) for minute in range(15)])
    await place(rooms, "hall")
    await arrive(rooms, rules, [(minute, 20.0) for minute in range(15, 20)])
    await place(rooms, "cr-1")
    if looked:
        await limits.find_silence(rooms, after(20))
    await arrive(rooms, rules, [(minute, 9.0) for minute in range(20, 35)])
    await limits.find_silence(rooms, after(35))
    assert [(row[0], row[2]) for row in await found(rooms)] == [(after(0), after(14)), (after(20), None)]
    assert [row["cleared_at"] for row in await alerts_of(rooms)] == [after(14), None]


async def test_a_rule_that_moves_to_another_room_leaves_no_alarm_behind(rooms: AsyncConnection) -> None:
    rules = limits.Rules()
    await arrive(rooms, rules, [(minute, 9.0) for minute in range(15)])
    await rooms.execute("UPDATE limit_rule SET location = 'hall' WHERE rule = 'cr-1-celsius'")
    await limits.find_silence(rooms, after(16))
    (alert,) = await alerts_of(rooms)
    assert (alert["cleared_at"], alert["details"]["unwatched"]) == (after(14), True)
    await rooms.execute("UPDATE limit_rule SET location = 'cr-1' WHERE rule = 'cr-1-celsius'")
    await arrive(rooms, rules, [(15, 9.0)])
    assert {row["cleared_at"] for row in await alerts_of(rooms)} == {after(14), None}


async def test_a_move_while_nothing_new_was_heard_leaves_no_second_stay(rooms: AsyncConnection) -> None:
    await arrive(rooms, limits.Rules(), [(0, 5.0)])
    for location in ("hall", "cr-2", None, "cr-1"):
        await place(rooms, location)
    stays = await (await rooms.execute("SELECT location, placed_after, until FROM device_stay")).fetchall()
    assert stays == [("cr-1", None, after(0))]
