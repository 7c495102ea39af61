"""Lights and buzzers: a pin of the kernel, a relay on its own line, a relay on the probes' line."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError, Unavailable
from edge.drivers.modbus_frame import Framing
from edge.outputs import TRIES, CoilOutput, PinOutput, make_output, own_connection
from edge.ports import Port
from simulators.devices.modbus_bus import ModbusBus, Unit


class Wire:
    """A port with a bus at its other end; `deaf` requests are lost on the way."""

    def __init__(self, bus: ModbusBus, *, deaf: int = 0) -> None:
        self.bus = bus
        self.deaf = deaf
        self.opened = self.closed = 0
        self._waiting = b""
        self._heard = bytearray()

    def read(self, _timeout_s: float) -> bytes:
        data = bytes(self._heard)
        self._heard.clear()
        return data

    def write(self, data: bytes) -> None:
        if self.deaf:
            self.deaf -= 1
            return
        self._waiting = self.bus.take(self._waiting + data, self._heard.extend)

    def close(self) -> None:
        self.closed += 1

    def open(self, *_: object) -> Port:
        self.opened += 1
        return self


def relay() -> Unit:
    return Unit(bits={(1, number): False for number in range(8)})


def lamp(wire: Wire, *, framing: Framing = "rtu", invert: bool = False, unit_id: int = 3) -> CoilOutput:
    return CoilOutput(
        "lamp", own_connection("socket://relay:502", open_line=wire.open), unit_id=unit_id, coil=2, framing=framing, invert=invert
    )


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.outputs.ANSWER_S", 0.02)


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
@pytest.mark.parametrize("echo", [False, True])
def test_a_coil_is_switched_read_back_and_its_port_let_go(framing: Framing, echo: bool) -> None:
    unit = relay()
    wire = Wire(ModbusBus({3: unit}, framing=framing, echo=echo and framing == "rtu"))
    output = lamp(wire, framing=framing)
    output.switch(True)
    assert unit.bits == {**relay().bits, (1, 2): True}
    assert output.is_on()
    output.switch(False)
    assert unit.bits == relay().bits
    assert wire.opened == wire.closed > 0


def test_the_request_is_the_published_one() -> None:
    # MODBUS over Serial Line: unit 1, coil 0000 on is 01 05 0000 FF00 8C3A.
    sent: list[bytes] = []
    wire = Wire(ModbusBus({1: relay()}))
    monitored = wire.write
    wire.write = lambda data: (sent.append(data), monitored(data))[1]  # type: ignore[method-assign]
    make_output("lamp", "/dev/ttyUSB9", run_errand=lambda talk: talk(wire)).switch(True)
    assert sent[0] == bytes.fromhex("01050000FF008C3A")


def test_an_inverted_coil_is_energised_when_off() -> None:
    unit = relay()
    output = lamp(Wire(ModbusBus({3: unit})), invert=True)
    output.switch(False)
    assert unit.bits[1, 2]
    assert not output.is_on()


def test_a_lost_request_is_sent_again() -> None:
    unit = relay()
    lamp(Wire(ModbusBus({3: unit}), deaf=TRIES - 1)).switch(True)
    assert unit.bits[1, 2]


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        (Unit(absent=True), "no answer"),
        (Unit(), "refuses function 5: code 2, no such register"),
        (Unit(bits={(1, 2): False}, stuck_coils=True), "says off after it was switched"),
    ],
)
def test_a_relay_that_does_not_do_it_is_unavailable_and_says_why(unit: Unit, why: str) -> None:
    bus = ModbusBus({3: unit})
    with pytest.raises(Unavailable, match=f"'lamp'.*unit 3, coil 2.*{why}"):
        lamp(Wire(bus)).switch(True)
    assert TRIES <= len(bus.asked) <= 2 * TRIES


def test_another_units_answer_is_not_taken() -> None:
    wire = Wire(ModbusBus({4: relay()}))
    with pytest.raises(Unavailable):
        lamp(wire).switch(True)


def test_a_pin_is_written_and_read_back(tmp_path: Path) -> None:
    pin = tmp_path / "value"
    pin.write_text("0\n")
    output = make_output("buzzer", f"file://{pin}", invert=True)
    assert isinstance(output, PinOutput)
    assert output.is_on()
    output.switch(False)
    assert pin.read_text().strip() == "1"
    output.switch(True)
    assert pin.read_text().strip() == "0"


def test_a_pin_that_is_not_there_or_does_not_move_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "value"
    with pytest.raises(Unavailable, match="exported"):
        PinOutput("buzzer", missing).switch(True)
    assert not missing.exists()
    with pytest.raises(Unavailable, match="not 0 or 1"):
        PinOutput("buzzer", Path("/dev/zero")).is_on()
    input_pin = tmp_path / "input"
    input_pin.write_text("0\n")
    monkeypatch.setattr(PinOutput, "is_on", lambda _: False)
    with pytest.raises(Unavailable, match="direction"):
        PinOutput("buzzer", input_pin).switch(True)


def test_what_is_no_output_is_refused() -> None:
    for url in ("mqtt:zigbee/lamp", "http://relay/on", "relay:502"):
        with pytest.raises(ConfigurationError):
            make_output("lamp", url)
