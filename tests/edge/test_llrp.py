"""LLRP: published messages, reports of every shape, the set-up dialogue, and bytes that nobody should send."""

import io
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CodeError, ConfigurationError
from edge.decode import run_decode
from edge.drivers import llrp_frames as llrp
from edge.drivers.llrp import CHECK_EVERY, MAX_REPLIES, PATIENCE, Driver
from edge.drivers.llrp_frames import MAX_MESSAGE_BYTES, Framer, Message, custom, message, number, parameter, parameters, text
from edge.drivers.llrp_reports import read_report
from edge.drivers.llrp_setup import ROSPEC_ID, Capabilities, Options, power_index, read_capabilities, steps
from edge.drivers.observations import Fault, Identity, Observation, PortChanged, Setting, TagRead
from edge.drivers.protocol import DeviceOptions
from edge.settings import parse_settings

NOW = datetime(2020, 7, 8, 2, 20, 6, tzinfo=UTC)
# A real reader's body (EdgeX device-rfid-llrp-go, ROAccessReport-001.bytes).
BODY = bytes.fromhex("00F0001F8D3000ABCDEF00000000000003810001 86D0820005A9E4BEF862E0")
REPORT = message(llrp.RO_ACCESS_REPORT, 7, BODY)
READ = TagRead("3000ABCDEF00000000000003", 1, -48.0, NOW, None, datetime(2020, 7, 8, 2, 20, 5, 140192, tzinfo=UTC))
# Published in the tests of llrp-rs (MIT): a real greeting, and a refusal by a real reader.
GREETING = bytes.fromhex("043F000000203AFB30A700F600160080000C00058880119F8EAD010000060000")
REFUSAL = bytes.fromhex(
    "04330000003F00000009011F0035006500254C4C5250205B3430395D203A202F2F416363657373537065634944203A20696E76616C6964012000080001012C"
)
KEEPALIVE = bytes.fromhex("043E0000000A0000ABCD")
GOOD = parameter(llrp.STATUS, bytes(4))


def driver(own: Options | None = None, **given: Any) -> Driver:
    return Driver(DeviceOptions(own=own, **given))


def fed(reader: Driver, data: bytes, *, size: int = 0) -> list[Observation]:
    step = size or max(1, len(data))
    found = [seen for start in range(0, len(data), step) for seen in reader.feed(data[start : start + step], NOW)]
    return [*found, *reader.flush(NOW)]


def tag(*told: bytes) -> bytes:
    return message(llrp.RO_ACCESS_REPORT, 1, parameter(llrp.TAG_REPORT_DATA, b"".join(told)))


EPC = parameter(llrp.EPC_96, bytes.fromhex("3000ABCDEF00000000000003"))


def event(kind: int, body: bytes) -> bytes:
    stamp = parameter(llrp.UTC_TIMESTAMP, bytes(8))
    return message(llrp.READER_EVENT_NOTIFICATION, 0, parameter(llrp.EVENT_DATA, stamp + parameter(kind, body)))


def asked(reader: Driver) -> Message:
    """The one command the driver sends now."""
    (command,) = reader.replies()
    return Message(number(command, 0) & 0x3FF, number(command, 6, 4), command[10:])


def capabilities(*, vendor: int = 161, powers: tuple[int, ...] = (1000, 1500, 2000, 3000), gpis: int = 2) -> bytes:
    head = b"\x00\x02\x40\x00" + vendor.to_bytes(4, "big") + (2001002).to_bytes(4, "big") + text("5.14.0.240")
    general = parameter(llrp.GENERAL_CAPABILITIES, head + parameter(llrp.GPIO_CAPABILITIES, bytes((0, gpis, 0, 0))))
    levels = b"".join(
        parameter(llrp.POWER_LEVEL, place.to_bytes(2, "big") + power.to_bytes(2, "big")) for place, power in enumerate(powers, 1)
    )
    hops = parameter(llrp.FREQUENCY_INFORMATION, b"\x80" + parameter(llrp.HOP_TABLE, bytes((3, 0, 0, 0))))
    band = parameter(llrp.UHF_BAND_CAPABILITIES, levels + hops)
    return GOOD + general + parameter(llrp.REGULATORY_CAPABILITIES, bytes(4) + band)


