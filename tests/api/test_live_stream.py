"""The live stream over a real socket: nothing lost, nothing doubled, nothing shown to whom it is not meant."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.sse import ServerSentEvent
from psycopg import AsyncConnection

import api.live
from api.live import CLIENT_QUEUE, Broadcaster, Client
from hub.services import events, people
from hub.services.events import Place
from hub.services.people import Caller

PASSWORD = "a long enough password"
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
WAIT_S = 10


@dataclass(frozen=True)
class Received:
    """One server-sent event as the browser would see it."""

    event: str
    data: Any
    id: str | None


async def frames(lines: AsyncIterator[str]) -> AsyncIterator[Received]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Received(fields.get("event", "message"), json.loads(fields.get("data", "null")), fields.get("id"))
            fields = {}


class Listener:
    """An open stream."""

    def __init__(self, response: httpx.Response) -> None:
        self._frames = frames(response.aiter_lines())

    async def next(self) -> Received:
        return await asyncio.wait_for(anext(self._frames), WAIT_S)

    async def durable(self, count: int) -> list[Received]:
        found: list[Received] = []
        while len(found) < count:
            each = await self.next()
            if each.id is not None and each.event != "hello":
                found.append(each)
        return found

    async def ended(self) -> bool:
        async with asyncio.timeout(WAIT_S):
            async for _ in self._frames:
                pass
        return True


@asynccontextmanager
async def listening(address: str, token: str, last_event_id: str | None = None) -> AsyncIterator[Listener]:
    headers = {"Authorization": f"Bearer {token}"} | ({} if last_event_id is None else {"Last-Event-ID": last_event_id})
    async with httpx.AsyncClient(timeout=WAIT_S) as http, http.stream("GET", f"{address}/api/v1/live", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in response.headers
        yield Listener(response)


async def token_for(db: AsyncConnection, role: str) -> str:
    return await people.create_token(db, f"program-{role}", role, datetime.now(UTC))


async def emit(db: AsyncConnection, subject: str, kind: events.Kind = "alert") -> None:
    await events.emit(db, kind=kind, subject=subject, site="depot", payload={"n": subject}, at=NOW)


async def test_a_stream_begins_with_hello_and_tells_what_happens(served: str, db: AsyncConnection) -> None:
    token = await token_for(db, "admin")
    async with listening(served, token) as stream:
        hello = await stream.next()
        assert hello.event == "hello"
        assert hello.data["speed"] == 1.0
        assert datetime.fromisoformat(hello.data["now"]).tzinfo is not None
        await emit(db, "17")
        (alert,) = await stream.durable(1)
    assert alert.event == "alert"
    assert alert.data == {
        "id": alert.id,
        "kind": "alert",
        "subject": "17",
        "site": "depot",
        "payload": {"n": "17"},
        "at": "2026-11-20T08:00:00Z",
    }


async def test_nothing_is_lost_or_doubled_across_reconnects(served: str, db: AsyncConnection) -> None:
    token = await token_for(db, "admin")
    seen: list[str] = []
    last = None
    written = 0
    for round_size in (3, 7, 1, 5):
        async with listening(served, token, last) as stream:
            hello = await stream.next()
            last = last or hello.id
            for _ in range(round_size):
                await emit(db, str(written))
                written += 1
            # Leave in the middle: the rest happens while nobody listens.
            for each in await stream.durable(max(1, round_size // 2)):
                seen.append(each.data["subject"])
                last = each.id
    async with listening(served, token, last) as stream:
        seen += [each.data["subject"] for each in await stream.durable(written - len(seen))]
    assert seen == [str(each) for each in range(written)]


async def test_a_slow_transaction_holds_nobody_up_and_is_not_skipped(served: str, db: AsyncConnection, database_uri: str) -> None:
    token = await token_for(db, "admin")
    async with (
        listening(served, token) as stream,
        await AsyncConnection.connect(database_uri) as slow,
    ):
        first = (await stream.next()).id
        await emit(slow, "slow")
        await emit(db, "quick")
        subjects = [each.data["subject"] for each in await stream.durable(1)]
        await slow.commit()
        subjects += [each.data["subject"] for each in await stream.durable(1)]
    assert subjects == ["quick", "slow"]
    async with listening(served, token, first) as again:
        assert [each.data["subject"] for each in await again.durable(2)] == ["quick", "slow"]


async def test_events_of_many_writers_are_placed_in_the_order_of_their_commits(db: AsyncConnection, database_uri: str) -> None:
    seen: list[int] = []
    place = Place(0)

    async def write(writer: int) -> None:
        async with await AsyncConnection.connect(database_uri) as own:
            for number in range(20):
                await emit(own, f"{writer}-{number}")
                await own.commit()

    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(write(writer), name=f"writer {writer}") for writer in range(4)]
        while not all(writer.done() for writer in writers) or len(seen) < 80:
            for event in await events.events_after(db, place, 7):
                seen.append(event.id)
                place = event.place
            await asyncio.sleep(0)
    assert sorted(seen) == sorted(set(seen))
    assert len(seen) == 80


async def test_a_role_is_told_only_what_it_may_see(served: str, db: AsyncConnection) -> None:
    token = await token_for(db, "gate")
    async with listening(served, token) as stream:
        start = (await stream.next()).id
        for kind in ("plan", "order", "stock", "device", "rejection"):
            await emit(db, kind, kind)
        await emit(db, "to be seen", "receipt")
        assert [each.data["subject"] for each in await stream.durable(1)] == ["to be seen"]
    async with listening(served, token, start) as again:
        assert [each.data["subject"] for each in await again.durable(1)] == ["to be seen"]


async def test_one_who_missed_too_much_is_told_to_read_again(
    served: str, db: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.live, "REPLAY_LIMIT", 3)
    token = await token_for(db, "admin")
    async with listening(served, token) as stream:
        start = (await stream.next()).id
        for each in range(4):
            await emit(db, str(each))
        await stream.durable(4)
    async with listening(served, token, start) as stream:
        assert (await stream.next()).event == "hello"
        reset = await stream.next()
        assert (reset.event, reset.data) == ("reset", {"reason": "too_old"})
        await emit(db, "after")
        assert [each.data["subject"] for each in await stream.durable(1)] == ["after"]


@pytest.mark.parametrize("place", ["nonsense", "-1", "9999999999", "1-2", "9" * 30])
async def test_a_place_that_is_none_of_ours_resets(served: str, db: AsyncConnection, place: str) -> None:
    token = await token_for(db, "admin")
    async with listening(served, token, place) as stream:
        await stream.next()
        assert (await stream.next()).data == {"reason": "unknown_place"}


async def add_vehicles(db: AsyncConnection) -> None:
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', '仓库', 'Depot')")
    for name in ("van-1", "van-2"):
        await db.execute(
            "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, speed_mps, shift_from,"
            " shift_until) VALUES (%s, 'depot', '车', 'Van', 'fleet', %s, 10, 10, '2026-11-20Z', '2026-11-21Z')",
            (name, f"{name}-gps"),
        )


async def move(db: AsyncConnection, vehicle: str, at: datetime, latitude: float) -> None:
    await db.execute(
        "INSERT INTO vehicle_live (vehicle, at, latitude, longitude, recorded_at) VALUES (%s, %s, %s, 121.5, %s)"
        " ON CONFLICT (vehicle) DO UPDATE SET at = excluded.at, latitude = excluded.latitude, recorded_at = excluded.recorded_at",
        (vehicle, at, latitude, at),
    )


async def test_only_vehicles_that_moved_are_told_and_a_driver_sees_the_own_one(served: str, db: AsyncConnection) -> None:
    await add_vehicles(db)
    await people.create_person(db, "driver", role="driver", password=PASSWORD, vehicle="van-2")
    session = await people.open_session(db, "driver", datetime.now(UTC))
    token = await token_for(db, "dispatcher")
    cookies = {"Cookie": f"qm_session={session.token}"}
    async with (
        listening(served, token) as stream,
        httpx.AsyncClient(timeout=WAIT_S) as http,
        http.stream("GET", f"{served}/api/v1/live", headers=cookies) as response,
    ):
        driver = Listener(response)
        assert {(await stream.next()).event, (await driver.next()).event} == {"hello"}
        await move(db, "van-1", NOW, 31.1)
        first = await stream.next()
        assert first == Received(
            "vehicles",
            [
                {
                    "vehicle": "van-1",
                    "at": "2026-11-20T08:00:00Z",
                    "latitude": 31.1,
                    "longitude": 121.5,
                    "speed_mps": None,
                    "course_deg": None,
                }
            ],
            None,
        )
        await move(db, "van-2", NOW + timedelta(seconds=5), 31.2)
        assert [row["vehicle"] for row in (await stream.next()).data] == ["van-2"]
        assert [row["vehicle"] for row in (await driver.next()).data] == ["van-2"]


async def test_readings_go_to_those_who_watch_cold_rooms(served: str, db: AsyncConnection) -> None:
    await db.execute("INSERT INTO device (site, device) VALUES ('depot', 'probe')")
    await db.execute("INSERT INTO series (site, device, quantity) VALUES ('depot', 'probe', 'celsius')")
    token = await token_for(db, "storekeeper")
    async with listening(served, token) as stream:
        await stream.next()
        await db.execute("INSERT INTO series_latest SELECT series_id, %s, 4.5, %s FROM series", (NOW, NOW))
        readings = await stream.next()
    assert (readings.event, readings.id) == ("readings", None)
    assert [(row["at"], row["value"]) for row in readings.data] == [("2026-11-20T08:00:00Z", 4.5)]


async def test_a_stream_ends_when_its_credential_does(served: str, db: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.live, "CREDENTIAL_CHECK_S", 0.0)
    token = await token_for(db, "admin")
    async with listening(served, token) as stream:
        await stream.next()
        await people.revoke_token(db, "program-admin")
        assert await stream.ended()


async def test_a_stream_goes_on_when_the_database_cut_the_reader_off(served: str, db: AsyncConnection) -> None:
    token = await token_for(db, "admin")
    async with listening(served, token) as stream:
        await stream.next()
        await db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        await emit(db, "meanwhile")
        assert [each.data["subject"] for each in await stream.durable(1)] == ["meanwhile"]


async def test_a_stranger_gets_no_stream(served: str) -> None:
    async with httpx.AsyncClient(timeout=WAIT_S) as http:
        assert (await http.get(f"{served}/api/v1/live")).status_code == 401


async def a_client() -> Client:
    return Client(Caller("token", "erp", "admin", token_sha256=b""), Place(1))


async def test_a_client_that_does_not_keep_up_is_closed() -> None:
    client = await a_client()
    event = ServerSentEvent(raw_data="{}", event="alert")
    for _ in range(CLIENT_QUEUE):
        client.put(event)
    before = client.closed
    client.put(event)
    assert (before, client.closed) == (False, True)
    assert await asyncio.wait_for(client.take(), 1) == []


async def test_positions_nobody_took_are_replaced_not_queued() -> None:
    client = await a_client()
    for latitude in range(5000):
        client.put_vehicles({"van-1": {"vehicle": "van-1", "latitude": latitude}})
    (sent,) = await asyncio.wait_for(client.take(), 1)
    assert json.loads(sent.raw_data or "") == [{"vehicle": "van-1", "latitude": 4999}]


async def test_a_stopped_broadcaster_ends_its_streams_and_takes_no_more(pool: api.live.Pool) -> None:
    from core.errors import Unavailable

    live = Broadcaster(pool)
    with pytest.raises(Unavailable, match="not flowing yet"):
        live.subscribe(Caller("token", "erp", "admin", token_sha256=b""))
    live.stop()
    with pytest.raises(Unavailable, match="stopping"):
        live.subscribe(Caller("token", "erp", "admin", token_sha256=b""))
