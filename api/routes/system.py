"""The clock, the health of this process, and the live stream."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import psycopg
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from api.auth import allowed
from api.context import Db, Here
from api.live import Client
from api.permissions import Permission
from api.shapes import Moment, Told
from hub.services import system
from hub.services.people import Caller

router = APIRouter(tags=["system"])
public = APIRouter(tags=["system"])


class Now(BaseModel):
    """The present moment of the scenario and how fast it passes; in a real site real time and 1."""

    now: datetime
    speed: float = Field(examples=[1.0])


class Health(BaseModel):
    """Whether this process can do its work. `last_ingest_at` is when the hub last took a batch from any agent."""

    status: Literal["ok", "degraded"]
    database: bool
    last_ingest_at: datetime | None


class HubStatus(Told):
    """What one hub counted since it started. `at` is when it last wrote that down, every ten seconds."""

    hub: str = Field(description="Its client id at the broker")
    started_at: Moment
    at: Moment
    counts: dict[str, int] = Field(
        description="Batches, readings and facts taken; known_readings, conflicting_readings, misdated_statuses, set_aside, "
        "dropped_rejections, held_back (messages left with their agents); intake_times_full, receipts_dropped"
    )


class Kept(Told):
    """What could not be taken and is kept, beside its bounds."""

    rejected_messages: int
    rejected_bytes: int
    rejected_max_messages_an_agent: int
    rejected_max_bytes_an_agent: int
    set_aside_facts: int
    set_aside_bytes: int
    set_aside_largest_bytes: int = Field(description="Of the agent that has most of them")
    set_aside_max_bytes_an_agent: int = Field(description="At this the hub takes no more of an agent's; they stay with it")
    reading_conflicts: int
    receipts_not_posted: int = Field(description="That a rule or the store refused to post; each has an alert and is tried again")


class MirrorState(Told):
    """The queue of the mirror to InfluxDB, and what was let go because it was away for too long."""

    rows: int
    bytes: int
    max_rows: int
    max_bytes: int
    dropped_rows: int
    dropped_bytes: int
    dropped_at: Moment | None


class SystemState(Told):
    """Every limit that can be hit, and how near it is."""

    hubs: list[HubStatus]
    kept: Kept
    mirror: MirrorState


@router.get("/now", summary="What time is it", dependencies=[Depends(allowed(Permission.OWN_SESSION))])
async def now(here: Here) -> Now:
    """Screens measure ages and forecasts against this clock, not their own."""
    return Now(now=here.now(), speed=here.time_scale.speed)


@public.get("/health", summary="Health", responses={503: {"model": Health, "description": "The database does not answer"}})
async def health(here: Here, response: Response) -> Health:
    """For load balancers and container health checks; open to all. 503 while the database does not answer."""
    try:
        async with here.pool.connection(timeout=2.0) as db:
            return Health(status="ok", database=True, last_ingest_at=await system.last_ingest_at(db))
    except psycopg.OperationalError:
        response.status_code = 503
        return Health(status="degraded", database=False, last_ingest_at=None)


@router.get("/system", summary="Counts and limits of the hubs", dependencies=[Depends(allowed(Permission.SYSTEM_READ))])
async def system_state(db: Db) -> SystemState:
    """What the hubs count, and how full everything is that has a bound."""
    return SystemState.model_validate(await system.state(db))


async def _client(here: Here, caller: Annotated[Caller, Depends(allowed(Permission.LIVE_READ))]) -> AsyncIterator[Client]:
    client = here.live.subscribe(caller)
    try:
        yield client
    finally:
        here.live.unsubscribe(client)


@router.get("/live", summary="Live events (SSE)", response_class=EventSourceResponse)
async def live(
    here: Here,
    client: Annotated[Client, Depends(_client)],
    last_event_id: Annotated[str, Header(max_length=64, description="Set by the browser when it reconnects")] = "",
    after: Annotated[str, Query(max_length=64, description="The same for a program that cannot set the header")] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events, as far as the caller's role may see them.

    - `hello` `{"now", "speed"}` first of all.
    - `alert`, `receipt`, `plan`, `order`, `stock`, `device`, `rejection`: durable, with an id and data
      `{"id", "kind", "subject", "site", "payload", "at"}`. After Last-Event-ID none is lost and none comes twice.
    - `reset` `{"reason"}`: what was missed cannot be told any more; read the lists again.
    - `vehicles` `[{"vehicle", "at", "latitude", "longitude", "speed_mps", "course_deg"}]` and `readings`
      `[{"series_id", "at", "value"}]`: at most once a second, only what changed, without an id.

    A comment every 15 s keeps the line open. A screen that does not keep up is disconnected and comes back for the rest.
    """
    hello = {"now": here.now().isoformat().replace("+00:00", "Z"), "speed": here.time_scale.speed}
    async for event in here.live.stream(client, hello, last_event_id or after):
        yield event
