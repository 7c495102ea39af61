"""Register maps as data: published frames, word orders, what is no measurement, and what a bus does wrong."""

import struct
import tomllib
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadDiscreteInputsResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from core.errors import CodeError, ConfigurationError
from edge.drivers.modbus import Driver
from edge.drivers.modbus_frame import framed, request, sealed
from edge.drivers.modbus_map import Group, Options, Register, groups
from edge.drivers.observations import Fault, Measured, Observation, Switched
from edge.drivers.protocol import DeviceOptions
from edge.settings import parse_settings

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


def options(text: str) -> Options:
    return msgspec.convert(tomllib.loads(text), Options)


def driver(text: str = "", unit_id: int = 1) -> Driver:
    return Driver(DeviceOptions(unit_id=unit_id, own=options(text)))


def one(register: str, reply: str, function: int = 3) -> list[Observation]:
    """What a device of one register tells when it answers these bytes."""
    device = driver(f"registers = [{{ function = {function}, address = 0, {register} }}]")
    device.poll()
    data = bytes.fromhex(reply)
    return device.feed(sealed(bytes((1, function, len(data))) + data), NOW)


def test_the_default_map_is_the_common_probes() -> None:
    device = driver()
    assert device.poll() == bytes.fromhex("010400010002200B")
    assert device.feed(bytes.fromhex("01040401310222" + "2ACE"), NOW) == [
        Measured("celsius", 30.5, NOW),
        Measured("humidity_percent", 54.6, NOW),
    ]
    assert device.is_answered(observed=True)


def test_the_tcp_request_has_its_header() -> None:
    # Header as in MODBUS Messaging on TCP/IP V1.0b, 3.1.3: transaction, protocol 0, six bytes follow, unit.
    assert driver('framing = "tcp"', unit_id=9).poll() == bytes.fromhex("0001 0000 0006 09 04 0001 0002")


@pytest.mark.parametrize(
    ("register", "reply", "value"),
    [
        ('quantity = "celsius", type = "i16", scale = 0.1', "FF33", -20.5),
        ('quantity = "celsius", type = "u16", scale = 0.01', "FF33", 653.31),
        ('quantity = "celsius", type = "u16", scale = 0.1, offset = -40.0', "01C7", 5.5),
        ('quantity = "celsius", type = "i16", scale = -0.5', "0003", -1.5),
        ('quantity = "pressure_pa", type = "u32"', "000186A0", 100_000.0),
        ('quantity = "pressure_pa", type = "u32", words = "low_first"', "86A00001", 100_000.0),
        ('quantity = "celsius", type = "i32", scale = 0.001', "FFFFEC78", -5.0),
        ('quantity = "celsius", type = "f32"', "40833333", 4.1),
        ('quantity = "celsius", type = "f32", words = "low_first"', "33334083", 4.1),
    ],
)
def test_a_register_is_read_as_its_map_says(register: str, reply: str, value: float) -> None:
    (measured,) = one(register, reply)
    assert isinstance(measured, Measured)
    assert measured.value == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    ("register", "reply"),
    [
        ('quantity = "celsius", faults = [0x7FFF]', "7FFF"),
        ('quantity = "celsius", min = -40.0', "FFD7"),
        ('quantity = "celsius", scale = 0.1, max = 60.0', "0259"),
        ('quantity = "celsius", type = "f32"', "7FC00000"),
        ('quantity = "celsius", type = "f32"', "7F800000"),
        ('quantity = "celsius", type = "u32", faults = [0xFFFFFFFF]', "FFFFFFFF"),
    ],
)
def test_what_is_no_measurement_is_a_fault(register: str, reply: str) -> None:
    (fault,) = one(register, reply)
    assert isinstance(fault, Fault)
    assert fault.code == "sensor_fault"
    assert reply in fault.detail


