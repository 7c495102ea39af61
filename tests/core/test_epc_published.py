"""Pairs that the EPC Tag Data Standard prints (1.9 and 2.3, annex E.3) and that other implementations publish, in every spelling.

Five rows of annex E.3 of TDS 2.3 are misprinted and stand here as their bits have them: SGTIN++ and DSGTIN++ name the host
id.example.com, SSCC++ begins with EF, ITIP++ with ED (both by table 14-1), and the URN of SGTIN-96 ends in 123456789.
"""

import pytest

from core.epc import decode, on_tag, parse_uri
from core.epc_host import put_host, take_host
from core.epc_lines import describe
from core.epc_text import BitReader, BitWriter

PARTITIONED = [
    ("3074257BF7194E4000001A85", "sgtin-96:3.0614141.812345.6789", "/01/80614141123458/21/6789"),
    ("3066C4409047E140075BCD15", "sgtin-96:3.95060001343.05.123456789", "/01/09506000134352/21/123456789"),
    ("3674257BF6B7A659B2C2BF1000000000000000000000000000", "sgtin-198:3.0614141.712345.32a%2Fb", "/01/70614141123451/21/32a%2Fb"),
    ("3666C4409047E159B2C2BF100000000000000000000000000000", "sgtin-198:3.95060001343.05.32a%2Fb", "/01/09506000134352/21/32a%2Fb"),
    ("3174257BF4499602D2000000", "sscc-96:3.0614141.1234567890", "/00/106141412345678908"),
    ("311BA1B300CE0A6A83000000", "sscc-96:0.952012.03456789123", "/00/095201234567891235"),
    ("3274257BF46072000000162E", "sgln-96:3.0614141.12345.5678", "/414/0614141123452/254/5678"),
    ("3276451FD46072000000162E", "sgln-96:3.9521141.12345.5678", "/414/9521141123454/254/5678"),
    ("3976451FD46072CD9615F8800000000000000000000000000000", "sgln-195:3.9521141.12345.32a%2Fb", "/414/9521141123454/254/32a%2Fb"),
    ("3376451FD40C0E400000162E", "grai-96:3.9521141.12345.5678", "/8003/095211411234545678"),
    ("3776451FD40C0E59B2C2BF1000000000000000000000", "grai-170:3.9521141.12345.32a%2Fb", "/8003/0952114112345432a%2Fb"),
    ("3476451FD40000000000162E", "giai-96:3.9521141.5678", "/8004/95211415678"),
    ("3876451FD59B2C2BF10000000000000000000000000000000000", "giai-202:3.9521141.32a%2Fb", "/8004/952114132a%2Fb"),
    ("2D76451FD4499602D2000000", "gsrn-96:3.9521141.1234567890", "/8018/952114112345678906"),
    ("2E76451FD4499602D2000000", "gsrnp-96:3.9521141.1234567890", "/8017/952114112345678906"),
    ("2C76451FD46072000000162E", "gdti-96:3.9521141.12345.5678", "/253/95211411234545678"),
    (
        "3E76451FD7039B061438997367D0C18B266D1AB66EE0",
        "gdti-174:3.9521141.98765.ABCDefgh012345678",
        "/253/9521141987650ABCDefgh012345678",
    ),
    ("3C76451FD400C0E680003039", "cpi-96:3.9521141.98765.12345", "/8010/952114198765/8011/12345"),
    ("3D76451FD75411DEF6B4CC00000003039000", "cpi-var:3.9521141.5PQ7%2FZ43.12345", "/8010/95211415PQ7%2FZ43/8011/12345"),
    ("3F76451FD612640000019907", "sgcn-96:3.9521141.67890.04711", "/255/952114167890904711"),
    ("4076451FD40C0E40820000000F54", "itip-110:3.9521141.012345.01.02.981", "/8006/095211411234540102/21/981"),
    (
        "4176451FD40C0E4082DBDD8B36600000000000000000000000000000",
        "itip-212:3.9521141.012345.01.02.mw133",
        "/8006/095211411234540102/21/mw133",
    ),
    # TDS 1.6 to 1.9, annex E
    (
        "3A74F4E4E7039AC790E65D7AA5C38000",
        "gdti-113:3.4012345.98765.12345678901234567",
        "/253/401234598765212345678901234567",
    ),
    ("3F74F4E4E612640000019907", "sgcn-96:3.4012345.67890.04711", "/255/401234567890104711"),
    ("3C74257BF400C0E680003039", "cpi-96:3.0614141.98765.12345", "/8010/061414198765/8011/12345"),
    ("2C74257BF46072000000162E", "gdti-96:3.0614141.12345.5678", "/253/06141411234525678"),
    ("2E74257BF4499602D2000000", "gsrnp-96:3.0614141.1234567890", "/8017/061414112345678902"),
    # epcpy (MIT), tests of 0.1.8
    ("3D14257BF71CADD35D8000075BCD1500", "cpi-var:0.0614141.12-456.123456789", "/8010/061414112-456/8011/123456789"),
    ("3C34257BF400F12000000000", "cpi-96:1.0614141.123456.0", "/8010/0614141123456/8011/0"),
    ("3D34257BF71CB3D35DB7E39C000000000000", "cpi-var:1.0614141.1234567890.0", "/8010/06141411234567890/8011/0"),
    (
        "3DB4257BF71CB3D36DF8E70005D21DBA0000",
        "cpi-var:5.0614141.123467890.100000000000",
        "/8010/0614141123467890/8011/100000000000",
    ),
    ("3E14257BF460730614388C593368BC00000000000000", "gdti-174:0.0614141.12345.ABCD1234%2F", "/253/0614141123452ABCD1234%2F"),
    ("3814257BF58C1858D7C400000000000000000000000000000000", "giai-202:0.0614141.1ABc%2FD", "/8004/06141411ABc%2FD"),
    ("3714257BF40C0E60C287118B266D1780000000000000", "grai-170:0.0614141.12345.ABCD1234%2F", "/8003/00614141123452ABCD1234%2F"),
    ("2D000B7F7070D404D2000000", "gsrn-96:0.012345678901.01234", "/8018/012345678901012342"),
    ("2E000B7F7070D404D2000000", "gsrnp-96:0.012345678901.01234", "/8017/012345678901012342"),
    (
        "41000B7F7070D40000830A1C48B1A3C8932A5CC9B3A7D05F4A9D4000",
        "itip-212:0.012345678901.0.00.00.ABCDEFGHIJKLMNOP%2FRST",
        "/8006/001234567890120000/21/ABCDEFGHIJKLMNOP%2FRST",
    ),
    ("3FE175ADC32764000000000B", "sgcn-96:7.401234512345..1", "/255/40123451234561"),
    ("3F14F4E4E61264000000000A", "sgcn-96:0.4012345.67890.0", "/255/40123456789010"),
    ("3F14F4E4E612640000000065", "sgcn-96:0.4012345.67890.01", "/255/401234567890101"),
    ("3FF987D3C3C493D1A94A1FFF", "sgcn-96:7.401231.123465.999999999999", "/255/4012311234650999999999999"),
    ("36500001DB011169E5E5A70EC000000000000000000000000000", "sgtin-198:2.00000950.01093.Serial", "/01/00000095010939/21/Serial"),
    ("31003932449F003039000000", "sscc-96:0.061414123456.12345", "/00/106141412345623458"),
    # published with the TDT definitions
    ("3A28075BCD1502000000006695170000", "gdti-113:1.0123456789.01.3445678", "/253/01234567890123445678"),
    (
        "37E45BFB8386A0A0C2C7922A18F1E42D76995614A000",
        "grai-170:7.12345678901.2.ABcdE!GGH-;%26*a%25",
        "/8003/01234567890128ABcdE%21GGH-%3B%26%2Aa%25",
    ),
    (
        "38344B5A1D8C1C30B14BD76BD217E9593264D52A54E9D2800000",
        "giai-202:1.1234567.1AaBbKkZz!%3F%252225%25%25''%25",
        "/8004/12345671AaBbKkZz%21%3F%252225%25%25%27%27%25",
    ),
    ("363613ACD83B9AD2B26AC9900000000000000000000000000000", "sgtin-198:1.8710966.061035.%252522", "/01/08710966610350/21/%252522"),
]
NO_GS1_KEY = [
    ("3500E86F8000A9E000000586", "gid-96", "", "952056.2718.1414"),
    ("350007AB70425D4000000586", "gid-96", "", "31415.271828.1414"),
    ("35FFFFFFFFFFFFFFFFFFFFFF", "gid-96", "", "268435455.16777215.68719476735"),
    ("2F320434147455900000162E", "usdod-96", "3.", "CAGEY.5678"),
    ("2F02032533139342DFDC1C35", "usdod-96", "0.", "2S194.12345678901"),
    ("2F2325331393431000000000", "usdod-96", "2.", "2S1941.0"),
    ("2FF203253313934FFFFFFFFF", "usdod-96", "15.", "2S194.68719476735"),
    ("3B0E0CF5E76C9047759AD00373DC7602E7200", "adi-var", "3.", "35962.PQ7VZ4.M37GXB92"),
    ("3B157E316390F32CCE78D106310325CD06DD7200", "adi-var", "5.", "W81X9C.3KL984PX1.2WMA-52"),
    ("3B5E0C93C79D00C72CF4D76DF8E70C40", "adi-var", "23.", "2S194..12345678901"),
    ("3B317E316390F32CCE78D10631023C97341D7200", "adi-var", "12.", "W81X9C.3KL984PX1.%232WMA52"),
    ("3B057E316390F32CCE78D10631023C9736F075C80000", "adi-var", "1.", "W81X9C.3KL984PX1.%232WM%2FA52"),
    ("3B520C75E36C35C72B70C70B74C75B71C3100E234D00", "adi-var", "20.", "15860.512-010-415-101.NH44"),
]
PLUS = [
    ("F73795211411234538566CB0AFC4", "sgtin+", "/01/79521141123453/21/32a%2Fb"),
    ("FB342CDE795211411234538566CB0AFC4", "dsgtin+", "/01/79521141123453/21/32a%2Fb?17=220630"),
    ("F90095201234567891235", "sscc+", "/00/095201234567891235"),
    ("F2395211411234548566CB0AFC4", "sgln+", "/414/9521141123454/254/32a%2Fb"),
    ("F13095211411234548566CB0AFC4", "grai+", "/8003/0952114112345432a%2Fb"),
    ("FA3952114132E83C2BF10", "giai+", "/8004/952114132a%2Fb"),
    ("F43952114112345678906", "gsrn+", "/8018/952114112345678906"),
    ("F53952114112345678906", "gsrnp+", "/8017/952114112345678906"),
    ("F6395211411234540458B8", "gdti+", "/253/95211411234545678"),
    ("F0395211415E87A145BAFB4D19A8C0E4", "cpi+", "/8010/95211415PQ7%2FZ43/8011/12345"),
    ("F839521141678909509338", "sgcn+", "/255/952114167890904711"),
    ("F3309521141123454010266AE27FDF35", "itip+", "/8006/095211411234540102/21/rif981"),
]
HOSTED = [
    ("FD3795211411234538566CB0AFC525065F1876F0D996D800", "sgtin++", "/01/79521141123453/21/32a%2Fb"),
    ("FC342CDE795211411234538566CB0AFC525065F1876F0D996D80", "dsgtin++", "/01/79521141123453/21/32a%2Fb?17=220630"),
    ("EF009520123456789123592832F8C3B786CCB6C0", "sscc++", "/00/095201234567891235"),
    ("E9395211411234548566CB0AFC525065F1876F0D996D8000", "sgln++", "/414/9521141123454/254/32a%2Fb"),
    ("EB3095211411234548566CB0AFC525065F1876F0D996D800", "grai++", "/8003/0952114112345432a%2Fb"),
    ("EE3952114132E83C2BF1494197C61DBC3665B600", "giai++", "/8004/952114132a%2Fb"),
    ("E7395211411234567890692832F8C3B786CCB6C0", "gsrn++", "/8018/952114112345678906"),
    ("E8395211411234567890692832F8C3B786CCB6C0", "gsrnp++", "/8017/952114112345678906"),
    ("EA395211411234540458BA4A0CBE30EDE1B32DB0", "gdti++", "/253/95211411234545678"),
    ("E6395211415E87A145BAFB4D19A8C0E64A0CBE30EDE1B32DB000", "cpi++", "/8010/95211415PQ7%2FZ43/8011/12345"),
    ("EC3952114167890950933C94197C61DBC3665B60", "sgcn++", "/255/952114167890904711"),
    ("ED309521141123454010266AE27FDF3592832F8C3B786CCB6C00", "itip++", "/8006/095211411234540102/21/rif981"),
]
NAMES_ONLY = [
    ("gsin:061414.0123456789", "/402/06141401234567891"),
    ("pgln:0123456789.01", "/417/0123456789012"),
    ("upui:1234567.089456.51qIgY)%3C%26Jp3*j7'SDB", "/01/01234567894560/235/51qIgY%29%3C%26Jp3%2Aj7%27SDB"),
    ("ginc:061411.01ABc%2FD", "/401/06141101ABc%2FD"),
    ("bic:CSQJ3054381", None),
    ("imovn:9176187", None),
]


