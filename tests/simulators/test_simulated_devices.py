"""Simulated devices over TCP, read by the real drivers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.timescale import TimeScale
from edge.drivers import load_driver
from edge.drivers.observations import Fix, Measured, Observation, Scan, TagRead
from edge.drivers.protocol import DeviceOptions, ReaderDriver
from edge.drivers.r200 import COMMAND, frame
from simulators.pace import Pace
from simulators.run import World
from simulators.scenario import parse_scenario
from simulators.truth import Delivery, read_truth

GTIN = "06901234001037"
SCENARIO = f"""
[scenario]
name = "devices"
title = "Devices"
seed = 1
speed = 60
duration_min = 5
[[master.shipments]]
shipment = "S1"
lines = [{{ gtin = "{GTIN}", lot = "L", quantity = 12 }}]
[[agents]]
name = "gateway"
site = "depot"
[[devices]]
driver = "r200"
name = "reader"
agent = "gateway"
portal = "dock"
strays = 2
[[devices]]
driver = "barcode"
name = "scanner"
agent = "gateway"
read_point = "dock"
[[devices]]
driver = "xymd02"
name = "probe"
agent = "gateway"
room = "cold"
[[devices]]
driver = "xymd02"
name = "absent"
agent = "gateway"
room = "cold"
unit_id = 2
absent = true
[[devices]]
driver = "xymd02"
name = "liar"
agent = "gateway"
room = "cold"
unit_id = 3
lying = {{ cut = 1.0 }}
[[devices]]
driver = "nmea"
name = "gps"
agent = "gateway"
vehicle = "van"
interval_s = 15
[[portals]]
name = "dock"
agent = "gateway"
absent_after_s = 48.0
[[rooms]]
name = "cold"
set_point = 5.0
[[vans]]
name = "van"
site = "depot"
start = [30.6, 114.3]
speed_mps = 12.0
route = [[30.62, 114.3]]
[[events]]
kind = "delivery_passes"
at_min = 0
gate = "dock"
shipment = "S1"
[[events]]
kind = "scan"
at_min = 0
read_point = "dock"
gtin = "{GTIN}"
lot = "L"
serial = "7"
expiry_in_days = 100
"""
WAIT_S = 20.0


@dataclass
class Listener:
    """One agent's end of a line."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    driver: ReaderDriver

    async def hear(self, enough: int) -> list[Observation]:
        """So many observations, or what came until WAIT_S."""
        found: list[Observation] = []
        async with asyncio.timeout(WAIT_S):
            while len(found) < enough:
                data = await self.reader.read(4096)
                assert data, "the device hung up"
                found += self.driver.feed(data, datetime.now(UTC))
        return found

    async def ask(self) -> list[Observation]:
        """Polls once; what the answer says, nothing when the device is silent for half a second."""
        self.writer.write(self.driver.poll())
        try:
            async with asyncio.timeout(0.5):
                return self.driver.feed(await self.reader.read(256), datetime.now(UTC))
        except TimeoutError:
            return []


@dataclass
class Running:
    """A living world and its addresses."""

    world: World
    addresses: dict[str, str]
    truth: Path
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self, device: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A raw line to a device, closed with the world."""
        host, port = self.addresses[f"gateway/{device}"].removeprefix("socket://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self.writers.append(writer)
        return reader, writer

    async def listen(self, device: str, unit_id: int = 1) -> Listener:
        """Connects as an agent's port would."""
        reader, writer = await self.connect(device)
        kind = {"reader": "r200", "scanner": "barcode", "gps": "nmea"}.get(device, "xymd02")
        listener = Listener(reader, writer, load_driver(kind)(DeviceOptions(unit_id=unit_id)))
        for command in listener.driver.start_commands():
            writer.write(command)
        return listener


@asynccontextmanager
async def living(path: Path, text: str = SCENARIO) -> AsyncIterator[Running]:
    now = datetime.now(UTC)
    truth = path / "truth.json"
    world = World(parse_scenario(text, "devices"), Pace(TimeScale(now, now, 60)), lambda _: None, truth=truth)
    addresses = await world.open()
    running = Running(world, addresses, truth)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(world.live(), name="world")
            try:
                yield running
            finally:
                world.stop()
    finally:
        for writer in running.writers:
            writer.close()


async def test_a_probe_answers_and_counts_what_was_acknowledged(tmp_path: Path) -> None:
    async with living(tmp_path) as running:
        probe = await running.listen("probe")
        for _ in range(3):
            celsius, humidity = await probe.ask()
            assert isinstance(celsius, Measured)
            assert 3.5 < celsius.value < 6.5
            assert isinstance(humidity, Measured)
            assert 40 < humidity.value < 70
        probe.writer.close()
    tally = next(each for each in read_truth(running.truth).probes if each.device == "probe")
    assert (tally.site, tally.answered, tally.acknowledged, tally.doubtful) == ("depot", 3, 2, 0)


