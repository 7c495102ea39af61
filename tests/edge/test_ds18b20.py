"""DS18B20 through w1-therm: the kernel's own lines, and the values that are no temperature."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CodeError
from edge.drivers.ds18b20 import Driver, crc8, file_text
from edge.drivers.observations import Fault, Measured, Observation
from edge.drivers.protocol import DeviceOptions

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
KERNEL = b"72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"


def told(text: bytes) -> list[Observation]:
    probe = Driver(DeviceOptions())
    probe.poll()
    return [*probe.feed(text, NOW), *probe.flush(NOW)]


def fault(text: bytes) -> str:
    (only,) = told(text)
    assert isinstance(only, Fault)
    return only.code


def test_the_kernels_lines_are_read() -> None:
    assert told(KERNEL) == [Measured("celsius", 23.125, NOW)]
    assert told(KERNEL.rstrip(b"\n")) == [Measured("celsius", 23.125, NOW)]
    assert crc8(bytes.fromhex("72014b467fff0e10")) == 0x57


@pytest.mark.parametrize(("sixteenths", "celsius"), [(2000, 125.0), (0, 0.0), (-8, -0.5), (-162, -10.125), (-880, -55.0)])
def test_the_data_sheets_values_are_read(sixteenths: int, celsius: float) -> None:
    # DS18B20 data sheet, table 1: 07D0 is +125, FFF8 -0.5, FF5E -10.125, FC90 -55 degrees.
    assert told(file_text(sixteenths)) == [Measured("celsius", celsius, NOW)]
    assert file_text(-162).startswith(b"5e ff")


@pytest.mark.parametrize("milli", [-127_000, 127_937, 126_000, -55_062])
def test_a_probe_that_does_not_answer_is_a_fault(milli: int) -> None:
    assert fault(KERNEL.replace(b"23125", str(milli).encode())) == "sensor_fault"


def test_the_power_on_value_is_a_fault_and_its_neighbours_are_not() -> None:
    assert fault(file_text(85 * 16)) == "power_on_value"
    assert told(file_text(85 * 16 - 1)) == [Measured("celsius", 84.937, NOW)]


def test_a_crc_that_fails_is_a_fault_and_its_value_is_not_believed() -> None:
    assert fault(file_text(80, is_good=False)) == "bad_crc"


def test_zeros_with_a_crc_that_holds_are_a_shorted_wire_not_nought_degrees() -> None:
    zeros = b"00 " * 9
    assert fault(zeros + b": crc=00 YES\n" + zeros + b"t=0\n") == "bus_shorted"
    assert told(file_text(0)) == [Measured("celsius", 0.0, NOW)]


@pytest.mark.parametrize("text", [b"", b"t=23125\n", KERNEL.splitlines()[1], KERNEL.splitlines()[0], b"\xff\xfe\n", KERNEL[:50]])
def test_a_value_without_its_check_is_nothing(text: bytes) -> None:
    assert told(text) == []


@given(st.binary(max_size=300))
def test_noise_raises_nothing_and_the_next_file_is_read(noise: bytes) -> None:
    probe = Driver(DeviceOptions())
    probe.feed(noise, NOW)
    probe.poll()
    assert probe.feed(KERNEL, NOW) == [Measured("celsius", 23.125, NOW)]


@pytest.mark.parametrize("observation", [Measured("celsius", 130.0, NOW), Measured("humidity_percent", 50.0, NOW)])
def test_what_the_chip_cannot_measure_is_refused(observation: Measured) -> None:
    with pytest.raises(CodeError):
        Driver(DeviceOptions()).encode(observation)
