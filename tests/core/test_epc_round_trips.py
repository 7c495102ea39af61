"""What was written is read again, for any identity and any bits."""

from hypothesis import given
from hypothesis import strategies as st

from core.epc import Epc, decode, encode, on_tag, parse_uri
from core.epc_lines import describe
from core.epc_schemes import BY_NAME, DATE_AIS
from core.epc_text import GS1_CHARACTERS, BitReader, BitWriter, check_digit, put_variable, shortest_method, take_variable
from core.errors import CodeError

LETTERS = "".join(sorted(GS1_CHARACTERS))


@st.composite
def partitioned(draw: st.DrawFn) -> Epc:
    scheme = BY_NAME[draw(st.sampled_from(sorted(BY_NAME)))]
    partition = draw(st.integers(0, 6))
    prefix = draw(st.text("0123456789", min_size=12 - partition, max_size=12 - partition))
    digits = scheme.reference_digits(partition)
    reference = None if scheme.reference_bits is None else draw(st.text("0123456789", min_size=digits, max_size=digits))
    serial = None
    if scheme.serial == "integer":
        most = min(2 ** scheme.serial_bits[partition], 10 ** scheme.longest_serial(partition)) - 1
        serial = str(draw(st.integers(0, most)))
    elif scheme.serial == "text":
        longest = min(scheme.longest_serial(partition), scheme.serial_bits[partition] // 7)
        serial = draw(st.text(LETTERS, min_size=1, max_size=longest))
    return encode(scheme.name, draw(st.integers(0, 7)), company_prefix=prefix, reference=reference, serial=serial)


@st.composite
def plus(draw: st.DrawFn) -> Epc:
    scheme = draw(st.sampled_from(["sgtin+", "dsgtin+", "sscc+"]))
    filter_value = draw(st.integers(0, 7))
    size = 17 if scheme == "sscc+" else 13
    body = draw(st.text("0123456789", min_size=size, max_size=size))
    key = body + check_digit(body)
    if scheme == "sscc+":
        return encode(scheme, filter_value, key=key)
    serial = draw(st.text(LETTERS, min_size=1, max_size=20))
    if scheme == "sgtin+":
        return encode(scheme, filter_value, key=key, serial=serial)
    month, day = draw(st.integers(1, 12)), draw(st.integers(0, 28))
    date = (draw(st.sampled_from(DATE_AIS)), f"{draw(st.integers(0, 99)):02d}{month:02d}{day:02d}")
    return encode(scheme, filter_value, key=key, serial=serial, date_element=date)


@given(partitioned())
def test_bits_tag_uri_and_pure_identity_say_the_same(epc: Epc) -> None:
    assert decode(epc.hex or "") == epc
    assert parse_uri(epc.uri or "") == epc
    bare = parse_uri(epc.pure_identity or "")
    assert (bare.pure_identity, bare.digital_link) == (epc.pure_identity, epc.digital_link)
    assert on_tag(bare, epc.scheme, epc.filter_value or 0) == epc


@given(plus())
def test_bits_and_digital_link_of_tds_2_say_the_same(epc: Epc) -> None:
    assert decode(epc.hex or "") == epc
    assert on_tag(parse_uri(epc.digital_link or ""), epc.scheme, epc.filter_value or 0) == epc


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


@given(st.binary(min_size=1, max_size=62), st.sampled_from([None, *range(0x30, 0x3A), 0xF7, 0xF9, 0xFB]))
def test_any_bits_are_an_identity_that_comes_back_or_a_refusal(data: bytes, header: int | None) -> None:
    code = (data if header is None else bytes((header,)) + data[1:]).hex().upper()
    try:
        epc = decode(code)
    except CodeError:
        assert describe(code)["error"]
        return
    assert epc.identity
    assert (epc.hex or "").startswith(code)


@given(st.text(max_size=60))
def test_any_text_is_described_or_refused_never_raised(text: str) -> None:
    for line in (text, "urn:epc:tag:" + text, "urn:epc:id:sgtin:" + text, "https://" + text, "https://id.gs1.org/01/" + text):
        described = describe(line)
        assert (described["error"] is None) == (described["uri"] is not None)
