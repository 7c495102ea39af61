"""The files that make a scenario a site: master data with its moments, and one TOML an agent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from core.errors import ConfigurationError
from simulators.run import absent_after_s
from simulators.scenario import Agent, Device, FixedReader, Probe, Reader, Scanner, Scenario, anchored

MASTER_DATA: Final = "master.json"
LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class AgentHome:
    """What an agent's TOML says of its surroundings; `time_scale` None leaves the clock to QM_TIME_SCALE."""

    broker_url: str
    username: str
    password_file: str
    state_dir: str
    time_scale: str | None = None


@dataclass(frozen=True, slots=True)
class SitePlan:
    """Where the processes of a site will find each other. Folders are those of the machine or container that runs the agent."""

    devices_at: str
    base_port: int
    broker_url: str
    secrets_dir: str
    state_dir: str


def device_key(device: Device) -> str:
    """How a device is named among all agents."""
    return f"{device.agent}/{device.name}"


def device_ports(scenario: Scenario, base_port: int) -> dict[str, int]:
    """The TCP port of every device by `<agent>/<device>`: base_port and up in scenario order, or 0 (any free one) for all.

    Raises ConfigurationError when they do not fit below LAST_PORT.
    """
    if base_port and not 0 < base_port <= LAST_PORT + 1 - len(scenario.devices):
        raise ConfigurationError(f"base port {base_port}: {len(scenario.devices)} devices must fit between 1 and {LAST_PORT}")
    return {device_key(device): base_port + index if base_port else 0 for index, device in enumerate(scenario.devices)}


def master_data_text(scenario: Scenario, start: datetime) -> str:
    """The scenario's master data as the JSON document `quartermaster load` takes, its moments counted from `start`."""
    return json.dumps(msgspec.to_builtins(anchored(scenario.master, start)), ensure_ascii=False, indent=1)


def agent_text(scenario: Scenario, agent: Agent, home: AgentHome, *, endpoints: Mapping[str, str], speed: float) -> str:
    """An agent's TOML. `endpoints` are port URLs by `<agent>/<device>`; portals wait as long as `speed` (no unit) demands."""
    tables: list[tuple[str, dict[str, Any]]] = [
        ("[agent]", {"site": agent.site, "name": agent.name, "state_dir": home.state_dir}),
        ("[uplink]", {"url": home.broker_url, "username": home.username, "password_file": home.password_file}),
    ]
    if home.time_scale is not None:
        tables.append(("[clock]", {"time_scale": home.time_scale}))
    mine = [device for device in scenario.devices if device.agent == agent.name]
    tables += [("[[devices]]", _device(device, endpoints[device_key(device)])) for device in mine]
    tables += [
        (
            "[[portals]]",
            {
                "name": portal.name,
                "default_direction": portal.default_direction,
                "absent_after_s": float(absent_after_s(portal, speed)),
                "min_reads": portal.min_reads,
                "min_rssi_dbm": portal.min_rssi_dbm,
            },
        )
        for portal in scenario.portals
        if portal.agent == agent.name
    ]
    return "\n".join(
        line for head, values in tables for line in (head, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), "")
    )


def write_site(folder: Path, scenario: Scenario, plan: SitePlan, *, start: datetime, speed: float) -> list[Path]:
    """Writes MASTER_DATA and `<agent>.toml` for every agent into a folder; returns what was written.

    Master data that is there already stays: its moments were counted from the first start. At the broker an agent is
    `<site>/<agent>`, its password the file `mqtt_<agent>` in the plan's `secrets_dir`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[Path, str] = {}
    master = folder / MASTER_DATA
    if not master.exists():
        texts[master] = master_data_text(scenario, start)
    ports = device_ports(scenario, plan.base_port)
    endpoints = {key: f"socket://{plan.devices_at}:{port}" for key, port in ports.items()}
    for agent in scenario.agents:
        home = AgentHome(
            broker_url=plan.broker_url,
            username=f"{agent.site}/{agent.name}",
            password_file=f"{plan.secrets_dir}/mqtt_{agent.name}",
            state_dir=plan.state_dir,
        )
        texts[folder / f"{agent.name}.toml"] = agent_text(scenario, agent, home, endpoints=endpoints, speed=speed)
    for path, text in texts.items():
        _put(path, text)
    return list(texts)


def _put(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _device(device: Device, port: str) -> dict[str, Any]:
    driver = str(type(device).__struct_config__.tag)
    table: dict[str, Any] = {"name": device.name, "driver": driver, "port": port}
    if not isinstance(device, FixedReader):
        table["baud"] = device.baud
    if isinstance(device, Reader):
        table["portal"] = device.portal
    elif isinstance(device, Scanner):
        table["read_point"] = device.read_point
    elif isinstance(device, Probe):
        table |= {"unit_id": device.unit_id, "interval_s": device.interval_s}
    return table