def set_up(reader: Driver, answers: bytes) -> list[Message]:
    """Answers everything with success, the first with `answers`; what the driver sent."""
    reader.feed(GREETING, NOW)
    sent = []
    while commands := reader.replies():
        for command in commands:
            told = Message(number(command, 0) & 0x3FF, number(command, 6, 4), command[10:])
            sent.append(told)
            if told.kind in llrp.ANSWERS:
                body = answers if told.kind == llrp.GET_READER_CAPABILITIES else GOOD
                body = told.body[:4] + b"\x16" + body if told.kind == llrp.CUSTOM_MESSAGE else body
                reader.feed(message(llrp.ANSWERS[told.kind], told.ident, body), NOW)
    return sent


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_real_report_is_read_in_chunks_of_any_size(size: int) -> None:
    assert fed(driver(), REPORT * 3, size=size) == [READ] * 3


def test_a_report_of_version_1_1_is_read_alike() -> None:
    assert fed(driver(), message(llrp.RO_ACCESS_REPORT, 7, BODY, version=2)) == [READ]


def test_a_body_without_its_head_is_a_report_in_a_capture_only() -> None:
    assert fed(driver(capture=True), BODY + BODY) == [READ, READ]
    assert fed(driver(), BODY) == []


def test_decode_tells_epc_antenna_rssi_and_first_seen_of_a_capture_with_and_without_heads(tmp_path: Any) -> None:
    lines = []
    for name, data in (("body.bytes", BODY), ("stream.bin", GREETING + REPORT)):
        (tmp_path / name).write_bytes(data)
        out = io.StringIO()
        with (tmp_path / name).open("rb") as stream:
            assert run_decode("llrp", stream, out) == 0
        lines.append(json.loads(out.getvalue()))
    told = {"epc": READ.epc, "antenna": 1, "rssi_dbm": -48.0, "first_seen": "2020-07-08T02:20:05.140192Z"}
    assert lines == [told, told]


@pytest.mark.parametrize(
    ("bits", "data", "epc"),
    [
        (16, "E200", "E200"),
        (96, "3000ABCDEF00000000000003", "3000ABCDEF00000000000003"),
        (128, "3000ABCDEF0000000000000300000001", "3000ABCDEF0000000000000300000001"),
        (198, "36" + "00" * 23 + "FF", "36" + "00" * 23 + "FC00"),
        (496, "30" + "11" * 61, "30" + "11" * 61),
    ],
)
def test_an_epc_of_any_length_comes_in_whole_words_without_spare_bits(bits: int, data: str, epc: str) -> None:
    counts: Counter[str] = Counter()
    body = parameter(llrp.EPC_DATA, bits.to_bytes(2, "big") + bytes.fromhex(data))
    report = read_report(*parameters(body), counts)
    assert report is not None
    assert (report.epc, counts) == (epc, Counter())


@pytest.mark.parametrize("body", [parameter(llrp.EPC_DATA, b"\x00\x00"), parameter(llrp.EPC_DATA, b"\x00\x60\x30"), b""])
def test_a_report_without_a_whole_epc_is_counted_and_no_read(body: bytes) -> None:
    counts: Counter[str] = Counter()
    assert read_report(*parameters(body), counts) is None
    assert counts == {"no_epc": 1}


def test_everything_a_report_may_tell_is_taken() -> None:
    microseconds = (1_594_174_805_140_192).to_bytes(8, "big")
    body = b"".join(
        (
            EPC,
            parameter(llrp.PEAK_RSSI, b"\xc9"),
            parameter(llrp.FIRST_SEEN_UTC, microseconds),
            parameter(llrp.LAST_SEEN_UTC, (1_594_174_806_000_000).to_bytes(8, "big")),
            parameter(llrp.TAG_SEEN_COUNT, b"\x00\x09"),
            custom(llrp.IMPINJ, llrp.IMPINJ_RSSI, (-5525).to_bytes(2, "big", signed=True)),
            custom(llrp.IMPINJ, llrp.IMPINJ_PHASE, b"\x0c\x00"),
            custom(161, llrp.IMPINJ_PHASE, b"\x01\x00"),
        )
    )
    report = read_report(*parameters(body), Counter())
    assert report is not None
    assert (report.rssi_dbm, report.phase_deg, report.seen_count, report.antenna) == (-55.25, 270.0, 9, None)
    assert report.first_seen == READ.first_seen
    assert report.last_seen == datetime(2020, 7, 8, 2, 20, 6, tzinfo=UTC)


