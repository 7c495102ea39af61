"""What only one family of devices does: published frames, and the traps of each."""

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import CodeError
from edge.drivers import load_driver
from edge.drivers.barcode import MAX_SCAN_BYTES
from edge.drivers.nmea import Driver as Nmea
from edge.drivers.nmea_sentences import sentence
from edge.drivers.observations import Fault, Fix, Measured, Scan, TagRead
from edge.drivers.protocol import DeviceOptions
from edge.drivers.r200 import Driver as Reader
from edge.drivers.r200 import frame, gen2_crc
from edge.drivers.xymd02 import Driver as Probe
from edge.drivers.xymd02 import sealed

NOW = datetime(2026, 11, 21, 8, 30, 15, tzinfo=UTC)
NOTICE = bytes.fromhex("BB02220011C9340030751FEB705C5904E3D50D703A76EF7E")


def test_r200_start_command_is_the_published_multi_poll() -> None:
    assert Reader(DeviceOptions()).start_commands() == [bytes.fromhex("BB00270003222710837E")]


def test_r200_encodes_the_published_notice_but_for_its_tag_flags() -> None:
    # The published tag sets a flag in its PC (3400); a simulated one does not.
    encoded = Reader(DeviceOptions()).encode(TagRead("30751FEB705C5904E3D50D70", None, -55.0, NOW))
    assert len(encoded) == len(NOTICE)
    assert encoded[:6] == NOTICE[:6]
    assert encoded[6:8] == bytes.fromhex("3000")
    assert encoded[8:20] == NOTICE[8:20]


def test_r200_good_frame_inside_a_false_head_of_the_greatest_length_is_read_at_once() -> None:
    reader = Reader(DeviceOptions())
    assert reader.feed(bytes.fromhex("BB02220060"), NOW) == []
    assert [seen.epc for seen in reader.feed(NOTICE, NOW) if isinstance(seen, TagRead)] == ["30751FEB705C5904E3D50D70"]


def test_r200_wrong_tag_crc_is_refused_although_the_frame_checksum_is_right() -> None:
    reader = Reader(DeviceOptions())
    spoilt = bytearray(NOTICE[1:-2])
    spoilt[10] ^= 1
    assert reader.feed(frame(spoilt[0], spoilt[1], bytes(spoilt[4:])), NOW) == []
    assert reader.counts == {"bad_epc_crc": 1}


def test_r200_end_byte_inside_an_epc_does_not_end_the_frame() -> None:
    reader = Reader(DeviceOptions())
    epc = "7E7E7EBB02227E7E007E7E7E"
    assert reader.feed(reader.encode(TagRead(epc, None, 12.0, NOW)), NOW) == [TagRead(epc, None, 12.0, NOW)]


def test_r200_epc_length_comes_from_the_tag_and_iso_tags_are_counted() -> None:
    reader = Reader(DeviceOptions(antenna=2))
    answer = bytes.fromhex("1100") + bytes.fromhex("ABCD1234")
    params = bytes((0x80,)) + answer + gen2_crc(answer).to_bytes(2, "big")
    assert reader.feed(frame(2, 0x22, params), NOW) == [TagRead("ABCD1234", 2, -128.0, NOW)]
    assert reader.counts == {"iso_tag": 1}


def test_r200_reader_errors_other_than_no_tag_are_counted() -> None:
    reader = Reader(DeviceOptions())
    assert reader.feed(frame(1, 0xFF, b"\x15") + frame(1, 0xFF, b"\x20"), NOW) == []
    assert reader.counts == {"reader_error": 1}


@pytest.mark.parametrize("epc", ["", "ABC", "ABCDEF", "XYZW", "AB" * 64])
def test_r200_cannot_send_an_epc_that_is_not_whole_words(epc: str) -> None:
    with pytest.raises(CodeError):
        Reader(DeviceOptions()).encode(TagRead(epc, None, -50.0, NOW))


@pytest.mark.parametrize("ending", [b"\r", b"\n", b"\r\n", b"\n\r\n", b""])
def test_scanner_of_any_line_ending_gives_one_scan(ending: bytes) -> None:
    scanner = load_driver("barcode")(DeviceOptions())
    seen = [*scanner.feed(b"]d201\x1d" + ending, NOW), *scanner.flush(NOW)]
    assert seen == [Scan("]d201\x1d", NOW)]


def test_scanner_without_line_ending_waits_for_silence() -> None:
    scanner = load_driver("barcode")(DeviceOptions())
    assert scanner.feed(b"6901234567892", NOW) == []
    assert scanner.flush(NOW) == [Scan("6901234567892", NOW)]
    assert scanner.flush(NOW) == []


