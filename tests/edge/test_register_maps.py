"""Every register map of firmware-config is one the driver takes, and reads the device's published answer right."""

import io
import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.errors import ConfigurationError
from edge.decode import run_decode
from edge.drivers.modbus import Driver
from edge.drivers.modbus_map import Options
from edge.drivers.observations import Measured, Switched
from edge.drivers.protocol import DeviceOptions

FOLDER = Path(__file__).parents[2] / "firmware-config" / "register-maps"
FILES = sorted(FOLDER.glob("*.toml"))
NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_there_are_maps() -> None:
    assert {path.stem for path in FILES} >= {"xy-md02", "rs485-th", "cwt-th", "io-8ch"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_map_asks_and_reads_what_the_device_publishes(path: Path) -> None:
    table = read(path)
    device = table["device"]
    assert set(table) == {"device", "options"}
    assert set(device) == {"name", "source", "request", "reply", "tells"}
    driver = Driver(DeviceOptions(own=msgspec.convert(table["options"], Options)))
    assert driver.poll() == bytes.fromhex(device["request"])
    told = driver.feed(bytes.fromhex(device["reply"]), NOW)
    assert driver.is_answered(observed=True)
    values = {each.quantity: each.value for each in told if isinstance(each, Measured)}
    states = {each.input: each.on for each in told if isinstance(each, Switched)}
    assert {**values, **states} == device["tells"]


def test_the_default_map_is_the_one_of_its_file() -> None:
    assert msgspec.convert(read(FOLDER / "xy-md02.toml")["options"], Options) == Options()


def test_a_capture_is_decoded_with_a_map() -> None:
    out = io.StringIO()
    capture = io.BytesIO(bytes.fromhex("01030000 0002C40B 010304011102722A8F"))
    assert run_decode("modbus", capture, out, options=FOLDER / "rs485-th.toml") == 0
    assert json.loads(out.getvalue()) == {"celsius": 27.3, "humidity_percent": 62.6}


@pytest.mark.parametrize("text", ["[options]\nregisters = 1", "[options", "[options]\nregister = []"])
def test_a_map_that_is_none_is_refused_with_its_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"map\.toml"):
        run_decode("modbus", io.BytesIO(b""), io.StringIO(), options=path)
