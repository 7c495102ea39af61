"""What an agent knows of itself at one moment: what its retained status and its metrics tell."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.messages import AgentHealth
from edge.station import Station
from edge.uplink import Uplink
from edge.vitals import cpu_celsius, disk_free_bytes, memory_bytes
from edge.writer import Writer


@dataclass(frozen=True, slots=True)
class DeviceSnapshot:
    """One device: its state as it would be told now, when it last said anything, and its totals."""

    name: str
    driver: str
    state: str
    heard_at: datetime | None
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One agent. Totals are since it began; `clock_skew_s` is how far its clock is ahead of the hub's."""

    health: AgentHealth
    connected: bool
    waiting_batches: int
    waiting_bytes: int
    uplink: Mapping[str, int]
    devices: tuple[DeviceSnapshot, ...]
    alarms: tuple[str, ...]


def take_snapshot(
    writer: Writer,
    uplink: Uplink,
    *,
    stations: Iterable[Station],
    counts: Mapping[str, int],
    alarms: Iterable[str],
    state_dir: Path,
) -> Snapshot:
    """Looks at everything; may be called by any thread."""
    devices = tuple(
        DeviceSnapshot(each.device.name, each.device.driver, each.health.state, each.heard_at, each.totals()) for each in stations
    )
    health = AgentHealth(
        cpu_celsius=cpu_celsius(),
        disk_free_bytes=disk_free_bytes(state_dir),
        memory_bytes=memory_bytes(),
        clock_skew_s=uplink.skew.seconds,
        counts={**writer.losses, **counts},
        heard={each.name: each.heard_at for each in devices if each.heard_at is not None},
    )
    return Snapshot(
        health=health,
        connected=uplink.connected.is_set(),
        waiting_batches=writer.waiting_batches,
        waiting_bytes=writer.waiting_bytes,
        uplink=dict(uplink.counts),
        devices=devices,
        alarms=tuple(alarms),
    )