def test_scan_too_long_is_a_fault_and_the_next_one_is_read() -> None:
    scanner = load_driver("barcode")(DeviceOptions())
    seen = scanner.feed(b"A" * (MAX_SCAN_BYTES + 1) + b"\rB\r" + b"C" * MAX_SCAN_BYTES + b"\r", NOW)
    assert [type(one) for one in seen] == [Fault, Scan, Scan]
    assert scanner.counts == {"too_long": 1}


def test_scan_that_is_not_text_is_a_fault_that_shows_its_bytes() -> None:
    scanner = load_driver("barcode")(DeviceOptions())
    (fault,) = scanner.feed(b"\xff\xfe\r", NOW)
    assert isinstance(fault, Fault)
    assert fault.code == "undecodable"
    assert "fffe" in fault.detail


def test_probe_request_and_replies_are_the_published_ones() -> None:
    probe = Probe(DeviceOptions(unit_id=1))
    request = probe.poll()
    assert request == bytes.fromhex("010400010002200B")
    assert probe.answer(request, 30.5, 54.6) == bytes.fromhex("01040401310222" + "2ACE")
    assert probe.answer(bytes.fromhex("010400010001600A"), 30.5, 54.6) == bytes.fromhex("010402013179" + "74")
    assert probe.answer(request, -20.5, 54.6)[3:5] == bytes.fromhex("FF33")


def test_probe_echo_is_passed_over() -> None:
    probe = Probe(DeviceOptions())
    request = probe.poll()
    seen = probe.feed(request + probe.answer(request, 4.5, 60.0), NOW)
    assert seen == [Measured("celsius", 4.5, NOW), Measured("humidity_percent", 60.0, NOW)]
    assert probe.counts == {"echo": 1}


@pytest.mark.parametrize(("celsius", "humidity"), [(-40.0, 50.0), (0.0, 0.0), (3276.7, 50.0), (-3276.8, 50.0), (130.0, 50.0)])
def test_values_of_a_broken_chip_are_a_fault_not_a_reading(celsius: float, humidity: float) -> None:
    probe = Probe(DeviceOptions())
    (fault,) = probe.feed(probe.answer(probe.poll(), celsius, humidity), NOW)
    assert isinstance(fault, Fault)
    assert fault.code == "sensor_fault"
    assert probe.counts["sensor_fault"] == 1


@pytest.mark.parametrize(("celsius", "humidity"), [(-39.9, 50.0), (0.0, 0.1), (0.1, 0.0), (125.0, 100.0)])
def test_values_beside_the_fault_values_are_readings(celsius: float, humidity: float) -> None:
    probe = Probe(DeviceOptions())
    seen = probe.feed(probe.answer(probe.poll(), celsius, humidity), NOW)
    assert seen == [Measured("celsius", celsius, NOW), Measured("humidity_percent", humidity, NOW)]


def test_humidity_over_a_hundred_is_a_fault_and_the_temperature_is_kept() -> None:
    probe = Probe(DeviceOptions())
    seen = probe.feed(probe.answer(probe.poll(), 5.0, 100.1), NOW)
    assert seen[0] == Measured("celsius", 5.0, NOW)
    assert isinstance(seen[1], Fault)


@pytest.mark.parametrize(
    ("reply", "count"),
    [
        ("02040401310222", "other_unit"),
        ("01030401310222", "wrong_function"),
        ("0104020131", "wrong_byte_count"),
        ("018402", "exception_reply"),
    ],
)
def test_replies_that_are_not_the_answer_are_counted(reply: str, count: str) -> None:
    probe = Probe(DeviceOptions(unit_id=1))
    assert not [seen for seen in probe.feed(sealed(bytes.fromhex(reply)), NOW) if isinstance(seen, Measured)]
    assert probe.counts == {count: 1}


def test_simulated_probe_is_silent_or_refuses_as_modbus_says() -> None:
    probe = Probe(DeviceOptions(unit_id=7))
    assert probe.answer(sealed(bytes.fromhex("010400010002")), 5.0, 50.0) == b""
    assert probe.answer(sealed(bytes.fromhex("070400010002"))[:-1] + b"\x00", 5.0, 50.0) == b""
    assert probe.answer(sealed(bytes.fromhex("070600010002")), 5.0, 50.0)[1:3] == b"\x86\x01"
    assert probe.answer(sealed(bytes.fromhex("070400030001")), 5.0, 50.0)[1:3] == b"\x84\x02"
    assert probe.answer(sealed(bytes.fromhex("070400010000")), 5.0, 50.0)[1:3] == b"\x84\x03"
    with pytest.raises(CodeError):
        probe.answer(probe.poll(), float("nan"), 50.0)


