"""Two connections at once: hubs that watch the same site, and a van that leaves while its plan is decided."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import AsyncConnection

from core.errors import RuleViolation
from core.messages import Position
from hub.adapters.solvers import portfolio
from hub.domain.routing import Plan, Problem
from hub.services import dispatch

START = datetime(2026, 11, 21, 0, 0, tzinfo=UTC)
DEPOT, CLINIC = (30.6, 114.3), (30.62, 114.3)
WAIT_S = 20.0
WAITING = (
    "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
    " WHERE NOT granted AND locktype = 'advisory' AND d.datname = current_database()"
)


def minute(m: float) -> datetime:
    return START + timedelta(minutes=m)


async def solve(problem: Problem, time_limit_s: float = 0.1) -> Plan:
    return portfolio.solve(problem, time_limit_s=min(time_limit_s, 0.1))


async def halfway(db: AsyncConnection, m: float, vehicle: str = "van-1") -> None:
    """The van is seen between depot and clinic: it has left."""
    await dispatch.take_positions(db, "fleet", [Position(f"{vehicle}-gps", minute(m), 30.61, 114.3, 12.0)], minute(m))


async def scalar(db: AsyncConnection, query: str) -> object:
    row = await (await db.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
async def depot(db: AsyncConnection) -> AsyncConnection:
    """Two vans; order o1 in force on van-1, nobody has left."""
    await db.execute("INSERT INTO site (site, name_zh, name_en, latitude, longitude) VALUES ('depot', '仓', 'Depot', 30.6, 114.3)")
    await db.execute("INSERT INTO destination VALUES ('clinic', '站', 'Clinic', %s, %s)", CLINIC)
    for n in (1, 2):
        await db.execute(
            "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, cold_box, speed_mps,"
            " shift_from, shift_until) VALUES (%s, 'depot', '车', 'Van', 'fleet', %s, 40, true, 12, %s, %s)",
            (f"van-{n}", f"van-{n}-gps", START, minute(600)),
        )
    await add_order(db, "o1", START)
    plan = await dispatch.plan_day(db, "depot", START, solve, "apply")
    await db.execute("UPDATE plan_stop SET vehicle = 'van-1' WHERE plan = %s", (plan,))
    return db


async def add_order(db: AsyncConnection, name: str, now: datetime) -> None:
    order = dispatch.NewOrder(name, "depot", "clinic", START, minute(300), service_s=300, demand=5)
    await dispatch.create_order(db, order, now)


@pytest.fixture
async def other(database_uri: str) -> AsyncIterator[AsyncConnection]:
    """A second connection; it gives up a lock that it cannot have soon."""
    async with await AsyncConnection.connect(database_uri, autocommit=True) as connection:
        await connection.execute("SET lock_timeout = '200ms'")
        yield connection


async def moved(db: AsyncConnection) -> int:
    """A proposal that gives o1 to van-2."""
    plan = await dispatch.replan(db, "depot", "manual", START, solve, [])
    assert plan is not None
    await db.execute("UPDATE plan_stop SET vehicle = 'van-2' WHERE plan = %s", (plan,))
    return plan


async def test_two_hubs_make_one_plan_of_one_disturbance(depot: AsyncConnection, other: AsyncConnection) -> None:
    await add_order(depot, "o2", minute(1))
    solving, both_looked = asyncio.Event(), asyncio.Event()

    async def slow(problem: Problem, time_limit_s: float = 0.1) -> Plan:
        solving.set()
        await asyncio.wait_for(both_looked.wait(), WAIT_S)
        return await solve(problem, time_limit_s)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(dispatch.watch(depot, minute(1), slow), name="first hub")
        await asyncio.wait_for(solving.wait(), WAIT_S)
        assert await dispatch.watch(other, minute(1), solve) == []
        both_looked.set()
    assert len(first.result()) == 1
    assert await dispatch.watch(other, minute(1), solve) == []
    assert await scalar(depot, "SELECT count(*) FROM plan WHERE trigger = 'new_order'") == 1


async def test_a_watch_that_fails_leaves_the_site_to_the_next_hub(depot: AsyncConnection, other: AsyncConnection) -> None:
    await add_order(depot, "o2", minute(1))

    async def wrong(problem: Problem, time_limit_s: float = 0.1) -> Plan:
        raise ZeroDivisionError("a mistake in a solver")

    with pytest.raises(ZeroDivisionError):
        await dispatch.watch(depot, minute(1), wrong)
    assert len(await dispatch.watch(other, minute(1), solve)) == 1


async def test_a_plan_is_not_accepted_past_a_departure_that_is_being_stored(depot: AsyncConnection, other: AsyncConnection) -> None:
    plan = await moved(depot)
    async with depot.transaction():
        await halfway(depot, 1)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            async with other.transaction():
                await dispatch.accept(other, plan, "dora", minute(2))
    with pytest.raises(RuleViolation, match="o1 is aboard van-1"):
        await dispatch.accept(other, plan, "dora", minute(2))
    assert await scalar(other, "SELECT count(*) FROM plan WHERE state = 'active' AND trigger = 'day'") == 1


async def test_a_departure_that_comes_while_a_plan_is_accepted_is_judged_by_the_new_plan(
    depot: AsyncConnection, other: AsyncConnection
) -> None:
    plan = await moved(depot)
    async with depot.transaction():
        await dispatch.accept(depot, plan, "dora", minute(1))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            async with other.transaction():
                await halfway(other, 2)
    await halfway(other, 2)
    assert await scalar(other, "SELECT state FROM delivery_order WHERE id = 'o1'") == "planned_for"
    await halfway(other, 3, "van-2")
    assert await scalar(other, "SELECT state FROM delivery_order WHERE id = 'o1'") == "loaded"


async def test_a_plan_applied_by_policy_waits_for_a_departure_and_is_made_again(
    depot: AsyncConnection, other: AsyncConnection
) -> None:
    solved: list[Problem] = []
    await other.execute("SET lock_timeout = 0")

    async def while_a_van_leaves(problem: Problem, time_limit_s: float = 0.1) -> Plan:
        solved.append(problem)
        if len(solved) == 1:
            await halfway(depot, 1)
        return await solve(problem, time_limit_s)

    async with asyncio.TaskGroup() as group, depot.transaction():
        work = dispatch.replan(other, "depot", "manual", minute(1), while_a_van_leaves, [], "apply")
        planning = group.create_task(work, name="planning")
        async with asyncio.timeout(WAIT_S):
            waiting: object = 0
            while not waiting:
                waiting = await scalar(depot, WAITING)
    assert planning.result() is not None
    assert len(solved) == 2
    assert await scalar(depot, "SELECT s.vehicle FROM plan_stop s JOIN plan p ON p.id = s.plan AND p.state = 'active'") == "van-1"