def test_time_since_the_reader_started_is_no_time_of_day() -> None:
    (read,) = fed(driver(), tag(EPC, parameter(3, (99).to_bytes(8, "big"))))
    assert isinstance(read, TagRead)
    assert read.first_seen is None


def test_merged_reads_are_counted() -> None:
    reader = driver()
    fed(reader, tag(EPC, parameter(llrp.TAG_SEEN_COUNT, b"\x00\x05")))
    assert reader.counts["merged_reads"] == 4


def test_unknown_parameters_are_skipped_wherever_they_stand() -> None:
    unknown = parameter(999, b"\x8d" * 20)
    nested = parameter(349, bytes(5) + b"\x80" * 3)
    vendor = custom(4711, 1, b"\x00\xf0\x00\x02")
    body = unknown + parameter(llrp.TAG_REPORT_DATA, nested + EPC + vendor + unknown) + parameter(llrp.RF_SURVEY_DATA, b"\x01")
    reader = driver()
    assert [seen.epc for seen in fed(reader, message(llrp.RO_ACCESS_REPORT, 1, body)) if isinstance(seen, TagRead)] == [READ.epc]
    assert not +reader.counts


def test_a_tv_of_unknown_length_costs_only_what_stands_behind_it_in_its_report() -> None:
    reader = driver()
    odd = parameter(llrp.TAG_REPORT_DATA, EPC + b"\xff\x01\x02" + parameter(llrp.ANTENNA_ID, b"\x00\x04"))
    good = parameter(llrp.TAG_REPORT_DATA, EPC + parameter(llrp.ANTENNA_ID, b"\x00\x02"))
    found = fed(reader, message(llrp.RO_ACCESS_REPORT, 1, odd + good) + REPORT)
    assert [seen.antenna for seen in found if isinstance(seen, TagRead)] == [None, 2, 1]
    assert +reader.counts == {"unknown_parameter": 1}


def test_a_broken_report_costs_itself_and_not_its_neighbours() -> None:
    reader = driver()
    broken = parameter(llrp.TAG_REPORT_DATA, EPC[:9])
    body = parameter(llrp.TAG_REPORT_DATA, EPC) + broken + parameter(llrp.TAG_REPORT_DATA, EPC)
    assert len(fed(reader, message(llrp.RO_ACCESS_REPORT, 1, body) + REPORT)) == 3
    assert reader.counts["broken_tag_report"] == 1


def test_a_message_of_an_unknown_type_is_skipped_by_its_length() -> None:
    reader = driver()
    assert fed(reader, GREETING + message(900, 5, REPORT) + REPORT) == [READ]
    assert +reader.counts == {"unknown_message": 1}


def test_an_unfinished_message_survives_a_silence() -> None:
    reader = driver()
    assert fed(reader, REPORT[:20]) == []
    assert reader.pending_bytes() == 20
    assert fed(reader, REPORT[20:]) == [READ]


def test_a_reader_whose_clock_is_wrong_is_named_and_its_reads_count() -> None:
    reader = driver()
    found = fed(reader, tag(EPC, parameter(llrp.FIRST_SEEN_UTC, bytes(8))))
    assert [type(seen) for seen in found] == [TagRead, Fault]
    assert found[1] == Fault(
        "clock", f"the reader says 1970-01-01T00:00:00+00:00, it is {NOW.isoformat()}; set its time server", NOW
    )
    assert reader.counts["clock"] == 1


def test_a_keepalive_is_acknowledged_under_its_own_number() -> None:
    reader = driver()
    reader.feed(KEEPALIVE * 2, NOW)
    assert reader.replies() == [bytes.fromhex("04480000000A0000ABCD")] * 2
    assert reader.replies() == []


