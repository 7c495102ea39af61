"""What was written is read again, for any identity and any bits."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.epc import Epc, decode, encode, on_tag, parse_uri
from core.epc_keys import KEYS
from core.epc_lines import describe
from core.epc_schemes import BY_HEADER, BY_NAME, DATE_AIS, OTHER_HEADERS, OTHER_NAMES, PLUS_HEADERS, PLUS_NAMES
from core.epc_text import GS1_CHARACTERS, BitReader, BitWriter, check_digit, put_variable, shortest_method, take_variable
from core.errors import CodeError

LETTERS = "".join(sorted(GS1_CHARACTERS))


CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/"
DIGITS = "0123456789"
HEADERS = sorted(header for header in (*BY_HEADER, *OTHER_HEADERS, *PLUS_HEADERS) if header is not None)


@st.composite
def partitioned(draw: st.DrawFn) -> Epc:
    scheme = BY_NAME[draw(st.sampled_from(sorted(BY_NAME)))]
    partition = draw(st.integers(0, 6))
    prefix = draw(st.text(DIGITS, min_size=12 - partition, max_size=12 - partition))
    longest = scheme.reference_digits(partition)
    reference = serial = None
    if scheme.reference == "digits":
        reference = draw(st.text(DIGITS, min_size=longest, max_size=longest))
    elif scheme.reference == "integer":
        reference = str(draw(st.integers(0, 10**longest - 1)))
    elif scheme.reference == "six-bit":
        reference = draw(st.text(CAPITALS + "#", min_size=1, max_size=longest))
    if scheme.serial == "integer":
        most = min(2 ** scheme.serial_bits[partition], 10 ** scheme.longest_serial(partition)) - 1
        serial = str(draw(st.integers(0, most)))
    elif scheme.serial == "numeric":
        serial = draw(st.text(DIGITS, min_size=1, max_size=scheme.serial_length))
    elif scheme.serial == "text":
        most = min(scheme.longest_serial(partition), scheme.serial_bits[partition] // 7)
        serial = draw(st.text(LETTERS, min_size=1, max_size=most))
    pieces = draw(st.text(DIGITS, min_size=4, max_size=4)) if scheme.pieces else None
    filter_value = draw(st.integers(0, 7))
    return encode(scheme.name, filter_value, company_prefix=prefix, reference=reference, serial=serial, pieces=pieces)


@st.composite
def of_other_issuers(draw: st.DrawFn) -> Epc:
    scheme = draw(st.sampled_from(sorted(OTHER_NAMES)))
    if scheme == "gid-96":
        manager, category, serial = (str(draw(st.integers(0, 2**bits - 1))) for bits in (28, 24, 36))
        return encode(scheme, company_prefix=manager, reference=category, serial=serial)
    cage = draw(st.text("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", min_size=5, max_size=6))
    if scheme == "usdod-96":
        return encode(scheme, draw(st.integers(0, 15)), company_prefix=cage, serial=str(draw(st.integers(0, 2**36 - 1))))
    part = draw(st.text(CAPITALS, max_size=32))
    serial = draw(st.sampled_from(["", "#"])) + draw(st.text(CAPITALS, min_size=1, max_size=29))
    return encode(scheme, draw(st.integers(0, 63)), company_prefix=cage, reference=part, serial=serial)


@st.composite
def plus(draw: st.DrawFn) -> Epc:
    scheme = PLUS_NAMES[draw(st.sampled_from(sorted(PLUS_NAMES)))]
    rule = KEYS[scheme.kind]
    key = serial = date = None
    if scheme.kind == "cpi":
        key = draw(st.text(DIGITS, min_size=4, max_size=12)) + draw(st.text(CAPITALS + "#", min_size=1, max_size=12))
    elif rule.digits:
        size = 13 if scheme.kind == "itip" else rule.digits - 1
        lead = "0" if scheme.kind == "grai" else ""
        body = lead + draw(st.text(DIGITS, min_size=size - len(lead), max_size=size - len(lead)))
        key = body + check_digit(body) + ("0102" if scheme.kind == "itip" else "")
    if rule.serial == "digits":
        serial = draw(st.text(DIGITS, min_size=1, max_size=rule.longest))
    elif rule.serial == "text" and rule.digits:
        serial = draw(st.text(LETTERS, min_size=1, max_size=rule.longest))
    elif rule.serial == "text":
        serial = draw(st.text(DIGITS, min_size=4, max_size=12)) + draw(st.text(LETTERS, min_size=1, max_size=18))
    if scheme.dated:
        month, day = draw(st.integers(1, 12)), draw(st.integers(0, 28))
        date = (draw(st.sampled_from(DATE_AIS)), f"{draw(st.integers(0, 99)):02d}{month:02d}{day:02d}")
    host = draw(HOSTS) if scheme.hosted else None
    return encode(scheme.name, draw(st.integers(0, 7)), key=key, serial=serial, date_element=date, hostname=host)


HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,12}(\.(com|co|cn|com\.cn|net\.cn|tech|example|id|de))?", fullmatch=True),
    st.from_regex(r"(ID\.)?[A-Z0-9][A-Z0-9-]{0,12}\.[A-Z]{2,3}", fullmatch=True),
)


@given(partitioned())
def test_bits_tag_uri_and_pure_identity_say_the_same(epc: Epc) -> None:
    assert decode(epc.hex or "") == epc
    assert parse_uri(epc.uri or "") == epc
    bare = parse_uri(epc.pure_identity or "")
    assert (bare.pure_identity, bare.digital_link) == (epc.pure_identity, epc.digital_link)
    assert on_tag(bare, epc.scheme, epc.filter_value or 0) == epc


@given(plus())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_bits_and_digital_link_of_tds_2_say_the_same(epc: Epc) -> None:
    assert decode(epc.hex or "") == epc
    again = on_tag(parse_uri(epc.digital_link or ""), epc.scheme, epc.filter_value or 0, hostname=epc.hostname)
    assert again == epc


@given(of_other_issuers())
def test_bits_and_names_of_other_issuers_say_the_same(epc: Epc) -> None:
    assert decode(epc.hex or "") == epc
    assert parse_uri(epc.uri or "") == epc
    assert on_tag(parse_uri(epc.pure_identity or ""), epc.scheme, epc.filter_value or 0) == epc


@given(partitioned())
def test_the_digital_link_names_the_same_key_and_serial(epc: Epc) -> None:
    link = parse_uri(epc.digital_link or "")
    assert link.digital_link == epc.digital_link
    assert link.key == epc.key
    if epc.kind != "giai":
        assert link.serial == epc.serial


@given(st.text(LETTERS, min_size=1, max_size=20))
def test_a_serial_survives_its_shortest_encoding(serial: str) -> None:
    writer = BitWriter()
    put_variable(writer, serial, 5, "serial")
    text = writer.hex()
    reader = BitReader(int(text, 16), 4 * len(text))
    assert take_variable(reader, 5, 20, "serial") == serial
    assert reader.rest() == 0
    assert reader.left < 16


def test_each_encoding_is_chosen_where_it_is_the_shortest() -> None:
    chosen = [shortest_method(text) for text in ("00123", "AB12", "ab12", "rif981", "32a/b", "LOT-7.B")]
    assert chosen == [0, 1, 2, 3, 4, 5]


@given(st.binary(min_size=1, max_size=62), st.sampled_from([None, *HEADERS]))
def test_any_bits_are_an_identity_that_comes_back_or_a_refusal(data: bytes, header: int | None) -> None:
    code = (data if header is None else bytes((header,)) + data[1:]).hex().upper()
    try:
        epc = decode(code)
    except CodeError:
        assert describe(code)["error"]
        return
    assert epc.identity
    assert (epc.hex or "").startswith(code)
    assert describe(code)["error"] is None


@given(st.text(max_size=60))
def test_any_text_is_described_or_refused_never_raised(text: str) -> None:
    for line in (
        text,
        "urn:epc:tag:" + text,
        "urn:epc:tag:adi-var:1." + text,
        "urn:epc:id:itip:" + text,
        "https://id.gs1.org/8010/" + text,
        "urn:epc:id:sgtin:" + text,
        "https://" + text,
        "https://id.gs1.org/01/" + text,
    ):
        described = describe(line)
        assert (described["error"] is None) == (described["uri"] is not None)
