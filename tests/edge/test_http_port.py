"""A stream over HTTP as a line: against a simulated reader, and against servers that behave badly."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError, Unavailable
from edge.drivers.impinj import STREAM_PATH, Driver
from edge.drivers.observations import TagRead
from edge.drivers.protocol import DeviceOptions, WebAccess
from edge.http_port import MAX_HEAD_BYTES, MAX_READ_BYTES, BadResponse, Response
from edge.ports import Port, open_port
from edge.presence import EPOCH
from simulators.devices.impinj_reader import MAX_STREAMS, ImpinjReader

PATIENCE_S = 20.0
READ = TagRead("E28011606000020A6681F23F", 1, -52.34, EPOCH, None, EPOCH)
LINE = Driver(DeviceOptions()).encode(READ)
OPENSSL = shutil.which("openssl")
START = ("/api/v1/profiles/inventory/presets/default/start",)
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Served:
    """A simulated reader in a thread of its own."""

    def __init__(self, reader: ImpinjReader, tls: ssl.SSLContext | None = None) -> None:
        self.reader = reader
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(reader.open(tls=tls), self.loop).result(PATIENCE_S)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}{STREAM_PATH}"

    def do(self, call: Callable[..., None], *arguments: object) -> None:
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (call(*arguments), done.set()))
        assert done.wait(PATIENCE_S)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline
            pause.wait(0.01)

    async def _end(self) -> None:
        await self.reader.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):  # transports end some turns of the loop later; only its own pipe stays
            while len(self.loop._selector.get_map()) > 1:  # type: ignore[attr-defined]  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.001)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(PATIENCE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_S)
        self.loop.close()


@contextmanager
def served(reader: ImpinjReader | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    server = Served(reader or ImpinjReader(), tls)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def opened(url: str, access: WebAccess | None = None) -> Iterator[Port]:
    port = open_port(url, 9600, web=access or WebAccess(posts=START))
    try:
        yield port
    finally:
        port.close()


@contextmanager
def raw(*answers: bytes, then_close: bool = True) -> Iterator[str]:
    """A server that answers the first request with these bytes, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        stop = threading.Event()

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(PATIENCE_S)
                connection.recv(65_536)
                for answer in answers:
                    connection.sendall(answer)
                if not then_close:
                    stop.wait(PATIENCE_S)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/stream"
        stop.set()
        thread.join(PATIENCE_S)


def read_all(port: Port) -> bytes:
    found = b""
    while True:
        try:
            found += port.read(PATIENCE_S)
        except Unavailable as error:
            return found + (b"" if str(error).endswith(("closed the connection", "ended the stream")) else b" and failed")


def chunked(*parts: bytes) -> bytes:
    return b"".join(f"{len(part):X};note=1\r\n".encode() + part + b"\r\n" for part in parts) + b"0\r\nTrailer: x\r\n\r\n"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.integers(1, 60), st.booleans())
def test_a_body_is_the_same_however_the_response_is_cut(parts: list[bytes], size: int, in_chunks: bool) -> None:
    body = b"".join(parts)
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    length = f"HTTP/1.0 200 OK\r\ncontent-LENGTH:  {len(body)}\r\n\r\n".encode()
    whole = interim + (HEAD + chunked(*parts) if in_chunks else length + body)
    response = Response()
    found = b"".join(response.feed(whole[start : start + size]) for start in range(0, len(whole), size))
    assert (found, response.status, response.is_complete) == (body, 200, True)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_do_more_than_be_refused(noise: bytes, size: int) -> None:
    for start in (b"", HEAD, HEAD + b"5\r\nhello\r\n"):
        response = Response()
        whole = start + noise
        try:
            for at in range(0, len(whole), size):
                response.feed(whole[at : at + size])
        except BadResponse:
            continue


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "SSH-2.0"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "2000"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "gzip"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
        (HEAD + b"xyz\r\n", "chunk's size"),
        (HEAD + b"fffffffff\r\n", "chunk's size"),
        (HEAD + b"1" * 2000, "longer than"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES, "longer than"),
    ],
)
def test_what_is_no_stream_is_named(answer: bytes, why: str) -> None:
    with raw(answer, then_close=False) as url, pytest.raises(Unavailable, match=why), opened(url, WebAccess()) as port:
        port.read(PATIENCE_S)


def test_events_come_as_soon_as_the_reader_sends_them_and_silence_costs_none() -> None:
    with served() as server, opened(server.url) as port:
        server.until(lambda: len(server.reader.streams) == 1)
        assert server.reader.running == "default"
        assert port.read(0.02) == b""
        for _ in range(3):
            server.do(server.reader.see, READ)
            received = b""
            while len(received) < len(LINE):
                received += port.read(0.02)
            assert received == LINE
            assert port.read(0.0) == b""
    assert server.reader.requests == ["POST " + START[0], "GET " + STREAM_PATH]