@pytest.mark.parametrize(("code", "tag", "link"), PARTITIONED)
def test_published_tags_decode_to_their_published_names(code: str, tag: str, link: str) -> None:
    scheme, _, body = tag.partition(":")
    epc = decode(code)
    assert epc.scheme == scheme
    assert epc.uri == f"urn:epc:tag:{tag}"
    assert epc.pure_identity == f"urn:epc:id:{scheme.split('-')[0]}:{body.partition('.')[2]}"
    assert epc.digital_link == f"https://id.gs1.org{link}"


@pytest.mark.parametrize(("code", "tag", "link"), PARTITIONED)
def test_published_names_encode_to_their_published_tags(code: str, tag: str, link: str) -> None:
    epc = parse_uri(f"urn:epc:tag:{tag}")
    assert epc.hex is not None
    assert epc.hex.rstrip("0") == code.rstrip("0")
    assert parse_uri(epc.pure_identity or "").digital_link == f"https://id.gs1.org{link}"
    assert on_tag(parse_uri(epc.pure_identity or ""), epc.scheme, epc.filter_value or 0) == epc


@pytest.mark.parametrize(("code", "scheme", "link"), PLUS)
def test_published_tags_of_tds_2_go_both_ways(code: str, scheme: str, link: str) -> None:
    epc = decode(code)
    assert (epc.scheme, epc.digital_link, epc.pure_identity) == (scheme, f"https://id.gs1.org{link}", None)
    again = on_tag(parse_uri(epc.digital_link or ""), scheme, epc.filter_value or 0)
    assert again == epc
    assert again.hex is not None
    assert again.hex.startswith(code)


