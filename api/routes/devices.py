"""Agents, devices, and the messages that were not taken as facts."""

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import Field

from api.auth import allowed
from api.context import Db
from api.permissions import Permission
from api.shapes import LIST_DEFAULT, Filter, Limit, Moment, Told
from hub.services import directory, set_aside

router = APIRouter(tags=["devices"])


class AgentHealth(Told):
    """How a gateway does, as it last said; null is what it cannot know."""

    cpu_celsius: float | None
    disk_free_bytes: int | None
    memory_bytes: int | None
    clock_skew_s: float | None = Field(description="How far its clock is ahead of the hub's, by the hub's receipts")
    counts: dict[str, int] = Field(description="What it gave up, refused or judged strays since it began")
    heard: dict[str, Moment] = Field(description="When each of its devices last said anything")


class Agent(Told):
    """The program beside the devices of a site. `online` is null when it never said."""

    site: str
    agent: str
    online: bool | None
    status_at: Moment | None
    boot: str | None = Field(description="The life of its outbox")
    version: str | None
    outbox_batches: int = Field(description="Batches that wait to be sent")
    outbox_bytes: int
    health: AgentHealth | None
    last_batch_at: Moment | None
    clock_skew_s: float | None = Field(description="How far its clock is ahead")


class DeviceSeries(Told):
    """One quantity a device measures, and the newest value."""

    series_id: int
    quantity: Literal["celsius", "humidity_percent", "pressure_pa", "battery_volts", "battery_percent"]
    value: float | None
    at: Moment | None


class DeviceInput(Told):
    """One input of two states, as it was last told."""

    input: Literal["door_open", "mains_power", "photo_eye", "water_leak", "alarm_output"]
    on: bool
    at: Moment


class Device(Told):
    """A reader, sensor or tracker. A `location` of null is a device nobody has described yet."""

    site: str
    device: str
    location: str | None
    state: Literal["online", "offline", "fault"]
    state_at: Moment | None
    detail: str
    counts: dict[str, int] = Field(description="Frames taken and refused, by kind, since its agent began")
    series: list[DeviceSeries]
    inputs: list[DeviceInput]
    conflicts: int = Field(description="Readings that told another value for a moment it had told already; the first one counts")
    agents: list[str] = Field(description="Agents of its site")
    agent_online: bool | None = Field(description="False while an agent of its site is away: its state is then what it last said")


class Rejection(Told):
    """A message with the reason it was not taken; nothing else was held up by it. The newest of each agent are kept."""

    id: int
    topic: str
    reason: str
    site: str | None
    agent: str | None
    boot: str | None
    seq: int | None
    received_at: Moment
    size: int = Field(description="Bytes of the whole message; of a long one only the beginning is kept")
    start: str = Field(description="Its beginning, as text")


class SetAside(Told):
    """A fact that could be read and not taken: of an untrue time, or refused by a rule. It waits until a person settles it."""

    id: int
    site: str
    agent: str
    boot: str
    seq: int
    item: int | None = Field(description="Its place in its batch; null for readings, and for a whole batch")
    reason: str
    set_aside_at: Moment
    size: int = Field(description="Bytes; 0 once settled")
    settled_at: Moment | None
    settled_by: str | None
    settlement: Literal["taken", "dismissed"] | None
    shift_s: float | None = Field(description="Seconds that were added to its time when it was taken in again")
    settled_reason: str


@router.get("/devices", summary="Devices", dependencies=[Depends(allowed(Permission.DEVICES_READ))])
async def devices(db: Db, site: Filter = None) -> list[Device]:
    """By site and name."""
    return [Device.model_validate(row) for row in await directory.list_devices(db, site=site)]


@router.get("/agents", summary="Agents", dependencies=[Depends(allowed(Permission.DEVICES_READ))])
async def agents(db: Db, site: Filter = None) -> list[Agent]:
    """By site and name."""
    return [Agent.model_validate(row) for row in await directory.list_agents(db, site=site)]


@router.get("/rejections", summary="Rejected messages", dependencies=[Depends(allowed(Permission.REJECTIONS_READ))])
async def rejections(db: Db, limit: Limit = LIST_DEFAULT) -> list[Rejection]:
    """Newest first."""
    return [Rejection.model_validate(row) for row in await directory.list_rejections(db, limit=limit)]


@router.get("/set-aside", summary="Facts set aside", dependencies=[Depends(allowed(Permission.REJECTIONS_READ))])
async def set_aside_facts(
    db: Db, site: Filter = None, agent: Filter = None, settled: bool = False, limit: Limit = LIST_DEFAULT
) -> list[SetAside]:
    """Newest first. `quartermaster rejections replay` takes them in again; with `settled` those that were are shown too."""
    rows = await set_aside.list_facts(db, site=site, agent=agent, settled=settled, limit=limit)
    return [SetAside.model_validate(row) for row in rows]
