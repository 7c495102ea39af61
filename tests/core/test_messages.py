"""What stands on the wire: the golden files are the format, changing one is a visible act."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import messages as m
from core.errors import ConfigurationError, MessageRejected
from core.timescale import REAL_TIME, TimeScale, parse_time_scale
from core.topics import AgentAddress, parse, shared

GOLDEN = Path(__file__).parent / "golden"
T = datetime(2026, 11, 21, 8, 30, 15, 250_000, tzinfo=UTC)
BATCH = m.Batch(
    "depot-gateway",
    "0d9c2c1e-7f5a",
    42,
    T,
    [
        m.Readings(
            [m.Series("cr-1-probe", "celsius"), m.Series("cr-1-probe", "humidity_percent")],
            [0, 1, 0],
            [1_795_249_815_250_000, 1_795_249_815_250_000, 1_795_249_845_250_000],
            [4.6, 54.0, -0.5],
        ),
        m.TagPassage("dock-1", "30751FEB705C5904E3D50D70", "in", T, T + timedelta(seconds=2), 17, -52.0, 0.98, "dock-1-17"),
        m.BarcodeScan("dock-1", "]C10107612345678900\x1d10LOT7", T),
        m.Position("van-1-gps", T, 31.2304, 121.4737, 8.5, 270.0, 9, 0.9),
        m.DeviceStatus("cr-1-probe", T, "fault", "no answer for 3 polls", {"timeout": 3}),
        m.StateChange("cr-1-door", "door_open", on=True, at=T),
    ],
)
GOLDEN_MESSAGES = {
    "batch": (BATCH, m.decode_batch),
    "receipt": (m.Receipt("0d9c2c1e-7f5a", [(1, 40), (42, 42)], [42], T), m.decode_receipt),
    "status": (
        m.AgentStatus(
            "depot-gateway",
            online=True,
            at=T,
            boot="0d9c2c1e-7f5a",
            version="0.1.0",
            health=m.AgentHealth(41.5, 10**9, 30_000_000, -0.02, {"strays": 3}, {"cr-1-probe": T}),
        ),
        m.decode_status,
    ),
}


@pytest.mark.parametrize("name", GOLDEN_MESSAGES)
def test_a_message_is_written_as_its_golden_file(name: str) -> None:
    message, decode = GOLDEN_MESSAGES[name]
    golden = (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")
    assert m.encode(message) == golden
    assert decode(golden) == message


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ((b'"kind":"passage"', b'"kind":"teleport"'), "items"),
        ((b'"seq":42', b'"seq":0'), "seq"),
        ((b'"agent":"depot-gateway"', b'"agent":"Depot/gateway"'), "agent"),
        ((b'"2026-11-21T08:30:15.250000Z","items"', b'"2026-11-21T08:30:15.250000","items"'), "sent_at"),
        ((b'"epc":"30751FEB705C5904E3D50D70"', b'"epc":"30751FEB705C5904E3D50D7"'), "epc"),
        ((b'"confidence":0.98', b'"confidence":1.2'), "confidence"),
        ((b'"latitude":31.2304', b'"latitude":131.2304'), "latitude"),
        ((b'"celsius"', b'"kelvin"'), "items"),
    ],
)
def test_a_wrong_batch_is_rejected_with_the_place_of_the_error(change: tuple[bytes, bytes], where: str) -> None:
    payload = (GOLDEN / "batch.json").read_bytes()
    assert change[0] in payload
    with pytest.raises(MessageRejected, match=where):
        m.decode_batch(payload.replace(*change))
    assert m.decode_batch_name(payload).seq == 42


def test_a_batch_over_the_limits_is_rejected() -> None:
    with pytest.raises(MessageRejected, match="over the limit"):
        m.decode_batch(b" " * (m.MAX_BATCH_BYTES + 1))
    many = m.Batch("a1", "12345678", 1, T, [m.BarcodeScan("dock-1", "x", T)] * (m.MAX_BATCH_ITEMS + 1))
    with pytest.raises(MessageRejected, match="over the limit"):
        m.decode_batch(m.encode(many))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_rejection(noise: bytes) -> None:
    for decode in (m.decode_batch, m.decode_batch_name, m.decode_receipt, m.decode_status):
        with pytest.raises(MessageRejected):
            decode(noise)


def test_an_agent_has_its_own_topics() -> None:
    address = AgentAddress("depot", "depot-gateway")
    assert [address.up, address.receipt, address.status] == [
        "qm/v1/depot/depot-gateway/up",
        "qm/v1/depot/depot-gateway/receipt",
        "qm/v1/depot/depot-gateway/status",
    ]
    assert parse(address.up) == (address, "up")
    assert shared("hub", "qm/+/+/+/up") == "$share/hub/qm/+/+/+/up"


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("qm/v2/depot/gw/up", "version"),
        ("qm/v1/depot/gw/sideways", "channel"),
        ("qm/v1/depot/up", "is not"),
        ("other/v1/depot/gw/up", "is not"),
        ("qm/v1/De pot/gw/up", "site"),
    ],
)
def test_a_foreign_topic_is_rejected_with_the_reason(topic: str, why: str) -> None:
    with pytest.raises(MessageRejected, match=why):
        parse(topic)


def test_scenario_time_runs_at_its_speed() -> None:
    scale = TimeScale(T, datetime(2026, 3, 1, tzinfo=UTC), 60)
    assert scale.at(T + timedelta(seconds=2)) == datetime(2026, 3, 1, 0, 2, tzinfo=UTC)
    assert scale.real_seconds(90) == 1.5
    assert parse_time_scale(str(scale)) == scale
    assert REAL_TIME.at(T) == T


@pytest.mark.parametrize("text", ["", "now", "2026-01-01@2026-01-01x60", "2026-01-01T00:00Z@2026-01-01T00:00Zx0", "ax1"])
def test_a_time_scale_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_time_scale(text)