def rmc(moment: str = "083015.00", date: str = "211126", **fields: str) -> bytes:
    wanted = {
        "status": "A",
        "lat": "3114.2400",
        "ns": "N",
        "lon": "12129.4000",
        "ew": "E",
        "knots": "10",
        "course": "90.0",
        **fields,
    }
    return sentence(f"GNRMC,{moment},{','.join(wanted.values())},{date},,,A")


def gga(moment: str = "083015.00", quality: str = "1") -> bytes:
    return sentence(f"GPGGA,{moment},3114.2400,N,12129.4000,E,{quality},09,0.90,8.0,M,,M,,")


def test_rmc_and_gga_of_one_moment_are_one_fix_in_either_order() -> None:
    for stream in (rmc() + gga(), gga() + rmc()):
        (fix,) = Nmea(DeviceOptions()).feed(stream, NOW)
        assert isinstance(fix, Fix)
        assert (fix.at, fix.satellites, fix.hdop) == (NOW, 9, 0.9)
        assert fix.speed_mps == pytest.approx(5.1444, abs=1e-4)
        assert (round(fix.latitude, 6), round(fix.longitude, 6)) == (31.237333, 121.49)


def test_gga_of_another_moment_is_not_joined_and_releases_the_fix() -> None:
    (fix,) = Nmea(DeviceOptions()).feed(rmc() + gga("083016.00"), NOW)
    assert isinstance(fix, Fix)
    assert fix.satellites is None


def test_fix_without_gga_waits_no_longer_than_silence_or_the_next_moment() -> None:
    receiver = Nmea(DeviceOptions())
    assert receiver.feed(rmc(), NOW) == []
    assert len(receiver.feed(rmc("083016.00"), NOW)) == 1
    assert len(receiver.flush(NOW)) == 1
    assert receiver.flush(NOW) == []


@pytest.mark.parametrize("years", [-19.6, -1, 1, 19.6])
def test_dates_off_by_more_than_a_day_are_a_fault_not_a_fix(years: float) -> None:
    receiver = Nmea(DeviceOptions())
    (fault,) = [*receiver.feed(rmc(), NOW + timedelta(days=365 * years)), *receiver.flush(NOW)]
    assert isinstance(fault, Fault)
    assert fault.code == "clock"


def test_a_capture_may_be_of_any_date() -> None:
    receiver = Nmea(DeviceOptions(believable_age_s=None))
    receiver.feed(rmc(), NOW + timedelta(days=4000))
    assert len(receiver.flush(NOW)) == 1


@pytest.mark.parametrize(
    ("stream", "count"),
    [
        (rmc()[:-5] + b"\r\n", "no_checksum"),
        (rmc()[:-4] + b"00\r\n", "bad_checksum"),
        (rmc(lat=""), "bad_field"),
        (rmc(lat="9114.0"), "bad_field"),
        (rmc(lat="3160.0"), "bad_field"),
        (rmc(ns="E"), "bad_field"),
        (rmc(knots="-1"), "bad_field"),
        (rmc(knots="nan"), "bad_field"),
        (rmc("246000"), "bad_field"),
        (rmc(date="310226"), "bad_field"),
        (sentence("GNRMC"), "malformed"),
        (sentence("GNRMC,"), "bad_field"),
        (b"$" + b"A" * 500, "too_long"),
    ],
)
def test_sentences_that_say_no_position_are_counted_by_their_fault(stream: bytes, count: str) -> None:
    receiver = Nmea(DeviceOptions())
    assert [*receiver.feed(stream, NOW), *receiver.flush(NOW)] == []
    assert receiver.counts[count] == 1


def test_lost_leading_zeros_and_other_sentences_are_let_pass() -> None:
    receiver = Nmea(DeviceOptions())
    early = NOW.replace(month=1, day=5, hour=0, minute=3, second=7)
    stream = (
        sentence("GPGSV,1,1,00")
        + sentence("GPVTG,,T,,M,,N,,K")
        + sentence("PMTK010,001")
        + rmc("307", "50126", lat="14.24", lon="9.5")
    )
    seen = [*receiver.feed(stream, early), *receiver.flush(early)]
    assert [(fix.at, round(fix.latitude, 6), round(fix.longitude, 6)) for fix in seen if isinstance(fix, Fix)] == [
        (early, 0.237333, 0.158333)
    ]
    assert not +receiver.counts


def test_encoded_fix_has_minutes_below_sixty_at_every_rounding() -> None:
    fix = Fix(NOW, 31.99999999999, -179.99999999999, 0.0, 0.0, 5, 1.0, NOW)
    (seen,) = Nmea(DeviceOptions()).feed(Nmea(DeviceOptions()).encode(fix), NOW)
    assert isinstance(seen, Fix)
    assert (seen.latitude, seen.longitude) == (32.0, -180.0)
