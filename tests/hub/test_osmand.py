"""What phones tell, in every form of the protocol, and that GCJ-02 is turned back within half a metre."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from hub.domain.geo import _gcj02_offset, gcj02_to_wgs84, great_circle_m
from hub.domain.osmand import device_of, device_of_json, read_form, read_json

NOW = datetime(2026, 11, 21, 8, 30, 15, tzinfo=UTC)
HALF_PAST = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "told",
    [
        "1795249800",
        "1795249800000",
        "2026-11-21T08:30:00Z",
        "2026-11-21T16:30:00+08:00",
        "2026-11-21T08:30:00.000Z",
        "2026-11-21T08:30:00",
        "2026-11-21 08:30:00",
    ],
)
def test_every_way_to_write_the_time_is_the_same_moment(told: str) -> None:
    assert read_form({"lat": "30.6", "lon": "114.3", "timestamp": told}, NOW).at == HALF_PAST
    assert read_json({"location": {"timestamp": told, "coords": {"latitude": 30.6, "longitude": 114.3}}}, NOW).at == HALF_PAST


def test_the_form_tells_knots_and_the_json_metres_a_second() -> None:
    form = read_form({"location": "30.6,114.3", "speed": "10", "heading": "361", "accuracy": "8.5", "hdop": "0.9"}, NOW)
    assert (form.at, form.latitude, form.longitude) == (NOW, 30.6, 114.3)
    assert form.speed_mps == pytest.approx(5.14444, abs=1e-5)
    assert (form.course_deg, form.accuracy_m, form.hdop) == (1.0, 8.5, 0.9)
    coords = {"latitude": 30.6, "longitude": 114.3, "speed": 10, "heading": -1, "accuracy": -1}
    told = read_json({"location": {"coords": coords}}, NOW)
    assert (told.speed_mps, told.course_deg, told.accuracy_m) == (10.0, None, None)
    coords["speed"] = -1
    assert read_json({"location": {"coords": coords}}, NOW).speed_mps is None


def test_a_phone_without_a_fix_says_so() -> None:
    for told in ("false", "0", "FALSE"):
        assert not read_form({"lat": "0", "lon": "0", "valid": told}, NOW).valid
    assert read_form({"lat": "0", "lon": "0", "valid": "true"}, NOW).valid


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "lat"),
        ({"lat": "91", "lon": "0"}, "lat"),
        ({"lat": "30", "lon": "x"}, "lon"),
        ({"lat": "nan", "lon": "0"}, "lat"),
        ({"location": "30.6"}, "lon"),
        ({"lat": "30", "lon": "114", "timestamp": "yesterday"}, "timestamp"),
        ({"lat": "30", "lon": "114", "timestamp": "9999999999999999"}, "timestamp"),
        ({"lat": "30", "lon": "114", "speed": "fast"}, "speed"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, str], path: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_form(fields, NOW)
    assert refused.value.problems[0].startswith(f"{path}: ")


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["location", "coords", "latitude", "longitude", "timestamp", "speed", "x"]), inner, max_size=5
        ),
    ),
    max_leaves=10,
)


@given(document=ANY)
def test_no_document_raises_anything_but_its_faults(document: object) -> None:
    assert isinstance(device_of_json(document), str)
    with suppress(InvalidInput):
        assert abs(read_json(document, NOW).latitude) <= 90


@given(
    fields=st.dictionaries(
        st.sampled_from(["lat", "lon", "location", "timestamp", "speed", "bearing", "valid", "id"]), st.text(max_size=20)
    )
)
def test_no_form_raises_anything_but_its_faults(fields: dict[str, str]) -> None:
    assert isinstance(device_of(fields), str)
    with suppress(InvalidInput):
        report = read_form(fields, NOW)
        assert report.speed_mps is None or report.speed_mps >= 0


@given(latitude=st.floats(18, 53.5), longitude=st.floats(73.7, 135))
def test_gcj02_is_turned_back_within_half_a_metre_all_over_china(latitude: float, longitude: float) -> None:
    north, east = _gcj02_offset(latitude, longitude)
    shifted = latitude + north, longitude + east
    assert great_circle_m(*gcj02_to_wgs84(*shifted), latitude, longitude) < 0.5


@given(latitude=st.floats(-90, 90), longitude=st.floats(-180, 180))
def test_outside_the_box_both_systems_are_the_same(latitude: float, longitude: float) -> None:
    if not (0.8293 <= latitude <= 55.8271 and 72.004 <= longitude <= 137.8347):
        assert gcj02_to_wgs84(latitude, longitude) == (latitude, longitude)


def test_a_zone_of_the_reader_does_not_matter() -> None:
    here = NOW.astimezone(timezone(timedelta(hours=8)))
    assert read_form({"lat": "30", "lon": "114"}, here).at == NOW