def test_the_set_up_goes_from_nothing_to_reading_one_answer_at_a_time() -> None:
    reader = driver(Options(gpis=(1,)))
    sent = set_up(reader, capabilities())
    assert [each.kind for each in sent] == [1, 21, 41, 3, 2, 20, 24, 22, 64]
    assert len({each.ident for each in sent}) == len(sent)
    config = {each.kind: each.body for each in parameters(sent[3].body, 1)[0]}
    assert config[llrp.KEEPALIVE_SPEC] == b"\x01" + (5000).to_bytes(4, "big")
    assert config[llrp.GPI_STATE][:3] == b"\x00\x01\x80"
    assert config[llrp.EVENTS_AND_REPORTS] == b"\x00"


def test_nothing_is_said_before_the_reader_greets_and_it_tells_what_it_is() -> None:
    reader = driver()
    assert reader.start_commands() == reader.replies() == []
    reader.feed(GREETING, NOW)
    first = asked(reader)
    assert (first.kind, first.body) == (llrp.GET_READER_CAPABILITIES, b"\x00")
    found = reader.feed(message(11, first.ident, capabilities(vendor=llrp.IMPINJ)), NOW)
    assert found == [Identity("Impinj Speedway R420", "5.14.0.240", NOW)]


def test_only_an_impinj_is_asked_for_its_extensions_and_only_when_wanted() -> None:
    assert [each.kind for each in set_up(driver(), capabilities(vendor=llrp.IMPINJ))][1] == llrp.CUSTOM_MESSAGE
    for own, vendor in ((Options(), 10642), (Options(impinj_extensions=False), llrp.IMPINJ)):
        sent = set_up(driver(own), capabilities(vendor=vendor))
        assert llrp.CUSTOM_MESSAGE not in [each.kind for each in sent]
        assert b"\x03\xff" not in next(each.body for each in sent if each.kind == llrp.ADD_ROSPEC)


def test_the_rospec_says_what_the_options_say() -> None:
    own = Options(antennas=(2, 1), tx_power_dbm=15.5, session="S1", tag_population=64, mode_index=1002, report_every=3)
    sent = next(each.body for each in set_up(driver(own), capabilities()) if each.kind == llrp.ADD_ROSPEC)
    (spec,) = parameters(sent)[0]
    assert spec.body[:6] == ROSPEC_ID.to_bytes(4, "big") + b"\x00\x00"
    parts = {each.kind: each.body for each in parameters(spec.body, 6)[0]}
    assert parts[llrp.AI_SPEC][:6] == b"\x00\x02\x00\x01\x00\x02"
    inventory = next(each.body for each in parameters(parts[llrp.AI_SPEC], 6)[0] if each.kind == llrp.INVENTORY_SPEC)
    first, second = (each.body for each in parameters(inventory, 3)[0])
    assert (first[:2], second[:2]) == (b"\x00\x01", b"\x00\x02")
    inside = {each.kind: each.body for each in parameters(first, 2)[0]}
    assert inside[llrp.RF_TRANSMITTER] == bytes((0, 3, 0, 0, 0, 2))  # hop table 3, power index 2: 15.00 dBm
    air = {each.kind: each.body for each in parameters(inside[llrp.C1G2_INVENTORY], 1)[0]}
    assert air[llrp.C1G2_RF_CONTROL] == (1002).to_bytes(2, "big") + b"\x00\x00"
    assert air[llrp.C1G2_SINGULATION] == b"\x40\x00\x40" + bytes(4)
    assert parts[llrp.RO_REPORT_SPEC][:3] == b"\x01\x00\x03"


