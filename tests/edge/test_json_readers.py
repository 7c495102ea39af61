"""What only Impinj and Zebra readers do: fields that may be missing, odd encodings, events that are no tags; and the HTTP line."""

import json
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.messages import DeviceStatus
from edge.clock import Clock
from edge.drivers import load_driver
from edge.drivers.impinj import Driver as Impinj
from edge.drivers.impinj import ImpinjOptions
from edge.drivers.observations import Fault, Observation, PortChanged, Scan, TagRead
from edge.drivers.protocol import DeviceOptions, WebAccess
from edge.drivers.reader_json import epc_of_base64, epc_of_hex, moment
from edge.drivers.zebra import Driver as Zebra
from edge.line import Line, open_device
from edge.settings import EdgeSettings, parse_settings
from edge.writer import PortalRead, Ticket
from simulators.devices.impinj_reader import ImpinjReader
from tests.edge.test_http_port import Served, served

NOW = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
PATIENCE_S = 20.0
EPC = "E28011606000020A6681F23F"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "eventType",
        "tagInventoryEvent",
        "epcHex",
        "epc",
        "antennaPort",
        "peakRssiCdbm",
        "phaseAngle",
        "timestamp",
        "isHeartBeat",
        "data",
    ]
) | st.sampled_from(
    ["gpiTransitionEvent", "type", "idHex", "tagData", "barcodeData", "EPCid", "decodedBarcode", "pin", "state", "phase"]
)
VALUES = JSON | st.sampled_from(["tagInventory", "gpiTransition", "gpi", "error", "E280", "9999-12-31T23:59:59+00:01", "HIGH"])
EVENTS = st.dictionaries(
    KEYS, VALUES | st.dictionaries(KEYS, VALUES | st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=2))
)


def impinj(event: object, **options: object) -> tuple[list[Observation], dict[str, int]]:
    driver = Impinj(DeviceOptions(**options))  # type: ignore[arg-type]
    return driver.message("reader", json.dumps(event).encode(), NOW), dict(driver.counts)


def zebra(event: object) -> tuple[list[Observation], dict[str, int]]:
    driver = Zebra(DeviceOptions())
    return driver.message("reader", json.dumps(event).encode(), NOW), dict(driver.counts)


def inventory(**fields: object) -> dict[str, object]:
    return {"eventType": "tagInventory", "tagInventoryEvent": fields}


@pytest.mark.parametrize("name", ["impinj", "zebra"])
@given(event=EVENTS | st.lists(EVENTS, max_size=2))
def test_no_event_raises_whatever_its_fields_hold(name: str, event: object) -> None:
    driver = load_driver(name)(DeviceOptions())
    payload = json.dumps(event).encode()
    found = driver.message("reader", payload, NOW)
    assert [*driver.feed(payload + b"\n", NOW), *driver.flush(NOW)] == found
    assert driver.pending_bytes() == 0


@pytest.mark.parametrize(
    ("fields", "epc"),
    [
        ({"epcHex": EPC, "epc": "AAAA"}, EPC),
        ({"epc": "4oARYGAAAgpmgfI_"}, EPC),
        ({"epc": "4oARYGAAAgpmgfI/"}, EPC),
        ({"epcHex": EPC.lower()}, EPC),
        ({"epc": "ikUCJA"}, "8A450224"),
        ({"epc": "ikUCJA=="}, "8A450224"),
        ({"epcHex": "", "epc": "ikUCJA=="}, "8A450224"),
    ],
)
def test_an_epc_is_read_in_hex_or_in_either_base64(fields: dict[str, object], epc: str) -> None:
    assert impinj(inventory(**fields)) == ([TagRead(epc, None, None, NOW)], {})


@pytest.mark.parametrize("fields", [{"epcHex": "3500B6D9801234567890ABCDEF"}, {"epcHex": 7}, {"epc": "a"}, {"epcHex": "00" * 64}])
def test_what_cannot_be_an_epc_is_counted(fields: dict[str, object]) -> None:
    assert impinj(inventory(**fields)) == ([], {"bad_epc": 1})


def test_a_read_without_epc_is_counted_so_that_the_preset_is_mended() -> None:
    assert impinj(inventory(tidHex="E2801160")) == ([], {"no_epc": 1})
    assert zebra({"type": "SIMPLE", "data": {"idHex": "", "antenna": 1}}) == ([], {"no_epc": 1})


def test_the_settings_antenna_stands_in_for_one_the_reader_does_not_tell() -> None:
    assert impinj(inventory(epcHex=EPC), antenna=3)[0] == [TagRead(EPC, 3, None, NOW)]
    assert impinj(inventory(epcHex=EPC, antennaPort=2), antenna=3)[0] == [TagRead(EPC, 2, None, NOW)]


