"""NMEA receivers of every habit: GSA, VTG, GGA alone, moments without a fix, and weeks that rolled over."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.nmea import NO_FIX_FAULT_S, Driver, Options
from edge.drivers.nmea_sentences import nearest_moment, sentence, time_of_day, weeks_lost
from edge.drivers.observations import Fault, Fix, NoFix, Observation
from edge.drivers.protocol import DeviceOptions

NOW = datetime(2026, 11, 21, 8, 30, 15, tzinfo=UTC)


def rmc(clock: str = "083015.00", speed: str = "10.0", status: str = "A", date: str = "211126", talker: str = "GN") -> bytes:
    return sentence(f"{talker}RMC,{clock},{status},3114.2400,N,12129.4000,E,{speed},90.0,{date},,,A")


def gga(clock: str = "083015.00", quality: str = "1", hdop: str = "0.90") -> bytes:
    return sentence(f"GPGGA,{clock},3114.2400,N,12129.4000,E,{quality},09,{hdop},8.0,M,,M,,")


def gsa(mode: str = "3", hdop: str = "1.3") -> bytes:
    return sentence(f"GNGSA,A,{mode},22,18,14,12,31,24,,,,,,,2.5,{hdop},2.2")


def vtg(knots: str = "5.5", kmh: str = "10.2") -> bytes:
    return sentence(f"GPVTG,054.7,T,034.4,M,{knots},N,{kmh},K")


def read(*sentences: bytes, capture: bool = True, at: datetime = NOW, own: Options | None = None) -> list[Observation]:
    driver = Driver(DeviceOptions(believable_age_s=None if capture else 86_400.0, own=own))
    return [*driver.feed(b"".join(sentences), at), *driver.flush(at)]


def only_fix(observations: list[Observation]) -> Fix:
    (fix,) = observations
    assert isinstance(fix, Fix)
    return fix


@pytest.mark.parametrize("talker", ["GP", "GN", "GB", "BD", "GL", "GA", "GQ", "GI", "II"])
def test_any_talker_is_heard(talker: str) -> None:
    assert only_fix(read(rmc(talker=talker))).longitude == pytest.approx(121.49)


def test_vtg_gives_the_speed_that_rmc_lacks_and_never_replaces_it() -> None:
    assert only_fix(read(rmc(speed=""), gga(), vtg())).speed_mps == pytest.approx(5.5 * 1852 / 3600)
    assert only_fix(read(rmc(speed=""), vtg(knots=""), gga())).speed_mps == pytest.approx(10.2 / 3.6)
    assert only_fix(read(vtg(), rmc(), vtg(), gga())).speed_mps == pytest.approx(10 * 1852 / 3600)


def test_gsa_gives_the_hdop_that_no_gga_gave() -> None:
    assert only_fix(read(rmc(), gsa())).hdop == 1.3
    assert only_fix(read(rmc(), gsa(), gga())).hdop == 0.9
    assert only_fix(read(rmc(), gsa(), gga(hdop=""))).hdop == 1.3


def test_a_gsa_without_fix_is_believed_only_where_no_gga_says_otherwise() -> None:
    assert [type(seen) for seen in read(rmc(), gsa("1"))] == [NoFix]
    assert only_fix(read(rmc(), gsa("1"), gsa("3"))).hdop == 1.3
    assert only_fix(read(gga(), gsa("1"), rmc()))


def test_a_moment_without_a_fix_is_told_once() -> None:
    void = sentence("GNRMC,083015.00,V,,,,,,,211126,,,N")
    assert read(gga(quality="0"), gsa("1"), void) == [NoFix(NOW, NOW)]
    assert read(void, sentence("GLRMC,083015.00,V,,,,,,,211126,,,N")) == [NoFix(NOW, NOW)]
    assert read(sentence("GPRMC,,V,,,,,,,,,,N"), sentence("GPRMC,,V,,,,,,,,,,N")) == [NoFix(None, NOW)] * 2
    assert [type(seen) for seen in read(gga("083015", "0"), gga("083016", "0"))] == [NoFix, NoFix]


def test_a_receiver_without_a_fix_for_minutes_is_in_fault_until_it_has_one() -> None:
    driver = Driver(DeviceOptions())
    void = sentence("GNRMC,,V,,,,,,,,,,N")
    assert driver.feed(void, NOW) == [NoFix(None, NOW)]
    later = NOW + timedelta(seconds=NO_FIX_FAULT_S)
    assert [type(seen) for seen in driver.feed(void, later)] == [NoFix, Fault]
    driver.feed(rmc() + gga(), later)
    assert driver.feed(void, later) == [NoFix(None, later)]


def test_a_receiver_that_sends_gga_alone_is_dated_by_the_nearest_day() -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    fix = only_fix(read(gga("235959.00"), vtg(), capture=False, at=midnight))
    assert fix.at == midnight - timedelta(seconds=1)
    assert (fix.satellites, fix.hdop, fix.course_deg) == (9, 0.9, 54.7)
    assert fix.speed_mps == pytest.approx(2.829, abs=1e-3)


def test_a_capture_of_gga_alone_runs_over_midnight_and_says_that_its_day_is_assumed() -> None:
    driver = Driver(DeviceOptions(believable_age_s=None))
    found = [*driver.feed(gga("235959") + gga("000000") + gga("000001"), NOW), *driver.flush(NOW)]
    times = [seen.at for seen in found if isinstance(seen, Fix)]
    assert [later - times[0] for later in times] == [timedelta(0), timedelta(seconds=1), timedelta(seconds=2)]
    assert +driver.counts == {"date_assumed": 1}


def test_zda_dates_a_capture_of_gga_alone() -> None:
    fix = only_fix(read(sentence("GPZDA,083014.00,04,07,2002,00,00"), gga()))
    assert fix.at == datetime(2002, 7, 4, 8, 30, 15, tzinfo=UTC)


def test_a_gga_is_no_fix_once_rmc_was_heard() -> None:
    assert len(read(rmc(), gga(), rmc("083016.00")[:-6] + b"00\r\n", gga("083016.00"))) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_week_number_that_rolled_over_is_named_and_the_fix_is_not_believed(times: int) -> None:
    told = NOW - timedelta(weeks=1024 * times)
    if told.year < 1990:
        told = NOW - timedelta(weeks=1024)
    (fault,) = read(rmc(date=f"{told:%d%m%y}"), capture=False)
    assert isinstance(fault, Fault)
    assert fault.code == "clock"
    assert "weeks back, otherwise right" in fault.detail


def test_another_wrong_date_is_not_blamed_on_the_week_number() -> None:
    (fault,) = read(rmc(date="010110"), capture=False)
    assert isinstance(fault, Fault)
    assert "weeks" not in fault.detail
    assert weeks_lost(NOW - timedelta(weeks=1023), NOW, timedelta(days=1)) == 0


def test_a_shifted_receiver_says_so_with_every_fix() -> None:
    assert only_fix(read(rmc(), own=Options("gcj02"))).coordinate_system == "gcj02"
    assert only_fix(read(rmc())).coordinate_system == "wgs84"


@given(
    size=st.integers(1, 60),
    streams=st.lists(st.sampled_from([rmc(), gga(), gsa(), vtg(), rmc("083016"), gga("083016")]), max_size=12),
)
def test_lines_split_anywhere_give_the_same(size: int, streams: list[bytes]) -> None:
    stream = b"".join(streams)
    whole, parts = Driver(DeviceOptions()), Driver(DeviceOptions())
    found = [seen for start in range(0, len(stream), size) for seen in parts.feed(stream[start : start + size], NOW)]
    assert found == whole.feed(stream, NOW)
    assert parts.flush(NOW) == whole.flush(NOW)


@given(
    fields=st.lists(st.text("0123456789.,NSEWAV-", max_size=9), max_size=18),
    kind=st.sampled_from(["RMC", "GGA", "GSA", "VTG", "ZDA"]),
)
def test_no_field_of_any_sentence_raises(fields: list[str], kind: str) -> None:
    for observed in read(sentence(f"GP{kind},{','.join(fields)}")):
        assert not isinstance(observed, Fix) or abs(observed.latitude) <= 90


def test_the_nearest_moment_is_within_half_a_day() -> None:
    for hours in range(24):
        found = nearest_moment(time_of_day(f"{hours:02d}0000"), NOW)
        assert abs(found - NOW) <= timedelta(hours=12)
    with pytest.raises(ValueError, match=re.escape("'246000'")):
        time_of_day("246000")