def test_a_published_rospec_is_built_of_the_same_parameters() -> None:
    # The ADD_ROSPEC of llrp-rs' tests, laid out by another encoder.
    published = bytes.fromhex(
        "04140000005C0000000F00B1005200000001000000B2001200B300050100B600090100000BB800B7003600010001"
        "00B80009000000000000BA002504D20100DE001E0001014A00180001 4F00080000000001 50000B40000100000000"
    )
    air = parameter(llrp.C1G2_RF_CONTROL, bytes(4)) + parameter(llrp.C1G2_SINGULATION, b"\x40\x00\x01" + bytes(4))
    antenna = parameter(llrp.ANTENNA_CONFIGURATION, b"\x00\x01" + parameter(llrp.C1G2_INVENTORY, b"\x00" + air))
    inventory = parameter(llrp.INVENTORY_SPEC, b"\x04\xd2\x01" + antenna)
    ai_spec = parameter(llrp.AI_SPEC, b"\x00\x01\x00\x01" + parameter(llrp.AI_STOP_TRIGGER, bytes(5)) + inventory)
    stop = parameter(llrp.RO_STOP_TRIGGER, b"\x01" + (3000).to_bytes(4, "big"))
    boundary = parameter(llrp.RO_BOUNDARY_SPEC, parameter(llrp.RO_START_TRIGGER, b"\x01") + stop)
    spec = parameter(llrp.RO_SPEC, b"\x00\x00\x00\x01\x00\x00" + boundary + ai_spec)
    assert message(llrp.ADD_ROSPEC, 15, spec) == published


@pytest.mark.parametrize(("wanted", "index"), [(10.0, 1), (15.5, 2), (20.0, 3), (30.0, 4)])
def test_a_power_in_dbm_is_the_level_at_or_just_below_it(wanted: float, index: int) -> None:
    reader = Capabilities(powers={1: 1000, 2: 1500, 3: 2000, 4: 3000})
    assert power_index(Options(tx_power_dbm=wanted), reader) == index


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (Options(tx_power_dbm=33.0), "tx_power_dbm 33 is not possible: the reader offers index 1 to 2, 10 to 30 dBm"),
        (Options(tx_power_dbm=5.0), "tx_power_dbm 5 is not possible"),
        (Options(antennas=(1, 5)), "the reader has 4 antenna ports, there is no 5"),
        (Options(gpis=(3,)), "the reader has 2 inputs, there is no 3"),
    ],
)
def test_what_the_reader_cannot_do_is_said_before_it_is_tried(own: Options, words: str) -> None:
    with pytest.raises(CodeError, match=words):
        steps(own, Capabilities(antennas=4, gpis=2, powers={1: 1000, 2: 3000}))


def test_a_wish_that_cannot_be_met_stops_the_set_up_with_a_fault() -> None:
    reader = driver(Options(tx_power_dbm=33.0))
    reader.feed(GREETING, NOW)
    found = reader.feed(message(11, asked(reader).ident, capabilities()), NOW)
    assert [type(each) for each in found] == [Identity, Fault]
    assert reader.replies() == []


def test_a_refused_command_is_a_fault_with_its_name_the_readers_words_and_the_place() -> None:
    reader = driver(Options(tx_power_index=200))
    reader.feed(GREETING, NOW)
    reader.feed(message(11, asked(reader).ident, capabilities()), NOW)
    for kind in (31, 51, 13):
        reader.feed(message(kind, asked(reader).ident, GOOD), NOW)
    field = parameter(llrp.FIELD_ERROR, b"\x00\x03\x01\x2d")
    place = parameter(llrp.PARAMETER_ERROR, (177).to_bytes(2, "big") + b"\x00\xc9" + field)
    status = parameter(llrp.STATUS, b"\x00\x64" + text("no such power") + place)
    (fault,) = reader.feed(message(30, asked(reader).ident, status), NOW)
    assert fault == Fault(
        "refused",
        "ADD_ROSPEC is refused: M_ParameterError 100; 'no such power'; ROSpec 177 / field 3: A_OutOfRange 301. "
        "Wanted: tx_power_index 200, session S0; the reader offers index 1 to 4, 10 to 30 dBm",
        NOW,
    )
    assert reader.replies() == []


def test_a_real_refusal_is_read_from_a_capture() -> None:
    (fault,) = fed(driver(capture=True), REFUSAL)
    assert isinstance(fault, Fault)
    assert (
        fault.detail
        == "DELETE_ACCESSSPEC is refused: M_FieldError 101; 'LLRP [409] : //AccessSpecID : invalid'; field 1: A_Invalid 300"
    )


