"""Captures told as JSON lines: each `<name>.hex`, or `<name>.json` of payloads, beside the `<name>.jsonl` it must give."""

import io
import json
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from edge.decode import run_decode
from edge.drivers import driver_names

CAPTURES = Path(__file__).parent / "captures"
ALL = sorted(path for path in CAPTURES.glob("*/*") if path.suffix in (".hex", ".json"))


def decoded(driver: str, path: Path) -> tuple[int, list[object]]:
    out = io.StringIO()
    with path.open("rb") as stream:
        status = run_decode(driver, stream, out)
    return status, [json.loads(line) for line in out.getvalue().splitlines()]


def test_every_driver_has_a_capture() -> None:
    assert {path.parent.name for path in ALL} == set(driver_names())


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_capture_gives_exactly_its_expected_lines(path: Path) -> None:
    expected = [json.loads(line) for line in path.with_suffix(".jsonl").read_text("utf-8").splitlines()]
    assert decoded(path.parent.name, path) == (0, expected)


def test_raw_bytes_give_what_their_hex_gives(tmp_path: Path) -> None:
    raw = tmp_path / "reader.bin"
    raw.write_bytes(bytes.fromhex("BB02220011C9340030751FEB705C5904E3D50D703A76EF7E") * 3000)
    status, lines = decoded("r200", raw)
    assert status == 0
    assert lines == [{"epc": "30751FEB705C5904E3D50D70", "antenna": None, "rssi_dbm": -55.0}] * 3000


def test_a_register_map_without_options_reads_the_common_probe() -> None:
    probe, written = (decoded(name, CAPTURES / "xymd02" / "poll_and_replies.hex") for name in ("xymd02", "modbus"))
    assert probe == written


def test_noise_alone_ends_with_status_one_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = tmp_path / "noise.bin"
    noise.write_bytes(b"\x01\x02\x03" * 50)
    assert decoded("r200", noise) == (1, [])
    assert "r200: 0 observations; noise_bytes 150" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "as_hex"), [(b"", False), (b"", True), (b"# only a comment\n", True)])
def test_an_empty_capture_is_told(content: bytes, as_hex: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_decode("nmea", io.BytesIO(content), io.StringIO(), as_hex=as_hex) == 1
    assert capsys.readouterr().err == "nmea: no bytes: the capture is empty\n"


def test_hex_may_come_without_a_file() -> None:
    out = io.StringIO()
    text = b"BB 02 22 00 11 C9 34 00 30751FEB705C5904E3D50D70 3A 76 EF 7E  # one carton\n"
    assert run_decode("r200", io.BytesIO(text), out, as_hex=True) == 0
    assert json.loads(out.getvalue())["epc"] == "30751FEB705C5904E3D50D70"


def test_faults_are_told_beside_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    decoded("xymd02", CAPTURES / "xymd02" / "poll_and_replies.hex")
    assert "fault sensor_fault: temperature register 7FFF" in capsys.readouterr().err


def test_hex_that_is_not_hex_is_refused_by_its_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.hex"
    broken.write_text("BB 02\nBB 0Z # a typo\n")
    with pytest.raises(ConfigurationError, match=r"line 2 .*0Z"):
        decoded("r200", broken)


@pytest.mark.parametrize(
    ("driver", "frame"), [("r200", "BB02220011C9340030751FEB705C5904E3D50D703A76EF7E"), ("xymd02", "010404013102222ACE")]
)
def test_a_capture_that_ends_inside_its_only_frame_is_no_clean_one(
    driver: str, frame: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = bytes.fromhex(frame)
    for kept in range(1, len(whole)):
        assert run_decode(driver, io.BytesIO(whole[:kept]), io.StringIO()) == 1, f"{kept} bytes"
        assert "no faults" not in capsys.readouterr().err


def test_a_last_sentence_without_its_line_ending_is_taken_when_its_checksum_holds() -> None:
    out = io.StringIO()
    sentence = b"$GPRMC,102127.000,A,5129.0623,N,00632.2911,E,0.33,30.68,210211,,,A*51"
    assert run_decode("nmea", io.BytesIO(sentence), out) == 0
    assert json.loads(out.getvalue())["latitude"] == 51.4843717
    assert run_decode("nmea", io.BytesIO(sentence[:-1]), io.StringIO()) == 1
