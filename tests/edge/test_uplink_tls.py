"""The uplink believes only the authority it was given, and says why a broker refuses it."""

import logging
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.topics import AgentAddress
from edge.clock import Clock
from edge.outbox import FILE_NAME, Outbox
from edge.presence import Presence
from edge.settings import Broker
from edge.uplink import Uplink
from edge.writer import Writer

PATIENCE_S = 20.0
OPENSSL = shutil.which("openssl")
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_tools = pytest.mark.skipif(not (OPENSSL and MOSQUITTO), reason="openssl or mosquitto is not installed: TLS was not tried")


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, which is its own authority, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([OPENSSL or "", "req", *options, *names], check=True, capture_output=True, timeout=PATIENCE_S)
    return cert, key


@contextmanager
def broker(folder: Path, port: int, lines: list[str]) -> Iterator[None]:
    config = folder / "strict.conf"
    # Started by root it would become another user, who cannot read this test's folder.
    stay = ["user root"] if os.getuid() == 0 else []
    config.write_text("\n".join([*stay, f"listener {port} 127.0.0.1", *lines]) + "\n")
    child = subprocess.Popen([MOSQUITTO or "", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert child.poll() is None, "mosquitto ended by itself"
                assert time.monotonic() < deadline
            else:
                break
        yield
    finally:
        child.kill()
        child.wait(PATIENCE_S)


class Refusals(logging.Handler):
    """Says when the uplink reports that it cannot reach its broker."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "uplink_unavailable" in record.getMessage():
            self.text = record.getMessage()
            self.seen.set()


@contextmanager
def uplink(folder: Path, where: Broker) -> Iterator[tuple[Uplink, Refusals]]:
    stop_writer, stop_uplink, refusals = threading.Event(), threading.Event(), Refusals()
    logging.getLogger("edge.uplink").addHandler(refusals)
    writer = Writer(lambda: Outbox(folder / FILE_NAME, "gw"), Presence([]), Clock(), stop=stop_writer)
    link = Uplink(where, AgentAddress("depot", "gw"), writer, folder / FILE_NAME, clock=Clock(), stop=stop_uplink)
    threads = [threading.Thread(target=writer.run), threading.Thread(target=link.run)]
    for thread in threads:
        thread.start()
    try:
        yield link, refusals
    finally:
        stop_uplink.set()
        link.wake()
        threads[1].join(PATIENCE_S)
        stop_writer.set()
        threads[0].join(PATIENCE_S)
        logging.getLogger("edge.uplink").removeHandler(refusals)


def at(port: int, *, ca_file: Path | None = None, password: str | None = None) -> Broker:
    name = "gw" if password else None
    return Broker(host="127.0.0.1", port=port, tls=ca_file is not None, username=name, password=password, ca_file=ca_file)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@needs_tools
@pytest.mark.mosquitto
def test_a_broker_of_the_given_authority_is_believed_and_of_another_is_not(tmp_path: Path, port: int) -> None:
    cert, key = certificate(tmp_path, "ours")
    other, _ = certificate(tmp_path, "theirs")
    with broker(tmp_path, port, ["allow_anonymous true", f"certfile {cert}", f"keyfile {key}"]):
        with uplink(tmp_path, at(port, ca_file=cert)) as (link, _):
            assert link.connected.wait(PATIENCE_S)
        with uplink(tmp_path, at(port, ca_file=other)) as (link, refusals):
            assert refusals.seen.wait(PATIENCE_S)
            assert "CERTIFICATE_VERIFY_FAILED" in refusals.text
            assert not link.connected.is_set()


@needs_tools
@pytest.mark.mosquitto
def test_a_wrong_password_is_named_without_being_told(tmp_path: Path, port: int) -> None:
    with (
        broker(tmp_path, port, ["allow_anonymous false"]),
        uplink(tmp_path, at(port, password="hunter2")) as (link, refusals),
    ):
        assert refusals.seen.wait(PATIENCE_S)
        assert "broker refuses user 'gw'" in refusals.text
        assert "hunter2" not in refusals.text
        assert not link.connected.is_set()
