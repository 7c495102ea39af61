"""The demo as a person runs it: it shows everything, checks itself, and leaves nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("scenarios")]

COMMAND = [sys.executable, "-m", "quartermaster", "demo", "--scenario", "short-shift", "--port", "0"]
KEYS = {
    *("readings_sent", "readings_stored", "readings_lost", "readings_doubled", "passages", "receipts_posted"),
    *("receipts_with_discrepancy", "excursions", "alerts", "positions", "plans", "replans", "ledger_balanced", "failures"),
}
ENDS_WITHIN_S = 180
"""A guard against hanging, on a machine that runs other tests beside it: no promise of speed."""


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder for run folders that is not in anybody's home."""
    with tempfile.TemporaryDirectory(prefix="qm-demo-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def processes_of(folder: Path) -> list[str]:
    """Command lines that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if str(folder) in words and str(os.getpid()) != entry.parent.name:
            found.append(words)
    return found


@pytest.mark.timeout(ENDS_WITHIN_S + 20)
def test_the_command_of_the_readme_checks_the_whole_day_and_leaves_nothing_behind(elsewhere: Path) -> None:
    """`quartermaster demo --for 60 --summary s.json`, as people type it, with the default scenario; only on a free port."""
    environment = os.environ | {"TMPDIR": str(elsewhere)}
    words = [*COMMAND[:4], "--port", "0", "--for", "60", "--summary", "s.json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=ENDS_WITHIN_S, env=environment, cwd=elsewhere, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads((elsewhere / "s.json").read_text(encoding="utf-8"))
    assert set(outcome) == KEYS
    counts = {key: value for key, value in outcome.items() if key not in {"readings_lost", "readings_doubled", "failures"}}
    assert [key for key, value in counts.items() if not value] == []
    assert (outcome["readings_lost"], outcome["readings_doubled"], outcome["failures"]) == (0, 0, [])
    assert (outcome["receipts_posted"], outcome["receipts_with_discrepancy"], outcome["excursions"]) == (3, 1, 1)
    assert outcome["readings_stored"] >= outcome["readings_sent"] - 8
    assert "discrepancy" in done.stdout
    assert processes_of(elsewhere) == []
    assert sorted(each.name for each in elsewhere.iterdir()) == ["s.json"]


def test_ctrl_c_stops_everything_that_was_started(elsewhere: Path) -> None:
    environment = os.environ | {"TMPDIR": str(elsewhere)}
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as demo:
        assert demo.stdout is not None
        told = ""
        for line in demo.stdout:
            told += line
            if "Ctrl-C stops everything" in line:
                break
        assert re.search(r"running: http://127\.0\.0\.1:\d+", told), told
        for person in ("gate", "storekeeper", "dispatcher", "driver", "maintainer", "auditor", "admin"):
            assert re.search(rf"^ +{person} +\S{{12,}}$", told, re.MULTILINE), told
        assert processes_of(elsewhere)
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=ENDS_WITHIN_S)
    assert demo.returncode == 0, told + rest
    assert processes_of(elsewhere) == []
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--for", "0"], "must be above 0"),
        (["--summary", "s.json"], "--summary needs --for"),
        (["--scenario", "nowhere"], "no scenario 'nowhere'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(elsewhere: Path, words: list[str], said: str) -> None:
    environment = os.environ | {"TMPDIR": str(elsewhere)}
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=ENDS_WITHIN_S, env=environment, check=False)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert list(elsewhere.iterdir()) == []


def test_a_taken_port_is_named_and_nothing_is_started(elsewhere: Path) -> None:
    environment = os.environ | {"TMPDIR": str(elsewhere)}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = [*COMMAND[:-1], str(port)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=ENDS_WITHIN_S, env=environment, check=False)
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert list(elsewhere.iterdir()) == []
