"""The edge's own line and driver against a simulated reader over TCP: first session, reboot, second client, silence, takeover."""

import asyncio
import threading
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from core.messages import DeviceStatus
from core.timescale import TimeScale
from edge.clock import Clock, Instant
from edge.drivers import llrp_frames as llrp
from edge.drivers.llrp_frames import message
from edge.drivers.observations import Fault, Identity, Observation, PortChanged, TagRead
from edge.line import Line, open_device
from edge.settings import parse_settings
from simulators.devices.line import Sent
from simulators.devices.llrp_reader import ACTIVE, LlrpReader, ReaderModel, RoSpec
from simulators.pace import Pace
from simulators.run import World
from simulators.scenario import parse_scenario
from simulators.site_files import _device as device_table

WAIT_S = 15.0
KEEPALIVE_S = 0.5
SETTINGS = """
[agent]
site = "depot"
name = "gateway"
state_dir = "state"
[uplink]
url = "mqtt://127.0.0.1"
[[devices]]
name = "reader"
driver = "llrp"
port = "socket://127.0.0.1:{port}"
portal = "dock"
[devices.options]
keepalive_s = 0.5
{options}
[[portals]]
name = "dock"
"""


GTIN = "06901234001037"
WORLD = f"""
[scenario]
name = "fixed"
title = "Fixed"
seed = 1
speed = 60
duration_min = 5
[[master.shipments]]
shipment = "S1"
lines = [{{ gtin = "{GTIN}", lot = "L", quantity = 6 }}]
[[agents]]
name = "gateway"
site = "depot"
[[devices]]
driver = "llrp"
name = "reader"
agent = "gateway"
portal = "dock"
[[portals]]
name = "dock"
agent = "gateway"
absent_after_s = 6.0
[[events]]
kind = "delivery_passes"
at_min = 0
gate = "dock"
shipment = "S1"
"""


class Paper:
    """Stands where the writer stands; keeps the states it is told."""

    def __init__(self) -> None:
        self.states: list[DeviceStatus] = []

    def deliver(self, items: Sequence[object]) -> None:
        """What is delivered is seen at the station."""

    def tell(self, status: DeviceStatus) -> None:
        self.states.append(status)


class Gateway:
    """The edge's line in a thread of its own, and everything its driver observed."""

    def __init__(self, port: int, options: str = "") -> None:
        devices = parse_settings(tomllib.loads(SETTINGS.format(port=port, options=options)), {}).devices
        self.paper, self.stop = Paper(), threading.Event()
        self.seen: list[Observation] = []
        self.line = Line(devices, self.paper, Clock(), stop=self.stop, open_line=open_device)  # type: ignore[arg-type]
        self.station = self.line.stations[0]
        deliver = self.station.deliver

        def note(observations: Sequence[Observation], now: Instant) -> None:
            self.seen += observations
            deliver(observations, now)

        self.station.deliver = note  # type: ignore[method-assign]
        self.thread = threading.Thread(target=self.line.run)
        self.thread.start()

    def faults(self, code: str) -> list[Fault]:
        return [each for each in self.seen if isinstance(each, Fault) and each.code == code]

    def reads(self) -> list[TagRead]:
        return [each for each in self.seen if isinstance(each, TagRead)]

    async def close(self) -> None:
        self.stop.set()
        await asyncio.to_thread(self.thread.join, WAIT_S)
        assert not self.thread.is_alive()


async def until(what: Callable[[], object], limit_s: float = WAIT_S) -> float:
    """Seconds until it holds."""
    start = time.monotonic()
    async with asyncio.timeout(limit_s):
        while not what():  # noqa: ASYNC110  a thread and a server change it, and neither sets an event
            await asyncio.sleep(0.01)
    return time.monotonic() - start


@asynccontextmanager
async def powered(reader: LlrpReader) -> AsyncIterator[int]:
    port = await reader.open()
    try:
        yield port
    finally:
        await reader.close()


@asynccontextmanager
async def connected(reader: LlrpReader, port: int, options: str = "") -> AsyncIterator[Gateway]:
    gateway = Gateway(port, options)
    try:
        await until(lambda: reader.is_reading)
        yield gateway
    finally:
        await gateway.close()


def tags(*epcs: str) -> list[TagRead]:
    now = datetime.now(UTC)
    return [TagRead(epc, 1, -55.5, now, 90.0, now) for epc in epcs]


