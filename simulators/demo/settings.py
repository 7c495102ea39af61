"""What the demo writes for the processes it starts: agents' settings, broker accounts, master data, people."""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from core.timescale import TimeScale
from simulators.demo.broker import account, write_accounts
from simulators.demo.folder import RunFolder
from simulators.scenario import Agent, Scenario
from simulators.site_files import AgentHome, agent_text, master_data_text

PASSWORD_BYTES: Final = 9
SECRET_BYTES: Final = 24
HUB: Final = "hub"
OPENING: Final = timedelta(hours=8)
STORY_ZONE: Final = timedelta(hours=8)
"""The scenarios play in China: the story begins at 08:00 of today there."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may log in."""

    name: str
    role: str
    password: str
    vehicle: str | None = None


def draw_people(scenario: Scenario) -> list[Person]:
    """One person a role, with a password drawn now; the driver has the scenario's first held-up van, or its first."""
    held_up = [event.vehicle for event in scenario.events if hasattr(event, "vehicle")]
    vehicle = (held_up or [van.name for van in scenario.vans] or [None])[0]
    roles = ["gate", "storekeeper", "dispatcher", "maintainer", "auditor", "admin", *(["driver"] if vehicle else [])]
    return [Person(role, role, secrets.token_urlsafe(PASSWORD_BYTES), vehicle if role == "driver" else None) for role in roles]


def story_start(real_now: datetime) -> datetime:
    """08:00 of today in the scenario's zone, in UTC."""
    day = (real_now.astimezone(UTC) + STORY_ZONE).date()
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + OPENING - STORY_ZONE


def write_master_data(folder: RunFolder, scenario: Scenario, start: datetime) -> None:
    """The scenario's master data as the document `quartermaster load` takes."""
    folder.master_data.write_text(master_data_text(scenario, start), encoding="utf-8")


def write_broker_accounts(folder: RunFolder, scenario: Scenario) -> str:
    """Draws a password for the hub and each agent; the agents' are left in files. Returns the hub's."""
    passwords = {name: secrets.token_urlsafe(SECRET_BYTES) for name in (HUB, *(agent.name for agent in scenario.agents))}
    accounts = {HUB: account(passwords[HUB], "hub")}
    for agent in scenario.agents:
        accounts[agent.name] = account(passwords[agent.name], "agent", agent.site)
        folder.write_secret(f"mqtt-{agent.name}", passwords[agent.name])
    write_accounts(folder.accounts, accounts)
    return passwords[HUB]


def write_agent(folder: RunFolder, scenario: Scenario, agent: Agent, *, broker_port: int, scale: TimeScale) -> None:
    """One agent's TOML, from the scenario and the addresses the simulators told."""
    endpoints: dict[str, str] = json.loads(folder.endpoints.read_text(encoding="utf-8"))
    folder.state(agent.name).mkdir(exist_ok=True)
    home = AgentHome(
        broker_url=f"mqtt://127.0.0.1:{broker_port}",
        username=agent.name,
        password_file=str(folder.secrets / f"mqtt-{agent.name}"),
        state_dir=str(folder.state(agent.name)),
        time_scale=str(scale),
    )
    text = agent_text(scenario, agent, home, endpoints=endpoints, speed=scale.speed)
    folder.agent(agent.name).write_text(text, encoding="utf-8")