async def test_an_absent_probe_is_silent_and_a_lying_one_is_never_counted_as_answered(tmp_path: Path) -> None:
    async with living(tmp_path) as running:
        assert await (await running.listen("absent", 2)).ask() == []
        liar = await running.listen("liar", 3)
        assert await liar.ask() == []
        assert await liar.ask() == []
    tallies = {each.device: each for each in read_truth(running.truth).probes}
    assert "absent" not in tallies
    assert (tallies["liar"].answered, tallies["liar"].acknowledged, tallies["liar"].doubtful) == (0, 0, 2)


async def test_a_request_for_another_unit_is_not_answered(tmp_path: Path) -> None:
    async with living(tmp_path) as running:
        assert await (await running.listen("probe", 9)).ask() == []


async def test_a_pallet_passes_only_when_the_reader_runs_and_every_tag_is_told(tmp_path: Path) -> None:
    async with living(tmp_path) as running:
        reader = await running.listen("reader")
        strong: set[str] = set()
        async with asyncio.timeout(WAIT_S):
            while len(running.world.tallies.crossings) < 12:
                strong |= {read.epc for read in await reader.hear(1) if isinstance(read, TagRead) and (read.rssi_dbm or 0) > -70}
        crossed = running.world.tallies.crossings
        assert all(crossing.certain for crossing in crossed)
        assert {crossing.epc for crossing in crossed} == strong
        assert all(epc.startswith("30") for epc in strong)
        assert running.world.tallies.deliveries == [Delivery("dock", "S1", clean=True, attempts=1, certain=True)]


async def test_a_pause_in_which_the_portal_may_take_a_tag_for_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulators.devices.reader.PAUSE_SHARE", 0.01)  # any pause between two reads
    async with living(tmp_path) as running:
        reader = await running.listen("reader")
        async with asyncio.timeout(WAIT_S):
            while not running.world.tallies.crossings:
                await reader.hear(1)
        crossings = running.world.tallies.crossings
        assert min(crossing.most for crossing in crossings) > 1


async def test_a_pallet_whose_reader_went_dark_is_taken_through_again(tmp_path: Path) -> None:
    async with living(tmp_path) as running:
        first = await running.listen("reader")
        await first.hear(20)
        first.writer.close()
        second = await running.listen("reader")
        async with asyncio.timeout(WAIT_S):
            while len(running.world.tallies.crossings) < 24:
                await second.hear(1)
        crossed = running.world.tallies.crossings
        assert [crossing.certain for crossing in crossed] == [False] * 12 + [True] * 12
        assert {crossing.epc for crossing in crossed[:12]} == {crossing.epc for crossing in crossed[12:]}
        assert running.world.tallies.deliveries == [Delivery("dock", "S1", clean=True, attempts=2, certain=False)]


async def test_a_reader_answers_commands_and_stops_when_told(tmp_path: Path) -> None:
    async with living(tmp_path) as running:
        reader, writer = await running.connect("reader")
        writer.write(b"\xbb\x00\xff\x03" + frame(COMMAND, 0x03, b"\x00"))
        async with asyncio.timeout(WAIT_S):
            told = await reader.readuntil(b"\x7e")
            assert b"M100 26dBm V1.0" in told
            writer.write(frame(COMMAND, 0x77, b""))
            assert await reader.readexactly(8) == frame(1, 0xFF, b"\x17")
            writer.write(frame(COMMAND, 0x28, b""))
            assert await reader.readexactly(8) == frame(1, 0x28, b"\x00")
        writer.close()


async def test_a_scan_arrives_as_it_is_printed(tmp_path: Path) -> None:
    async with living(tmp_path) as running:
        scanner = await running.listen("scanner")
        (scan,) = await scanner.hear(1)
        assert isinstance(scan, Scan)
        assert scan.text.startswith(f"]d201{GTIN}17")
    (scanned,) = read_truth(running.truth).scans
    assert (scanned.certain, scanned.text) == (True, scan.text)


async def test_a_tracker_tells_whole_moments_along_the_road(tmp_path: Path) -> None:
    async with living(tmp_path) as running:
        gps = await running.listen("gps")
        fixes = [fix for fix in await gps.hear(4) if isinstance(fix, Fix)]
        start = running.world.pace.start
        steps = [(fix.at - start).total_seconds() / 15 for fix in fixes]
        assert steps == pytest.approx([round(step) for step in steps], abs=0.001)
        assert len(set(steps)) == 4
        assert fixes[-1].latitude > fixes[0].latitude
        assert (fixes[0].satellites or 0) >= 7


async def test_a_new_listener_takes_the_line(tmp_path: Path) -> None:
    async with living(tmp_path) as running:
        first = await running.listen("probe")
        await first.ask()
        second = await running.listen("probe")
        assert len(await second.ask()) == 2
        async with asyncio.timeout(WAIT_S):
            assert await first.reader.read(10) == b""