async def test_a_first_session_reads_tags_and_answers_keepalives() -> None:
    reader = LlrpReader()
    async with powered(reader) as port, connected(reader, port) as gateway:
        sent = tags("3034257BF7194E4000001A85", "3674257BF6B7A659B2C2BF10" + "00" * 16)
        assert reader.report(sent) == [Sent.WHOLE, Sent.WHOLE]
        await until(lambda: len(gateway.reads()) == 2)
        assert [(read.epc, read.antenna, read.rssi_dbm, read.phase_deg, read.first_seen) for read in gateway.reads()] == [
            (tag.epc, tag.antenna, tag.rssi_dbm, tag.phase_deg, tag.first_seen) for tag in sent
        ]
        await until(lambda: reader.heard.count(llrp.KEEPALIVE_ACK) >= 4)
        assert gateway.seen[0] == Identity("Impinj Speedway R420", "5.14.0.240", gateway.seen[0].read_at)
        assert reader.is_extended
        assert gateway.line._failures == 0


async def test_a_reader_that_restarts_forgets_all_and_is_set_up_again_by_itself() -> None:
    reader = LlrpReader()
    async with powered(reader) as port, connected(reader, port, "gpis = [1]") as gateway:
        reader.reboot()
        assert not reader.rospecs
        await until(lambda: reader.is_reading)
        assert (reader.keepalive_s, reader.enabled_gpis) == (KEEPALIVE_S, {1})
        reader.report(tags("3000"))
        await until(gateway.reads)


async def test_a_reader_that_lost_only_its_rospec_is_set_up_again_by_itself() -> None:
    reader = LlrpReader()
    async with powered(reader) as port, connected(reader, port) as gateway:
        reader.rospecs.clear()
        await until(lambda: reader.is_reading)
        assert len(gateway.faults("not_reading")) == 1


async def test_a_second_client_is_told_that_the_reader_is_busy_and_gets_it_once_it_is_free() -> None:
    reader = LlrpReader()
    async with powered(reader) as port, connected(reader, port) as first:
        second = Gateway(port)
        try:
            await until(lambda: len(second.faults("reader_busy")) >= 3)
            assert second.station.health._state == "fault"
            assert "close the vendor's tool" in second.station.health._detail
            assert second.line._failures >= 2  # the backoff grows: a refusal is no good session
            reader.report(tags("3000"))
            await until(first.reads)
            assert not second.reads()
            await first.close()
            await until(lambda: reader.is_reading and second.station.health._state == "online")
            reader.report(tags("3001"))
            await until(second.reads)
        finally:
            await second.close()


async def test_a_silent_reader_is_noticed_within_three_keepalives() -> None:
    reader = LlrpReader()
    async with powered(reader) as port, connected(reader, port, "report_every = 2") as gateway:
        await until(lambda: llrp.KEEPALIVE_ACK in reader.heard)
        reader.is_silent = True
        noticed_s = await until(lambda: gateway.station.totals().get("hung_up"))
        assert noticed_s < 3 * KEEPALIVE_S + 0.3  # the thread wakes every 0.1 s
        await until(lambda: gateway.station.health._state == "offline")
        reader.is_silent = False
        await until(lambda: reader.is_reading)


async def test_a_reader_that_only_stops_its_keepalives_is_given_up_when_nothing_else_comes() -> None:
    reader = LlrpReader()
    async with powered(reader) as port, connected(reader, port) as gateway:
        reader.drops_keepalives = True
        await until(lambda: gateway.station.totals().get("hung_up"))
        reader.drops_keepalives = False
        await until(lambda: reader.is_reading)


async def test_what_a_lost_session_left_behind_is_taken_over() -> None:
    reader = LlrpReader(rospecs={77: RoSpec(bytes(4) + b"\x00\x00", ACTIVE)}, keepalive_s=60.0, enabled_gpis={4})
    async with powered(reader) as port, connected(reader, port):
        assert list(reader.rospecs) == [5084]
        assert reader.keepalive_s == KEEPALIVE_S


async def test_a_half_open_session_is_dropped_by_the_readers_own_keepalives_and_then_taken_over() -> None:
    reader = LlrpReader(keepalive_s=KEEPALIVE_S)
    async with powered(reader) as port:
        _, half_open = await asyncio.open_connection("127.0.0.1", port)  # says nothing, acknowledges nothing
        try:
            async with connected(reader, port) as gateway:
                assert reader.counts["dropped_clients"] == 1
                assert gateway.faults("reader_busy")
        finally:
            half_open.close()


