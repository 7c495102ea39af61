"""Children of the demo: ended when told, killed when they will not, told of when they die, and never orphaned."""

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigurationError
from simulators.__main__ import main as simulate
from simulators.demo.child import Child
from simulators.demo.command import run_demo
from simulators.demo.database import tell
from simulators.demo.folder import make_folder
from simulators.demo.supervisor import ChildDied, supervise

pytestmark = pytest.mark.processes
FOREVER = "import signal, time; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"


async def started(tmp_path: Path, program: str, stop_within_s: float = 10.0) -> Child:
    """A child that has said its first word."""
    child = Child("it", [sys.executable, "-c", program], dict(os.environ), tmp_path / "it.log", stop_within_s)
    await child.start()
    assert child.process is not None
    while "up" not in child.last_words() and child.process.returncode is None:
        try:
            await _look(child)
        except TimeoutError:
            continue
    return child


async def _look(child: Child) -> None:
    async with asyncio.timeout(0.05):
        await child.ended()


async def test_a_child_ends_when_told(tmp_path: Path) -> None:
    child = await started(tmp_path, FOREVER)
    assert child.is_running
    assert await child.stop() == -signal.SIGTERM
    assert (child.is_running, child.has_died) == (False, False)


async def test_a_child_that_will_not_end_is_killed(tmp_path: Path) -> None:
    child = await started(tmp_path, STUBBORN, stop_within_s=0.3)
    assert await child.stop() == -signal.SIGKILL


async def test_a_killed_child_can_be_started_again_and_goes_on_in_its_log(tmp_path: Path) -> None:
    child = await started(tmp_path, FOREVER)
    await child.kill()
    assert not child.has_died
    await child.start()
    assert child.is_running
    await child.stop()
    assert child.last_words().startswith("up")


async def test_a_child_that_dies_is_told_with_its_last_words() -> None:
    supervisor = supervise("short-shift")
    try:
        child = await started(supervisor.folder.root, "print('up'); raise SystemExit('the disk is full')")
        supervisor.children["it"] = child
        await child.ended()
        assert child.has_died
        with pytest.raises(ChildDied, match=r"it ended by itself with status 1; its log ends:\n(up\n)?.*the disk is full"):
            await supervisor.watch()
    finally:
        await supervisor.stop()
    assert not supervisor.folder.root.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_child_does_not_outlive_a_killed_demo(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys; from pathlib import Path; from simulators.demo.child import Child\n"
        "async def main():\n"
        f"    child = Child('it', [sys.executable, '-c', {FOREVER!r}], dict(os.environ), Path({str(tmp_path / 'it.log')!r}))\n"
        "    await child.start(); print(child.process.pid, flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        pid = int(demo.stdout.readline())
        handle = os.pidfd_open(pid)
        demo.kill()
    ended, _, _ = select.select([handle], [], [], 10)
    os.close(handle)
    assert ended, "the child lives on"


def test_a_run_folder_keeps_its_secrets_to_itself() -> None:
    folder = make_folder(None)
    path = folder.write_secret("token", "secret")
    assert (folder.secrets.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    for each in (path, folder.secrets, folder.root / "logs", folder.root / "state", folder.root):
        each.unlink() if each.is_file() else each.rmdir()


def test_the_address_of_the_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "database-uri"
    tell(path, "postgresql://postgres:secret@/postgres")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text(encoding="utf-8").endswith("/postgres")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"speed": 0.0}, "--speed 0: must be above 0"),
        ({"speed": -1.0}, "--speed -1: must be above 0"),
        ({"speed": float("nan")}, "--speed nan: must be above 0"),
        ({"speed": 1e9}, "at most 3600"),
        ({"port": 99_999}, "--port 99999: must be 1 to 65535"),
        ({"port": -1}, "--port -1: must be 1 to 65535"),
        ({"for_s": float("nan")}, "--for nan: must be above 0 seconds"),
        ({"for_s": 5.0, "summary": Path("/does/not/exist/summary.json")}, "--summary /does/not/exist/summary.json: cannot be"),
        ({"summary": Path("summary.json")}, "--summary needs --for"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_made(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    keep = tmp_path / "run"
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        run_demo(scenario="short-shift", keep=keep, **given)
    assert not keep.exists()


@pytest.mark.parametrize("speed", ["0", "-3", "nan", "inf"])
def test_simulate_refuses_a_speed_at_which_no_time_passes(speed: str) -> None:
    with pytest.raises(ConfigurationError, match="--speed"):
        simulate(["short-shift", f"--speed={speed}"])


def test_a_kept_folder_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(ConfigurationError, match="is not empty"):
        make_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only as root does the database run as another user")
def test_a_private_home_is_refused_for_the_database(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigurationError, match="is private"):
        make_folder(tmp_path / "run")