@pytest.mark.parametrize("reply", ["7FFF0222", "FE700222", "00000000"])
def test_a_probe_whose_chip_is_gone_has_no_humidity_either(reply: str) -> None:
    device = driver()
    device.poll()
    (fault,) = device.feed(sealed(bytes.fromhex("010404" + reply)), NOW)
    assert isinstance(fault, Fault)


@pytest.mark.parametrize(
    ("register", "reply", "function", "on"),
    [
        ('input = "door_open"', "01", 2, True),
        ('input = "door_open", invert = true', "01", 2, False),
        ('input = "mains_power"', "00", 1, False),
        ('input = "water_leak"', "0002", 3, True),
        ('input = "water_leak", bit = 1', "0002", 3, True),
        ('input = "water_leak", bit = 9', "0002", 3, False),
        ('input = "water_leak", bit = 9', "0200", 3, True),
    ],
)
def test_inputs_of_two_states_are_coils_registers_or_bits_of_them(register: str, reply: str, function: int, on: bool) -> None:
    (switched,) = one(register, reply, function)
    assert isinstance(switched, Switched)
    assert switched.on is on


MANY = """
registers = [
  { quantity = "humidity_percent", address = 2, type = "u16", scale = 0.1 },
  { quantity = "celsius", address = 0, type = "f32" },
  { quantity = "battery_volts", address = 6, scale = 0.001, type = "u16" },
  { quantity = "pressure_pa", function = 3, address = 2, type = "u32" },
  { input = "door_open", function = 2, address = 3 },
  { input = "mains_power", function = 2, address = 4 },
]
"""


def test_neighbours_are_asked_for_at_once_and_gaps_only_where_the_map_allows() -> None:
    assert groups(options(MANY)) == (Group(2, 3, 2), Group(3, 2, 2), Group(4, 0, 3), Group(4, 6, 1))
    assert groups(options(MANY + "max_gap = 3")) == (Group(2, 3, 2), Group(3, 2, 2), Group(4, 0, 7))
    assert groups(options(MANY + "max_gap = 3\nmax_registers = 6")) == groups(options(MANY))


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
def test_groups_are_asked_one_after_the_other(framing: str) -> None:
    device = driver(f'framing = "{framing}"\n' + MANY)
    answers = {2: "01", 3: "000186A0", 4: None}
    asked, seen = [device.poll()], []
    for number in range(1, 5):
        body = asked[-1][:-2] if framing == "rtu" else asked[-1][6:]
        function, count = body[1], int.from_bytes(body[4:6], "big")
        data = bytes.fromhex(answers[function] or ("4083333301F4" if count == 3 else "0CE4"))
        seen += device.feed(framed(bytes((1, function, len(data))) + data, framing, number), NOW)  # type: ignore[arg-type]
        assert device.is_answered(observed=True) is (number == 4)
        asked += device.replies()
    assert len(asked) == 4
    assert seen == [
        Switched("door_open", True, NOW),
        Switched("mains_power", False, NOW),
        Measured("pressure_pa", 100_000.0, NOW),
        Measured("humidity_percent", 50.0, NOW),
        Measured("celsius", 4.1, NOW),
        Measured("battery_volts", 3.3, NOW),
    ]


def test_a_device_that_falls_silent_half_way_is_a_fault_that_names_what_is_missing() -> None:
    device = driver(MANY)
    device.poll()
    device.feed(sealed(bytes.fromhex("01020101")), NOW)
    (fault,) = device.flush(NOW)
    assert isinstance(fault, Fault)
    assert fault.detail == "no answer for function 3, 2 from 2, after 1 answers"
    device.poll()
    assert device.flush(NOW) == []


def test_a_refused_group_is_a_fault_and_the_next_is_asked() -> None:
    device = driver(MANY)
    device.poll()
    (fault,) = device.feed(sealed(bytes.fromhex("01820B")), NOW)
    assert isinstance(fault, Fault)
    assert fault.detail == "unit 1 refuses function 2, 2 from 3: code 11, gateway: no answer from the unit"
    assert device.replies() == [sealed(request(1, 3, 2, 2))]


