"""Devices that are asked, in their own bytes, through the line the agent uses."""

import asyncio
import threading
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import Unavailable
from core.messages import DeviceStatus, StateChange
from edge.clock import Clock
from edge.drivers.observations import TagRead
from edge.line import Line, open_device
from edge.outputs import make_output
from edge.settings import parse_settings
from edge.writer import PortalRead, Reading
from simulators.devices.line import Connection, Device
from simulators.devices.line import Line as Wire
from simulators.devices.modbus_bus import ModbusBus, Unit
from simulators.devices.sysfs import SHORTED, FakeSysfs, put
from simulators.devices.uhf18_reader import UhfReader
from simulators.scenario import Lying

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
GATEWAY = """
[agent]
site = "depot"
name = "depot-gateway"
state_dir = "state"
[uplink]
url = "mqtt://127.0.0.1"
[[portals]]
name = "dock-1"
"""
PATIENCE_S = 10.0


class Paper:
    """Stands where the writer stands and keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[object] = []

    def deliver(self, items: list[object]) -> None:
        self.kept += items

    def tell(self, status: object) -> None:
        self.kept.append(status)

    def readings(self, device: str) -> list[float]:
        return [each.value for each in self.kept if isinstance(each, Reading) and each.series.device == device]

    def switched(self, device: str) -> list[bool]:
        return [each.on for each in self.kept if isinstance(each, StateChange) and each.device == device]

    def states(self, device: str) -> list[str]:
        return [each.state for each in self.kept if isinstance(each, DeviceStatus) and each.device == device]

    def details(self, device: str) -> str:
        return " ".join(each.detail for each in self.kept if isinstance(each, DeviceStatus) and each.device == device)

    def tags(self) -> list[TagRead]:
        return [each.read for each in self.kept if isinstance(each, PortalRead)]


class Running:
    """A line at work in a thread of its own."""

    def __init__(self, devices: str) -> None:
        settings = parse_settings(tomllib.loads(GATEWAY + devices), {})
        self.paper, self._stop = Paper(), threading.Event()
        self.line = Line(settings.devices, self.paper, Clock(), stop=self._stop, open_line=open_device)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self.line.run)

    async def __aenter__(self) -> "Running":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, PATIENCE_S)
        assert not self._thread.is_alive()

    async def until(self, enough: Callable[[Paper], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not enough(self.paper):  # noqa: ASYNC110  the line's thread knows nothing of this loop
                await asyncio.sleep(0.01)

    def counts(self, device: str) -> dict[str, int]:
        return next(each.totals() for each in self.line.stations if each.device.name == device)


async def wired(device: Device) -> tuple[Wire, str]:
    wire = Wire(device, Lying(), "bus")
    return wire, f"socket://127.0.0.1:{await wire.open()}"


def modbus(name: str, url: str, unit: int, *, interval_s: float = 0.05, options: str = "") -> str:
    return (
        f'[[devices]]\nname = "{name}"\ndriver = "modbus"\nport = "{url}"\nunit_id = {unit}\ninterval_s = {interval_s}\n'
        f"[devices.options]\n{options}\n"
    )


def probe(celsius_tenths: int, humidity_tenths: int = 500, **how: object) -> Unit:
    return Unit(words={(4, 1): celsius_tenths & 0xFFFF, (4, 2): humidity_tenths}, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
async def test_units_of_one_bus_go_on_beside_an_absent_one(framing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.drivers.modbus.Driver.reply_timeout_s", 0.1)
    wire, url = await wired(ModbusBus({1: probe(41), 2: probe(55, absent=True), 3: probe(-205)}, framing=framing))  # type: ignore[arg-type]
    options = f'framing = "{framing}"'
    async with Running("".join(modbus(f"cr-{unit}", url, unit, options=options) for unit in (1, 2, 3))) as running:
        await running.until(lambda paper: len(paper.readings("cr-1")) >= 8 and len(paper.readings("cr-3")) >= 8)
        await running.until(lambda paper: "offline" in paper.states("cr-2"))
    assert set(running.paper.readings("cr-1")) == {4.1, 50.0}
    assert set(running.paper.readings("cr-3")) == {-20.5, 50.0}
    assert running.paper.readings("cr-2") == []
    assert set(running.paper.states("cr-1")) == {"online"}
    await wire.close()


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
async def test_an_answer_that_is_late_is_never_taken_for_another_question(framing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.drivers.modbus.Driver.reply_timeout_s", 0.05)
    doors = Unit(bits={(2, 0): True, (2, 1): False}, late_s=0.09)
    wire, url = await wired(ModbusBus({1: doors, 3: probe(41)}, framing=framing))  # type: ignore[arg-type]
    first, second = (
        f'framing = "{framing}"\nregisters = [{{ input = "door_open", function = 2, address = {address} }}]' for address in (0, 1)
    )
    devices = modbus("door-a", url, 1, options=first) + modbus("door-b", url, 1, options=second)
    async with Running(devices + modbus("cr-3", url, 3, options=f'framing = "{framing}"')) as running:
        await running.until(lambda paper: len(paper.readings("cr-3")) >= 6)
        doors.late_s = 0.0
        await running.until(lambda paper: paper.switched("door-a") and paper.switched("door-b"))
    assert (running.paper.switched("door-a"), running.paper.switched("door-b")) == ([True], [False])
    await wire.close()


async def test_distant_registers_are_asked_one_after_the_other_and_an_echo_is_passed_over() -> None:
    unit = probe(41)
    unit.words[3, 100], unit.words[3, 101] = 0x0001, 0x86A0
    unit.bits[2, 7] = True
    bus = ModbusBus({9: unit}, echo=True)
    wire, url = await wired(bus)
    options = """registers = [
      { quantity = "celsius", address = 1, scale = 0.1 },
      { quantity = "pressure_pa", function = 3, address = 100, type = "u32" },
      { input = "mains_power", function = 2, address = 7, invert = true },
    ]"""
    async with Running(modbus("ahu", url, 9, options=options)) as running:
        await running.until(lambda paper: len(paper.readings("ahu")) >= 4)
    assert running.paper.readings("ahu")[:2] == [100_000.0, 4.1] or running.paper.readings("ahu")[:2] == [4.1, 100_000.0]
    assert running.paper.switched("ahu") == [False]
    assert running.counts("ahu")["echo"] >= 3
    await wire.close()


async def test_a_group_that_is_refused_is_a_fault_and_the_others_are_read() -> None:
    wire, url = await wired(ModbusBus({1: probe(41)}))
    options = 'registers = [{ quantity = "celsius", address = 1, scale = 0.1 }, { quantity = "pressure_pa", address = 900 }]'
    async with Running(modbus("ahu", url, 1, options=options)) as running:
        await running.until(lambda paper: "fault" in paper.states("ahu") and paper.readings("ahu"))
    assert "exception_reply: unit 1 refuses function 4, 1 from 900: code 2, no such register" in running.paper.details("ahu")
    await wire.close()


class HalfOpen:
    """A serial server that keeps the first connections open and no longer hears them; the next one works."""

    def __init__(self, bus: ModbusBus, deaf: int) -> None:
        self.bus = bus
        self.deaf = deaf
        self.connections = 0

    async def attend(self, connection: Connection) -> None:
        self.connections += 1
        if self.connections > self.deaf:
            await self.bus.attend(connection)
        while await connection.reader.read(256):
            pass


async def test_a_connection_that_only_seems_to_be_open_is_told_and_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.drivers.modbus.Driver.reply_timeout_s", 0.02)
    monkeypatch.setattr("edge.line.SILENCE_S", 0.01)
    server = HalfOpen(ModbusBus({1: probe(41)}), deaf=1)
    wire, url = await wired(server)
    async with Running(modbus("cr-1", url, 1)) as running:
        await running.until(lambda paper: "offline" in paper.states("cr-1"))
        await running.until(lambda paper: paper.readings("cr-1"))
        await running.until(lambda paper: paper.states("cr-1")[-1] == "online")
    assert server.connections == 2
    await wire.close()


async def test_a_relay_is_switched_between_the_polls_of_its_bus() -> None:
    relay = Unit(bits={(1, 0): False})
    wire, url = await wired(ModbusBus({1: probe(41), 8: relay}))
    async with Running(modbus("cr-1", url, 1)) as running:
        await running.until(lambda paper: paper.readings("cr-1"))
        lamp = make_output("lamp", url, unit_id=8, run_errand=running.line.run_errand)
        await asyncio.to_thread(lamp.switch, True)
        assert relay.bits[1, 0]
        missing = make_output("buzzer", url, unit_id=9, run_errand=running.line.run_errand)
        with pytest.raises(Unavailable, match=r"'buzzer'.*no answer"):
            await asyncio.to_thread(missing.switch, True)
        before = len(running.paper.readings("cr-1"))
        await running.until(lambda paper: len(paper.readings("cr-1")) > before + 2)
    assert "offline" not in running.paper.states("cr-1")
    await wire.close()


def test_an_errand_for_a_line_that_is_not_open_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.line.ERRAND_S", 0.02)
    line = Running(modbus("cr-1", "socket://127.0.0.1:9", 1)).line
    with pytest.raises(Unavailable, match="found no time"):
        line.run_errand(lambda _: None)
    for _ in range(20):
        with pytest.raises(Unavailable):
            line.run_errand(lambda _: None)
    with pytest.raises(Unavailable, match="errands wait already"):
        line.run_errand(lambda _: None)


def reader(name: str, url: str, options: str = "") -> str:
    return (
        f'[[devices]]\nname = "{name}"\ndriver = "uhfreader18"\nport = "{url}"\nportal = "dock-1"\ninterval_s = 0.02\n'
        f"[devices.options]\n{options}\n"
    )


async def test_a_reader_tells_all_frames_of_an_answer_and_an_empty_field_is_no_silence() -> None:
    pallet = [TagRead(f"{number:024X}", None, None, NOW) for number in range(30)]
    device = UhfReader(lambda _: [])
    wire, url = await wired(device)
    async with Running(reader("gate", url)) as running:
        await running.until(lambda _: device.asked.count(1) >= 5)
        assert running.counts("gate").get("no_answer", 0) == 0
        device.field_of = lambda _: pallet
        await running.until(lambda paper: len(paper.tags()) >= 60)
    assert [each.epc for each in running.paper.tags()[:30]] == [each.epc for each in pallet]
    assert device.asked[0] == 0x21
    assert set(running.paper.states("gate")) == {"online"}
    await wire.close()


async def test_antennas_are_asked_in_turn_and_a_broken_one_is_a_fault() -> None:
    device = UhfReader(
        lambda antenna: [TagRead(f"{antenna:024X}", antenna, -50.0, NOW)], four_antennas=True, broken_antennas=frozenset({2})
    )
    wire, url = await wired(device)
    async with Running(reader("gate", url, "antennas = [1, 2, 4]")) as running:
        await running.until(lambda paper: {each.antenna for each in paper.tags()} == {1, 4} and "fault" in paper.states("gate"))
    assert {(each.epc[-1], each.antenna, each.rssi_dbm) for each in running.paper.tags()} == {("1", 1, -50.0), ("4", 4, -50.0)}
    assert "antenna check failed" in running.paper.details("gate")
    await wire.close()


async def test_a_probe_at_the_kernels_bus_is_read_and_its_lies_are_faults(tmp_path: Path) -> None:
    tree = FakeSysfs(tmp_path)
    file = tree.probe()
    device = f'[[devices]]\nname = "fridge"\ndriver = "ds18b20"\nport = "file://{file}"\ninterval_s = 0.02\n'
    async with Running(device) as running:
        await running.until(lambda paper: 20.0 in paper.readings("fridge"))
        tree.warm(file, 4.125)
        await running.until(lambda paper: 4.125 in paper.readings("fridge"))
        put(file, SHORTED)
        await running.until(lambda _: running.counts("fridge").get("bus_shorted"))
        tree.warm(file, 85.0)
        await running.until(lambda _: running.counts("fridge").get("power_on_value"))
        tree.warm(file, 5.0, is_good=False)
        await running.until(lambda _: running.counts("fridge").get("bad_crc"))
        file.unlink()
        await running.until(lambda paper: "offline" in paper.states("fridge"))
    assert set(running.paper.readings("fridge")) == {20.0, 4.125}


async def test_a_door_is_told_at_the_beginning_and_when_it_changes_and_a_bounce_is_not(tmp_path: Path) -> None:
    tree = FakeSysfs(tmp_path)
    file = tree.pin(17)
    device = (
        f'[[devices]]\nname = "door"\ndriver = "digital"\nport = "file://{file}"\ninterval_s = 0.01\n'
        '[devices.options]\ninput = "door_open"\ndebounce = 3\n'
    )
    async with Running(device) as running:
        await running.until(lambda paper: paper.switched("door"))
        tree.pin(17, is_high=True)
        await running.until(lambda paper: len(paper.switched("door")) == 2)
        tree.pin(17)
        await running.until(lambda paper: len(paper.switched("door")) == 3)
    assert running.paper.switched("door") == [False, True, False]
    assert running.counts("door").get("no_answer", 0) == 0
