"""What must hold for every driver there is: noise, cut frames and chunking never cost the next good frame."""

import random
from datetime import UTC, datetime

import pytest

from core.errors import CodeError, ConfigurationError
from edge.drivers import driver_names, load_driver
from edge.drivers.observations import Fix, Measured, NoFix, Observation, Online, PortChanged, Scan, Switched, TagRead
from edge.drivers.protocol import DeviceOptions, ReaderDriver

NOW = datetime(2026, 11, 21, 8, 30, 15, 250_000, tzinfo=UTC)
WHOLE_SECOND = NOW.replace(microsecond=0)
MEMORY_BOUND = 8192

SEEN: dict[str, list[Observation]] = {
    "r200": [
        TagRead("3074257BF7194E4000001A85", None, -55.0, NOW),
        TagRead("BB0222000530007E", None, -70.0, NOW),
        TagRead("3674257BF6B7A659B2C2BF1000000000000000000000000000" + "00", None, -1.0, NOW),
    ],
    "llrp": [
        TagRead("3074257BF7194E4000001A85", 1, -55.0, NOW, 45.0, NOW),
        TagRead("3674257BF6B7A659B2C2BF1000000000000000000000000000" + "00", 4, -61.5, NOW),
        TagRead("E200", None, None, NOW),
        PortChanged(2, True, NOW),
    ],
    "barcode": [Scan("]d20106901234567892\x1d10LOT", NOW), Scan("口罩 一次性", NOW)],
    "xymd02": [Measured("celsius", -20.5, NOW), Measured("humidity_percent", 61.2, NOW), Measured("celsius", 4.4, NOW)],
    "modbus": [Measured("celsius", -20.5, NOW), Measured("humidity_percent", 61.2, NOW), Measured("celsius", 4.4, NOW)],
    "uhfreader18": [
        TagRead("000000000000000000000313", None, None, NOW),
        TagRead("3039606303C74380001A0559", 3, -65.0, NOW),
        TagRead("0032", 4, -129.0, NOW),
    ],
    "ds18b20": [Measured("celsius", 23.125, NOW), Measured("celsius", -10.125, NOW), Measured("celsius", 0.0, NOW)],
    "digital": [Switched("door_open", True, NOW), Switched("door_open", False, NOW)],
    "impinj": [
        TagRead("E28011606000020A6681F23F", 1, -52.34, NOW, 208.82, NOW.replace(microsecond=1)),
        TagRead("8A450224", None, None, NOW, None, NOW),
        PortChanged(2, True, NOW),
    ],
    "zebra": [
        TagRead("E2003411B802011383257C3D", 2, -47.0, NOW, 12.5, NOW.replace(microsecond=1)),
        TagRead("BEDD11112222333344445555", None, -39.0, NOW, None, NOW),
        Scan("ABC-12345", NOW),
        PortChanged(1, False, NOW),
    ],
    "nmea": [
        Fix(NOW, 31.23, -121.49, 10.0, 359.5, 9, 0.8, NOW),
        Fix(NOW.replace(second=16), -31.24, 121.5, None, None, None, None, NOW),
        NoFix(NOW.replace(second=17), NOW),
        NoFix(None, NOW),
    ],
    "zigbee2mqtt": [
        Measured("celsius", 4.4, NOW),
        Switched("door_open", True, NOW),
        Measured("battery_volts", 3.005, NOW),
        Online(NOW),
    ],
    "tasmota": [Measured("celsius", -20.5, NOW), Measured("pressure_pa", 100_300.0, NOW), Online(NOW)],
    "ruuvi": [
        Measured("celsius", 24.3, WHOLE_SECOND),
        Measured("humidity_percent", 53.49, WHOLE_SECOND),
        Measured("battery_volts", 2.977, WHOLE_SECOND),
    ],
    "owntracks": [
        Fix(WHOLE_SECOND, 31.23, -121.49, 10.0, 359.5, None, None, NOW),
        Fix(WHOLE_SECOND.replace(second=16), -31.24, 121.5, None, None, None, None, NOW),
    ],
}


def driver(name: str) -> ReaderDriver:
    return load_driver(name)(DeviceOptions())


def rounded(observation: Observation) -> Observation:
    """A fix as its sentences can tell it."""
    if isinstance(observation, Fix):
        speed = None if observation.speed_mps is None else round(observation.speed_mps, 2)
        return Fix(
            observation.at,
            round(observation.latitude, 7),
            round(observation.longitude, 7),
            speed,
            observation.course_deg,
            observation.satellites,
            observation.hdop,
            NOW,
        )
    return observation


def fed(reader: ReaderDriver, data: bytes, size: int | None = None) -> list[Observation]:
    step = size or max(1, len(data))
    found = [seen for start in range(0, len(data), step) for seen in reader.feed(data[start : start + step], NOW)]
    return [rounded(seen) for seen in [*found, *reader.flush(NOW)]]


