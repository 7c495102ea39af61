"""Tags and names that claim a scheme and break it: each is refused, none is wrapped, cut or guessed at."""

from collections.abc import Callable

import pytest

from core.epc import Epc, decode, encode, on_tag, parse_uri, sgtin96
from core.epc_lines import describe
from core.errors import CodeError

GOOD = 0x3074257BF7194E4000001A85


def bits(*fields: tuple[int, int]) -> str:
    """Hex of (value, width) fields, filled with zeros to words."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 16)
    return f"{int(text, 2):0{len(text) // 4}X}"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "not hex"),
        ("3", "not hex"),
        ("30GG", "not hex"),
        ("٣٠", "not hex"),
        ("E2" * 63, "not hex"),
        (f"{GOOD:024X}00", "has 96 bits"),
        (f"{GOOD:024X}"[:-1], "has 96 bits"),
        (bits((0x30, 8), (1, 3), (7, 3), (0, 82)), "partition 7"),
        (bits((0x30, 8), (1, 3), (5, 3), (10_000_000, 24), (1, 20), (1, 38)), "company prefix 10000000 is over 7 digits"),
        (bits((0x30, 8), (1, 3), (5, 3), (614141, 24), (1_000_000, 20), (1, 38)), "reference 1000000 is over 6 digits"),
        (bits((0x32, 8), (1, 3), (0, 3), (61414112345, 40), (1, 1), (7, 41)), "reference 1 is over 0 digits"),
        (bits((0x31, 8), (1, 3), (5, 3), (614141, 24), (1, 34), (1, 24)), "last 24 bits must be zero"),
        (bits((0x36, 8), (1, 3), (5, 3), (614141, 24), (1, 20), (0, 140)), "serial '' must be 1 to 20"),
        (bits((0x36, 8), (1, 3), (5, 3), (614141, 24), (1, 20), (0x41, 7), (0, 7), (0x42, 7), (0, 119)), "after its end"),
        (bits((0x36, 8), (1, 3), (5, 3), (614141, 24), (1, 20), (0x23, 7), (0, 133)), "holds '#'"),
        (bits((0x36, 8), (1, 3), (5, 3), (614141, 24), (1, 20), (0x41, 7), (0, 133), (1, 1)), "last 10 bits"),
        (bits((0x37, 8), (1, 3), (5, 3), (614141, 24), (1, 20), (0x20, 7), (0, 105)), "holds ' '"),
        (bits((0x38, 8), (1, 3), (0, 3), (1, 40), *[(0x41, 7)] * 19, (0, 15)), "1 to 18"),
        ("F73795211411234538566CB0AFC4" + "0001", "bits follow"),
        ("F737952114112345A8566CB0AFC4", "digit above 9"),
        ("F73795211411234548566CB0AFC4", "check digit is 4, should be 3"),
        ("F7379521141123453", "ends within its serial encoding"),
        ("F73795211411234538", "ends within its serial length"),
        ("F737952114112345380", "1 to 20 are allowed"),
        (f"F7379521141123453{0b11000001:02X}80", "encoding 6, which is reserved"),
        (f"F7379521141123453{0b00000001:02X}F0", "15 is over 1 digits"),
        (f"F7379521141123453{0b10100001:02X}0000", "no group of URN Code 40"),
        (f"F7379521141123453{0b10100001:02X}FFFF", "no group of URN Code 40"),
        ("FB372CDE795211411234538566CB0AFC4", "date type 7"),
        ("FB342DDE795211411234538566CB0AFC4".replace("2DDE", "2DFE"), "calendar"),
        ("F90095201234567891234", "check digit is 4, should be 5"),
    ],
)
def test_tags_that_break_their_scheme_are_refused_with_the_reason(code: str, reason: str) -> None:
    with pytest.raises(CodeError) as refused:
        decode(code)
    assert reason in str(refused.value)
    described = describe(code)
    assert described["error"] == str(refused.value)
    assert described["uri"] is None


@pytest.mark.parametrize(
    "uri",
    [
        "urn:epc:tag:sgtin-96:8.0614141.812345.6789",
        "urn:epc:tag:sgtin-96:3.0614141.812345.007",
        "urn:epc:tag:sgtin-96:3.0614141.812345.274877906944",
        "urn:epc:tag:sgtin-96:3.0614141.812345.A1",
        "urn:epc:tag:sgtin-96:3.0614141.81234.6789",
        "urn:epc:tag:sgtin-96:3.06141.81234567.6789",
        "urn:epc:tag:sgtin-96:3.0614141.812345",
        "urn:epc:tag:sgtin-96:3.0614141.812345.",
        "urn:epc:tag:sgtin-64:3.0614141.812345.1",
        "urn:epc:tag:sgtin-198:3.0614141.712345.32a/b",
        "urn:epc:tag:sgtin-198:3.0614141.712345.%2",
        "urn:epc:tag:sgtin-198:3.0614141.712345.%41%7F",
        "urn:epc:tag:sgtin-198:3.0614141.712345." + "A" * 21,
        "urn:epc:tag:grai-170:3.9521141.12345." + "A" * 17,
        "urn:epc:tag:giai-96:3.952114100000.4398046511104",
        "urn:epc:tag:giai-202:3.9521141." + "A" * 24,
        "urn:epc:tag:sscc-96:3.0614141.123456789",
        "urn:epc:tag:sscc-96:3.0614141.1234567890.1",
        "urn:epc:tag:sgtin+:3.0614141.812345.6789",
        "urn:epc:id:sgtin:0614141.812345",
        "urn:epc:id:gid:1.2.3",
        "urn:epc:raw:96.xE2",
        "urn:epc:raw:8.xe2",
        "urn:isbn:1",
        "https://id.gs1.org/01/80614141123459/21/6789",
        "https://id.gs1.org/01/80614141123458",
        "https://id.gs1.org/01/80614141123458/21/",
        "https://id.gs1.org/01/80614141123458/21/%E4%B8%AD",
        "https://id.gs1.org/01/80614141123458/21/%FF",
        "https://id.gs1.org/01/80614141123458/21/6789?17=281301",
        "https://id.gs1.org/00/106141412345678909",
        "https://id.gs1.org/414/0614141123453",
        "https://id.gs1.org/8003/19521141123451",
        "https://id.gs1.org/8004/AB",
        "https://id.gs1.org/",
        "https://[::1/01/80614141123458/21/1",
        "https://id.gs1.org/01/80614141123458/21/1?" + "a" * 3000,
    ],
)
def test_names_that_break_their_scheme_are_refused(uri: str) -> None:
    with pytest.raises(CodeError):
        parse_uri(uri)
    assert describe(uri)["error"]


def test_a_serial_with_leading_zeros_fits_the_longer_tag_only() -> None:
    goods = parse_uri("urn:epc:id:sgtin:0614141.812345.007")
    with pytest.raises(CodeError, match="leading zeros"):
        on_tag(goods, "sgtin-96")
    assert decode(on_tag(goods, "sgtin-198").hex or "").serial == "007"
    assert decode(on_tag(goods, "sgtin+").hex or "").serial == "007"


def test_a_digital_link_does_not_tell_its_company_prefix() -> None:
    goods = parse_uri("https://id.gs1.org/01/80614141123458/21/6789")
    assert goods.pure_identity is None
    with pytest.raises(CodeError, match="company prefix"):
        on_tag(goods, "sgtin-96")


@pytest.mark.parametrize(
    ("gtin", "digits", "serial"), [("80614141123459", 7, 1), ("80614141123458", 5, 1), ("8061414112345", 7, 1)]
)
def test_helper_for_simulated_tags_refuses_what_is_no_gtin(gtin: str, digits: int, serial: int) -> None:
    with pytest.raises(CodeError):
        sgtin96(gtin, digits, serial)


def test_helper_for_simulated_tags_makes_the_published_one() -> None:
    assert sgtin96("80614141123458", 7, 6789, 3).hex == "3074257BF7194E4000001A85"
    for serial in (-1, 2**38):
        with pytest.raises(CodeError):
            sgtin96("80614141123458", 7, serial)


def test_encoding_wants_what_its_scheme_wants() -> None:
    attempts: list[Callable[[], Epc]] = [
        lambda: encode("gid-96"),
        lambda: encode("sgtin+", 1, key="79521141123453", serial="1", date_element=("17", "220630")),
        lambda: encode("dsgtin+", 1, key="79521141123453", serial="1"),
        lambda: encode("dsgtin+", 1, key="79521141123453", serial="1", date_element=("10", "220630")),
        lambda: encode("sscc+", 1, key="095201234567891235", serial="1"),
        lambda: encode("sscc+", 8, key="095201234567891235"),
        lambda: encode("giai-96", 1, company_prefix="9521141", reference="1", serial="1"),
    ]
    for wrong in attempts:
        with pytest.raises(CodeError):
            wrong()