@pytest.mark.parametrize("transition", ["low-to-high", "low_to_high", "LowToHigh"])
def test_an_input_that_changes_is_told(transition: str) -> None:
    event = {"eventType": "gpiTransition", "gpiTransitionEvent": {"gpi": 2, "transition": transition}}
    assert impinj(event) == ([PortChanged(2, True, NOW)], {})


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("overflow", {"eventsPurged": 12}, "overflow"),
        ("antennaDisconnected", {"antennaPort": 2}, "antenna"),
        ("inventoryStatus", {"status": "idle"}, "idle"),
        ("streamingError", {"message": "PA too hot"}, "reader_error"),
    ],
)
def test_what_keeps_a_reader_from_reading_is_a_fault(kind: str, fields: dict[str, object], code: str) -> None:
    found, _ = impinj({"eventType": kind, f"{kind}Event": fields})
    assert [each.code for each in found if isinstance(each, Fault)] == [code]


def test_other_events_are_counted_by_their_kind() -> None:
    assert impinj({"eventType": "inventoryStatus", "inventoryStatusEvent": {"status": "running"}})[1] == {
        "ignored_inventoryStatus": 1
    }
    assert impinj({"eventType": "somethingNew"})[1] == impinj({"eventType": ["x"]})[1] == {"ignored_unknown": 1}
    assert impinj([]) == ([], {})
    assert zebra({"type": "heartbeat", "data": {}})[1] == {"ignored_heartbeat": 1}
    assert zebra({"type": "warning", "data": {"message": "CPU"}})[1] == {"ignored_warning": 1}
    assert zebra({"command": "start", "response": "success"})[1] == {"ignored_response": 1}


def test_a_zebra_error_is_a_fault_and_a_gpi_without_level_is_counted() -> None:
    found, _ = zebra({"type": "error", "component": "RC", "data": {"message": "antenna 2 disconnected"}})
    assert found == [Fault("reader_error", "RC; antenna 2 disconnected", NOW)]
    assert zebra({"type": "gpi", "data": {"pin": 1}}) == ([], {"bad_gpi": 1})


def test_a_hand_held_tells_tags_and_barcodes_of_one_pull() -> None:
    event = {"type": "CYCLE_COUNT", "data": {"tagData": [{"EPC": EPC}], "barcodeData": [{"decodedBarcode": "A1"}, {}]}}
    assert zebra(event) == ([TagRead(EPC, None, None, NOW), Scan("A1", NOW)], {"bad_barcode": 1})


def test_a_reader_whose_clock_is_far_off_is_one_fault_and_its_reads_stay() -> None:
    tag = {"data": {"idHex": EPC, "antenna": 1}, "timestamp": "1980-01-01T00:00:00.000+0000", "type": "SIMPLE"}
    found, counts = zebra([tag, tag])
    assert found[:2] == [TagRead(EPC, 1, None, NOW)] * 2
    assert [each.code for each in found[2:] if isinstance(each, Fault)] == ["clock"]
    assert counts == {"clock": 2}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2021-02-02T22:18:35.658476625Z", datetime(2021, 2, 2, 22, 18, 35, 658476, UTC)),
        ("2024-09-05T01:07:01.785-0600", datetime(2024, 9, 5, 7, 7, 1, 785000, UTC)),
        ("2026-05-19T14:15:22+08:00", datetime(2026, 5, 19, 6, 15, 22, 0, UTC)),
        (1779200120500, datetime(2026, 5, 19, 14, 15, 20, 500000, UTC)),
        ("2026-05-19T14:15:22", None),
        ("0001-01-01T00:00:00+08:00", None),
        ("yesterday", None),
        (1e300, None),
        (None, None),
    ],
)
def test_a_time_is_taken_with_its_offset_or_not_at_all(value: object, expected: datetime | None) -> None:
    assert moment(value) == expected


@given(st.binary(min_size=1, max_size=31).map(lambda half: half + half))
def test_every_epc_of_whole_words_survives_both_encodings(epc: bytes) -> None:
    import base64

    assert epc_of_hex(epc.hex()) == epc_of_base64(base64.b64encode(epc).decode()) == epc.hex().upper()
    assert epc_of_base64(base64.urlsafe_b64encode(epc).decode().rstrip("=")) == epc.hex().upper()


# Over HTTP -----------------------------------------------------------------------------------------------------------------

AGENT = """
[agent]
site = "depot"
name = "depot-gateway"
state_dir = "state"
[uplink]
url = "mqtt://127.0.0.1"
[[portals]]
name = "dock-1"
[[devices]]
name = "gate"
driver = "{driver}"
port = "{port}"
portal = "dock-1"
[devices.options]
{options}
"""