@pytest.mark.parametrize(("code", "scheme", "link"), HOSTED)
def test_published_tags_with_a_host_go_both_ways(code: str, scheme: str, link: str) -> None:
    epc = decode(code)
    assert (epc.scheme, epc.hostname, epc.pure_identity) == (scheme, "id.example.com", None)
    assert epc.uri == epc.digital_link == f"https://id.example.com{link}"
    assert epc.identity == f"https://id.gs1.org{link.partition('?')[0]}"
    again = on_tag(parse_uri(epc.digital_link or ""), scheme, epc.filter_value or 0, hostname=epc.hostname)
    assert again == epc
    assert (again.hex or "").rstrip("0") == code.rstrip("0")


@pytest.mark.parametrize(("code", "scheme", "filter_field", "body"), NO_GS1_KEY)
def test_published_tags_of_other_issuers_go_both_ways_and_have_no_link(
    code: str, scheme: str, filter_field: str, body: str
) -> None:
    epc = decode(code)
    assert (epc.scheme, epc.uri, epc.digital_link) == (scheme, f"urn:epc:tag:{scheme}:{filter_field}{body}", None)
    assert epc.pure_identity == epc.identity == f"urn:epc:id:{scheme.partition('-')[0]}:{body}"
    assert parse_uri(epc.uri or "") == epc
    assert (epc.hex or "").rstrip("0") == code.rstrip("0")
    assert on_tag(parse_uri(epc.identity), scheme, epc.filter_value or 0) == epc