def held_bytes(reader: ReaderDriver) -> int:
    return sum(len(value) for value in vars(reader).values() if isinstance(value, bytes | bytearray))


def noises(seed: int) -> bytes:
    """Random bytes, rich in the bytes that begin and end frames, never a whole frame."""
    chance = random.Random(seed)
    return bytes(chance.choice((0xBB, 0x02, 0x22, 0x00, 0x7E, 0x24, 0x2A, 0x01, 0x04, chance.randrange(256))) for _ in range(700))


def test_every_driver_has_observations_to_be_tried_with() -> None:
    assert driver_names() == sorted(SEEN)


def test_an_unknown_driver_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=f"'r2000'.*{', '.join(driver_names())}"):
        load_driver("r2000")
    with pytest.raises(ConfigurationError):
        load_driver("protocol")


@pytest.mark.parametrize("name", driver_names())
def test_what_a_device_sends_is_read_as_what_it_saw(name: str) -> None:
    for observation in SEEN[name]:
        assert observation in fed(driver(name), driver(name).encode(observation))


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("name", driver_names())
def test_chunks_of_any_size_give_the_same_observations_and_counts(name: str, size: int) -> None:
    stream = b"".join(noises(seed) + driver(name).encode(seen) for seed, seen in enumerate(SEEN[name] * 3))
    whole, parts = driver(name), driver(name)
    assert fed(whole, stream) == fed(parts, stream, size)
    assert whole.counts == parts.counts


@pytest.mark.parametrize("name", driver_names())
def test_after_a_frame_cut_at_any_byte_the_next_good_frame_is_read(name: str) -> None:
    first, second = SEEN[name][0], SEEN[name][1]
    frame = driver(name).encode(first)
    for kept in range(len(frame)):
        reader = driver(name)
        fed(reader, frame[:kept])
        assert second in fed(reader, driver(name).encode(second)), f"{kept} of {len(frame)} bytes kept"


@pytest.mark.parametrize("name", ["r200", "xymd02", "nmea"])
def test_a_cut_frame_costs_no_silence_where_frames_have_checks(name: str) -> None:
    frame = driver(name).encode(SEEN[name][0])
    for cut in range(1, len(frame)):
        for wreck in (frame[:cut], frame[cut:-1]):
            reader, good = driver(name), driver(name).encode(SEEN[name][1])
            assert SEEN[name][1] in fed(reader, wreck + good), f"cut at {cut}: {wreck.hex()}"


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", driver_names())
def test_noise_is_never_raised_and_the_next_good_frame_is_read(name: str, seed: int) -> None:
    reader = driver(name)
    fed(reader, noises(seed))
    good = SEEN[name][seed % len(SEEN[name])]
    assert good in fed(reader, driver(name).encode(good))


@pytest.mark.parametrize("name", driver_names())
def test_noise_alone_says_nothing_and_is_counted(name: str) -> None:
    reader = driver(name)
    kinds = {type(seen) for seen in fed(reader, noises(7).replace(b"\x7e", b"\x00") + b"\xff" * 300)}
    assert kinds & {TagRead, Measured, Fix} == set()
    assert sum(reader.counts.values()) > 0


@pytest.mark.parametrize("name", driver_names())
@pytest.mark.parametrize("byte", [0x00, 0xBB, 0x24, 0x41, 0xFF])
def test_a_line_stuck_on_one_byte_holds_bounded_memory(name: str, byte: int) -> None:
    reader = driver(name)
    for _ in range(32):
        reader.feed(bytes((byte,)) * 4096, NOW)
        assert held_bytes(reader) <= MEMORY_BOUND


@pytest.mark.parametrize("name", driver_names())
def test_a_driver_refuses_to_say_what_its_device_cannot(name: str) -> None:
    says = {type(observation) for observation in SEEN[name]}
    foreign = next(each[0] for each in SEEN.values() if type(each[0]) not in says)
    with pytest.raises(CodeError):
        driver(name).encode(foreign)


def test_one_driver_is_loaded_without_the_others() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from edge.drivers import load_driver; load_driver('barcode');"
        "print([name for name in ('r200', 'nmea', 'xymd02') if 'edge.drivers.' + name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["r200", "xymd02", "nmea"])
def test_any_single_flipped_bit_is_noticed(name: str) -> None:
    observation = SEEN[name][0]
    frame = driver(name).encode(observation)
    body = frame if name != "nmea" else frame.splitlines(keepends=True)[0]
    wanted = driver(name)
    truth = fed(wanted, body)
    assert truth
    for place in range(len(body)):
        for bit in range(8):
            spoilt = bytearray(body)
            spoilt[place] ^= 1 << bit
            heard = [seen for seen in fed(driver(name), bytes(spoilt)) if isinstance(seen, TagRead | Measured | Fix)]
            assert heard in ([], truth), f"bit {bit} of byte {place}"