def test_a_reader_without_access_specs_may_refuse_to_delete_them() -> None:
    reader = driver()
    reader.feed(GREETING, NOW)
    reader.feed(message(11, asked(reader).ident, capabilities()), NOW)
    reader.feed(message(31, asked(reader).ident, GOOD), NOW)
    unsupported = parameter(llrp.STATUS, b"\x00\x6d\x00\x00")
    assert reader.feed(message(llrp.ERROR_MESSAGE, asked(reader).ident, unsupported), NOW) == []
    assert asked(reader).kind == llrp.SET_READER_CONFIG


def test_an_answer_to_nothing_changes_nothing() -> None:
    reader = driver()
    reader.feed(GREETING, NOW)
    assert reader.feed(message(11, 999, capabilities()) + message(31, asked(reader).ident, GOOD), NOW) == []
    assert reader.replies() == []
    assert reader.counts["unexpected_answer"] == 2


def test_a_command_that_stays_unanswered_is_told_and_the_set_up_begins_anew() -> None:
    reader = driver()
    reader.feed(GREETING, NOW)
    asked(reader)
    (fault,) = reader.feed(KEEPALIVE * PATIENCE, NOW)
    assert isinstance(fault, Fault)
    assert fault.code == "no_answer"
    assert "GET_READER_CAPABILITIES" in fault.detail
    assert [number(each, 0) & 0x3FF for each in reader.replies()] == [72, 72, 72, 1]


def test_a_reader_that_forgot_its_rospec_is_set_up_again() -> None:
    reader = driver()
    set_up(reader, capabilities())
    reader.feed(KEEPALIVE, NOW)
    *_, question = reader.replies()
    assert number(question, 0) & 0x3FF == llrp.GET_ROSPECS
    (fault,) = reader.feed(message(36, number(question, 6, 4), GOOD), NOW)
    assert isinstance(fault, Fault)
    assert fault.code == "not_reading"
    reader.feed(KEEPALIVE, NOW)
    assert number(reader.replies()[-1], 0) & 0x3FF == llrp.GET_READER_CAPABILITIES


def test_a_rospec_that_still_runs_is_left_alone_and_tells_its_settings() -> None:
    own = Options(antennas=(2, 1), tx_power_dbm=15.5, session="S1", tag_population=64, mode_index=1002, report_every=3)
    reader = driver(own)
    added = next(each.body for each in set_up(reader, capabilities()) if each.kind == llrp.ADD_ROSPEC)
    running = added[:9] + b"\x02" + added[10:]
    for keepalives in (1, CHECK_EVERY):
        reader.feed(KEEPALIVE * keepalives, NOW)
        question = number(reader.replies()[-1], 6, 4)
        told = reader.feed(message(36, question, GOOD + running), NOW)
        assert {each.name: each.value for each in told if isinstance(each, Setting)} == {
            "antennas": ("1", "2"),
            "tx_power_index": 2,
            "tx_power_dbm": 15.0,
            "mode_index": 1002,
            "session": "S1",
            "tag_population": 64,
            "report_every": 3,
        }
        assert reader.replies() == []


@pytest.mark.parametrize(("outcome", "code"), [(1, "reader_busy"), (2, "reader_busy"), (3, "connection_refused")])
def test_a_refused_connection_is_told_and_given_up_soon(outcome: int, code: str) -> None:
    reader = driver()
    (fault,) = reader.feed(event(llrp.CONNECTION_ATTEMPT, outcome.to_bytes(2, "big")), NOW)
    assert isinstance(fault, Fault)
    assert fault.code == code
    assert reader.replies() == []
    assert reader.silence_limit_s() == 1.0


def test_another_clients_attempt_is_counted_and_disturbs_nothing() -> None:
    reader = driver()
    set_up(reader, capabilities())
    assert reader.feed(event(llrp.CONNECTION_ATTEMPT, b"\x00\x04"), NOW) == []
    assert (reader.counts["other_client"], reader.replies()) == (1, [])


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        (llrp.ANTENNA_EVENT, b"\x00\x00\x03", "antenna_lost"),
        (llrp.READER_EXCEPTION, text("PLL unlocked"), "reader_exception"),
        (llrp.BUFFER_OVERFLOW, b"", "reports_lost"),
    ],
)
def test_events_that_matter_are_faults(kind: int, body: bytes, code: str) -> None:
    (fault,) = fed(driver(), event(kind, body))
    assert isinstance(fault, Fault)
    assert fault.code == code


