"""Barcodes as scanners send them: believed, suspect or refused."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.barcode import Barcode, parse

FNC1 = "\x1d"
ITEM = "0106901234567892"
GTIN = "06901234567892"


@pytest.mark.parametrize(
    "text",
    [
        f"]d2{ITEM}1728063010LOT7{FNC1}21S1",
        f"]d2{FNC1}{ITEM}1728063010LOT7{FNC1}21S1{FNC1}",
        f"]C1{ITEM}10LOT7{FNC1}21S1{FNC1}17280630\r\n",
        f"{ITEM}17280630" + f"10LOT7{FNC1}21S1",
        "(01)06901234567892(17)280630(10)LOT7(21)S1",
        "https://id.gs1.org/01/06901234567892/10/LOT7/21/S1?17=280630",
        "HTTPS://SHOP.EXAMPLE/01/06901234567892/10/LOT7/21/S1?17=280630&linkType=all",
        "]Q1https://example.cn/x/01/6901234567892/10/LOT7/21/S1?17=280630",
    ],
)
def test_the_same_goods_are_read_from_every_spelling(text: str) -> None:
    code = parse(text)
    assert (code.gtin, code.lot, code.serial, code.expiry) == (GTIN, "LOT7", "S1", date(2028, 6, 30))
    assert (code.error, code.suspect, code.sscc, code.opaque) == (None, None, None, None)


@pytest.mark.parametrize(
    ("text", "symbology"),
    [
        (f"]d2{ITEM}", "gs1-datamatrix"),
        (f"]C1{ITEM}", "gs1-128"),
        (f"]Q3{ITEM}", "gs1-qr"),
        (f"]e0{ITEM}", "gs1-databar"),
        ("]E06901234567892", "ean-13"),
        ("]I106901234567892", "itf"),
        (f"]X9{ITEM}", "]X9"),
        (ITEM, None),
    ],
)
def test_the_symbology_is_named_and_the_goods_are_the_same(text: str, symbology: str | None) -> None:
    assert parse(text).symbology == symbology
    assert parse(text).gtin == GTIN


@pytest.mark.parametrize(
    ("digits", "gtin"),
    [
        ("6901234567892", GTIN),
        ("06901234567892", GTIN),
        ("96385074", "00000096385074"),
        ("012345678905", "00012345678905"),
        ("80614141123458", "80614141123458"),
    ],
)
def test_plain_retail_codes_are_goods_of_fourteen_digits(digits: str, gtin: str) -> None:
    assert parse(digits) == Barcode(gtin=gtin)


@pytest.mark.parametrize(
    ("text", "gtin"),
    [
        ("]E496385074", "00000096385074"),
        ("]E001234565", "00012345000065"),  # UPC-E as some scanners send it
        ("04252614", "00042100005264"),
        ("02345673", "00023456000073"),
        ("]E0012345678905", "00012345678905"),
        ("]E3690123456789205", GTIN),
        ("]E3690123456789251299", GTIN),
        ("]E0690123456789251299", GTIN),
        ("]E301234567890512", "00012345678905"),
    ],
)
def test_short_retail_codes_and_those_with_an_add_on_are_goods(text: str, gtin: str) -> None:
    code = parse(text)
    assert (code.gtin, code.error, code.ais, code.sscc) == (gtin, None, {}, None)


@pytest.mark.parametrize(
    "text", ["]E105", "]E251299", "]E06901234567893", "]E069012345678920", "]E0ABC", "]E496385075", "]E001234566"]
)
def test_what_is_no_retail_code_is_refused(text: str) -> None:
    code = parse(text)
    assert code.error
    assert (code.gtin, code.sscc, code.lot) == (None, None, None)


def test_a_composite_is_its_linear_code_and_its_component() -> None:
    code = parse("]E06901234567892|]e01728063010LOT7")
    assert (code.symbology, code.gtin, code.lot, code.expiry) == ("ean-13", GTIN, "LOT7", date(2028, 6, 30))
    assert parse(f"]e0{ITEM}1728063010LOT7").lot == "LOT7"


def test_a_lost_separator_is_suspect_in_a_component_too() -> None:
    code = parse("]E06901234567892|]e010LOT717280630")
    assert (code.gtin, code.lot) == (GTIN, None)
    assert "FNC1" in (code.suspect or "")


@pytest.mark.parametrize("component", ["01069012345678921728063", "0180614141123458", "17281300", "", "10A|]e010B"])
def test_a_composite_whose_parts_disagree_is_refused_whole(component: str) -> None:
    code = parse(f"]E06901234567892|]e0{component}")
    assert code.error
    assert (code.gtin, code.lot, code.expiry) == (None, None, None)


@pytest.mark.parametrize("text", ["10ABC", "]C010ABC", "]A021XYZ", "]X08112345", "425261", "]Q117280630240A"])
def test_a_short_text_that_nobody_promised_to_be_gs1_is_no_lot(text: str) -> None:
    code = parse(text)
    assert "not say that it is GS1" in (code.error or "")
    assert (code.lot, code.serial, code.expiry) == (None, None, None)


@pytest.mark.parametrize(
    "text", [f"]C0{ITEM}1728063010LOT7", f"]Q1{ITEM}1728063010LOT7", f"10LOT7{FNC1}{ITEM}17280630", "]C110LOT7"]
)
def test_fields_are_read_where_a_check_digit_a_separator_or_the_symbology_vouches_for_them(text: str) -> None:
    assert (parse(text).lot, parse(text).error) == ("LOT7", None)


def test_the_printed_form_may_have_blanks_around_its_brackets() -> None:
    code = parse("(01) 06901234567892 (17) 280630 (21) S1")
    assert (code.gtin, code.serial, code.expiry) == (GTIN, "S1", date(2028, 6, 30))


@pytest.mark.parametrize(
    ("aim", "symbology"),
    [("]C0", "code-128"), ("]Q4", "gs1-qr"), ("]d5", "gs1-datamatrix"), ("]d4", "data-matrix"), ("]z0", "aztec"), ("]I0", "itf")],
)
def test_further_aim_identifiers_are_named(aim: str, symbology: str) -> None:
    assert (parse(aim + ITEM).symbology, parse(aim + ITEM).gtin) == (symbology, GTIN)


def test_day_zero_is_the_last_of_its_month() -> None:
    assert parse(f"{ITEM}17280200").expiry == date(2028, 2, 29)
    assert parse("https://id.gs1.org/01/06901234567892?17=270400").expiry == date(2027, 4, 30)


@pytest.mark.parametrize(
    "text",
    [
        "]d2010690123456789310LOT",
        "6901234567893",
        "06901234567893",
        "(01)06901234567893",
        "https://id.gs1.org/01/06901234567893",
        "]C100106141412345678909",
        "106141412345678909",
    ],
)
def test_a_wrong_check_digit_is_refused_and_nothing_of_the_code_is_believed(text: str) -> None:
    code = parse(text)
    assert code.error is not None
    assert "check digit" in code.error
    assert (code.gtin, code.lot, code.expiry, code.serial, code.sscc) == (None, None, None, None, None)


def test_fields_of_a_refused_code_can_still_be_looked_at() -> None:
    assert parse(f"]d2{ITEM}10A{FNC1}10B").ais == {"01": GTIN, "10": "A"}
    assert "stands twice" in (parse(f"]d2{ITEM}10A{FNC1}10B").error or "")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"{ITEM}10LOT717280630", {"serial": None}),
        (f"]d2{ITEM}10LOT71728063021S1", {"serial": None}),
        (f"]d2{ITEM}21S117280630", {"lot": None}),
        (f"]C1{ITEM}1128010110LOT15280101", {"expiry": None}),
        (f"]C110A{ITEM}", {"gtin": None}),
    ],
)
def test_a_lot_that_swallowed_its_neighbours_is_suspect_and_left_out(text: str, kept: dict[str, None]) -> None:
    code = parse(text)
    assert code.error is None
    assert "FNC1" in (code.suspect or "")
    assert (code.lot, code.serial, code.expiry) == (None, None, None)
    assert all(getattr(code, name) is value for name, value in kept.items())


@pytest.mark.parametrize(
    ("text", "lot"),
    [
        (f"]d2{ITEM}21S1{FNC1}10LOT717280630", "LOT717280630"),
        (f"]d2{FNC1}{ITEM}10LOT717280630", "LOT717280630"),
        (f"{ITEM}1728063010LOT717280630", "LOT717280630"),
        ("(01)06901234567892(10)LOT717280630", "LOT717280630"),
        ("https://id.gs1.org/01/06901234567892/10/LOT717280630", "LOT717280630"),
        (f"{ITEM}1017280630", "17280630"),
        (f"{ITEM}10LOT171399", "LOT171399"),
    ],
)
def test_a_lot_that_merely_looks_like_a_date_is_believed_where_fields_are_told_apart(text: str, lot: str) -> None:
    assert (parse(text).lot, parse(text).suspect) == (lot, None)


@pytest.mark.parametrize(
    "text", ["]C100106141412345678908", "00106141412345678908", "106141412345678908", "(00)106141412345678908"]
)
def test_a_logistic_unit_is_known_by_its_check_digit(text: str) -> None:
    assert parse(text).sscc == "106141412345678908"
    assert parse(text).error is None


@pytest.mark.parametrize(
    "text", ["81123456789012345678", "]C084123456789012345678", "]d183123456789012345678", "00106141412345678909"]
)
def test_twenty_digits_that_are_no_logistic_unit_are_a_drug_code(text: str) -> None:
    code = parse(text)
    assert (code.opaque, code.gtin, code.sscc, code.error) == (text[-20:], None, None, None)


def test_twenty_digits_promised_to_be_gs1_are_never_a_drug_code() -> None:
    assert parse("]C100106141412345678909").opaque is None
    assert parse(f"{ITEM}2112").serial == "12"


def test_ma_identifier_gives_its_units() -> None:
    code = parse("MA.156.M0.100080.A0000011.M200101.LX12.SABC.V250101")
    assert code.opaque == "MA.156.M0.100080.A0000011"
    assert (code.lot, code.serial, code.expiry) == ("X12", "ABC", date(2025, 1, 1))
    assert parse("]Q1MA.156.M0.100080.A0000011.E20281231").expiry == date(2028, 12, 31)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "]d2",
        FNC1,
        "hello",
        "口罩",
        "A" * 4097,
        f"{ITEM}17281300",
        f"{ITEM}17280231",
        "(01)06901234567892(17)280630(10",
        "(01)06901234567892(10)",
        "]Q3http://a.b/gtin/6901234567892",
        "MA.156.M0.100080",
        "MA.156.M0.100080.A0000011.E209901",
        "MA.156.M0.100080.A0000011.E2028",
        "12345",
        "٦٩٠١٢٣٤٥٦٧٨٩٢",
    ],
)
def test_what_is_no_code_is_refused_with_a_reason(text: str) -> None:
    code = parse(text)
    assert code.error
    assert (code.gtin, code.lot, code.serial, code.sscc, code.opaque) == (None, None, None, None, None)


@given(st.text(max_size=80), st.sampled_from(["", "]d2", "]C1", "]Q1", "MA.156.M0.", "(01)", "https://", ITEM, ITEM + "17", "392"]))
def test_any_text_is_read_or_refused_never_raised(text: str, front: str) -> None:
    code = parse(front + text)
    assert code.error is None or code.gtin is None


@given(st.text("0123456789" + FNC1 + "()ABC]", max_size=40))
def test_any_row_of_digits_is_read_or_refused_never_raised(text: str) -> None:
    code = parse(text)
    assert code.error or code.gtin or code.sscc or code.opaque or code.ais
