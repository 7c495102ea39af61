"""Chafon readers: the frames published in wabson/chafon-rfid (MIT), and what a reader may do between them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CodeError
from edge.drivers.crc16 import MCRF4XX, MODBUS, crc16
from edge.drivers.observations import Fault, Identity, Observation, Setting, TagRead
from edge.drivers.protocol import DeviceOptions
from edge.drivers.uhfreader18 import DONE, INVENTORY, MORE, NO_TAG, READER_INFO, Driver, Options, answer, frame

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
ONE_TAG = bytes.fromhex("13000103010C0000000000000000000003133F39")
EPC = "000000000000000000000313"

epcs = st.binary(min_size=1, max_size=31).map(lambda half: (half + half).hex().upper())


def driver(**options: object) -> Driver:
    return Driver(DeviceOptions(own=Options(**options)))  # type: ignore[arg-type]


def introduced(**options: object) -> Driver:
    """A driver whose reader has told who it is."""
    reader = driver(**options)
    reader.poll()
    reader.feed(frame(0, READER_INFO, bytes.fromhex("00" + "0301090231801A0A")), NOW)
    return reader


def test_crcs_have_their_published_check_values() -> None:
    assert crc16(b"123456789", MCRF4XX) == bytes.fromhex("916F")
    assert crc16(b"123456789", MODBUS) == bytes.fromhex("374B")


def test_requests_are_the_published_ones() -> None:
    reader = driver()
    assert reader.poll() == bytes.fromhex("04FF211995")
    assert reader.poll() == bytes.fromhex("04FF011BB4")


def test_an_inventory_of_named_antennas_carries_the_published_parameters_in_turn() -> None:
    # tests/test_uhfreader288.py: 0F 00 01 0000 00 00 80 14 are the defaults of that library: Q 15, two seconds, antenna 1.
    reader = introduced(antennas=(1, 4), q=15, scan_time_s=2.0)
    assert reader.poll()[3:-2] == bytes.fromhex("0F0001000000008014")
    assert reader.poll()[3:-2] == bytes.fromhex("0F0001000000008314")
    assert reader.poll()[3:-2] == bytes.fromhex("0F0001000000008014")
    other = introduced(antennas=(1,), q=2, session=1, target="B", scan_time_s=0.3)
    assert other.poll()[3:-2] == bytes.fromhex("020101000000018003")


def test_a_plain_answer_has_no_antenna_but_the_one_of_the_settings() -> None:
    reader = Driver(DeviceOptions(antenna=2))
    assert reader.feed(ONE_TAG, NOW) == [TagRead(EPC, 2, None, NOW)]


def test_the_reader_tells_what_it_is_and_how_it_is_set() -> None:
    reader = driver()
    reader.poll()
    told = reader.feed(frame(0, READER_INFO, bytes.fromhex("00" + "03010C0231801A0A")), NOW)
    assert told == [
        Identity("UHFReader288M", "3.1", NOW),
        Setting("power_dbm", 26, NOW),
        Setting("scan_time_s", 1.0, NOW),
    ]
    assert reader.is_answered(observed=True)
    assert isinstance(driver().feed(frame(0, READER_INFO, bytes.fromhex("00" + "03017F0231801A0A")), NOW)[0], Identity)


def test_an_answer_of_several_frames_ends_with_the_one_that_says_so() -> None:
    reader = introduced()
    reader.poll()
    reads = [TagRead(f"{number:04X}", None, None, NOW) for number in range(3)]
    for read in reads[:2]:
        assert reader.feed(answer(MORE, [read]), NOW) == [read]
        assert not reader.is_answered(observed=True)
    assert reader.feed(answer(DONE, reads[2:]), NOW) == reads[2:]
    assert reader.is_answered(observed=True)


@pytest.mark.parametrize("status", [DONE, 0x02, 0x04, NO_TAG])
def test_an_answer_without_tags_is_an_answer(status: int) -> None:
    reader = introduced()
    reader.poll()
    assert reader.feed(frame(0, INVENTORY, bytes((status,))), NOW) == []
    assert reader.is_answered(observed=False)
    assert not reader.counts.keys() - {"memory_full"}


@pytest.mark.parametrize(("status", "code"), [(0xF8, "antenna"), (0xFE, "refused"), (0x99, "refused")])
def test_a_reader_that_refuses_is_a_fault(status: int, code: str) -> None:
    reader = introduced()
    reader.poll()
    (fault,) = reader.feed(frame(0, INVENTORY, bytes((status,))), NOW)
    assert isinstance(fault, Fault)
    assert (fault.code, f"{status:02X}" in fault.detail) == (code, True)
    assert reader.is_answered(observed=True)


def test_the_answer_to_an_earlier_question_ends_no_later_one() -> None:
    reader = driver()
    reader.poll()
    assert reader.feed(answer(DONE, [TagRead(EPC, None, None, NOW)]), NOW) == []
    assert not reader.is_answered(observed=False)
    assert reader.counts == {"late_answer": 1}


def test_another_readers_answer_is_not_taken_where_one_is_named() -> None:
    assert driver(address=3).feed(ONE_TAG, NOW) == []
    assert driver(address=0).feed(ONE_TAG, NOW) == [TagRead(EPC, None, None, NOW)]


@pytest.mark.parametrize("data", ["01", "010C00", "020C" + EPC, "0100", "010B" + "00" * 11, "FF" * 8])
def test_lengths_that_do_not_add_up_are_counted_and_nothing_is_believed(data: str) -> None:
    reader = driver()
    seen = reader.feed(frame(0, INVENTORY, bytes((DONE,)) + bytes.fromhex(data)), NOW)
    # One antenna and no tags is what a UHFReader288M says of an empty field.
    assert (seen, reader.counts.get("bad_tags", 0)) == ([], 0 if data == "0100" else 1)


@given(st.lists(epcs, max_size=3), st.one_of(st.none(), st.integers(1, 4)))
def test_both_layouts_are_told_apart_whatever_the_tags(tags: list[str], antenna: int | None) -> None:
    reads = [TagRead(epc, antenna, None if antenna is None else -50.0, NOW) for epc in tags]
    assert driver().feed(answer(DONE, reads), NOW) == reads


@given(st.lists(st.one_of(st.binary(max_size=40), st.just(ONE_TAG), st.just(ONE_TAG[:7])), max_size=12), st.integers(1, 50))
def test_noise_raises_nothing_holds_little_and_hides_no_good_frame(pieces: list[bytes], size: int) -> None:
    reader, stream = driver(), b"".join(pieces)
    seen: list[Observation] = []
    for start in range(0, len(stream), size):
        seen += reader.feed(stream[start : start + size], NOW)
        assert reader.pending_bytes() <= 256
    assert sum(each == TagRead(EPC, None, None, NOW) for each in seen) >= pieces.count(ONE_TAG)
    assert TagRead(EPC, None, None, NOW) in reader.feed(ONE_TAG, NOW)


@pytest.mark.parametrize("bit", range(8 * len(ONE_TAG)))
def test_a_flipped_bit_is_noticed(bit: int) -> None:
    spoilt = bytearray(ONE_TAG)
    spoilt[bit // 8] ^= 1 << bit % 8
    assert driver().feed(bytes(spoilt), NOW) == []


@pytest.mark.parametrize(
    "read",
    [
        TagRead("ABC", None, None, NOW),
        TagRead("XY", None, None, NOW),
        TagRead("AB" * 64, None, None, NOW),
        TagRead("ABCD", 5, -50.0, NOW),
        TagRead("ABCD", 1, -200.0, NOW),
    ],
)
def test_what_a_reader_cannot_say_is_refused(read: TagRead) -> None:
    with pytest.raises(CodeError):
        driver().encode(read)
