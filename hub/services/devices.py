"""What agents and devices say of themselves, and the sign of life in every batch."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from core.messages import AgentStatus, DeviceStatus
from core.topics import AgentAddress
from hub.domain.ingest_group import Envelope, is_credible
from hub.services.events import emit
from hub.sql import named

_SQL = named("devices")


async def take_statuses(db: AsyncConnection, site: str, statuses: list[DeviceStatus], now: datetime) -> None:  # noqa: ARG001
    """Moves the devices of a site to their newest state; a late status never moves one back. Each change leaves as an event."""
    known = await _lock_devices(db, site, sorted({status.device for status in statuses}))
    newest: dict[str, DeviceStatus] = {}
    for status in statuses:
        state, state_at = known[status.device]
        if state_at is not None and status.at < state_at:
            continue
        if status.state != state:
            payload = {"state": status.state, "detail": status.detail}
            await emit(db, kind="device", subject=f"{site}:{status.device}", site=site, payload=payload, at=status.at)
        known[status.device] = (status.state, status.at)
        newest[status.device] = status
    if newest:
        await db.execute(
            _SQL["device_statuses"],
            {
                "site": site,
                "devices": list(newest),
                "states": [each.state for each in newest.values()],
                "ats": [each.at for each in newest.values()],
                "details": [each.detail for each in newest.values()],
                "counts": [Jsonb(each.counts) for each in newest.values()],
            },
        )


async def _lock_devices(db: AsyncConnection, site: str, devices: list[str]) -> dict[str, tuple[str | None, datetime | None]]:
    """State and its time of each device; one never heard of is added, and has no state yet."""
    names = {"site": site, "devices": devices}
    rows = await (await db.execute(_SQL["lock_devices"], names)).fetchall()
    added: set[str] = set()
    if len(rows) < len(devices):
        added = {row[0] for row in await (await db.execute(_SQL["add_devices"], names)).fetchall()}
        rows = await (await db.execute(_SQL["lock_devices"], names)).fetchall()
    return {device: (None if device in added else state, state_at) for device, state, state_at in rows}


async def take_agent_statuses(db: AsyncConnection, statuses: Mapping[AgentAddress, AgentStatus], now: datetime) -> int:
    """Writes what agents published of themselves; returns how many told a time that cannot be true.

    A last will carries the time of the connection it ended, so going offline is dated by the hub's clock, and so is a status
    of an untrue time, whose distance becomes the agent's clock skew. A state that stands already keeps such a date: brokers
    repeat retained messages.
    """
    if not statuses:
        return 0
    told = sorted(statuses, key=lambda each: (each.site, each.agent))
    names = {"sites": [each.site for each in told], "agents": [each.agent for each in told]}
    await db.execute(_SQL["add_agents"], names)
    rows = await (await db.execute(_SQL["lock_agents"], names)).fetchall()
    known = {AgentAddress(site, agent): (online, status_at) for site, agent, online, status_at in rows}
    status_ats: list[datetime] = []
    skews: list[float | None] = []
    for address in told:
        status = statuses[address]
        online, since = known[address]
        credible = is_credible(status.at, now)
        skews.append(None if credible else (status.at - now).total_seconds())
        if status.online and credible:
            status_ats.append(status.at)
        else:
            status_ats.append(since if since is not None and online == status.online else now)
        if online != status.online:
            payload = {"agent": address.agent, "online": status.online}
            subject = f"{address.site}:{address.agent}"
            await emit(db, kind="device", subject=subject, site=address.site, payload=payload, at=status_ats[-1])
    values = {
        **names,
        "onlines": [statuses[each].online for each in told],
        "status_ats": status_ats,
        "boots": [statuses[each].boot for each in told],
        "versions": [statuses[each].version for each in told],
        "outboxes": [statuses[each].outbox_batches for each in told],
        "outbox_bytes": [statuses[each].outbox_bytes for each in told],
        "healths": [_health(statuses[each]) for each in told],
        "skews": skews,
    }
    await db.execute(_SQL["agent_statuses"], values)
    return sum(skew is not None for skew in skews)


def _health(status: AgentStatus) -> Jsonb | None:
    return None if status.health is None else Jsonb(msgspec.to_builtins(status.health))


async def touch_agents(db: AsyncConnection, envelopes: list[Envelope], now: datetime) -> None:
    """Notes when each agent was last heard and how far its clock is off, in seconds, ahead being positive.

    Of several batches the most recently sent one counts: the others waited.
    """
    newest: dict[tuple[str, str], Envelope] = {}
    for envelope in envelopes:
        key = (envelope.life.site, envelope.life.agent)
        if key not in newest or envelope.sent_at > newest[key].sent_at:
            newest[key] = envelope
    if not newest:
        return
    await db.execute(
        _SQL["touch_agents"],
        {
            "sites": [site for site, _ in newest],
            "agents": [agent for _, agent in newest],
            "boots": [each.life.boot for each in newest.values()],
            "skews": [(each.sent_at - now).total_seconds() for each in newest.values()],
            "now": now,
        },
    )