@pytest.mark.parametrize(("name", "link"), NAMES_ONLY)
def test_published_names_that_no_tag_holds_have_their_link(name: str, link: str | None) -> None:
    epc = parse_uri(f"urn:epc:id:{name}")
    assert epc.uri == epc.identity == f"urn:epc:id:{name}"
    assert epc.digital_link == (None if link is None else f"https://id.gs1.org{link}")
    if link is not None:
        assert parse_uri(epc.digital_link or "").digital_link == epc.digital_link


@pytest.mark.parametrize(
    ("host", "codes"),
    [
        ("ID.EXAMPLE.ORG", None),
        ("a-b.c_d", 7),
        ("qr.loja.com.br", 7),
        ("www.abc.de", 6),
        ("x.tech", 3),
        ("shop.net.cn", 6),
        ("example.com:8443", 13),
    ],
)
def test_a_host_is_written_with_its_ending_shortened(host: str, codes: int | None) -> None:
    writer = BitWriter()
    put_host(writer, host)
    text = writer.hex()
    assert take_host(BitReader(int(text, 16), 4 * len(text))) == host
    head = int(text[:2], 16) >> 1
    assert head == (len(host) if codes is None else 64 + codes)


def test_a_tag_that_tells_of_further_data_is_read_as_far_as_its_identity() -> None:
    epc = decode("F7B795211411234538566CB0AFC4" + "1017B4FC")
    assert epc.more_data
    assert epc.digital_link == "https://id.gs1.org/01/79521141123453/21/32a%2Fb"


