"""Pins of the gateway: doors, mains, eyes."""

import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CodeError, ConfigurationError
from edge.drivers.digital import Driver, Options
from edge.drivers.observations import Fault, Switched
from edge.drivers.protocol import DeviceOptions
from edge.settings import parse_settings

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


def pin(**options: object) -> Driver:
    return Driver(DeviceOptions(own=Options(**{"input": "door_open", **options})))  # type: ignore[arg-type]


def looks(driver: Driver, levels: str) -> list[bool | None]:
    """What is told at each look at a pin of these levels; None when nothing is."""
    told: list[bool | None] = []
    for level in levels:
        driver.poll()
        seen = driver.feed(level.encode() + b"\n", NOW)
        assert driver.is_answered(observed=bool(seen))
        told += [each.on for each in seen if isinstance(each, Switched)] or [None]
    return told


def test_every_look_tells_the_state() -> None:
    assert looks(pin(), "0110") == [False, True, True, False]
    assert looks(pin(invert=True), "0110") == [True, False, False, True]


def test_a_bounce_is_counted_and_not_believed() -> None:
    door = pin(debounce=3)
    assert looks(door, "000101100011") == [None, None] + [False] * 10
    assert door.counts == {"bounces": 2}
    assert looks(door, "1") == [True]


@given(st.text("01", min_size=1, max_size=60), st.integers(1, 6))
def test_a_state_is_believed_only_when_found_so_often_in_a_row(levels: str, debounce: int) -> None:
    told = looks(pin(debounce=debounce), levels)
    for place, on in enumerate(told):
        before = told[place - 1] if place else None
        if on != before:
            assert set(levels[place - debounce + 1 : place + 1]) == {"1" if on else "0"}
        elif debounce == 1:
            assert on is (levels[place] == "1")


def test_what_is_no_pin_is_a_fault() -> None:
    for text in (b"high\n", b"2\n", b"\x00\n"):
        (fault,) = pin().feed(text, NOW)
        assert isinstance(fault, Fault)
        assert fault.code == "bad_value"


def test_an_input_says_only_what_it_is_for() -> None:
    with pytest.raises(CodeError):
        pin().encode(Switched("mains_power", True, NOW))


@pytest.mark.parametrize(
    ("options", "why"), [("", "input: missing"), ('input = "door"', "'door'"), ('input = "door_open"\ndebounce = 0', "debounce")]
)
def test_a_pin_must_say_what_it_tells(options: str, why: str) -> None:
    text = f"""
[agent]
site = "depot"
name = "gateway"
state_dir = "state"
[uplink]
url = "mqtt://127.0.0.1"
[[devices]]
name = "door"
driver = "digital"
port = "file:///sys/class/gpio/gpio17/value"
[devices.options]
{options}
"""
    with pytest.raises(ConfigurationError, match=rf"devices\[0\]\.options.*{why}"):
        parse_settings(tomllib.loads(text), {})


def test_a_pin_is_looked_at_ten_times_a_second_and_a_probe_once_a_minute() -> None:
    text = """
[agent]
site = "depot"
name = "gateway"
state_dir = "state"
[uplink]
url = "mqtt://127.0.0.1"
[[devices]]
name = "door"
driver = "digital"
port = "file:///sys/class/gpio/gpio17/value"
options = { input = "door_open" }
[[devices]]
name = "fridge"
driver = "ds18b20"
port = "file:///sys/bus/w1/devices/28-00000a1b2c3d/w1_slave"
"""
    assert [device.interval_s for device in parse_settings(tomllib.loads(text), {}).devices] == [0.1, 60.0]