def test_a_chunk_cut_by_timeouts_loses_nothing() -> None:
    accepted: list[socket.socket] = []

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        connection.recv(65_536)
        connection.sendall(HEAD)
        accepted.append(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        with opened(f"http://127.0.0.1:{server.getsockname()[1]}/", WebAccess()) as port:
            thread.join(PATIENCE_S)
            found = b""
            for part in (b"0", b"f\r\nfirst ", b"16 b", b"ytes!\r\n", b"4\r", b"\nlast\r"):
                accepted[0].sendall(part)
                found += port.read(0.02)
                found += port.read(0.0)
            assert found == b"first 16 bytes!last"
        accepted[0].close()


def test_a_long_body_is_handed_out_in_bounded_pieces() -> None:
    body = b"x" * 50_000
    with raw(b"HTTP/1.1 200 OK\r\n\r\n" + body) as url, opened(url, WebAccess()) as port:
        first = port.read(PATIENCE_S)
        assert 1 <= len(first) <= MAX_READ_BYTES
        assert first + read_all(port) == body


def test_the_last_bytes_come_before_the_news_that_the_stream_ended() -> None:
    with raw(HEAD + chunked(b"last")) as url, opened(url, WebAccess()) as port:
        assert port.read(PATIENCE_S) == b"last"
        with pytest.raises(Unavailable, match="ended the stream"):
            port.read(PATIENCE_S)
        port.close()
        port.close()


def test_keep_alives_are_bytes_of_the_line() -> None:
    with served(ImpinjReader(keep_alive_s=0.05)) as server, opened(server.url) as port:
        assert port.read(PATIENCE_S) == b"\r\n"


def test_a_started_preset_is_no_obstacle() -> None:
    with served() as server, opened(server.url), opened(server.url):
        assert server.reader.requests.count("POST " + START[0]) == 2


def test_a_client_that_opens_too_many_streams_loses_the_oldest() -> None:
    with served() as server, opened(server.url) as first, opened(server.url), opened(server.url):
        assert MAX_STREAMS == 2
        assert read_all(first) == b""


def login(folder: Path, password: str) -> WebAccess:
    file = folder / "password"
    file.write_text(password + "\n")
    return WebAccess("root", str(file), posts=START)


def test_a_login_is_sent_and_a_wrong_one_named_with_the_options_to_change(tmp_path: Path) -> None:
    with served(ImpinjReader(login=("root", "im:pinj"))) as server:
        with opened(server.url, login(tmp_path, "im:pinj")):
            assert server.reader.running == "default"
        with pytest.raises(Unavailable, match=r"401 Unauthorized.*refuses user 'root'.*options.password_file"):
            open_port(server.url, 9600, web=login(tmp_path, "wrong"))
        with pytest.raises(Unavailable, match=r"401.*wants a login: give options.username"):
            open_port(server.url, 9600)
        access = WebAccess("root", str(tmp_path / "missing"))
        with pytest.raises(Unavailable, match=r"options.password_file .*missing"):
            open_port(server.url, 9600, web=access)


def test_an_unknown_preset_is_named() -> None:
    with served() as server, pytest.raises(Unavailable, match=r"404 Not Found to POST /api/v1.*options.preset"):
        open_port(server.url, 9600, web=WebAccess(posts=("/api/v1/profiles/inventory/presets/dock/start",)))


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (b"302 Found\r\nLocation: https://elsewhere/", "https://elsewhere/'.* not followed"),
        (b"403 Forbidden", "may not"),
        (b"503 Service Unavailable", "503.*cannot serve"),
        (b"204 No Content", "204"),
    ],
)
def test_any_other_status_is_told_and_no_redirect_is_followed(status: bytes, advice: str) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    with raw(answer, then_close=False) as url, pytest.raises(Unavailable, match=advice):
        open_port(url, 9600)


def test_a_device_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.http_port.ANSWER_TIMEOUT_S", 0.2)
    with raw(b"HTTP/1.1 2", then_close=False) as url, pytest.raises(Unavailable, match="no answer to the request"):
        open_port(url, 9600)


def test_nobody_listening_is_unavailable_and_a_wrong_address_is_a_wrong_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    with pytest.raises(Unavailable, match="Connection refused"):
        open_port(f"http://127.0.0.1:{number}/", 9600)
    with pytest.raises(ConfigurationError):
        open_port("http://reader:99999/", 9600)
    with pytest.raises(ConfigurationError):
        open_port("https:///stream", 9600)


def test_a_stream_takes_no_commands() -> None:
    with served() as server, opened(server.url) as port:
        port.write(b"")
        with pytest.raises(Unavailable, match="takes no commands"):
            port.write(b"\x01")


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    cert, key = folder / "reader.pem", folder / "reader.key"
    names = ["-subj", "/CN=reader", "-addext", "subjectAltName=IP:127.0.0.1"]
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([OPENSSL or "", "req", *options, *names], check=True, capture_output=True, timeout=PATIENCE_S)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return cert, context


@pytest.mark.skipif(not OPENSSL, reason="openssl is not installed: TLS was not tried")
def test_over_tls_only_the_given_authority_is_believed(tmp_path: Path) -> None:
    cert, context = certificate(tmp_path)
    with served(tls=context) as server, opened(server.url, WebAccess(ca_file=str(cert), posts=START)) as port:
        server.until(lambda: len(server.reader.streams) == 1)
        for _ in range(20):
            server.do(server.reader.see, READ)
        received = b""
        while len(received) < 20 * len(LINE):
            received += port.read(1.0)
        assert received == LINE * 20
        assert port.read(0.01) == b""


@pytest.mark.skipif(not OPENSSL, reason="openssl is not installed: TLS was not tried")
def test_a_certificate_of_nobody_known_is_refused(tmp_path: Path) -> None:
    _, context = certificate(tmp_path)
    (tmp_path / "empty.pem").write_text("")

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        with pytest.raises(Unavailable, match=r"not trusted.*options.ca_file"):
            open_port(url, 9600)
        thread.join(PATIENCE_S)
        with pytest.raises(Unavailable, match=r"options.ca_file .*empty.pem"):
            open_port(url, 9600, web=WebAccess(ca_file=str(tmp_path / "empty.pem")))
