"""A receipt as a pure fold."""

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.epc import sgtin96
from core.messages import BarcodeScan, TagPassage
from hub.domain.gate_codes import identify_scan, identify_tag
from hub.domain.receiving import (
    UNKNOWN_LOT,
    ExpectedLine,
    Finding,
    Judgement,
    Sighting,
    Unit,
    judge,
    merge,
    receipt_movements,
    remaining,
    sessions,
)
from hub.domain.stock import BizStep, Disposition

T0 = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")
SALINE = "06901234000016"
GLOVES = "06901234000023"
MASKS = "06901234000030"
EARLY = ExpectedLine(SALINE, "A", date(2027, 1, 31), 2)
LATE = ExpectedLine(SALINE, "B", date(2027, 6, 30), 2)
OTHER = ExpectedLine(GLOVES, "G", None, 1)
LINES = [LATE, EARLY, OTHER]


def unit(
    gtin: str | None, serial: str | None, *, lot: str | None = None, expiry: date | None = None, second: float = 0, code: str = ""
) -> Sighting:
    at = T0 + timedelta(seconds=second)
    return Sighting(code or f"tag:{gtin}.{serial}", "30" if not lot else None, gtin, serial, lot, expiry, at, at, 0.9)


def judged(lines: list[ExpectedLine], *seen: Sighting, already: frozenset[Unit] = frozenset()) -> Judgement:
    return judge(lines, seen, already=already, zone=SHANGHAI)


def findings(judgement: Judgement) -> dict[str, tuple[str, str | None]]:
    return {item.sighting.serial or item.sighting.code: (item.finding.value, item.lot) for item in judgement.items}


def test_a_clean_receipt_has_everything_and_nothing_else() -> None:
    whole = judged(LINES, *(unit(SALINE, str(n)) for n in range(4)), unit(GLOVES, "1g"))
    assert (whole.verdict, whole.short, whole.discrepancies) == ("clean", 0, 0)
    assert [(line.lot, line.expected, line.received, line.over) for line in whole.lines] == [
        ("A", 2, 2, 0),
        ("B", 2, 2, 0),
        ("G", 1, 1, 0),
    ]


def test_tags_without_a_lot_fill_the_earliest_expiry_first_in_order_of_serial() -> None:
    receipt = judged(LINES, *(unit(SALINE, serial, second=5 - int(serial)) for serial in "5134"))
    assert findings(receipt) == {"1": ("expected", "A"), "3": ("expected", "A"), "4": ("expected", "B"), "5": ("expected", "B")}
    assert receipt.short == 1


def test_a_code_that_carries_its_lot_takes_its_place_before_those_that_do_not() -> None:
    receipt = judged(
        LINES, unit(SALINE, "1"), unit(SALINE, "2"), unit(SALINE, "8", lot="A"), unit(SALINE, "9", expiry=date(2027, 6, 30))
    )
    assert findings(receipt) == {"1": ("expected", "A"), "2": ("expected", "B"), "8": ("expected", "A"), "9": ("expected", "B")}


def test_one_too_many_is_over_and_told_at_the_last_line_of_its_product() -> None:
    receipt = judged(LINES, *(unit(SALINE, str(n)) for n in range(5)))
    assert findings(receipt)["4"] == ("over", None)
    assert [(line.lot, line.received, line.over) for line in receipt.lines] == [("A", 2, 0), ("B", 2, 1), ("G", 0, 0)]
    assert receipt.severity == "minor"


@pytest.mark.parametrize(
    ("seen", "finding"),
    [
        (unit(MASKS, "1"), "wrong_product"),
        (unit(None, None, code="urn:epc:raw:96.xE2801170"), "unknown_tag"),
        (unit(SALINE, "old"), "doubled_serial"),
        (unit(SALINE, "1", expiry=date(2026, 11, 20)), "expired"),
        (unit(SALINE, "1", expiry=date(2026, 11, 21)), "over"),
        (unit(SALINE, "1", lot="Z"), "over"),
        (unit(SALINE, "1", lot="A", expiry=date(2027, 2, 28)), "over"),
        (unit(None, None, code="urn:epc:id:sscc:6901234.0000000001"), "expected"),
    ],
)
def test_each_kind_of_doubt_has_its_finding(seen: Sighting, finding: str) -> None:
    receipt = judged(LINES, seen, already=frozenset({(SALINE, "old")}))
    assert [item.finding for item in receipt.items] == [finding]
    assert (receipt.discrepancies == 0) == (finding == "expected")


def test_goods_of_a_line_that_expired_fill_it_and_are_held() -> None:
    receipt = judged([ExpectedLine(SALINE, "A", date(2026, 11, 20), 1)], unit(SALINE, "1"))
    assert findings(receipt) == {"1": ("expired", "A")}
    assert (receipt.short, receipt.lines[0].received, receipt.verdict) == (0, 1, "discrepancy")