async def test_a_refused_power_index_is_a_fault_that_names_it_and_stands() -> None:
    reader = LlrpReader()
    async with powered(reader) as port:
        gateway = Gateway(port, "tx_power_index = 200")
        try:
            await until(lambda: len(gateway.faults("refused")) >= 2)
            detail = gateway.faults("refused")[0].detail
            assert "ADD_ROSPEC is refused" in detail
            assert "TransmitPowerIndex 200 is not in the TransmitPowerLevelTable" in detail
            assert "RFTransmitter 224 / field 3" in detail
            assert "tx_power_index 200" in detail
            assert "index 1 to 81, 10 to 30 dBm" in detail
            assert gateway.station.health._state == "fault"
            assert not reader.rospecs
        finally:
            await gateway.close()


async def test_an_input_is_told_as_it_stands_and_as_it_changes() -> None:
    reader = LlrpReader(gpis={1: True, 2: True})
    async with powered(reader) as port, connected(reader, port, "gpis = [2]") as gateway:

        def ports() -> list[tuple[int, bool]]:
            return [(each.port, each.on) for each in gateway.seen if isinstance(each, PortChanged)]

        assert ports() == [(2, True)]
        assert reader.turn_input(2, on=False) is Sent.WHOLE
        assert reader.turn_input(1, on=False) is Sent.LOST
        await until(lambda: len(ports()) == 2)
        assert ports() == [(2, True), (2, False)]


async def test_a_gateway_that_stops_frees_the_reader_and_ends_its_inventory() -> None:
    reader = LlrpReader()
    async with powered(reader) as port:
        async with connected(reader, port):
            pass
        await until(lambda: reader.connection is None)
        assert list(reader.heard)[-2:] == [llrp.DELETE_ROSPEC, llrp.CLOSE_CONNECTION]
        assert not reader.rospecs


async def test_a_connection_cut_in_the_middle_of_a_report_costs_that_report_alone() -> None:
    reader = LlrpReader()
    async with powered(reader) as port, connected(reader, port) as gateway:
        assert reader.connection is not None
        reader.connection.writer.write(message(llrp.RO_ACCESS_REPORT, 1, b"\x00\xf0\x00\x11\x8d" + bytes(12))[:20])
        await reader.connection.writer.drain()
        reader.connection.hang_up()
        await until(lambda: gateway.station.totals().get("lost"))
        await until(lambda: reader.is_reading)
        reader.report(tags("3000"))
        await until(gateway.reads)
        assert [read.epc for read in gateway.reads()] == ["3000"]


@pytest.mark.parametrize("model", [ReaderModel(vendor=10642, model=1, firmware="3.21.23", most_rospecs=4)])
async def test_another_makers_reader_needs_no_extensions(model: ReaderModel) -> None:
    reader = LlrpReader(model)
    async with powered(reader) as port, connected(reader, port) as gateway:
        assert llrp.CUSTOM_MESSAGE not in reader.heard
        assert isinstance(gateway.seen[0], Identity)
        assert gateway.seen[0].model == "vendor 10642 model 1"


async def test_a_pallet_passes_a_fixed_reader_of_a_world_and_every_tag_of_it_is_told() -> None:
    scenario = parse_scenario(WORLD, "fixed reader")
    now = datetime.now(UTC)
    world = World(scenario, Pace(TimeScale(now, now, 1)), lambda _: None)
    port = int((await world.open())["gateway/reader"].rpartition(":")[2])
    gateway = Gateway(port)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(world.live())
            try:
                await until(lambda: len(world.tallies.crossings) >= 6, 60.0)
            finally:
                world.stop()
        assert all(crossing.certain for crossing in world.tallies.crossings)
        assert {read.epc for read in gateway.reads()} >= {crossing.epc for crossing in world.tallies.crossings}
    finally:
        await gateway.close()


def test_the_agent_of_a_fixed_reader_is_given_no_baud() -> None:
    table = device_table(parse_scenario(WORLD, "fixed reader").devices[0], "socket://127.0.0.1:5084")
    assert table == {"name": "reader", "driver": "llrp", "port": "socket://127.0.0.1:5084", "portal": "dock"}