def test_a_late_tcp_answer_is_known_by_its_number() -> None:
    device = driver('framing = "tcp"')
    device.poll()
    device.poll()
    late, good = (framed(bytes.fromhex(f"010404{celsius}0222"), "tcp", number) for celsius, number in (("0131", 1), ("0029", 2)))
    assert device.feed(late, NOW) == []
    assert device.feed(good, NOW)[0] == Measured("celsius", 4.1, NOW)
    assert device.counts == {"late_answer": 1}


def test_a_capture_is_read_by_the_requests_in_it() -> None:
    device = driver(MANY)
    capture = sealed(request(1, 4, 6, 1)) + sealed(bytes.fromhex("0104020CE4")) + sealed(request(1, 4, 2, 1))
    assert device.feed(capture + sealed(bytes.fromhex("01040201F4")), NOW) == [
        Measured("battery_volts", 3.3, NOW),
        Measured("humidity_percent", 50.0, NOW),
    ]


@pytest.mark.parametrize(
    ("frame", "count"),
    [("0204040131" + "0222", "other_unit"), ("0103040131" + "0222", "wrong_function"), ("018402", "exception_reply")],
)
def test_answers_that_are_not_to_the_question_are_counted(frame: str, count: str) -> None:
    device = driver()
    device.poll()
    assert not [seen for seen in device.feed(sealed(bytes.fromhex(frame)), NOW) if isinstance(seen, Measured)]
    assert device.counts == {count: 1}


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
def test_an_independent_implementation_reads_our_requests_and_we_its_answers(framing: str) -> None:
    server = (FramerRTU if framing == "rtu" else FramerSocket)(DecodePDU(True))
    client = (FramerRTU if framing == "rtu" else FramerSocket)(DecodePDU(False))
    text = 'registers = [{ quantity = "celsius", function = 3, address = 7, type = "f32" }, '
    device = driver(f'framing = "{framing}"\n{text}{{ input = "door_open", function = 2, address = 5 }}]', unit_id=17)
    door = device.poll()
    assert _asked(server, door) == (17, 2, 5, 1)
    seen = device.feed(client.buildFrame(ReadDiscreteInputsResponse(dev_id=17, transaction_id=1, bits=[True])), NOW)
    (registers,) = device.replies()
    assert _asked(server, registers) == (17, 3, 7, 2)
    words = list(struct.unpack(">HH", struct.pack(">f", -18.25)))
    answer = ReadHoldingRegistersResponse(dev_id=17, transaction_id=2, registers=words)
    seen += device.feed(client.buildFrame(answer), NOW)
    assert seen == [Switched("door_open", True, NOW), Measured("celsius", -18.25, NOW)]


def _asked(server: Any, frame: bytes) -> tuple[int, int, int, int]:
    _, pdu = server.handleFrame(frame, 0, 0)
    return pdu.dev_id, pdu.function_code, pdu.address, pdu.count


@given(st.binary(max_size=600), st.integers(1, 64), st.sampled_from(["rtu", "tcp"]))
def test_noise_raises_nothing_and_holds_little(noise: bytes, size: int, framing: str) -> None:
    device = driver(f'framing = "{framing}"\n' + MANY)
    device.poll()
    for start in range(0, len(noise), size):
        device.feed(noise[start : start + size], NOW)
        assert device.pending_bytes() <= 262
        device.replies()
    device.flush(NOW)
    good = driver(f'framing = "{framing}"')
    good.feed(noise[:64], NOW)
    good.flush(NOW)
    good.poll()
    answer = framed(bytes.fromhex("01040401310222"), framing, 1)  # type: ignore[arg-type]
    assert good.feed(answer, NOW)[:1] == [Measured("celsius", 30.5, NOW)]


def test_a_request_for_more_than_one_may_ask_makes_no_window_grow() -> None:
    device = driver()
    device.feed(sealed(request(1, 4, 0, 0xFFFF)) + b"\x01" * 5000, NOW)
    assert device.pending_bytes() < 256