def test_the_day_of_expiry_ends_where_the_site_is() -> None:
    line = ExpectedLine(SALINE, "A", date(2026, 11, 20), 1)
    evening = unit(SALINE, "1", second=-9 * 3600 - 1)  # 15:59:59 UTC on the 20th: one second before midnight in Shanghai
    assert findings(judged([line], evening))["1"][0] == "expected"
    assert findings(judged([line], unit(SALINE, "1", second=-9 * 3600)))["1"][0] == "expired"


def test_a_label_without_a_serial_says_what_it_is_and_counts_nothing() -> None:
    receipt = judged([OTHER], unit(GLOVES, None, lot="G", code="(01)06901234000023(10)G"))
    assert receipt.discrepancies == 0
    assert (receipt.lines[0].received, receipt.short, receipt.verdict) == (0, 1, "discrepancy")
    assert receipt_movements(receipt.items, 1, gate="g", receives_into="r", quarantines_into="q", products={GLOVES}) == []


def test_a_tag_and_a_barcode_of_one_unit_are_one_thing() -> None:
    tag, barcode = unit(SALINE, "1", second=3), unit(SALINE, "1", lot="B", second=1, code="https://id.gs1.org/01/x/21/1")
    (thing,) = merge([barcode, tag])
    assert (thing.code, thing.lot, thing.seen_at, thing.until) == (tag.code, "B", barcode.seen_at, tag.seen_at)


def test_with_nothing_expected_everything_is_doubtful() -> None:
    receipt = judged([], unit(SALINE, "1"), unit(None, None, code="urn:epc:id:sscc:6901234.0000000001"))
    assert receipt.findings() == {"unknown_tag": 1, "wrong_product": 1}
    assert receipt.severity == "major"


SEEN = st.lists(
    st.builds(
        unit,
        st.sampled_from([SALINE, GLOVES, MASKS, None]),
        st.sampled_from(["1", "2", "3", "4", "5", "6", None]),
        lot=st.sampled_from([None, None, None, "A", "B"]),
        expiry=st.sampled_from([None, None, date(2027, 1, 31), date(2026, 11, 1)]),
        second=st.integers(0, 100),
    ),
    max_size=14,
)


@given(SEEN, st.randoms(use_true_random=False), st.integers(0, 3))
def test_shuffled_and_doubled_passages_give_the_same_receipt(seen: list[Sighting], rng: random.Random, repeats: int) -> None:
    first = judged(LINES, *seen, already=frozenset({(SALINE, "6")}))
    again = seen * (repeats + 1)
    rng.shuffle(again)
    cut = rng.randint(0, len(again))
    in_two_parts = [*merge(again[:cut]), *again[cut:]]
    assert judged(LINES[::-1], *in_two_parts, already=frozenset({(SALINE, "6")})) == first


@given(SEEN)
def test_no_line_takes_more_than_it_expects_and_every_unit_moves_at_most_once(seen: list[Sighting]) -> None:
    receipt = judged(LINES, *seen)
    assert all(line.received <= line.expected for line in receipt.lines)
    moves = receipt_movements(receipt.items, 7, gate="g", receives_into="r", quarantines_into="q", products={SALINE, GLOVES})
    assert len({move.key for move in moves}) == len(moves)
    accepted = sum(move.to_location == "r" for move in moves)
    assert accepted <= sum(line.received for line in receipt.lines)
    assert all((move.to_location == "r") == (move.disposition == Disposition.IN_PROGRESS) for move in moves)


def test_accepted_goods_are_received_and_doubtful_ones_held() -> None:
    receipt = judged([OTHER], unit(GLOVES, "1"), unit(GLOVES, "2"), unit(MASKS, "3"), unit(SALINE, "4"))
    moves = receipt_movements(receipt.items, 7, gate="dock", receives_into="r", quarantines_into="q", products={GLOVES, MASKS})
    assert [(move.gtin, move.lot, move.to_location, move.biz_step, move.disposition, move.reason) for move in moves] == [
        (GLOVES, "G", "r", BizStep.RECEIVING, Disposition.IN_PROGRESS, ""),
        (GLOVES, UNKNOWN_LOT, "q", BizStep.HOLDING, Disposition.NON_SELLABLE_OTHER, "receipt 7: over"),
        (MASKS, UNKNOWN_LOT, "q", BizStep.HOLDING, Disposition.NON_SELLABLE_OTHER, "receipt 7: wrong_product"),
    ]
    assert {move.actor for move in moves} == {"portal:dock"}


def test_a_second_receipt_expects_what_the_first_did_not_bring() -> None:
    left = remaining(LINES, {(SALINE, "A"): 2, (SALINE, "B"): 5, (MASKS, "M"): 1})
    assert [(line.lot, line.quantity) for line in left] == [("A", 0), ("B", 0), ("G", 1)]
    assert findings(judged(left, unit(SALINE, "9")))["9"] == ("over", None)


