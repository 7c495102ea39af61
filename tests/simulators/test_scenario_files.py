"""Scenarios are read strictly: every typo is named with its path."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import ConfigurationError, NotFound
from simulators.scenario import Reader, anchored, load_scenario, parse_scenario, scenario_names

START = datetime(2026, 3, 2, tzinfo=UTC)
SMALL = """
[scenario]
name = "small"
title = "Small"
seed = 1
speed = 60
duration_min = 5
[master]
[[agents]]
name = "gateway"
site = "depot"
[[devices]]
driver = "xymd02"
name = "probe"
agent = "gateway"
room = "cold"
[[rooms]]
name = "cold"
set_point = 5.0
"""


@pytest.mark.parametrize("name", scenario_names())
def test_a_scenario_that_comes_with_the_program_can_be_read(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.scenario.name == name
    assert all(event.at_min <= scenario.scenario.duration_min for event in scenario.events)


@pytest.mark.parametrize("name", scenario_names())
def test_master_data_names_every_device_of_a_site_and_every_vehicle(name: str) -> None:
    scenario = load_scenario(name)
    sites = {agent.name: agent.site for agent in scenario.agents}
    known = {(each["site"], each["device"]) for each in scenario.master["devices"]}
    trackers = {(each["tracker_site"], each["tracker"]) for each in scenario.master.get("vehicles", [])}
    assert {(sites[device.agent], device.name) for device in scenario.devices} == known | trackers


@pytest.mark.parametrize("name", scenario_names())
def test_a_gate_in_master_data_is_the_portal_of_a_reader(name: str) -> None:
    scenario = load_scenario(name)
    gates = {each["location"] for each in scenario.master["locations"] if each["role"] == "gate"}
    assert {device.portal for device in scenario.devices if isinstance(device, Reader)} == gates


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('room = "cold"', r"unknown field `roon` - at `\$\.devices\[0\]`"),
        ("seed = 1", r"missing required field `seed` - at `\$\.scenario`"),
        ("set_point = 5.0", r"Expected `float`, got `str` - at `\$\.rooms\[0\]\.set_point`"),
        ('driver = "xymd02"', r"Invalid value 'xymd03' - at `\$\.devices\[0\]\.driver`"),
    ],
)
def test_a_mistake_is_named_with_its_path(wrong: str, said: str) -> None:
    changed = {
        'room = "cold"': 'room = "cold"\nroon = "cold"',
        "seed = 1": "",
        "set_point = 5.0": 'set_point = "5"',
        'driver = "xymd02"': 'driver = "xymd03"',
    }
    with pytest.raises(ConfigurationError, match=said):
        parse_scenario(SMALL.replace(wrong, changed[wrong]), "small")


def test_a_name_that_nobody_defined_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"devices\[0\]\.room: 'warm' is not defined"):
        parse_scenario(SMALL.replace('room = "cold"', 'room = "warm"'), "small")


def test_a_name_defined_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="agent 'gateway' is defined twice"):
        parse_scenario(SMALL + '[[agents]]\nname = "gateway"\nsite = "depot"\n', "small")


def test_an_unknown_scenario_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="depot-day"):
        load_scenario("nowhere-day")


def test_a_scenario_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(SMALL, encoding="utf-8")
    assert load_scenario(str(path)).scenario.name == "small"
    with pytest.raises(ConfigurationError, match="No such file"):
        load_scenario(str(tmp_path / "other.toml"))


def test_minutes_become_moments_and_days_become_dates_at_every_depth() -> None:
    document = {"orders": [{"id": "A", "window_from_min": 1.5, "lines": [{"expiry_in_days": 10, "quantity": 3}]}]}
    assert anchored(document, START) == {
        "orders": [
            {"id": "A", "window_from": START + timedelta(seconds=90), "lines": [{"expiry": date(2026, 3, 12), "quantity": 3}]}
        ]
    }
