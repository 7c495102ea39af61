"""Every device file keeps to the schema, agrees with its driver, and the README says what each value does."""

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError

from edge.drivers import driver_names, llrp_setup, load_driver

FOLDER = Path(__file__).parents[2] / "firmware-config"
FILES = sorted(FOLDER.glob("*.toml"))
SCHEMA = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_keeps_to_the_schema(path: Path) -> None:
    VALIDATOR.validate(read(path))


def test_every_first_driver_has_its_settings() -> None:
    described = {read(path)["model"]["driver"] for path in FILES}
    assert described >= {"r200", "llrp", "barcode", "xymd02", "nmea"}
    assert described <= set(driver_names())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_sets_the_baud_its_driver_expects(path: Path) -> None:
    model = read(path)["model"]
    interface = model["interface"]
    assert "tcp_port" in interface or interface["baud"] == load_driver(model["driver"]).default_baud


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_readme_says_what_every_setting_does(path: Path) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    section = text.split(f"## {path.name}")[1].split("\n## ")[0]
    assert [key for key in read(path)["settings"] if f"`{key}`" not in section] == []


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("r200", "power_dbm", 33),
        ("r200", "session", "S4"),
        ("r200", "powr", 20),
        ("llrp", "tx_power_index", 3),
        ("llrp", "keepalive_s", 0.1),
        ("impinj", "event_fields", ["antennaPort", "peakRssiCdbm"]),
        ("impinj", "event_buffer_size", 1000),
        ("zebra", "retain", True),
        ("zebra", "tag_metadata", ["PHASE"]),
        ("uhfreader18", "work_mode", "trigger"),
        ("uhfreader18", "power_dbm", 40),
        ("barcode", "group_separator", "none"),
        ("xymd02", "address", 0),
        ("xymd02", "temperature_correction_tenths_c", 0.5),
        ("nmea", "sentences", ["GGA"]),
        ("nmea", "checksum", False),
        ("zigbee2mqtt", "retain", True),
        ("zigbee2mqtt", "cache_state_send_on_startup", True),
        ("tasmota", "full_topic", "%topic%/%prefix%/"),
        ("ruuvi", "payload", "decoded"),
        ("owntracks", "encryption_secret", "sesame"),
    ],
)
def test_a_wrong_setting_is_refused(name: str, key: str, value: object) -> None:
    document = read(FOLDER / f"{name}.toml")
    document["settings"][key] = value
    with pytest.raises(ValidationError):
        VALIDATOR.validate(document)


def test_what_the_llrp_driver_sets_is_what_it_can_be_told() -> None:
    settings = read(FOLDER / "llrp.toml")["settings"]
    options = {key: value for key, value in settings.items() if key not in {"rfid_interface", "time_source"}}
    assert msgspec.convert(options, llrp_setup.Options).tx_power_dbm == settings["tx_power_dbm"]


def test_a_reader_that_does_not_hop_must_name_its_channel() -> None:
    document = read(FOLDER / "r200.toml")
    document["settings"]["hopping"] = False
    with pytest.raises(ValidationError, match="channel"):
        VALIDATOR.validate(document)
