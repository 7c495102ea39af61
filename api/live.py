"""The live stream: one reader of the database serves every screen.

Events of the `outgoing` table are durable: each carries its place as the id of the server-sent event, and a browser that comes
back with Last-Event-ID is given what it missed from the table. Positions and readings are not: the last value wins.
"""

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from fastapi.sse import ServerSentEvent
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from api.permissions import Permission, permits
from core.errors import Unavailable
from hub.services import events, live_state, people
from hub.services.events import OutgoingEvent, Place
from hub.services.people import Caller

_log = logging.getLogger(__name__)

TICK_S: Final = 1.0
GATHER_S: Final = 0.05
BATCH: Final = 500
MAX_CLIENTS: Final = 500
CLIENT_QUEUE: Final = 1000
REPLAY_LIMIT: Final = 2000
REPLAYS_AT_ONCE: Final = 4
CREDENTIAL_CHECK_S: Final = 15.0
RECONNECT_S: Final = 1.0
BROWSER_RETRY_MS: Final = 3000
OVERLAP: Final = timedelta(minutes=10)
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_PLACE: Final = re.compile(r"[0-9]{1,18}")

KIND_PERMISSION: Final = {
    "alert": Permission.ALERTS_READ,
    "receipt": Permission.RECEIPTS_READ,
    "plan": Permission.PLANS_READ,
    "order": Permission.ORDERS_READ,
    "stock": Permission.STOCK_READ,
    "device": Permission.DEVICES_READ,
    "rejection": Permission.REJECTIONS_READ,
}

Row = dict[str, Any]
Pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]


def parse_place(text: str) -> Place | None:
    """The place in a Last-Event-ID, or None when it is none of ours."""
    match = _PLACE.fullmatch(text)
    return Place(int(match[0])) if match else None


def _real_now() -> datetime:
    return datetime.now(UTC)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _as_sent(event: OutgoingEvent) -> ServerSentEvent:
    data = {
        "id": str(event.place),
        "kind": event.kind,
        "subject": event.subject,
        "site": event.site,
        "payload": event.payload,
        "at": _utc(event.at),
    }
    return ServerSentEvent(raw_data=_json(data), event=event.kind, id=str(event.place))


class Client:
    """One open stream: a bounded queue of events, and the newest value of whatever moved since it last took."""

    def __init__(self, caller: Caller, start: Place) -> None:
        self.caller = caller
        self.start = start
        self.closed = False
        self.sees_vehicles = permits(caller.role, Permission.VEHICLES_READ)
        self.sees_readings = permits(caller.role, Permission.COLD_ROOMS_READ)
        self._events: deque[ServerSentEvent] = deque()
        self._vehicles: dict[str, Row] = {}
        self._readings: dict[int, Row] = {}
        self._woken = asyncio.Event()

    def sees(self, kind: str) -> bool:
        """May this caller know of events of that kind?"""
        permission = KIND_PERMISSION.get(kind)
        return permission is not None and permits(self.caller.role, permission)

    def put(self, event: ServerSentEvent) -> None:
        """Queues an event; a client that does not keep up is closed, and its browser comes back for the rest."""
        if len(self._events) >= CLIENT_QUEUE:
            _log.warning("live: %s does not keep up: closed after %d events waited", self.caller.actor, CLIENT_QUEUE)
            self.close()
            return
        self._events.append(event)
        self._woken.set()

    def put_vehicles(self, rows: dict[str, Row]) -> None:
        """Newest fixes by vehicle; a driver is given the own vehicle's only."""
        if not self.sees_vehicles:
            return
        if self.caller.role == "driver":
            rows = {name: row for name, row in rows.items() if name == self.caller.vehicle}
        if rows:
            self._vehicles |= rows
            self._woken.set()

    def put_readings(self, rows: dict[int, Row]) -> None:
        """Newest readings by series."""
        if self.sees_readings and rows:
            self._readings |= rows
            self._woken.set()

    def close(self) -> None:
        """Ends the stream once what was taken is sent."""
        self.closed = True
        self._events.clear()
        self._woken.set()

    async def take(self) -> list[ServerSentEvent]:
        """Waits for something to send; empty when the stream is closed."""
        await self._woken.wait()
        self._woken.clear()
        if self.closed:
            return []
        taken = list(self._events)
        self._events.clear()
        if self._vehicles:
            taken.append(ServerSentEvent(raw_data=_json(list(self._vehicles.values())), event="vehicles"))
            self._vehicles = {}
        if self._readings:
            taken.append(ServerSentEvent(raw_data=_json(list(self._readings.values())), event="readings"))
            self._readings = {}
        return taken


@dataclass(slots=True)
class _Newest:
    """What was already told of things that move, so that only changes leave."""

    told: dict[str | int, datetime]
    since: datetime = _LONG_AGO

    def changed(self, key: str | int, at: datetime, recorded_at: datetime) -> bool:
        # recorded_at is not the order of commits: look back a little further than the newest seen.
        self.since = max(self.since, recorded_at - OVERLAP)
        if self.told.get(key) == at:
            return False
        self.told[key] = at
        return True


