"""Doors, mains and other inputs of two states: every change kept once, the newest shown, whatever the order of arrival."""

from datetime import UTC, datetime, timedelta

from psycopg import AsyncConnection

from core.messages import StateChange
from hub.services import device_states, directory

T = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def door(minute: int, *, on: bool) -> StateChange:
    return StateChange("cr-1-door", "door_open", on, T + timedelta(minutes=minute))


async def shown(db: AsyncConnection) -> list[tuple[str, bool, str]]:
    (device,) = await directory.list_devices(db, site="depot")
    return [(each["input"], each["on"], each["at"][:16]) for each in device["inputs"]]


async def news(db: AsyncConnection) -> list[bool]:
    rows = await (await db.execute("SELECT payload->'on' FROM outgoing WHERE kind = 'device' ORDER BY id")).fetchall()
    return [on for (on,) in rows]


async def test_a_change_is_kept_shown_and_told_once(db: AsyncConnection) -> None:
    for _ in range(2):
        await device_states.take_states(db, "depot", [door(0, on=False), door(1, on=True)], T)
    assert await shown(db) == [("door_open", True, "2026-11-21T08:01")]
    assert await news(db) == [False, True]
    assert await (await db.execute("SELECT count(*) FROM device_state")).fetchone() == (2,)


async def test_a_late_change_is_history_and_never_turns_the_newest_state(db: AsyncConnection) -> None:
    await device_states.take_states(db, "depot", [door(5, on=True)], T)
    await device_states.take_states(db, "depot", [door(3, on=False)], T)
    assert await shown(db) == [("door_open", True, "2026-11-21T08:05")]
    assert await news(db) == [True]


async def test_each_input_of_a_device_stands_for_itself(db: AsyncConnection) -> None:
    mains = StateChange("cr-1-door", "mains_power", on=True, at=T)
    await device_states.take_states(db, "depot", [door(0, on=False), mains], T)
    assert await shown(db) == [("door_open", False, "2026-11-21T08:00"), ("mains_power", True, "2026-11-21T08:00")]
