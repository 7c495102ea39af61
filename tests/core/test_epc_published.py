"""Pairs that the EPC Tag Data Standard prints (1.9 and 2.x, annex E.3), through every spelling."""

import pytest

from core.epc import decode, on_tag, parse_uri
from core.epc_lines import describe

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
]
PLUS = [
    ("F73795211411234538566CB0AFC4", "sgtin+", "/01/79521141123453/21/32a%2Fb"),
    ("FB342CDE795211411234538566CB0AFC4", "dsgtin+", "/01/79521141123453/21/32a%2Fb?17=220630"),
    ("F90095201234567891235", "sscc+", "/00/095201234567891235"),
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
        ("3500E86F8000A9E000000586", "urn:epc:raw:96.x3500E86F8000A9E000000586"),
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