def test_an_answer_that_begins_like_a_request_whose_crc_fits_by_chance_is_an_answer() -> None:
    text = 'registers = [{ quantity = "celsius", address = 0, type = "i32", scale = 0.1 }]'
    answer = sealed(bytes.fromhex("010404000068F0"))
    assert sealed(answer[:6]) == answer[:8]
    polled = driver(text)
    polled.poll()
    for device in (driver(text), polled):
        assert device.feed(answer, NOW) == [Measured("celsius", 2686.4, NOW)]


@given(st.sampled_from(["i16", "u16", "i32", "u32"]), st.integers(0, 30_000), st.sampled_from(["high_first", "low_first"]))
def test_what_a_device_encodes_is_what_is_read(kind: str, raw: int, words: str) -> None:
    device = driver(f'registers = [{{ quantity = "celsius", address = 0, type = "{kind}", words = "{words}", scale = 0.1 }}]')
    assert device.feed(device.encode(Measured("celsius", raw / 10, NOW)), NOW) == [Measured("celsius", raw / 10, NOW)]


def test_what_does_not_fit_or_has_no_register_cannot_be_encoded() -> None:
    for observation in (Measured("celsius", 9e9, NOW), Measured("pressure_pa", 1.0, NOW), Switched("door_open", True, NOW)):
        with pytest.raises(CodeError):
            driver().encode(observation)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("registers = []", "registers"),
        ("registers = [{ address = 0 }]", "either a quantity or an input"),
        ('registers = [{ quantity = "celsius", function = 2, address = 0 }]', "stands in a register"),
        ('registers = [{ quantity = "celsius", function = 6, address = 0 }]', "function"),
        ('registers = [{ quantity = "kelvin", address = 0 }]', "kelvin"),
        ('registers = [{ quantity = "celsius", address = 0, scale = 0.0 }]', "scale not zero"),
        ('registers = [{ quantity = "celsius", address = 65535, type = "f32" }]', "65536"),
        ('registers = [{ input = "door_open", address = 0, type = "u32" }]', "one register"),
        ('registers = [{ input = "door_open", function = 1, address = 0, bit = 2 }]', "reads one bit"),
        ('registers = [{ quantity = "celsius", address = 0 }, { quantity = "celsius", address = 1 }]', "twice"),
        ('framing = "ascii"', "framing"),
        ('registers = [{ quantity = "celsius", adress = 0 }]', "adress"),
    ],
)
def test_a_map_that_cannot_be_is_refused_with_its_path(wrong: str, why: str) -> None:
    text = f"""
[agent]
site = "depot"
name = "gateway"
state_dir = "state"
[uplink]
url = "mqtt://127.0.0.1"
[[devices]]
name = "board"
driver = "modbus"
port = "/dev/ttyUSB0"
[devices.options]
{wrong}
"""
    with pytest.raises(ConfigurationError, match=rf"devices\[0\]\.options.*{why}"):
        parse_settings(tomllib.loads(text), {})


def test_two_doors_of_one_board_are_two_devices_and_the_same_door_twice_is_none() -> None:
    head = '[agent]\nsite = "depot"\nname = "gateway"\nstate_dir = "state"\n[uplink]\nurl = "mqtt://127.0.0.1"\n'
    door = (
        '[[devices]]\nname = "{}"\ndriver = "modbus"\nport = "/dev/ttyUSB0"\n[devices.options]\n'
        'registers = [{{ input = "door_open", function = 2, address = {} }}]\n'
    )
    assert len(parse_settings(tomllib.loads(head + door.format("a", 0) + door.format("b", 1)), {}).devices) == 2
    with pytest.raises(ConfigurationError, match=r"devices\[1\]\.unit_id"):
        parse_settings(tomllib.loads(head + door.format("a", 0) + door.format("b", 0)), {})


def test_registers_know_their_size() -> None:
    assert [Register(quantity="celsius", address=0, type=kind).size for kind in ("i16", "u16", "i32", "u32", "f32")] == [
        1,
        1,
        2,
        2,
        2,
    ]