def test_dated_tag_tells_its_expiry() -> None:
    epc = decode("FB342CDE795211411234538566CB0AFC4")
    assert epc.expiry is not None
    assert epc.expiry.isoformat() == "2022-06-30"
    assert epc.identity == "https://id.gs1.org/01/79521141123453/21/32a%2Fb"


@pytest.mark.parametrize(
    ("code", "uri"),
    [
        ("E28011606000020A1234ABCD", "urn:epc:raw:96.xE28011606000020A1234ABCD"),
        ("E200001D7315016521408FC6", "urn:epc:raw:96.xE200001D7315016521408FC6"),
        ("30751FEB705C5904E3D50D70", None),
        ("FE00E86F8000A9E000000586", "urn:epc:raw:96.xFE00E86F8000A9E000000586"),
        ("000000000000000000000000", "urn:epc:raw:96.x000000000000000000000000"),
    ],
)
def test_tags_of_no_known_scheme_are_raw_and_never_an_error(code: str, uri: str | None) -> None:
    described = describe(code)
    assert described["error"] is None
    if uri is not None:
        assert (described["scheme"], described["uri"], described["pure_identity"]) == ("raw", uri, None)
        assert parse_uri(uri) == decode(code)


def test_place_without_extension_has_none_in_its_link() -> None:
    assert parse_uri("urn:epc:id:sgln:0614141.12345.0").digital_link == "https://id.gs1.org/414/0614141123452"
    assert parse_uri("https://id.gs1.org/414/0614141123452").serial == "0"


def test_company_prefix_of_twelve_digits_leaves_places_and_asset_types_no_reference() -> None:
    for uri in ("urn:epc:tag:sgln-96:1.061414112345..7", "urn:epc:tag:grai-96:1.061414112345..7"):
        epc = parse_uri(uri)
        assert decode(epc.hex or "") == epc
        assert epc.uri == uri


@pytest.mark.parametrize(
    "text",
    [
        "3074257BF7194E4000001A85",
        "0x3074257bf7194e4000001a85",
        "30 74 25 7B F7 19 4E 40 00 00 1A 85",
        " urn:epc:tag:sgtin-96:3.0614141.812345.6789\n",
        "urn:epc:id:sgtin:0614141.812345.6789",
        "https://example.com/some/folder/01/80614141123458/10/LOT/21/6789?17=280630",
    ],
)
def test_any_spelling_is_described_with_the_same_goods(text: str) -> None:
    described = describe(text)
    assert described["input"] == text
    assert described["error"] is None
    assert (described["digital_link"] or "").startswith("https://id.gs1.org/01/80614141123458/21/6789")
    assert set(described) == {"input", "scheme", "uri", "pure_identity", "digital_link", "error"}
