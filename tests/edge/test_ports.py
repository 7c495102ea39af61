"""Ports on real sockets and a real pseudo-terminal."""

import os
import pty
import socket
import time
from collections.abc import Iterator

import pytest

from core.errors import ConfigurationError, Unavailable
from edge.ports import SLICE_S, open_port


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


def url(listener: socket.socket) -> str:
    return f"socket://127.0.0.1:{listener.getsockname()[1]}"


def test_bytes_sent_while_connecting_are_not_lost(listener: socket.socket) -> None:
    port = open_port(url(listener), 9600)
    peer, _ = listener.accept()
    with peer:
        peer.sendall(b"first")
        assert port.read(5) == b"first"
        port.write(b"back")
        assert peer.recv(10) == b"back"
    port.close()


def test_silence_gives_empty_bytes_within_the_timeout(listener: socket.socket) -> None:
    port = open_port(url(listener), 9600)
    peer, _ = listener.accept()
    began = time.monotonic()
    assert port.read(0.05) == b""
    assert 0.04 <= time.monotonic() - began < 2
    peer.close()
    port.close()


def test_last_bytes_come_before_the_news_that_the_peer_is_gone(listener: socket.socket) -> None:
    port = open_port(url(listener), 9600)
    peer, _ = listener.accept()
    peer.sendall(b"last")
    peer.close()
    assert port.read(5) == b"last"
    with pytest.raises(Unavailable, match="closed the connection"):
        port.read(5)
    port.close()
    port.close()
    with pytest.raises(Unavailable):
        port.read(0)
    with pytest.raises(Unavailable):
        port.write(b"x")


def test_nobody_listening_is_unavailable(listener: socket.socket) -> None:
    address = url(listener)
    listener.close()
    with pytest.raises(Unavailable, match="socket://127"):
        open_port(address, 9600)


@pytest.mark.parametrize("wrong", ["socket://", "socket://host", "socket://host:99999", "socket://h:1/path", "nosuch://x"])
def test_a_url_that_can_never_be_opened_is_a_wrong_setting(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="port"):
        open_port(wrong, 9600)


def test_a_missing_device_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="/dev/nothing-here"):
        open_port("/dev/nothing-here", 9600)


def test_a_serial_line_reads_writes_and_reports_its_unplugging() -> None:
    master, slave = pty.openpty()
    port = open_port(os.ttyname(slave), 115_200)
    os.close(slave)
    os.write(master, b"\xbb\x02\x22")
    received = b""
    while len(received) < 3:
        received += port.read(2)
    assert received == b"\xbb\x02\x22"
    port.write(b"\xbb\x00")
    assert os.read(master, 10) == b"\xbb\x00"
    began = time.monotonic()
    assert port.read(0.05) == b""
    assert time.monotonic() - began < SLICE_S + 2
    os.close(master)
    with pytest.raises(Unavailable):
        port.read(2)
    port.close()
