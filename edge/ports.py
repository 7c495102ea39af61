"""How bytes reach and leave a device: serial lines and their network stand-ins, by URL.

`socket://host:port` is spoken here directly: pyserial's own handler throws away what the peer sent on connecting, loses the
bytes before an end of stream, and sleeps while closing. `file:///...` is a file of the kernel. Every other URL (`/dev/...`,
`rfc2217://`, `loop://`) goes to pyserial. A stream over HTTP is `edge.http_port`.
"""

import select
import socket
import time
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import serial

from core.errors import ConfigurationError, Unavailable
from edge.drivers.protocol import WebAccess
from edge.http_port import HttpPort
from edge.port_url import FILE_SCHEME, is_web

CONNECT_TIMEOUT_S: Final = 5.0
WRITE_TIMEOUT_S: Final = 2.0
SLICE_S: Final = 0.1
"""A serial read waits so long at a time; a `read` overruns its timeout by no more."""
MAX_READ_BYTES: Final = 4096


class Port(Protocol):
    """An open line to one device, used by one thread. Every method raises Unavailable once the other side is gone."""

    def read(self, timeout_s: float) -> bytes:
        """1 to MAX_READ_BYTES bytes as soon as there are any; empty after `timeout_s` real seconds of silence."""
        ...

    def write(self, data: bytes) -> None:
        """Sends all of it, within WRITE_TIMEOUT_S."""
        ...

    def close(self) -> None:
        """Lets go of the line; may be called twice."""
        ...


def open_port(url: str, baud: int, *, web: WebAccess | None = None) -> Port:
    """Opens the line, 8 data bits, no parity, 1 stop bit. `web` is how a stream over HTTP is asked for.

    Raises Unavailable when it cannot be opened now, ConfigurationError when the URL can never be.
    """
    if is_web(url):
        return HttpPort(url, web or WebAccess())
    if url.startswith("socket://"):
        return _SocketPort(url)
    if url.startswith(FILE_SCHEME):
        return _FilePort(url)
    try:
        return _SerialPort(url, serial.serial_for_url(url, baud, timeout=SLICE_S, write_timeout=WRITE_TIMEOUT_S))
    except ValueError as error:
        raise ConfigurationError(f"port {url!r} at {baud} baud: {error}") from error
    except OSError as error:
        raise Unavailable(f"port {url!r}: {error}") from error


class _SocketPort:
    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, number = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigurationError(f"port {url!r}: {error}") from error
        if not host or not number or parts.path or parts.query:
            raise ConfigurationError(f"port {url!r} is not socket://<host>:<port>")
        self._url = url
        try:
            self._socket = socket.create_connection((host, number), timeout=CONNECT_TIMEOUT_S)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(WRITE_TIMEOUT_S)
        except OSError as error:
            raise Unavailable(f"port {url!r}: {error}") from error

    def read(self, timeout_s: float) -> bytes:
        try:
            ready, _, _ = select.select([self._socket], [], [], max(0.0, timeout_s))
            data = self._socket.recv(MAX_READ_BYTES) if ready else None
        except (OSError, ValueError) as error:
            raise Unavailable(f"port {self._url!r}: {error}") from error
        if data == b"":
            raise Unavailable(f"port {self._url!r}: the other side closed the connection")
        return data or b""

    def write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Unavailable(f"port {self._url!r}: {error}") from error

    def close(self) -> None:
        self._socket.close()


class _FilePort:
    """A file of the kernel (`/sys/...`): `write` asks, the next `read` is what the file says then."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._path = Path(url.removeprefix(FILE_SCHEME))
        self._asked = False
        if not self._path.is_file():
            raise Unavailable(f"port {url!r}: there is no such file; is the device plugged in and its kernel module loaded?")

    def read(self, timeout_s: float) -> bytes:
        if not self._asked:
            # A file that was not asked is silent, and silence lasts as long as the caller listens.
            time.sleep(max(0.0, timeout_s))
            return b""
        self._asked = False
        try:
            with self._path.open("rb", buffering=0) as file:
                return file.read(MAX_READ_BYTES)
        except OSError as error:
            raise Unavailable(f"port {self._url!r}: {error.strerror}") from error

    def write(self, data: bytes) -> None:  # noqa: ARG002  there is nothing to say to it
        self._asked = True

    def close(self) -> None:
        self._asked = False


class _SerialPort:
    def __init__(self, url: str, line: serial.Serial) -> None:
        self._url = url
        self._line = line

    def read(self, timeout_s: float) -> bytes:
        try:
            # A line's own timeout is left alone: changing it makes an RFC 2217 server negotiate anew.
            for _ in range(max(1, round(timeout_s / SLICE_S))):
                if first := self._line.read(1):
                    more = min(self._line.in_waiting, MAX_READ_BYTES - 1)
                    return bytes(first + self._line.read(more)) if more else bytes(first)
        except (OSError, TypeError) as error:  # pyserial: TypeError when another thread closed it
            raise Unavailable(f"port {self._url!r}: {error}") from error
        return b""

    def write(self, data: bytes) -> None:
        try:
            self._line.write(data)
        except OSError as error:
            raise Unavailable(f"port {self._url!r}: {error}") from error

    def close(self) -> None:
        try:
            self._line.close()
        except OSError as error:
            raise Unavailable(f"port {self._url!r}: {error}") from error