def test_a_pause_parts_what_passed() -> None:
    seen = [unit(SALINE, str(second), second=second) for second in (400, 0, 30, 61)]
    assert [[each.serial for each in part] for part in sessions(seen, 30)] == [["0", "30"], ["61"], ["400"]]


def passage(epc: str) -> TagPassage:
    return TagPassage("dock", epc, "in", T0, T0 + timedelta(seconds=2), 5, -50.0, 0.8, "g1")


def test_a_tag_tells_gtin_serial_and_the_time_it_was_seen() -> None:
    tag = sgtin96(SALINE, 7, 42)
    assert tag.hex is not None
    assert identify_tag(passage(tag.hex)) == Sighting(
        "urn:epc:id:sgtin:6901234.000001.42", tag.hex, SALINE, "42", None, None, T0, T0 + timedelta(seconds=2), 0.8
    )


@pytest.mark.parametrize("epc", ["E28011700000020F1234ABCD", "3014257BF7194E4000001A85"[:-4] + "FFFF" * 2])
def test_a_tag_that_is_not_gs1_is_named_by_its_bits(epc: str) -> None:
    sighting = identify_tag(passage(epc))
    assert sighting is not None
    assert (sighting.code, sighting.gtin) == (f"urn:epc:raw:{4 * len(epc)}.x{epc}", None)
    assert judged(LINES, sighting).items[0].finding is Finding.UNKNOWN_TAG


@pytest.mark.parametrize(
    "epc", ["3314257BF40C0E40000016E4", "F13095211411234548566CB0AFC4", "EE3952114132E83C2BF1494197C61DBC3665B600"]
)
def test_a_tote_or_an_asset_is_no_goods(epc: str) -> None:
    assert identify_tag(passage(epc)) is None


@pytest.mark.parametrize(
    ("epc", "code"),
    [
        ("2C76451FD46072000000162E", "urn:epc:id:gdti:9521141.12345.5678"),
        ("2D76451FD4499602D2000000", "urn:epc:id:gsrn:9521141.1234567890"),
        ("EA395211411234540458BA4A0CBE30EDE1B32DB0", "https://id.gs1.org/253/95211411234545678"),
        ("3500E86F8000A9E000000586", "urn:epc:id:gid:952056.2718.1414"),
        ("4076451FD40C0E40820000000F54", "urn:epc:id:itip:9521141.012345.01.02.981"),
    ],
)
def test_a_tag_that_names_something_else_than_goods_is_an_unknown_tag(epc: str, code: str) -> None:
    sighting = identify_tag(passage(epc))
    assert sighting is not None
    assert (sighting.code, sighting.gtin, sighting.serial) == (code, None, None)
    assert judged(LINES, sighting).items[0].finding is Finding.UNKNOWN_TAG


def test_a_tag_with_a_host_of_its_own_names_the_same_unit() -> None:
    hosted = identify_tag(passage("FD3795211411234538566CB0AFC525065F1876F0D996D800"))
    plain = identify_tag(passage("F73795211411234538566CB0AFC4"))
    assert hosted is not None
    assert plain is not None
    assert (hosted.code, hosted.identity) == (plain.code, plain.identity)


def scan(text: str) -> Sighting:
    return identify_scan(BarcodeScan("dock", text, T0))


def test_a_barcode_with_a_serial_names_the_same_unit_as_the_tag() -> None:
    seen = scan("]d201069012340000161727013110A\x1d2142")
    assert (seen.unit, seen.lot, seen.expiry) == ((SALINE, "42"), "A", date(2027, 1, 31))
    assert seen.code == "https://id.gs1.org/01/06901234000016/21/42"
    epc = sgtin96(SALINE, 7, 42).hex
    assert epc is not None
    tag = identify_tag(passage(epc))
    assert tag is not None
    assert tag.identity == seen.identity


def test_a_lot_label_has_no_unit_and_an_sscc_no_goods() -> None:
    label = scan("]C1010690123400001610A")
    assert (label.code, label.gtin, label.unit, label.lot) == ("(01)06901234000016(10)A", SALINE, None, "A")
    pallet = scan("]C100106141412345678908")
    assert (pallet.code, pallet.gtin) == ("https://id.gs1.org/00/106141412345678908", None)
    assert judged(LINES, pallet).items[0].finding is Finding.EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        "]d2010690123400001610LOT717280630",
        "]E06901234000017",
        "SF1234567890123",
        "81234567890123456789",
        "\x00\x01",
        "(",
        "]d2" + "9" * 4000,
    ],
)
def test_a_scan_that_cannot_be_believed_is_goods_of_unknown_identity(text: str) -> None:
    seen = scan(text)
    assert (seen.gtin, seen.serial, seen.lot, seen.expiry) == (None, None, None, None)
    assert "\x00" not in seen.code
    assert len(seen.code) < 400
    assert judged(LINES, seen).items[0].finding is Finding.UNKNOWN_TAG