def test_a_connected_antenna_and_a_filling_buffer_are_counted() -> None:
    reader = driver()
    assert fed(reader, event(llrp.ANTENNA_EVENT, b"\x01\x00\x03") + event(llrp.BUFFER_WARNING, b"\x50")) == []
    assert +reader.counts == {"antenna_events": 1, "buffer_warning": 1}


def test_silence_is_given_up_within_three_keepalives() -> None:
    for period_s in (0.5, 5.0, 60.0):
        limit_s = driver(Options(keepalive_s=period_s)).silence_limit_s()
        assert limit_s is not None
        assert 2 * period_s < limit_s + 0.2 < 3 * period_s


def test_stopping_ends_the_inventory_and_frees_the_reader() -> None:
    assert [number(each, 0) & 0x3FF for each in driver().stop_commands()] == [llrp.DELETE_ROSPEC, llrp.CLOSE_CONNECTION]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("tx_power_dbm = 20.0\ntx_power_index = 3", "tx_power_dbm and tx_power_index are both given"),
        ('session = "S9"', "session: Invalid enum value 'S9'"),
        ("keepalive_s = 0.1", "keepalive_s: Expected `float` >= 0.5"),
        ("power = 3", "power: unknown key"),
        ("antennas = [0]", r"antennas\[0\]: Expected `int` >= 1"),
    ],
)
def test_a_wrong_option_is_refused_with_its_path(options: str, words: str) -> None:
    import tomllib

    table = f"""
        [agent]
        site = "depot"
        name = "gateway"
        state_dir = "state"
        [uplink]
        url = "mqtt://127.0.0.1"
        [[devices]]
        name = "reader"
        driver = "llrp"
        port = "socket://127.0.0.1:5084"
        portal = "dock"
        [devices.options]
        {options}
        [[portals]]
        name = "dock"
        """
    with pytest.raises(ConfigurationError, match=words) as refused:
        parse_settings(tomllib.loads(table), {})
    assert str(refused.value).startswith("devices[0].options")


def test_options_have_sound_defaults() -> None:
    assert msgspec.convert({}, Options) == Options()


def test_what_does_not_fit_a_report_is_refused() -> None:
    for epc, rssi in (("XYZ", -50.0), ("30", -50.0), ("30" * 64, -50.0), ("3000", -200.0)):
        with pytest.raises(CodeError):
            driver().encode(TagRead(epc, 1, rssi, NOW))
    with pytest.raises(ValueError, match="do not fit"):
        parameter(240, bytes(65_532))


def test_a_head_that_claims_too_much_is_no_head() -> None:
    reader = driver()
    false = message(llrp.RO_ACCESS_REPORT, 1)[:2] + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big")
    assert fed(reader, false + REPORT) == [READ]
    assert reader.counts["noise_bytes"] > 0


