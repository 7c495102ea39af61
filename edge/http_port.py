"""A stream that a device serves over HTTP, as a Port: GET it, and hand out the body's bytes as they come.

Spoken here directly: http.client reads through a buffer that cannot be used again after a timeout, and a stream is mostly waiting.
"""

import base64
import logging
import select
import socket
import ssl
import time
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

from core.errors import ConfigurationError, Unavailable
from edge.drivers.protocol import WebAccess

CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 10.0
"""Real seconds a device may take to answer a request."""
MAX_HEAD_BYTES: Final = 16_384
MAX_LINE_BYTES: Final = 1_024
MAX_READ_BYTES: Final = 4096
_NO_BODY: Final = frozenset({204, 304})

log = logging.getLogger(__name__)


class BadResponse(Exception):
    """What came is not an HTTP response that this end understands."""


class Response:
    """One HTTP/1.1 response out of its bytes, however they are cut. Raises BadResponse."""

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""
        self.headers: dict[str, str] = {}
        self.has_head = False
        self.is_complete = False
        self._held = bytearray()
        self._left: int | None = None
        self._is_chunked = False
        self._in_trailer = False

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body that these complete."""
        self._held += data
        while not self.has_head:
            if not self._take_head():
                return b""
        body = bytearray()
        while not self.is_complete and self._take_body(body):
            pass
        return bytes(body)

    def _take_head(self) -> bool:
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            if len(self._held) > MAX_HEAD_BYTES:
                raise BadResponse(f"its head is longer than {MAX_HEAD_BYTES} bytes")
            return False
        lines = self._held[:end].decode("latin-1").split("\r\n")
        del self._held[: end + 4]
        version, _, rest = lines[0].partition(" ")
        code, _, self.reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit() and len(code) == 3):
            raise BadResponse(f"it begins with {lines[0][:60]!r}")
        if 100 <= int(code) < 200:  # an interim response: the real one follows
            return True
        self.status = int(code)
        fields = [line.partition(":") for line in lines[1:]]
        self.headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        self._measure_body()
        self.has_head = True
        return True

    def _measure_body(self) -> None:
        coding = self.headers.get("transfer-encoding", "identity").lower()
        self._is_chunked = coding == "chunked"
        if coding not in ("chunked", "identity") or self.headers.get("content-encoding", "identity").lower() != "identity":
            raise BadResponse(f"its body is coded {coding}, {self.headers.get('content-encoding', 'identity')}")
        length = self.headers.get("content-length")
        if self._is_chunked or length is None:
            self._left = 0 if self._is_chunked else None
        elif length.isascii() and length.isdigit():
            self._left = int(length)
        else:
            raise BadResponse(f"its Content-Length is {length[:20]!r}")
        self.is_complete = self.status in _NO_BODY or (self._left == 0 and not self._is_chunked)

    def _take_body(self, body: bytearray) -> bool:
        """Moves what is there into the body; False when more bytes are needed."""
        if self._left is None:  # until the connection ends
            body += self._held
            self._held.clear()
            return False
        if self._left:
            part = self._held[: self._left]
            body += part
            del self._held[: len(part)]
            self._left -= len(part)
            self.is_complete = not self._left and not self._is_chunked
            return not self._left
        return self._take_chunk_line()

    def _take_chunk_line(self) -> bool:
        end = self._held.find(b"\n")
        if end < 0:
            if len(self._held) > MAX_LINE_BYTES:
                raise BadResponse(f"a chunk's size is longer than {MAX_LINE_BYTES} bytes")
            return False
        line = bytes(self._held[:end]).strip()
        del self._held[: end + 1]
        if self._in_trailer:
            self.is_complete = not line
        elif line:  # an empty one ends the chunk before
            size = line.partition(b";")[0].strip()
            if not size or len(size) > 8 or size.strip(b"0123456789abcdefABCDEF"):
                raise BadResponse(f"a chunk's size is {line[:20]!r}")
            self._left = int(size, 16)
            self._in_trailer = not self._left
        return True


class HttpPort:
    """An open stream. Sends the device's POSTs, then GETs the address; redirects are not followed."""

    def __init__(self, url: str, access: WebAccess) -> None:
        self._url = url
        self._access = access
        self._parts = _split(url)
        for path in access.posts:
            self._post(path)
        self._response = Response()
        self._socket = self._ask("GET", _target(self._parts))
        self._body = bytearray()
        try:
            self._body += self._await_head(self._socket, self._response)
            self._check(self._response, "GET", _target(self._parts))
        except Unavailable:
            self.close()
            raise

    def read(self, timeout_s: float) -> bytes:
        """Bytes of the body as soon as there are any; empty after so many real seconds of silence. Raises Unavailable."""
        deadline = time.monotonic() + timeout_s
        while not self._body:
            if self._response.is_complete:
                raise Unavailable(f"port {self._url!r}: the device ended the stream")
            data = self._receive(self._socket, deadline)
            if not data:
                return b""
            self._body += self._decode(self._response, data)
        data = bytes(self._body[:MAX_READ_BYTES])
        del self._body[: len(data)]
        return data

    def write(self, data: bytes) -> None:
        """Nothing can be sent on a stream. Raises Unavailable when there is something to send."""
        if data:
            raise Unavailable(f"port {self._url!r}: a stream over HTTP takes no commands; give the device another kind of port")

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()

    def _post(self, path: str) -> None:
        response = Response()
        connection = self._ask("POST", path)
        try:
            self._await_head(connection, response)
        finally:
            connection.close()
        if response.status == 409:
            # It already does something; when that is not what was asked for, its events will say so.
            log.warning("post_conflict port=%s path=%s reason=%r", self._url, path, response.reason)
        else:
            self._check(response, "POST", path)

    def _ask(self, method: str, target: str) -> socket.socket:
        """A connection on which the request was sent; it does not block from now on."""
        host, port = self._parts.hostname or "", self._parts.port or (443 if self._parts.scheme == "https" else 80)
        name = f"[{host}]" if ":" in host else host
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {name}:{port}",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "User-Agent: quartermaster",
            *self._authorization(),
            *(["Content-Length: 0", "Connection: close"] if method == "POST" else []),
        ]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
        plain = None
        try:
            plain = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection = self._wrap(plain, host)
            connection.sendall(request)
        except OSError as error:
            if plain is not None:
                plain.close()
            raise Unavailable(f"port {self._url!r}: {_reason(error)}") from error
        connection.setblocking(False)
        return connection

    def _wrap(self, plain: socket.socket, host: str) -> socket.socket:
        if self._parts.scheme != "https":
            return plain
        try:
            context = ssl.create_default_context(cafile=self._access.ca_file)
        except (OSError, ssl.SSLError) as error:
            plain.close()
            raise Unavailable(f"port {self._url!r}: options.ca_file {self._access.ca_file!r} cannot be used: {error}") from error
        return context.wrap_socket(plain, server_hostname=host)

    def _authorization(self) -> list[str]:
        if self._access.username is None:
            return []
        password = ""
        if self._access.password_file is not None:
            try:
                password = Path(self._access.password_file).read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                name = self._access.password_file
                raise Unavailable(f"port {self._url!r}: options.password_file {name!r} cannot be read: {error}") from error
        pair = base64.b64encode(f"{self._access.username}:{password}".encode()).decode("ascii")
        return [f"Authorization: Basic {pair}"]

    def _await_head(self, connection: socket.socket, response: Response) -> bytes:
        """Reads until the head is whole; the bytes of the body that came with it."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        body = b""
        while not response.has_head:
            data = self._receive(connection, deadline)
            if not data:
                raise Unavailable(f"port {self._url!r}: no answer to the request in {ANSWER_TIMEOUT_S:g} s")
            body = self._decode(response, data)
        return body

    def _receive(self, connection: socket.socket, deadline: float) -> bytes:
        """Bytes as soon as there are any, empty after the deadline. Raises Unavailable when the other side is gone."""
        while True:
            try:
                data = connection.recv(MAX_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not _is_readable(connection, left_s):
                    return b""
                continue
            except (OSError, ValueError) as error:
                raise Unavailable(f"port {self._url!r}: {error}") from error
            if not data:
                raise Unavailable(f"port {self._url!r}: the other side closed the connection")
            return data

    def _decode(self, response: Response, data: bytes) -> bytes:
        try:
            return response.feed(data)
        except BadResponse as error:
            raise Unavailable(f"port {self._url!r}: this is no HTTP stream: {error}") from error

    def _check(self, response: Response, method: str, target: str) -> None:
        if response.status == 200 or (method == "POST" and 200 <= response.status < 300):
            return
        status = f"{response.status} {response.reason}".strip()
        raise Unavailable(f"port {self._url!r}: {status} to {method} {target}; {self._advice(response)}")

    def _advice(self, response: Response) -> str:
        status, user = response.status, self._access.username
        if status == 401 and user is None:
            return "the device wants a login: give options.username and options.password_file"
        if status == 401:
            return f"the device refuses user {user!r}: options.username and options.password_file must be a login of the device"
        if status == 403:
            return f"user {user!r} may not do this, or the device's interface for this is switched off"
        if status == 404:
            return "the device knows no such path: look at the port's address and at the name in options.preset"
        if 300 <= status < 400:
            return f"it points to {response.headers.get('location', 'nowhere')!r}, which is not followed: write that as the port"
        return "the device cannot serve the stream now"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f"port {url!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"port {url!r} is not http://<host>/<path>")
    return parts


def _target(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
    return f"{path}?{quote(parts.query, safe='/%:@!$&()*+,;=-._~?')}" if parts.query else path


def _is_readable(connection: socket.socket, timeout_s: float) -> bool:
    try:
        poll = select.poll()  # select.select cannot watch descriptors above 1023
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
    except (OSError, ValueError):
        return True  # closed meanwhile: the next recv says so


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; give options.ca_file, and the name the certificate is for"
    return str(error)
