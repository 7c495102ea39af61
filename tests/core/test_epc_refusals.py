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
        (bits((0x2C, 8), (1, 3), (7, 3), (0, 82)), "partition 7"),
        (bits((0x2D, 8), (1, 3), (5, 3), (614141, 24), (1, 34), (1, 24)), "last 24 bits must be zero"),
        (bits((0x3F, 8), (1, 3), (5, 3), (614141, 24), (1, 17), (207, 41)), "serial 207 must be 1 to 12 digits"),
        (bits((0x3F, 8), (1, 3), (5, 3), (614141, 24), (1, 17), (1, 41)), "serial 1 must be 1 to 12 digits"),
        (bits((0x3A, 8), (1, 3), (5, 3), (614141, 24), (1, 17), (0, 58)), "serial 0 must be 1 to 17 digits"),
        (bits((0x3C, 8), (1, 3), (0, 3), (1, 40), (2047, 11), (1, 31)), "reference 2047 is over 3 digits"),
        (bits((0x3D, 8), (1, 3), (5, 3), (614141, 24), (0, 6), (1, 40)), "reference '' must be 1 to 23"),
        (bits((0x3D, 8), (1, 3), (5, 3), (614141, 24), (0x3F, 6), (0, 6), (1, 40)), "holds '?'"),
        (bits((0x3D, 8), (1, 3), (5, 3), (614141, 24), (0x31, 6), (0, 6), (10**12, 40)), "must be 1 to 12 characters"),
        (bits((0x3D, 8), (1, 3), (5, 3), (614141, 24), *[(0x31, 6)] * 24, (0, 6), (1, 40)), "over 23 characters"),
        (bits((0x3D, 8), (1, 3), (5, 3), (614141, 24), (0x31, 6), (0, 6), (1, 40)) + "0001", "must be zero"),
        (bits((0x40, 8), (1, 3), (5, 3), (614141, 24), (1, 20), (100, 7), (1, 7), (1, 38)), "piece 100 is over 2 digits"),
        (bits((0x2F, 8), (1, 4), (0x493132333435, 48), (1, 36)), "CAGE or DoDAAC 'I12345'"),
        (bits((0x3B, 8), (1, 6), (0x20, 6), *[(0x31, 6)] * 5, (0x23, 6), (0, 6), (1, 6), (0, 6)), "part number '#'"),
        (bits((0x3B, 8), (1, 6), (0x20, 6), *[(0x31, 6)] * 5, (0, 6), (0, 6)), "serial ''"),
        (bits((0x3B, 8), (1, 6), (0x20, 6), *[(0x31, 6)] * 6), "ends within its serial"),
        ("F1319521141123451" + "04458B80", "asset type"),
        ("FA3952A0", "goes on with A"),
        ("FA395EF0", "encoding 7, which is reserved"),
        ("FA3952F0", "begin with a company prefix"),
        ("F8395211416789090", "serial of 0 digits"),
        ("F839521141678909D", "serial of 13 digits"),
        ("F839521141678909" + "1F", "serial 15 is over 1 digits"),
        ("F3309521141123454" + "0A02", "holds a digit above 9"),
        (bits((0xEF, 8), (0, 4), (0x095201234567891235, 72), (65, 7), (4, 7)), "host code 4 is reserved"),
        (bits((0xEF, 8), (0, 4), (0x095201234567891235, 72), (65, 7), (1, 7)), "ends within a code of two"),
        (bits((0xEF, 8), (0, 4), (0x095201234567891235, 72), (66, 7), (3, 7), (1, 7)), "host code 3, 1 is reserved"),
        (bits((0xEF, 8), (0, 4), (0x095201234567891235, 72), (64, 7)), "host ''"),
        (bits((0xEF, 8), (0, 4), (0x095201234567891235, 72), (66, 7), (0x61, 7), (0x2F, 7)), "host 'a/'"),
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
        "urn:epc:id:gid:1.2",
        "urn:epc:id:gid:01.2.3",
        "urn:epc:id:gid:268435456.2.3",
        "urn:epc:id:gid:1." + "9" * 5000 + ".3",
        "urn:epc:tag:gid-96:3.1.2.3.4",
        "urn:epc:id:usdod:2S19I.1",
        "urn:epc:id:usdod:2S19.1",
        "urn:epc:id:usdod:2S194.68719476736",
        "urn:epc:tag:usdod-96:16.2S194.1",
        "urn:epc:id:adi:2S194..%23",
        "urn:epc:id:adi:W81X9C.3KL.2%232",
        "urn:epc:id:adi:W81X9C.3kl.2",
        "urn:epc:id:adi:W8AA9C.012345678901234567890123456789012.2",
        "urn:epc:id:adi:W8AA9C.123.0123456789012345678901234567891",
        "urn:epc:tag:adi-var:64.W81X9C.3KL.2",
        "urn:epc:tag:gdti-96:3.9521141.12345.05678",
        "urn:epc:tag:gdti-113:3.9521141.12345.123456789012345678",
        "urn:epc:tag:gdti-174:3.9521141.12345." + "A" * 18,
        "urn:epc:tag:gsrn-96:3.9521141.123456789",
        "urn:epc:tag:gsrn-96:3.9521141.1234567890.1",
        "urn:epc:id:sgcn:4012345.67890.",
        "urn:epc:id:sgcn:4012345.67890.A",
        "urn:epc:id:sgcn:401231.123465.9999999999999",
        "urn:epc:tag:cpi-96:1.0614141.012345.0",
        "urn:epc:tag:cpi-96:1.0614141.12-456.0",
        "urn:epc:tag:cpi-96:1.0614141.123456789.0",
        "urn:epc:tag:cpi-96:1.0614141.123456.2147483648",
        "urn:epc:id:cpi:0614141.123456.01",
        "urn:epc:id:cpi:0614141.12_456.1",
        "urn:epc:id:cpi:0614141.1%231456.1234567891231",
        "urn:epc:tag:itip-110:3.9521141.012345.1.02.981",
        "urn:epc:tag:itip-110:3.9521141.012345.01.02.0981",
        "urn:epc:id:itip:9521141.012345.01.981",
        "urn:epc:id:bic:CSIJ3054381",
        "urn:epc:id:imovn:917618",
        "https://id.gs1.org/253/9521141123455A",
        "https://id.gs1.org/253/9521141123454",
        "https://id.gs1.org/255/9521141678909A1",
        "https://id.gs1.org/8006/095211411234530102/21/1",
        "https://id.gs1.org/8006/095211411234540102",
        "https://id.gs1.org/8010/95211415PQ7_43/8011/12345",
        "https://id.gs1.org/8010/95211415PQ7/8011/A",
        "https://id.gs1.org/8018/952114112345678907",
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


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("urn:epc:idpat:sgtin:0614141.812345.*", "a pattern names no single tag"),
        ("urn:epc:pat:sgtin-96:3.0614141.*.*", "a pattern names no single tag"),
        ("urn:epc:class:lgtin:4012345.012345.998877", "a class names no single tag"),
    ],
)
def test_patterns_and_classes_are_refused_for_what_they_are(uri: str, reason: str) -> None:
    assert reason in (describe(uri)["error"] or "")


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
        lambda: encode("gid-96", 1, company_prefix="1", reference="2", serial="3"),
        lambda: encode("sgtin-64", 1),
        lambda: encode("sgtin++", 1, key="79521141123453", serial="1"),
        lambda: encode("sgtin++", 1, key="79521141123453", serial="1", hostname="a/b"),
        lambda: encode("sgtin+", 1, key="79521141123453", serial="1", hostname="example.com"),
        lambda: encode("giai+", 1, key="1", serial="95211411"),
        lambda: encode("giai+", 1, serial="A1234"),
        lambda: encode("gsrn+", 1, key="952114112345678907"),
        lambda: encode("cpi++", 1, key="1234" + "/" * 26, serial="999999999999", hostname="a" * 63),
        lambda: encode("sgtin-96", 1, company_prefix="0614141", reference="812345", serial="1", pieces="0102"),
        lambda: encode("itip-110", 1, company_prefix="0614141", reference="812345", serial="1"),
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
