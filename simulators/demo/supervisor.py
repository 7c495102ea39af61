"""Starts every process of the demo in order, knows when they are ready, and takes all of them down again."""

import asyncio
import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg

from core.errors import ConfigurationError, QuartermasterError, Unavailable
from core.timescale import TimeScale
from simulators.demo.child import Child
from simulators.demo.folder import RunFolder, make_folder
from simulators.demo.settings import (
    HUB,
    Person,
    draw_people,
    story_start,
    write_agent,
    write_broker_accounts,
    write_master_data,
)
from simulators.pace import checked_speed
from simulators.scenario import Scenario, load_scenario

READY_WAIT_S: Final = 60.0
LOOK_EVERY_S: Final = 0.1
COMMAND_WAIT_S: Final = 60.0
LEAD_S: Final = 5.0
"""Real seconds between starting the services and the beginning of the story."""
BEFORE_OPENING: Final = timedelta(minutes=10)
LOCALHOST: Final = "127.0.0.1"
LARGEST_PORT: Final = 65_535
SIMULATE: Final = "simulators"
WATCH_EVERY_S: Final = 0.25


class ChildDied(QuartermasterError):
    """A process of the demo ended by itself."""


@dataclass(slots=True)
class Supervisor:
    """One run. `start` once, then `stop` once, whatever happened between; single children may be killed and started again."""

    reference: str
    scenario: Scenario
    speed: float
    port: int
    folder: RunFolder
    replan_policy: str = "apply"
    keep: bool = False
    children: dict[str, Child] = field(init=False, default_factory=dict)
    people: list[Person] = field(init=False, default_factory=list)
    scale: TimeScale = field(init=False)
    broker_port: int = field(init=False, default=0)

    @property
    def url(self) -> str:
        """Where the screens are."""
        return f"http://{LOCALHOST}:{self.port}"

    @property
    def database_uri(self) -> str:
        """Where the database is, once it runs."""
        return self.folder.database_uri.read_text(encoding="utf-8")

    async def start(self) -> None:
        """Starts everything; the story begins LEAD_S after the services were started. Raises Unavailable and ChildDied."""
        self.port = _free_port(self.port)
        self.broker_port = _free_port(0)
        start = story_start(datetime.now(UTC))
        await self._start_stores()
        write_master_data(self.folder, self.scenario, start)
        await self._prepare(start)
        self.scale = TimeScale(datetime.now(UTC) + timedelta(seconds=LEAD_S), start, self.speed)
        await self._start_services()

    async def _start_stores(self) -> None:
        hub_password = write_broker_accounts(self.folder, self.scenario)
        self.folder.write_secret("mqtt-url", f"mqtt://{HUB}:{hub_password}@{LOCALHOST}:{self.broker_port}")
        await self._launch(
            "database",
            ["-m", "simulators.demo.database", "--data", str(self.folder.database), "--uri-file", str(self.folder.database_uri)],
            stop_within_s=20.0,
        )
        await self._launch(
            "broker",
            ["-m", "simulators.demo.broker", "--port", str(self.broker_port), "--accounts", str(self.folder.accounts)],
        )
        await self._until("database", _exists(self.folder.database_uri))
        await self._until("broker", lambda: _listens(self.broker_port))

    async def _prepare(self, start: datetime) -> None:
        """Schema, master data, people and the simulators' token, by the commands an administrator would use."""
        before = {"QM_TIME_SCALE": str(TimeScale(datetime.now(UTC), start - BEFORE_OPENING, 1.0))}
        await self._command("migrate", ["migrate"], before)
        await self._command("load", ["load", str(self.folder.master_data)], before)
        self.people = draw_people(self.scenario)
        async with asyncio.TaskGroup() as group:
            token = group.create_task(self._command("token", ["token", "add", "simulators", "--role", "admin"], before))
            for person in self.people:
                path = self.folder.write_secret(f"password-{person.name}", person.password)
                words = ["person", "add", person.name, "--role", person.role, "--password-file", str(path)]
                words += ["--vehicle", person.vehicle] if person.vehicle else []
                group.create_task(self._command(f"person-{person.name}", words, before))
        self.folder.write_secret("api-token", token.result().split()[-1])

    async def _start_services(self) -> None:
        await self._launch("hub", ["-m", "quartermaster", "hub"])
        await self._launch("api", ["-m", "quartermaster", "api", "--bind", f"{LOCALHOST}:{self.port}"])
        await self._launch(SIMULATE, self._simulate_words(), stop_within_s=40.0)
        await self._until(SIMULATE, _exists(self.folder.endpoints))
        for agent in self.scenario.agents:
            write_agent(self.folder, self.scenario, agent, broker_port=self.broker_port, scale=self.scale)
            await self._launch(agent.name, ["-m", "quartermaster", "edge", "--config", str(self.folder.agent(agent.name))])
        await self._until("api", lambda: _answers(f"{self.url}/api/v1/health"))
        await self._until("hub", self._agents_are_online)

    def _simulate_words(self) -> list[str]:
        return [
            *("-m", "simulators", self.reference, "--truth", str(self.folder.truth)),
            *("--endpoints", str(self.folder.endpoints), "--api", self.url, "--token-file", str(self.folder.secrets / "api-token")),
        ]

    async def _agents_are_online(self) -> bool:
        async with await psycopg.AsyncConnection.connect(self.database_uri) as db:
            row = await (await db.execute("SELECT count(*) FROM agent WHERE online")).fetchone()
        return row is not None and row[0] >= len(self.scenario.agents)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("QM_")}
        return inherited | {
            "PYTHONUNBUFFERED": "1",
            "QM_DATABASE_URI_FILE": str(self.folder.database_uri),
            "QM_MQTT_URL_FILE": str(self.folder.secrets / "mqtt-url"),
            "QM_REPLAN_POLICY": self.replan_policy,
        }

    async def _launch(self, name: str, words: list[str], stop_within_s: float = 10.0) -> None:
        environment = self._environment()
        if hasattr(self, "scale"):
            environment["QM_TIME_SCALE"] = str(self.scale)
        child = Child(name, [sys.executable, *words], environment, self.folder.log(name), stop_within_s)
        self.children[name] = child
        await child.start()

    async def _command(self, name: str, words: list[str], more: dict[str, str]) -> str:
        """Runs one command to its end and returns what it printed. Raises Unavailable with what it said when it failed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quartermaster", *words),
            env=self._environment() | more,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(COMMAND_WAIT_S):
                out, errors = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise Unavailable(f"quartermaster {name} did not end within {COMMAND_WAIT_S:g} s") from error
        if process.returncode != 0:
            raise Unavailable(f"quartermaster {' '.join(words[:3])} failed ({process.returncode}): {errors.decode().strip()}")
        return out.decode()

    async def _until(self, name: str, ready: Callable[[], Awaitable[bool]]) -> None:
        """Waits for a sign of life. Raises ChildDied when the process ended, Unavailable after READY_WAIT_S."""
        try:
            async with asyncio.timeout(READY_WAIT_S):
                while not await ready():
                    self.check()
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError as error:
            words = self.children[name].last_words()
            raise Unavailable(f"{name} was not ready within {READY_WAIT_S:g} s; its log ends:\n{words}") from error

    def check(self) -> None:
        """Raises ChildDied with its last words when a process ended by itself."""
        for child in self.children.values():
            if child.has_died:
                status = child.process.returncode if child.process else None
                raise ChildDied(f"{child.name} ended by itself with status {status}; its log ends:\n{child.last_words()}")

    async def watch(self) -> None:
        """Raises ChildDied as soon as a process ends by itself; else never returns."""
        while True:
            self.check()
            await asyncio.sleep(WATCH_EVERY_S)

    async def stop(self) -> None:
        """Stops what runs, last started first, and removes the run folder unless it is kept."""
        for child in reversed(self.children.values()):
            await child.stop()
        if not self.keep:
            await asyncio.to_thread(shutil.rmtree, self.folder.root, ignore_errors=True)


def supervise(reference: str, *, speed: float | None = None, port: int = 0, keep: Path | None = None) -> Supervisor:
    """A run that has not begun, of a scenario by name or path; its folder is made. Raises ConfigurationError and NotFound."""
    scenario = load_scenario(reference)
    chosen = scenario.scenario.speed if speed is None else checked_speed(speed)
    if not 0 <= port <= LARGEST_PORT:
        raise ConfigurationError(f"--port {port}: must be 1 to {LARGEST_PORT}, or 0 for a free one")
    folder = make_folder(keep)
    return Supervisor(reference, scenario, chosen, port, folder, keep=keep is not None)


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, wanted))
        except OSError as error:
            raise ConfigurationError(f"port {wanted} is taken: give another with --port, or 0 for a free one") from error
        port: int = probe.getsockname()[1]
        return port


def _exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return await asyncio.to_thread(path.exists)

    return look


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOCALHOST, port)
    except OSError:
        return False
    writer.close()
    return True


async def _answers(url: str) -> bool:
    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  our own address
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return await asyncio.to_thread(ask)
