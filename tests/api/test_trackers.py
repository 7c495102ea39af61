"""Phones that tell where a vehicle is: every form of the protocol, and nobody without a token of a tracker."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI
from psycopg import AsyncConnection

from api.context import STRANGERS_BURST, TRACKER_BURST
from api.rate_limit import MAX_CALLERS, RateLimit
from api.routes.trackers import MAX_BYTES
from core.errors import NotFound, RuleViolation
from edge.drivers.observations import Fix
from hub.services import trackers
from simulators.devices.osmand_phone import OsmAndPhone

PATH = "/api/v1/trackers/osmand"


@pytest.fixture
async def token(db: AsyncConnection) -> str:
    """A phone's token for a van."""
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', '仓', 'Depot')")
    now = datetime.now(UTC)
    await db.execute(
        "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, speed_mps, shift_from, shift_until)"
        " VALUES ('van-1', 'depot', '车', 'Van 1', 'fleet', 'van-1-gps', 40, 10, %s, %s)",
        (now, now + timedelta(hours=8)),
    )
    return await trackers.create(db, "phone-1", vehicle="van-1", coordinate_system="wgs84", now=now)


async def fixes(db: AsyncConnection) -> list[tuple[object, ...]]:
    return await (
        await db.execute("SELECT at, latitude, longitude, round(speed_mps::numeric, 2)::float FROM position ORDER BY at")
    ).fetchall()


async def test_a_fix_arrives_by_query_form_and_json_and_is_kept_once(
    client: httpx.AsyncClient, db: AsyncConnection, token: str
) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    told = {"lat": "30.6", "lon": "114.3", "timestamp": str(int(at.timestamp())), "speed": "10", "batt": "80", "unknown": "x"}
    bearer = {"Authorization": f"Bearer {token}"}
    document = {
        "device_id": token,
        "location": {"timestamp": at.isoformat(), "coords": {"latitude": 30.6, "longitude": 114.3, "speed": 5.144, "heading": -1}},
    }
    answers = [
        await client.get(PATH, params={**told, "id": token}),
        await client.get(PATH, params={**told, "deviceid": token}),
        await client.get(f"{PATH}/{token}", params={**told, "id": "anything"}),
        await client.get(PATH, params={**told, "id": "anything"}, headers=bearer),
        await client.post(PATH, data={**told, "id": token}),
        await client.post(PATH, params={**told, "id": token}),
        await client.post(PATH, json=document),
        await client.post(f"{PATH}/{token}", json=document | {"device_id": "anything"}),
    ]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"status": "ok"})] * 8
    assert await fixes(db) == [(at, 30.6, 114.3, 5.14)]
    live = await (await db.execute("SELECT vehicle, at FROM vehicle_live")).fetchall()
    assert live == [("van-1", at)]


async def test_a_late_fix_is_kept_and_never_moves_the_vehicle_back(
    client: httpx.AsyncClient, db: AsyncConnection, token: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for minutes in (1, 600):
        when = (now - timedelta(minutes=minutes)).isoformat()
        assert (await client.get(f"{PATH}/{token}", params={"lat": 30.6, "lon": 114.3, "timestamp": when})).status_code == 200
    assert len(await fixes(db)) == 2
    assert await (await db.execute("SELECT at FROM vehicle_live")).fetchall() == [(now - timedelta(minutes=1),)]


async def test_what_cannot_be_true_is_answered_well_and_kept_as_rejected(
    client: httpx.AsyncClient, db: AsyncConnection, token: str
) -> None:
    assert (await client.get(f"{PATH}/{token}", params={"lat": 0, "lon": 0})).status_code == 200
    assert (await client.get(f"{PATH}/{token}", params={"lat": 30, "lon": 114, "valid": "false"})).status_code == 200
    assert await fixes(db) == []
    rejected = await (await db.execute("SELECT reason FROM rejected_message")).fetchall()
    assert len(rejected) == 1
    assert "says 0, 0" in str(rejected[0][0])


async def test_a_phone_that_shifts_is_stored_with_its_system(client: httpx.AsyncClient, db: AsyncConnection, token: str) -> None:
    shifted = await trackers.create(db, "phone-2", vehicle="van-1", coordinate_system="gcj02", now=datetime.now(UTC))
    assert (await client.get(f"{PATH}/{shifted}", params={"lat": 30.6, "lon": 114.3, "accuracy": 12})).status_code == 200
    row = await (await db.execute("SELECT coordinate_system, told_latitude, accuracy_m, latitude <> 30.6 FROM position")).fetchone()
    assert row == ("gcj02", 30.6, 12.0, True)


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        ({"params": {"lat": "91", "lon": "0"}}, "lat"),
        ({"params": {"timestamp": "1795249800"}}, "lat"),
        ({"data": {"lat": "30", "lon": "114", "timestamp": "soon"}}, "timestamp"),
        ({"json": {"location": {}}}, "location.coords"),
        ({"json": {"location": {"coords": {"latitude": 30, "longitude": "x"}}}}, "location.coords.longitude"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, ""),
        ({"content": b"[" * 10_000, "headers": {"Content-Type": "application/json"}}, ""),
        ({"content": b"lat=30&" * 200}, ""),
        ({"content": b"lat=\xff"}, ""),
    ],
)
async def test_what_is_no_fix_is_refused_with_its_reason(
    client: httpx.AsyncClient, db: AsyncConnection, token: str, request_: dict[str, object], where: str
) -> None:
    answer = await client.post(f"{PATH}/{token}", **request_)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["where"]) == (400, "bad_request", where)
    assert await fixes(db) == []


