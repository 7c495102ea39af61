"""An Impinj reader with the IoT device interface: login, presets, and the HTTP stream with its keep-alives."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Iterable
from typing import Final

from core.errors import ConfigurationError
from edge.drivers.impinj import STREAM_PATH, Driver
from edge.drivers.observations import Observation
from edge.drivers.protocol import DeviceOptions

MAX_HEAD_BYTES: Final = 16_384
MAX_QUEUED: Final = 1_000
"""Events for one client that reads too slowly; more of them, and the reader hangs up, as the real one does."""
MAX_STREAMS: Final = 2
"""Streams at a time; one more ends the oldest."""


class ImpinjReader:
    """One reader as an HTTP server. `requests` holds what was asked, `running` the preset that is started."""

    def __init__(
        self, *, login: tuple[str, str] | None = None, presets: Iterable[str] = ("default",), keep_alive_s: float = 10.0
    ) -> None:
        self.requests: list[str] = []
        self.running: str | None = None
        self.streams: list[asyncio.Queue[bytes | None]] = []
        self._presets = frozenset(presets)
        self._keep_alive_s = keep_alive_s
        self._driver = Driver(DeviceOptions())
        self._server: asyncio.Server | None = None
        self._wanted = None
        if login is not None:
            self._wanted = "Basic " + base64.b64encode(":".join(login).encode()).decode("ascii")

    async def open(self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None) -> int:
        """Starts listening and returns the port, one the system chooses when 0 is asked for. Raises ConfigurationError."""
        try:
            self._server = await asyncio.start_server(self._attend, host, port, ssl=tls, limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise ConfigurationError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
        opened: int = self._server.sockets[0].getsockname()[1]
        return opened

    async def close(self) -> None:
        """Stops listening and ends the streams."""
        if self._server is not None:
            self._server.close()
        self.reboot()

    def reboot(self) -> None:
        """Ends the streams and forgets that a preset was started."""
        self.running = None
        for stream in self.streams:
            _end(stream)

    def see(self, observation: Observation) -> None:
        """Tells every stream. A reader whose inventory is stopped sees no tag; raises CodeError for what it cannot say."""
        self.send(self._driver.encode(observation))

    def send(self, data: bytes) -> None:
        """Puts bytes on every stream, while a preset is running."""
        if self.running is None:
            return
        for stream in self.streams:
            if stream.qsize() >= MAX_QUEUED:
                _end(stream)
            else:
                stream.put_nowait(data)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                await self._answer_one(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request. Raises ConnectionError, or ValueError for what is no HTTP: the client is hung up on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        self.requests.append(f"{method} {path}")
        given = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if self._wanted is not None and given.get("authorization") != self._wanted:
            writer.write(_answer("401 Unauthorized", 'WWW-Authenticate: Basic realm="reader"\r\n'))
        elif (method, path) == ("GET", STREAM_PATH):
            await self._stream(writer)
        else:
            writer.write(self._command(method, path))
        await writer.drain()

    def _command(self, method: str, path: str) -> bytes:
        start, _, rest = path.partition("/profiles/inventory/presets/")
        if method == "POST" and path.endswith("/profiles/stop"):
            self.running = None
            return _answer("204 No Content")
        if method != "POST" or start != "/api/v1" or not rest.endswith("/start"):
            return _answer("404 Not Found")
        preset = rest.removesuffix("/start")
        if preset not in self._presets:
            return _answer("404 Not Found")
        if self.running == preset:
            return _answer("409 Conflict")
        self.running = preset
        return _answer("204 No Content")

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        while len(self.streams) >= MAX_STREAMS:
            _end(self.streams.pop(0))
        self.streams.append(queue)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                data: bytes | None = b"\r\n"
                with contextlib.suppress(TimeoutError):
                    data = await asyncio.wait_for(queue.get(), self._keep_alive_s)
                if data is None:
                    return
                writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                await writer.drain()
        finally:
            if queue in self.streams:
                self.streams.remove(queue)


def _end(stream: asyncio.Queue[bytes | None]) -> None:
    stream.put_nowait(None)


def _answer(status: str, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n".encode("latin-1")
