"""Zigbee2MQTT, Tasmota, RuuviTag gateway and OwnTracks: published payloads, fault values, presence, times."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CodeError
from edge.drivers import load_driver
from edge.drivers.mqtt_payload import PayloadDriver, moment_of
from edge.drivers.observations import Fault, Fix, Measured, Observation, Online, Scan, Switched
from edge.drivers.owntracks import Options as OwnTracksOptions
from edge.drivers.protocol import DeviceOptions
from edge.drivers.ruuvi import MAX_TAGS
from edge.drivers.ruuvi import Options as RuuviOptions
from edge.drivers.tasmota import Options as TasmotaOptions
from edge.drivers.zigbee2mqtt import Options as ZigbeeOptions

NOW = datetime(2026, 11, 21, 8, 30, 15, tzinfo=UTC)
NAMES = ("zigbee2mqtt", "tasmota", "ruuvi", "owntracks")
TAG = "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"
"""docs.ruuvi.com, data format 5, valid data: 24.3 C, 53.49 %, 100044 Pa, 2.977 V, sequence 205."""


def device(name: str, own: object = None) -> PayloadDriver:
    driver = load_driver(name)(DeviceOptions(own=own))  # type: ignore[arg-type]
    assert isinstance(driver, PayloadDriver)
    return driver


def says(driver: PayloadDriver, **fields: object) -> list[Observation]:
    return driver.message("some/topic", json.dumps(fields).encode(), NOW)


def heard(frame: str, **fields: object) -> dict[str, object]:
    """A gateway's message with this manufacturer data, as ruuvi's documentation shows it."""
    size = f"{3 + len(frame) // 2:02X}"
    return {
        "gw_mac": "C8:25:2D:8E:9C:2C",
        "rssi": -59,
        "ts": f"{NOW.timestamp():.0f}",
        "data": f"020106{size}FF9904{frame}",
        **fields,
    }


def faults(observations: list[Observation]) -> list[str]:
    return [each.code for each in observations if isinstance(each, Fault)]


@pytest.mark.parametrize("name", NAMES)
@given(payload=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_no_payload_raises(name: str, payload: bytes) -> None:
    driver = device(name)
    driver.message("some/topic", payload, NOW)
    driver.feed(payload, NOW)
    driver.flush(NOW)


SOME = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
KEYS = [
    *("temperature", "humidity", "pressure", "battery", "voltage", "contact", "water_leak", "last_seen", "state"),
    *("AM2301", "TempUnit", "PressureUnit", "_type", "tst", "lat", "lon", "vel", "cog", "acc", "batt", "data", "ts"),
]


@pytest.mark.parametrize("name", NAMES)
@given(fields=st.dictionaries(st.sampled_from(KEYS), st.one_of(SOME, st.just("location"), st.just({"Temperature": None}))))
def test_known_keys_with_any_value_never_raise_and_never_give_an_impossible_value(name: str, fields: dict[str, object]) -> None:
    for seen in device(name).read_event(fields, NOW):
        if isinstance(seen, Measured) and seen.quantity == "celsius":
            assert -90 <= seen.value <= 125


@pytest.mark.parametrize("name", NAMES[:3])
def test_presence_is_heard_as_word_and_as_object(name: str) -> None:
    for payload in (b"online", b"Online\n", b'{"state": "online"}') if name != "tasmota" else (b"Online",):
        assert device(name).message("x", payload, NOW) == [Online(NOW)]
    for payload in (b"offline", b'{"state":"offline"}') if name != "tasmota" else (b"Offline",):
        assert faults(device(name).message("x", payload, NOW)) == ["offline"]


@pytest.mark.parametrize("size", [1, 3, 500])
def test_words_between_payloads_are_read_in_any_cut(size: int) -> None:
    stream = b'online\n{"temperature": 4.5}\nOffline\r\n{"temperature": 5.5}'
    driver = device("zigbee2mqtt")
    found = [seen for start in range(0, len(stream), size) for seen in driver.feed(stream[start : start + size], NOW)]
    found += driver.flush(NOW)
    assert [seen.value if isinstance(seen, Measured) else type(seen) for seen in found] == [Online, 4.5, Fault, 5.5]
    assert (driver.pending_bytes(), +driver.counts) == (0, {})


def test_a_cleared_retained_message_says_nothing() -> None:
    driver = device("zigbee2mqtt")
    assert driver.message("x", b"", NOW) == []
    assert driver.counts == {"empty": 1}


def test_a_contact_that_touches_is_a_door_that_is_shut() -> None:
    assert says(device("zigbee2mqtt"), contact=True) == [Switched("door_open", False, NOW)]
    assert says(device("zigbee2mqtt"), contact=False, water_leak=True) == [
        Switched("door_open", True, NOW),
        Switched("water_leak", True, NOW),
    ]
    assert faults(says(device("zigbee2mqtt"), contact="ON")) == ["bad_field"]


def test_the_mains_are_told_by_the_key_that_was_chosen() -> None:
    assert says(device("zigbee2mqtt"), ac_status=True) == []
    assert says(device("zigbee2mqtt", ZigbeeOptions("ac_status")), ac_status=True) == [Switched("mains_power", False, NOW)]
    plugged = ZigbeeOptions("ac_connected", mains_lost_when=False)
    assert says(device("zigbee2mqtt", plugged), ac_connected=True) == [Switched("mains_power", True, NOW)]


def test_unknown_values_and_the_volts_of_a_plug_are_no_readings() -> None:
    driver = device("zigbee2mqtt")
    assert says(driver, temperature=None, voltage=230.4) == []
    assert driver.counts == {"unknown_value": 1, "no_battery_voltage": 1}


@pytest.mark.parametrize(
    ("key", "value"), [("temperature", -100), ("temperature", 125.1), ("humidity", 100.5), ("humidity", "wet")]
)
def test_values_that_cannot_be_are_faults_beside_the_good_ones(key: str, value: object) -> None:
    seen = says(device("zigbee2mqtt"), **{key: value, "battery": 50})
    assert len(faults(seen)) == 1
    assert Measured("battery_percent", 50, NOW) in seen


@pytest.mark.parametrize("told", ["2026-11-21T08:00:00Z", "2026-11-21T16:00:00+08:00", 1795248000, 1795248000000])
def test_a_remembered_value_is_dated_by_last_seen(told: object) -> None:
    half_an_hour_ago = NOW - timedelta(minutes=30, seconds=15)
    assert says(device("zigbee2mqtt"), temperature=4.5, last_seen=told) == [Measured("celsius", 4.5, half_an_hour_ago)]


@pytest.mark.parametrize("told", ["2027-01-01T00:00:00Z", "2020-01-01T00:00:00Z"])
def test_a_last_seen_that_cannot_be_is_not_believed(told: str) -> None:
    driver = device("zigbee2mqtt")
    assert says(driver, temperature=4.5, last_seen=told) == [Measured("celsius", 4.5, NOW)]
    assert driver.counts == {"clock": 1}


@pytest.mark.parametrize("told", ["2026-11-21T08:00:00", "yesterday", "", None, [], 1e300, "nan", -1e18])
def test_what_is_no_moment_with_a_zone_is_none(told: object) -> None:
    assert moment_of(told) is None


def two_probes(second: object) -> dict[str, object]:
    return {
        "Time": "1970-01-01T00:00:00",
        "DS18B20-1": {"Id": "01131B123456", "Temperature": 4.0},
        "DS18B20-2": {"Id": "02131B123456", "Temperature": second},
    }


def test_one_sensor_of_several_is_chosen_by_key_or_id_and_nobody_guesses() -> None:
    assert faults(says(device("tasmota"), **two_probes(5.0))) == ["several_sensors"]
    for chosen in ("DS18B20-2", "02131B123456"):
        assert says(device("tasmota", TasmotaOptions(chosen)), **two_probes(5.0)) == [Measured("celsius", 5.0, NOW)]
    assert faults(says(device("tasmota", TasmotaOptions("DS18B20-3")), **two_probes(5.0))) == ["sensor_missing"]


@pytest.mark.parametrize(("told", "code"), [(None, "no_value"), (85.0, "power_on_value"), (-127.0, "impossible_value")])
def test_what_a_ds18b20_says_when_it_cannot_measure_is_a_fault(told: object, code: str) -> None:
    assert faults(says(device("tasmota", TasmotaOptions("DS18B20-2")), **two_probes(told))) == [code]
    assert says(device("tasmota"), AM2301={"Temperature": 85.0}) == [Measured("celsius", 85.0, NOW)]


def test_fahrenheit_and_inches_of_mercury_become_celsius_and_pascal() -> None:
    seen = says(
        device("tasmota"),
        BME280={"Temperature": 39.2, "Pressure": 29.92},
        TempUnit="F",
        PressureUnit="inHg",
        Time="2018-03-02T18:25:03",
    )
    assert seen == [Measured("celsius", 4.0, NOW), Measured("pressure_pa", 101_320.8, NOW)]


def test_a_ruuvi_measurement_is_told_once_however_often_it_is_heard() -> None:
    driver = device("ruuvi")
    seen = says(driver, **heard(TAG))
    assert {each.quantity: each.value for each in seen if isinstance(each, Measured)} == {
        "celsius": 24.3,
        "humidity_percent": 53.49,
        "pressure_pa": 100_044.0,
        "battery_volts": 2.977,
    }
    assert says(driver, **heard(TAG)) == []
    assert len(says(driver, **heard(TAG.replace("4200CD", "4200CE")))) == 4
    assert driver.counts == {"repeated_measurement": 1}


def test_published_extremes_of_format_5_are_faults_or_values() -> None:
    highest = says(device("ruuvi"), **heard("057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F"))
    assert faults(highest) == ["impossible_value"] * 2
    assert Measured("pressure_pa", 115_534.0, NOW) in highest
    assert Measured("battery_volts", 3.646, NOW) in highest
    nothing = device("ruuvi")
    assert faults(says(nothing, **heard("058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF"))) == ["no_value"]
    assert nothing.counts["not_available"] == 3


def test_a_ruuvi_air_of_format_6_is_read_and_found_by_the_end_of_its_mac() -> None:
    frame = "06170C5668C79E007000C90501D9FFCD004C884F"
    wanted = [Measured("celsius", 29.5, NOW), Measured("humidity_percent", 55.3, NOW), Measured("pressure_pa", 101_102.0, NOW)]
    assert says(device("ruuvi", RuuviOptions("cb:b8:33:4c:88:4f")), **heard(frame)) == wanted


def test_only_the_chosen_tag_is_heard() -> None:
    driver = device("ruuvi", RuuviOptions("AA:BB:CC:DD:EE:FF"))
    assert says(driver, **heard(TAG)) == []
    assert driver.counts == {"other_device": 1}


@pytest.mark.parametrize("data", ["", "zz", None, 5, "02011A0AFF4C001005031C8B1F5D", "0201061BFF9904", "1BFF990405", "00", "FF"])
def test_other_advertisements_are_counted(data: object) -> None:
    driver = device("ruuvi")
    assert says(driver, data=data) == []
    assert driver.counts == {"other_advertisement": 1}


def test_the_tags_of_a_crowd_cost_bounded_memory() -> None:
    driver = device("ruuvi")
    for number in range(MAX_TAGS * 3):
        says(driver, **heard(f"{TAG[:-4]}{number:04X}"))
    assert len(vars(driver)["_sequences"]) == MAX_TAGS


PUBLISHED = {"_type": "location", "lat": 48.85833, "lon": 2.29513, "tst": 1795249000, "acc": 10, "vel": 54, "cog": 271, "batt": 53}


def test_a_location_is_a_fix_in_metres_a_second_at_the_phones_time() -> None:
    fix, battery = says(device("owntracks"), **PUBLISHED)
    assert isinstance(fix, Fix)
    assert (fix.at, fix.speed_mps, fix.course_deg, fix.accuracy_m) == (datetime.fromtimestamp(1795249000, UTC), 15.0, 271.0, 10.0)
    assert fix.coordinate_system == "wgs84"
    assert battery == Measured("battery_percent", 53, NOW)
    (shifted, _) = says(device("owntracks", OwnTracksOptions("gcj02")), **PUBLISHED)
    assert isinstance(shifted, Fix)
    assert shifted.coordinate_system == "gcj02"


def test_what_a_phone_kept_for_a_week_is_taken_and_a_wrong_clock_is_not() -> None:
    late = PUBLISHED | {"tst": int((NOW - timedelta(days=7)).timestamp())}
    assert isinstance(says(device("owntracks"), **late)[0], Fix)
    for days in (-1, 31):
        wrong = PUBLISHED | {"tst": int((NOW - timedelta(days=days)).timestamp())}
        assert faults(says(device("owntracks"), **wrong)) == ["clock"]
    assert faults(says(device("owntracks"), **PUBLISHED | {"tst": None})) == ["clock"]


@pytest.mark.parametrize("change", [{"lat": 91}, {"lon": "east"}, {"lat": None}])
def test_a_place_that_is_not_on_earth_is_a_fault(change: dict[str, object]) -> None:
    assert faults(says(device("owntracks"), **PUBLISHED | change)) == ["bad_field"]


def test_other_types_are_counted_and_encrypted_ones_are_a_fault() -> None:
    driver = device("owntracks")
    assert says(driver, _type="lwt", tst=1) == says(driver, _type="transition") == says(driver, lat=1, lon=2) == []
    assert faults(says(driver, _type="encrypted", data="x")) == ["encrypted"]
    assert driver.counts == {"other_type": 3, "encrypted": 1}


@pytest.mark.parametrize("name", NAMES)
def test_a_sensor_refuses_to_say_what_it_cannot(name: str) -> None:
    with pytest.raises(CodeError):
        device(name).encode(Scan("x", NOW))
    with pytest.raises(CodeError):
        device("ruuvi").encode(Measured("celsius", 400.0, NOW))