async def test_nobody_is_anonymous_and_a_revoked_phone_is_refused_at_once(
    client: httpx.AsyncClient, db: AsyncConnection, token: str
) -> None:
    place = {"lat": "30.6", "lon": "114.3"}
    for path, params in ((PATH, {}), (PATH, {"id": "123456"}), (f"{PATH}/qmt_{'x' * 43}", {}), (f"{PATH}/%00", {})):
        answer = await client.get(path, params={**place, **params})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed_in")
    await trackers.revoke(db, "phone-1")
    assert (await client.get(f"{PATH}/{token}", params=place)).status_code == 401
    assert await fixes(db) == []


async def test_a_phones_token_opens_nothing_else(client: httpx.AsyncClient, token: str) -> None:
    answer = await client.get("/api/v1/vehicles", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


async def test_too_large_a_body_is_refused(client: httpx.AsyncClient, token: str) -> None:
    answer = await client.post(f"{PATH}/{token}", content=b"a" * (MAX_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


async def test_who_asks_too_often_is_told_to_wait(app: FastAPI, client: httpx.AsyncClient, db: AsyncConnection, token: str) -> None:
    app.state.context.stranger_rate = RateLimit(0.001, 2)
    answers = [await client.get(PATH, params={"id": "guess"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert int(answers[2].headers["retry-after"]) > 0
    # The address of a guesser may be that of a phone as well.
    assert (await client.get(f"{PATH}/{token}", params={"lat": 30.6, "lon": 114.3})).status_code == 200
    app.state.context.tracker_rate = RateLimit(0.001, 1)
    assert [(await client.get(f"{PATH}/{token}", params={"lat": 30.6, "lon": 114.3})).status_code for _ in range(2)] == [200, 429]


def test_a_rate_limit_lets_a_burst_through_then_its_rate_and_remembers_few() -> None:
    limit = RateLimit(per_s=2, burst=3)
    assert [limit.wait_s("a", 0.0) for _ in range(4)] == [0, 0, 0, 1]
    assert limit.wait_s("a", 0.5) == 0
    assert limit.wait_s("a", 0.5) == 1
    assert limit.wait_s("b", 0.5) == 0
    for number in range(MAX_CALLERS + 5):
        limit.wait_s(str(number), 1.0)
    assert len(limit._left) == MAX_CALLERS
    assert TRACKER_BURST > STRANGERS_BURST


async def test_a_token_is_never_logged_nor_stored(
    client: httpx.AsyncClient, db: AsyncConnection, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await client.get(f"{PATH}/{token}", params={"lat": 30.6, "lon": 114.3})
        await client.get(f"{PATH}/{token}", params={"lat": "x"})
        await client.put(f"{PATH}/{token}")
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not [record for record in ours if token in record.getMessage()]
    for table in ("tracker_token", "rejected_message", "outgoing"):
        rows = await (await db.execute(f"SELECT {table}::text FROM {table}")).fetchall()  # type: ignore[arg-type]
        assert token not in str(rows)


async def test_a_tracker_is_made_once_for_a_vehicle_that_exists_and_is_listed(db: AsyncConnection, token: str) -> None:
    now = datetime.now(UTC)
    with pytest.raises(RuleViolation, match="already exists"):
        await trackers.create(db, "phone-1", vehicle="van-1", coordinate_system="wgs84", now=now)
    with pytest.raises(NotFound, match="van-9"):
        await trackers.create(db, "phone-9", vehicle="van-9", coordinate_system="wgs84", now=now)
    with pytest.raises(RuleViolation, match="2 to 64"):
        await trackers.create(db, "Phone 9", vehicle="van-1", coordinate_system="wgs84", now=now)
    assert [(each.name, each.vehicle, each.note) for each in await trackers.list_all(db)] == [
        ("phone-1", "van-1", f"wgs84, made {now:%Y-%m-%d}")
    ]
    with pytest.raises(NotFound):
        await trackers.revoke(db, "phone-9")


async def test_a_simulated_phone_is_heard_over_a_real_socket(served: str, db: AsyncConnection, token: str) -> None:
    at = datetime.now(UTC).replace(microsecond=0)
    phone = OsmAndPhone(served, token)
    first = Fix(at - timedelta(seconds=30), 30.6, 114.3, 10.0, 90.0, None, 0.9, at, accuracy_m=8.0)
    second = Fix(at, 30.601, 114.3, None, None, None, None, at)
    await asyncio.to_thread(phone.tell_by_query, first)
    await asyncio.to_thread(phone.tell_by_json, second)
    assert await fixes(db) == [(first.at, 30.6, 114.3, 10.0), (second.at, 30.601, 114.3, None)]
    with pytest.raises(RuleViolation, match="HTTP 401"):
        await asyncio.to_thread(OsmAndPhone(served, f"qmt_{'x' * 43}").tell_by_query, first)
