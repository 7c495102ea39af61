"""A device's serial line as a TCP server: one listener at a time, and sometimes a line that lies."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final, Protocol

from core.errors import ConfigurationError
from simulators.scenario import Lying

MAX_NOISE_BYTES: Final = 12
MAX_UNSENT_BYTES: Final = 262_144
"""A device does not wait for a slow listener: what does not fit is gone, as on a wire."""


class Sent(Enum):
    """How a frame went out."""

    WHOLE = "whole"
    SPOILED = "spoiled"
    LOST = "lost"


@dataclass(slots=True, eq=False)
class Connection:
    """One agent on the line."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    lying: Lying
    random: Random
    broken: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, data: bytes) -> Sent:
        """Puts a frame on the line; noise before it, a cut, or a drop of the line spoil it."""
        if self.broken.is_set() or self.writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            return Sent.LOST
        outcome = Sent.WHOLE
        if self.random.random() < self.lying.noise:
            self.writer.write(self.random.randbytes(self.random.randint(1, MAX_NOISE_BYTES)))
            outcome = Sent.SPOILED
        if self.random.random() < self.lying.cut:
            data, outcome = data[: self.random.randrange(len(data))], Sent.SPOILED
        self.writer.write(data)
        if self.random.random() < self.lying.drop:
            self.hang_up()
            outcome = Sent.SPOILED
        return outcome

    def hang_up(self) -> None:
        """Ends the connection."""
        self.broken.set()
        self.writer.close()

    async def outlives(self, seconds: float) -> bool:
        """True when the line is still up after so many real seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self.broken.wait()
        except TimeoutError:
            return True
        return False


class Device(Protocol):
    """What stands at the end of a line."""

    async def attend(self, connection: Connection) -> None:
        """Talks until the line breaks (the stream ends)."""


class Wire(Protocol):
    """What an agent can connect to. `connection` is the agent on it; nothing new may begin on one that is `closing`."""

    connection: Connection | None
    closing: bool

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Starts listening and returns the port, one the system chooses when 0 is asked for. Raises ConfigurationError."""
        ...

    async def close(self) -> None:
        """Stops listening and hangs up."""
        ...


class Line:
    """Listens on a TCP port; a new listener takes the line from the one before."""

    def __init__(self, device: Device, lying: Lying, seed: str) -> None:
        self._device = device
        self._lying = lying
        self._random = Random(seed)  # noqa: S311  a simulation, not a secret
        self._server: asyncio.Server | None = None
        self.connection: Connection | None = None
        self.closing = False
        """True when nothing new may begin here."""

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Starts listening and returns the port, one the system chooses when 0 is asked for. Raises ConfigurationError."""
        try:
            self._server = await asyncio.start_server(self._attend, host, port)
        except OSError as error:
            raise ConfigurationError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
        opened: int = self._server.sockets[0].getsockname()[1]
        return opened

    async def close(self) -> None:
        """Stops listening and hangs up."""
        if self._server is not None:
            self._server.close()
        if self.connection is not None:
            self.connection.hang_up()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.connection is not None:
            self.connection.hang_up()
        connection = self.connection = Connection(reader, writer, self._lying, self._random)
        try:
            await self._device.attend(connection)
        except (ConnectionError, asyncio.IncompleteReadError):
            connection.broken.set()
        finally:
            connection.hang_up()
            if self.connection is connection:
                self.connection = None
