"""A scenario's site can be written without running it, and its devices listen where they are told."""

import socket
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.timescale import TimeScale
from simulators.__main__ import main
from simulators.pace import Pace
from simulators.run import World
from simulators.scenario import load_scenario
from simulators.site_files import SitePlan, device_ports, master_data_text, write_site

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
PLAN = SitePlan("devices.example", 7001, "mqtts://broker.example:8883", "/secrets", "/state")
SCENARIO = load_scenario("depot-day")


def test_ports_follow_the_order_of_the_scenario() -> None:
    ports = device_ports(SCENARIO, 7001)
    assert list(ports) == [f"{device.agent}/{device.name}" for device in SCENARIO.devices]
    assert list(ports.values()) == list(range(7001, 7001 + len(ports)))
    assert set(device_ports(SCENARIO, 0).values()) == {0}


@pytest.mark.parametrize("base_port", [-1, 65_536, 65_536 - len(SCENARIO.devices) + 1])
def test_ports_that_do_not_fit_are_refused(base_port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"base port {base_port}"):
        device_ports(SCENARIO, base_port)
    assert max(device_ports(SCENARIO, 65_536 - len(SCENARIO.devices)).values()) == 65_535


def test_every_device_and_portal_is_in_its_agents_file(tmp_path: Path) -> None:
    write_site(tmp_path, SCENARIO, PLAN, start=START, speed=1.0)
    for agent in SCENARIO.agents:
        document = tomllib.loads((tmp_path / f"{agent.name}.toml").read_text(encoding="utf-8"))
        assert document["agent"] == {"site": agent.site, "name": agent.name, "state_dir": "/state"}
        assert document["uplink"] == {
            "url": "mqtts://broker.example:8883",
            "username": f"{agent.site}/{agent.name}",
            "password_file": f"/secrets/mqtt_{agent.name}",
        }
        assert "clock" not in document, "the clock is QM_TIME_SCALE's"
        wanted = [device.name for device in SCENARIO.devices if device.agent == agent.name]
        assert [device["name"] for device in document["devices"]] == wanted
        assert all(device["port"].startswith("socket://devices.example:70") for device in document["devices"])
        portals = [portal.name for portal in SCENARIO.portals if portal.agent == agent.name]
        assert [portal["name"] for portal in document.get("portals", [])] == portals


def test_moments_of_the_master_data_count_from_the_start() -> None:
    one, later = master_data_text(SCENARIO, START), master_data_text(SCENARIO, START + timedelta(hours=1))
    assert "2026-03-02T08:30:00Z" in one
    assert "2026-03-02T09:30:00Z" in later
    assert "_min" not in one


def test_agents_must_be_told_where_to_go(tmp_path: Path) -> None:
    for words in (["--base-port", "7001"], ["--broker", "mqtt://broker:1883"]):
        with pytest.raises(ConfigurationError, match="--broker URL and --base-port N"):
            main(["--write-site", str(tmp_path), *words])
    assert list(tmp_path.iterdir()) == []


async def test_devices_listen_at_the_ports_they_are_given_and_a_taken_one_is_named() -> None:
    now = datetime.now(UTC)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        world = World(SCENARIO, Pace(TimeScale(now, now, 1)), lambda _: None)
        with pytest.raises(ConfigurationError, match=f"cannot listen at 127.0.0.1:{port}"):
            await world.open(ports=dict.fromkeys(device_ports(SCENARIO, 0), port))