def settings(port: str, options: str = "", driver: str = "impinj") -> EdgeSettings:
    return parse_settings(tomllib.loads(AGENT.format(port=port, options=options, driver=driver)), {})


def test_the_readers_login_and_preset_become_requests(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("impinj")
    options = f'preset = "Dock 1/in"\nusername = "root"\npassword_file = "{tmp_path / "password"}"'
    device = settings("http://reader/api/v1/data/stream", options).devices[0]
    start = "/api/v1/profiles/inventory/presets/Dock%201%2Fin/start"
    assert device.web == WebAccess("root", str(tmp_path / "password"), None, (start,))
    assert settings("socket://reader:14150").devices[0].web is None
    assert Impinj(DeviceOptions(own=ImpinjOptions())).web_access() == Impinj(DeviceOptions()).web_access() == WebAccess()


@pytest.mark.parametrize(
    ("port", "options", "driver", "wrong"),
    [
        ("http://reader/", 'password_file = "/etc/hostname"', "impinj", r"devices\[0\].options.username: missing"),
        ("https://reader/", 'ca_file = "/nowhere.pem"', "impinj", r"options.ca_file: '/nowhere.pem' cannot be read"),
        ("http://reader/", 'ca_file = "/etc/hostname"', "impinj", r"options.ca_file: only used with https"),
        ("http://reader/", 'presets = "x"', "impinj", r"options.presets: unknown key; did you mean 'preset'"),
        ("http://reader/", "", "r200", r"devices\[0\].port: driver 'r200' reads no stream over HTTP"),
        ("http://reader/", "", "zebra", r"devices\[0\].port: driver 'zebra' reads no stream over HTTP"),
    ],
)
def test_what_cannot_work_over_http_is_refused_at_the_settings(port: str, options: str, driver: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        settings(port, options, driver)


class Paper:
    def __init__(self) -> None:
        self.reads: list[TagRead] = []
        self.statuses: list[DeviceStatus] = []

    def deliver(self, items: list[object]) -> Ticket:
        self.reads += [item.read for item in items if isinstance(item, PortalRead)]
        return Ticket()

    def tell(self, status: DeviceStatus) -> None:
        self.statuses.append(status)


@contextmanager
def line_to(server: Served, options: str, paper: Paper) -> Iterator[None]:
    stop = threading.Event()
    devices = settings(server.url, options).devices
    line = Line(devices, paper, Clock(), stop=stop, open_line=open_device)  # type: ignore[arg-type]
    thread = threading.Thread(target=line.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        pause.wait(0.01)


def test_a_reader_that_rebooted_is_started_again_and_its_tags_come(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("impinj\n")
    options = f'preset = "default"\nusername = "root"\npassword_file = "{tmp_path / "password"}"'
    paper = Paper()
    with served(ImpinjReader(login=("root", "impinj"))) as server, line_to(server, options, paper):
        for number in range(2):
            until(lambda: len(server.reader.streams) == 1 and server.reader.running == "default")
            at = datetime.now(UTC) - timedelta(seconds=1)
            server.do(server.reader.see, TagRead(EPC, 1 + number, -52.34, at, 12.5, at))
            until(lambda number=number: len(paper.reads) == number + 1)  # type: ignore[misc]
            server.do(server.reader.reboot)
            until(lambda: server.reader.running is None or len(server.reader.streams) == 0)
        until(lambda: any(status.state == "offline" for status in paper.statuses))
    assert [(read.epc, read.antenna, read.rssi_dbm, read.phase_deg) for read in paper.reads] == [
        (EPC, 1, -52.34, 12.5),
        (EPC, 2, -52.34, 12.5),
    ]


def test_a_wrong_login_is_told_at_the_device_with_the_options_to_change(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong")
    options = f'username = "root"\npassword_file = "{tmp_path / "password"}"'
    paper = Paper()
    with served(ImpinjReader(login=("root", "impinj"))) as server, line_to(server, options, paper):
        until(lambda: bool(paper.statuses))
    assert paper.statuses[0].state == "offline"
    assert "401 Unauthorized" in paper.statuses[0].detail
    assert "options.password_file" in paper.statuses[0].detail
    assert "wrong" not in paper.statuses[0].detail


def test_a_half_open_stream_is_hung_up_and_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Impinj, "hang_up_after_s", 0.3)
    paper = Paper()
    with served(ImpinjReader(keep_alive_s=60.0)) as server, line_to(server, "", paper):
        until(lambda: server.reader.requests.count("GET /api/v1/data/stream") >= 2)
        until(lambda: any("not a byte for" in status.detail for status in paper.statuses))
