"""Puts a scenario's world together and lets it live until told to stop."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from core.errors import ConfigurationError
from simulators.api_client import ApiClient
from simulators.devices.line import Line, Wire
from simulators.devices.llrp_gate import LlrpGate
from simulators.devices.probe import ProbeDevice
from simulators.devices.reader import ReaderDevice
from simulators.devices.scanner import ScannerDevice
from simulators.devices.tracker import TrackerDevice
from simulators.heartbeat import Heartbeat
from simulators.pace import Pace
from simulators.people import People
from simulators.scenario import (
    Acknowledge,
    CompressorFails,
    DeliveryPasses,
    Device,
    Event,
    FixedReader,
    HoldUp,
    PlanDay,
    Portal,
    Probe,
    Reader,
    ScanCode,
    Scanner,
    Scenario,
    UrgentOrder,
    expiry,
)
from simulators.truth import Delivery, HeldUp, Tallies, Truth, write_truth
from simulators.world.cold_room import ColdRoom
from simulators.world.driving import Driving, Stop
from simulators.world.goods import Goods, data_matrix
from simulators.world.pallet import Strays
from simulators.world.warmth import warmings

TRUTH_EVERY_S: Final = 1.0
SETTLE_LIMIT_S: Final = 30.0
"""Real seconds a stopping world waits for a pallet that is just passing."""
SHORTEST_ABSENCE_S: Final = 2.0
ABSENCE_REAL_S: Final = 1.0
MINUTE: Final = 60.0


def absent_after_s(portal: Portal, speed: float) -> float:
    """Scenario seconds after which a tag has passed: at least ABSENCE_REAL_S of real time, for readers work in real time."""
    return portal.absent_after_s or max(SHORTEST_ABSENCE_S, ABSENCE_REAL_S * speed)


@dataclass(slots=True)
class World:
    """A scenario alive: its devices on ports of this machine, its people at the API when one is given."""

    scenario: Scenario
    pace: Pace
    tell: Callable[[str], None]
    api: ApiClient | None = None
    truth: Path | None = None
    tallies: Tallies = field(init=False)
    drivings: dict[str, Driving] = field(init=False)
    _lines: dict[str, Wire] = field(init=False, default_factory=dict)
    _readers: dict[str, ReaderDevice] = field(init=False, default_factory=dict)
    _scanners: dict[str, ScannerDevice] = field(init=False, default_factory=dict)
    _trackers: dict[str, TrackerDevice] = field(init=False, default_factory=dict)
    _rooms: dict[str, ColdRoom] = field(init=False)
    _heartbeat: Heartbeat = field(init=False, default_factory=Heartbeat)
    _goods: Goods = field(init=False)
    _carrying: int = field(init=False, default=0)
    _quiet: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._quiet.set()
        seed = self.scenario.scenario.seed
        self.tallies = Tallies(self.scenario.scenario.name)
        self._goods = Goods(self.scenario)
        self._rooms = {
            room.name: ColdRoom(room, seed, _spans(self.scenario, CompressorFails, room.name)) for room in self.scenario.rooms
        }
        self.drivings = {van.name: Driving(van, _spans(self.scenario, HoldUp, van.name)) for van in self.scenario.vans}
        # With an API the drivers read their routes there, and wait at the depot until there is one.
        for van in self.scenario.vans if self.api is None else []:
            stops = [Stop(f"{van.name}:{place}", point, 0.0, van.service_min * MINUTE) for place, point in enumerate(van.route)]
            self.drivings[van.name].follow(stops)

    async def open(self, host: str = "127.0.0.1", ports: Mapping[str, int] | None = None) -> dict[str, str]:
        """Puts every device on a port, free ones unless `ports` names them; addresses and ports are by `<agent>/<device>`."""
        sites = {agent.name: agent.site for agent in self.scenario.agents}
        addresses = {}
        for spec in self.scenario.devices:
            key = f"{spec.agent}/{spec.name}"
            line = self._connect(spec, sites[spec.agent])
            self._lines[key] = line
            addresses[key] = f"socket://{host}:{await line.open(host, ports[key] if ports else 0)}"
        return addresses

    def _connect(self, spec: Device, site: str) -> Wire:
        seed = self.scenario.scenario.seed
        key = f"{spec.agent}/{spec.name}"
        line_seed = f"{seed}:{key}"
        if isinstance(spec, Probe):
            room = self._rooms[spec.room]
            probe = ProbeDevice(spec, site, room=room, pace=self.pace, tallies=self.tallies, heartbeat=self._heartbeat)
            return Line(probe, spec.lying, line_seed)
        if isinstance(spec, Scanner):
            scanner = self._scanners[key] = ScannerDevice(spec, site, pace=self.pace, tallies=self.tallies)
            return Line(scanner, spec.lying, line_seed)
        if isinstance(spec, Reader):
            reader = self._reader(spec, site, key)
            return reader.wire if isinstance(reader, LlrpGate) else Line(reader, spec.lying, line_seed)
        tracker = self._trackers[key] = TrackerDevice(
            spec, site, driving=self.drivings[spec.vehicle], pace=self.pace, tallies=self.tallies, seed=seed
        )
        return Line(tracker, spec.lying, line_seed)

    def _reader(self, spec: Reader, site: str, key: str) -> ReaderDevice:
        portal = next(each for each in self.scenario.portals if each.name == spec.portal)
        speed = self.pace.scale.speed
        strays = Strays([self._goods.foreign() for _ in range(spec.strays)], f"{self.scenario.scenario.seed}:{key}:strays")
        kind = LlrpGate if isinstance(spec, FixedReader) else ReaderDevice
        reader = self._readers[key] = kind(
            spec,
            site,
            portal=portal,
            absent_after_s=absent_after_s(portal, speed) / speed,
            strays=strays,
            pace=self.pace,
            tallies=self.tallies,
        )
        return reader

    def stop(self) -> None:
        """Asks the world to end: nothing new begins, what is on its way is finished."""
        self._stopping.set()

    async def live(self) -> None:
        """Lives until `stop`, then lets passing pallets finish, hangs up every line and writes the truth."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._heartbeat.run(), name="heartbeat")]
            tasks += [group.create_task(device.idle(self._lines[key]), name=key) for key, device in self._readers.items()]
            tasks += [group.create_task(device.run(self._lines[key]), name=key) for key, device in self._trackers.items()]
            tasks += [group.create_task(self._happen(event), name=f"event {index}") for index, event in self._timed()]
            if self.api is not None and self.drivings:
                sites = {van.site for van in self.scenario.vans}
                people = People(self.api, self.pace, self.tell, self.tallies)
                tasks.append(group.create_task(people.drive_plans(self.drivings, sites), name="drivers"))
            if self.truth is not None:
                tasks.append(group.create_task(self._write_truth(self.truth), name="truth"))
            try:
                await self._stopping.wait()
                await self._settle()
            finally:
                for line in self._lines.values():
                    await line.close()
            for task in tasks:
                task.cancel()
        if self.truth is not None:
            write_truth(self.truth, self._snapshot(final=True))

    def _timed(self) -> list[tuple[int, Event]]:
        timed = enumerate(self.scenario.events)
        if self.api is None:
            return [(index, event) for index, event in timed if not isinstance(event, PlanDay | UrgentOrder | Acknowledge)]
        return list(timed)

    async def _settle(self) -> None:
        for line in self._lines.values():
            line.closing = True
        try:
            async with asyncio.timeout(SETTLE_LIMIT_S):
                await self._quiet.wait()
        except TimeoutError:
            self.tell(f"{self._carrying} pallets or scans were still on their way after {SETTLE_LIMIT_S:g} s")

    async def _write_truth(self, path: Path) -> None:
        while True:
            write_truth(path, self._snapshot(final=False))
            await asyncio.sleep(TRUTH_EVERY_S)

    def _snapshot(self, *, final: bool) -> Truth:
        ended_s = max(0.0, self.pace.elapsed_s())
        return self.tallies.snapshot(
            datetime.now(UTC),
            final=final,
            ended_at=self.pace.moment(ended_s),
            warmings=list(warmings(self.scenario, self._rooms, self.pace, ended_s=ended_s)),
            held_up=[
                HeldUp(name, self.pace.moment(jam.from_s), jam.lasted_s)
                for name, driving in self.drivings.items()
                for jam in driving.jams
            ],
        )

    async def _happen(self, event: Event) -> None:
        await self.pace.until(event.at_min * MINUTE)
        if self._stopping.is_set():
            return
        if isinstance(event, PlanDay | UrgentOrder | Acknowledge):
            if self.api is not None:
                await People(self.api, self.pace, self.tell, self.tallies).do(event)
        elif isinstance(event, CompressorFails):
            self.tell(f"the compressor of {event.room} fails")
            await self.pace.until(event.until_min * MINUTE)
            self.tell(f"the compressor of {event.room} is repaired")
        elif isinstance(event, HoldUp):
            self.tell(f"{event.vehicle} is stuck in a jam")
            await self.pace.until(event.until_min * MINUTE)
            self.tell(f"{event.vehicle} drives on")
        else:
            self._carrying += 1
            self._quiet.clear()
            try:
                await self._handle_goods(event)
            finally:
                self._carrying -= 1
                if self._carrying == 0:
                    self._quiet.set()

    async def _handle_goods(self, event: DeliveryPasses | ScanCode) -> None:
        if isinstance(event, DeliveryPasses):
            key, reader = next(each for each in self._readers.items() if each[1].reader.portal == event.gate)
            epcs = self._goods.pallet(event)
            self.tell(f"a pallet of {len(epcs)} cartons ({event.shipment}) goes through {event.gate}")
            attempts = await reader.carry(self._lines[key], epcs, f"{self.scenario.scenario.seed}:{event.shipment}")
            seen = bool(attempts) and all(each.certain for each in attempts[-1])
            if attempts:
                once = seen and len(attempts) == 1 and all(each.most == 1 for each in attempts[0])
                self.tallies.deliveries.append(Delivery(event.gate, event.shipment, event.is_as_announced, len(attempts), once))
        else:
            key, scanner = next(each for each in self._scanners.items() if each[1].read_point == event.read_point)
            day = expiry(self.pace.start, event.expiry_in_days)
            self.tell(f"a carton of {event.gtin} is scanned at {event.read_point}")
            text = data_matrix(event.gtin, expiry=f"{day:%y%m%d}", lot=event.lot, serial=event.serial)
            seen = await scanner.scan(self._lines[key], text)
        if not seen:
            self.tell("nobody was listening: it was not seen")


def _spans(scenario: Scenario, kind: type[CompressorFails | HoldUp], name: str) -> list[tuple[float, float]]:
    """Spans in scenario seconds during which something befalls a room or vehicle."""
    spans = []
    for event in scenario.events:
        if isinstance(event, kind) and name == (event.room if isinstance(event, CompressorFails) else event.vehicle):
            if event.until_min <= event.at_min:
                raise ConfigurationError(f"{event!r}: until_min must be after at_min")
            spans.append((event.at_min * MINUTE, event.until_min * MINUTE))
    return spans


def write_endpoints(path: Path, addresses: dict[str, str]) -> None:
    """Tells where the devices listen, in one step."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(addresses, indent=1), encoding="utf-8")
    part.replace(path)