class Broadcaster:
    """Reads what left the hub once and gives it to every client."""

    def __init__(self, pool: Pool, real_now: Callable[[], datetime] = _real_now) -> None:
        self._pool = pool
        self._real_now = real_now
        self._place: Place | None = None
        self._clients: set[Client] = set()
        self._replays = asyncio.Semaphore(REPLAYS_AT_ONCE)
        self._vehicles = _Newest({})
        self._readings = _Newest({})
        self._stopping = False
        self.ready = asyncio.Event()

    @property
    def clients(self) -> int:
        """How many streams are open."""
        return len(self._clients)

    def subscribe(self, caller: Caller) -> Client:
        """A new client, which is given every event past its `start`. Raises Unavailable when no more are taken."""
        if self._stopping:
            raise Unavailable("the API is stopping: connect again shortly")
        if self._place is None:
            raise Unavailable("live events are not flowing yet: the database has not answered")
        if len(self._clients) >= MAX_CLIENTS:
            raise Unavailable(f"{MAX_CLIENTS} live streams are open already")
        client = Client(caller, self._place)
        self._clients.add(client)
        return client

    def unsubscribe(self, client: Client) -> None:
        """Forgets a client."""
        self._clients.discard(client)

    def stop(self) -> None:
        """Ends every stream, so that the process can; new ones are refused."""
        self._stopping = True
        for client in self._clients:
            client.close()

    async def stream(self, client: Client, hello: Row, last_event_id: str) -> AsyncIterator[ServerSentEvent]:
        """Everything a client is sent, in order: hello, what it missed, then what happens, until it is closed."""
        fresh = not last_event_id
        yield ServerSentEvent(raw_data=_json(hello), event="hello", retry=BROWSER_RETRY_MS, id=str(client.start) if fresh else None)
        if not fresh:
            for missed in await self._missed(client, parse_place(last_event_id)):
                yield missed
        while taken := await client.take():
            for each in taken:
                yield each

    async def _missed(self, client: Client, place: Place | None) -> list[ServerSentEvent]:
        if place is None or place > client.start:
            return [self._reset(client, "unknown_place")]
        async with self._replays, self._pool.connection() as db:
            rows = await events.events_after(db, place, REPLAY_LIMIT + 1)
        missed = [row for row in rows if row.place <= client.start]
        if len(missed) > REPLAY_LIMIT:
            return [self._reset(client, "too_old")]
        return [_as_sent(row) for row in missed if client.sees(row.kind)]

    @staticmethod
    def _reset(client: Client, reason: str) -> ServerSentEvent:
        return ServerSentEvent(raw_data=_json({"reason": reason}), event="reset", id=str(client.start))

    async def run(self) -> None:
        """Follows the database until cancelled; reconnects when it was away, and goes on where it stood."""
        while True:
            try:
                await self._follow()
            except psycopg.OperationalError as error:
                _log.warning("live: the database does not answer, next try in %g s: %s", RECONNECT_S, error)
            except Exception:  # noqa: BLE001
                # This is the supervisor of the task: a fault is told and must not silence the screens for good.
                _log.exception("live: stopped by a fault, begins again in %g s", RECONNECT_S)
            await asyncio.sleep(RECONNECT_S)

    async def _follow(self) -> None:
        async with self._pool.connection() as db:
            try:
                await db.set_autocommit(True)
                await events.listen(db)
                await self._serve(db, await events.newest(db) if self._place is None else self._place)
            finally:
                if not db.closed:
                    # The next user of the pool must find it as it was.
                    await events.stop_listening(db)
                    await db.set_autocommit(False)

    async def _serve(self, db: AsyncConnection, place: Place) -> None:
        self._place = place
        self.ready.set()
        clock = asyncio.get_running_loop().time
        state_due = clock()
        checked = -CREDENTIAL_CHECK_S
        while True:
            await self._tell_events(db, self._place)
            if clock() >= state_due:
                state_due = clock() + TICK_S
                await self._tell_state(db)
            if clock() - checked >= CREDENTIAL_CHECK_S:
                checked = clock()
                await self._close_the_shut_out(db)
            if [each async for each in db.notifies(timeout=max(0.0, state_due - clock()), stop_after=1)]:
                # Others commit at the same time: one query for all of them.
                await asyncio.sleep(GATHER_S)

    async def _tell_events(self, db: AsyncConnection, place: Place) -> None:
        while rows := await events.events_after(db, place, BATCH):
            for row in rows:
                sent = _as_sent(row)
                for client in self._clients:
                    if client.sees(row.kind):
                        client.put(sent)
                self._place = place = row.place
            if len(rows) < BATCH:
                return

    async def _tell_state(self, db: AsyncConnection) -> None:
        if any(client.sees_vehicles for client in self._clients):
            fixes = await live_state.vehicles_since(db, self._vehicles.since)
            moved = {
                fix.vehicle: {
                    "vehicle": fix.vehicle,
                    "at": _utc(fix.at),
                    "latitude": fix.latitude,
                    "longitude": fix.longitude,
                    "speed_mps": fix.speed_mps,
                    "course_deg": fix.course_deg,
                }
                for fix in fixes
                if self._vehicles.changed(fix.vehicle, fix.at, fix.recorded_at)
            }
            for client in self._clients:
                client.put_vehicles(moved)
        if any(client.sees_readings for client in self._clients):
            latest = await live_state.readings_since(db, self._readings.since)
            measured = {
                reading.series_id: {"series_id": reading.series_id, "at": _utc(reading.at), "value": reading.value}
                for reading in latest
                if self._readings.changed(reading.series_id, reading.at, reading.recorded_at)
            }
            for client in self._clients:
                client.put_readings(measured)

    async def _close_the_shut_out(self, db: AsyncConnection) -> None:
        if not self._clients:
            return
        tokens = list({client.caller.token_sha256 for client in self._clients})
        still = await people.still_in(db, tokens, self._real_now())
        for client in self._clients:
            if client.caller.token_sha256 not in still:
                client.close()