FRAMES = st.sampled_from(
    [REPORT, GREETING, KEEPALIVE, REFUSAL, message(11, 1, capabilities()), event(248, b"\x00\x01\x80"), tag(EPC, b"\xff")]
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Real frames with bytes changed, cut out and put in."""
    data = bytearray(b"".join(draw(st.lists(FRAMES, min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["set", "cut", "put"])):
            case "set" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 30))]
            case _:
                data[at:at] = draw(st.binary(max_size=20))
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=300), spoilt()), max_size=5), st.booleans())
def test_no_bytes_raise_or_fill_memory_and_the_next_good_frames_are_read(chunks: list[bytes], capture: bool) -> None:
    reader = driver(Options(gpis=(1,)), capture=capture)
    for chunk in chunks:
        fed(reader, chunk)
        assert reader.pending_bytes() <= MAX_MESSAGE_BYTES
        assert len(reader.replies()) <= MAX_REPLIES
    # A capture that begins like a body is one to its end; a stream finds its step again.
    if not (capture and b"".join(chunks)[:2] in {b"\x00\xf0", b"\x00\xf2", b"\x03\xff", b"\x00\xf6"}):
        wreck = fed(reader, REPORT * 2)
        assert READ in wreck


@settings(max_examples=100, deadline=None)
@given(spoilt(), st.integers(1, 40))
def test_chunks_never_change_what_is_found(data: bytes, size: int) -> None:
    whole, parts = driver(), driver()
    assert fed(whole, data) == fed(parts, data, size=size)
    assert whole.counts == parts.counts


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_answer_raises_however_its_parameters_are_spoilt(data: st.DataObject) -> None:
    reader = driver(Options(gpis=(1,)))
    set_up(reader, capabilities())
    reader.feed(KEEPALIVE, NOW)
    question = number(reader.replies()[-1], 6, 4)
    spec = steps(Options(tx_power_index=1), Capabilities(powers={1: 1000}))[3].body
    body = bytearray(data.draw(st.sampled_from([GOOD + spec, capabilities(), REFUSAL[10:]])))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for kind in (36, 11, 12, 100):
        reader.feed(message(kind, question, bytes(body)), NOW)
    read_capabilities(parameters(bytes(body))[0])


def test_a_stream_of_nothing_but_heads_stays_bounded() -> None:
    framer = Framer(Counter(), capture=False)
    head = message(llrp.RO_ACCESS_REPORT, 1)[:2] + MAX_MESSAGE_BYTES.to_bytes(4, "big") + bytes(4) + b"\x00\xf0"
    for _ in range(40):
        framer.feed(head * 400)
        assert len(framer) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize("kind", [llrp.TAG_REPORT_DATA, llrp.EVENT_DATA, llrp.PARAMETER_ERROR])
def test_parameters_within_parameters_to_any_depth_are_read_without_harm(kind: int) -> None:
    body = b""
    while len(body) < 65_000:
        body = parameter(kind, (b"\x00\xb1\x00\xc9" if kind == llrp.PARAMETER_ERROR else b"") + body)
    if kind == llrp.PARAMETER_ERROR:
        body = parameter(llrp.STATUS, b"\x00\x64\x00\x00" + body[:65_000])
    reader = driver(capture=True)
    for carrier in (llrp.RO_ACCESS_REPORT, llrp.READER_EVENT_NOTIFICATION, 30):
        fed(reader, message(carrier, 1, body))
    assert fed(reader, REPORT) == [READ]


def test_no_bytes_cost_much_time() -> None:
    nested = bytearray(message(llrp.RO_ACCESS_REPORT, 1)[:2] + MAX_MESSAGE_BYTES.to_bytes(4, "big") + bytes(4))
    while len(nested) + 34 <= MAX_MESSAGE_BYTES:
        inner = message(llrp.RO_ACCESS_REPORT, 1)[:2] + min(8000, MAX_MESSAGE_BYTES - len(nested) - 18).to_bytes(4, "big")
        nested += custom(161, 1, bytes(6) + inner + bytes(10))
    nested += bytes(MAX_MESSAGE_BYTES - len(nested))
    unfinished = nested[:10] + KEEPALIVE * 13_000 + b"\x04"
    for data in (bytes(nested), bytes(unfinished)):
        reader = driver()
        start = time.process_time()
        fed(reader, data, size=4096)
        assert time.process_time() - start < 10.0  # seconds, and a hundred times more without the bounds


def test_a_first_seen_far_in_the_future_is_no_time() -> None:
    reader = driver(believable_age_s=None)
    (read,) = fed(reader, tag(EPC, parameter(llrp.FIRST_SEEN_UTC, b"\xff" * 8)))
    assert isinstance(read, TagRead)
    assert read.first_seen is None
    later = NOW + timedelta(days=400)
    (old,) = fed(reader, tag(EPC, parameter(llrp.FIRST_SEEN_UTC, round(later.timestamp() * 1e6).to_bytes(8, "big"))))
    assert isinstance(old, TagRead)
    assert old.first_seen == later


def test_an_input_changes() -> None:
    assert fed(driver(), event(llrp.GPI_EVENT, b"\x00\x02\x00")) == [PortChanged(2, False, NOW)]
