"""Two hundred kills, power cuts and full disks in a row: nothing the outbox promised is lost, nothing is doubled."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROUNDS = 200
SEED = 20_261_125
DISK = "size=6m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path | None]:
    """A small file system of its own, which can be filled; None where none can be mounted."""
    mount = tmp_path / "disk"
    mount.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(mount)], capture_output=True, timeout=10, check=False
        )
    except FileNotFoundError:
        yield None
        return
    if done.returncode:
        yield None
        return
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True, timeout=10)


@pytest.mark.processes
def test_two_hundred_blows_lose_nothing_that_was_committed(tmp_path: Path, disk: Path | None) -> None:
    words = [
        sys.executable,
        "-m",
        "tests.edge.outbox_torture",
        str(tmp_path),
        str(ROUNDS),
        str(SEED),
        *([str(disk)] if disk else []),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    kinds = ("kill", "cut", "full") if disk else ("kill", "cut")
    assert sum(summary[kind] for kind in kinds) == ROUNDS
    assert all(summary[kind] > ROUNDS / len(kinds) / 2 for kind in kinds)
    assert summary["committed"] > ROUNDS / 2, "the blows must hit an outbox at work"
    assert (summary["lost"], summary["doubled"], summary.get("came_back", 0), summary["corrupt"]) == (0, 0, 0, 0)
