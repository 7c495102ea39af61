"""Inputs of two states at devices: doors, mains, eyes, alarms; every change kept, the newest by event time shown."""

from datetime import datetime

from psycopg import AsyncConnection

from core.messages import StateChange
from hub.services.events import emit
from hub.sql import named

_SQL = named("device_states")


async def take_states(db: AsyncConnection, site: str, changes: list[StateChange], now: datetime) -> None:
    """Keeps changes once, however often and in whatever order they come. What turned the newest state leaves as an event."""
    names = sorted({change.device for change in changes})
    await db.execute(_SQL["add_devices"], {"site": site, "devices": names})
    rows = await (await db.execute(_SQL["lock_newest"], {"site": site, "devices": names})).fetchall()
    newest = {(device, name): (at, on) for device, name, at, on in rows}
    for change in sorted(changes, key=lambda each: each.at):
        key = (change.device, change.input)
        known = newest.get(key)
        if known is None or change.at > known[0]:
            newest[key] = (change.at, change.on)
            if known is None or known[1] is not change.on:
                payload = {"input": change.input, "on": change.on}
                await emit(db, kind="device", subject=f"{site}:{change.device}", site=site, payload=payload, at=change.at)
    await db.execute(
        _SQL["keep"],
        {
            "site": site,
            "devices": [each.device for each in changes],
            "inputs": [each.input for each in changes],
            "ats": [each.at for each in changes],
            "ons": [each.on for each in changes],
            "now": now,
        },
    )
