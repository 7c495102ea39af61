"""What an agent can switch: a light or a buzzer at a GPIO pin of its own, or at a relay that speaks Modbus.

An output is switched when it must change and read back where it can be; nothing here remembers what it should be. A relay on a
line that is polled talks through that line (`Line.run_errand`), any other over a short connection of its own: two programs that
hold one serial line take each other's answers.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from core.errors import ConfigurationError, Unavailable
from edge.drivers.modbus_frame import COIL_ON, EXCEPTION, READ_COILS, WRITE_COIL, Framing, framed, refusal, request, sealed
from edge.port_url import FILE_SCHEME, check_port, is_topic
from edge.ports import Port, open_port

TRIES: Final = 3
"""How often an output is tried before it is unavailable."""
ANSWER_S: Final = 0.5
"""Real seconds a relay has for each answer."""
MAX_STALE_READS: Final = 16
MAX_PIN_CHARACTERS: Final = 16

Talk = Callable[[Port], None]


class Output(Protocol):
    """Something with two states that the agent sets. Its methods block for at most a few seconds; call them in one thread."""

    name: str

    def switch(self, on: bool) -> None:
        """Sets it, tries again up to TRIES times, and reads it back. Raises Unavailable when it is not known to be so."""
        ...

    def is_on(self) -> bool:
        """What it says of itself. Raises Unavailable."""
        ...


class PinOutput:
    """A GPIO pin the kernel shows as a file, `/sys/class/gpio/gpio<N>/value`, exported and set to `out` beforehand."""

    def __init__(self, name: str, path: Path, *, invert: bool = False) -> None:
        self.name = name
        self._path = path
        self._invert = invert

    def switch(self, on: bool) -> None:
        """Writes the pin and reads it back. Raises Unavailable."""
        for _ in range(TRIES):
            try:
                with self._path.open("r+") as pin:
                    pin.write("1\n" if on is not self._invert else "0\n")
            except OSError as error:
                what = f"{self._path}: {error.strerror}; is the pin exported as an output?"
                raise Unavailable(f"output {self.name!r}: {what}") from error
            if self.is_on() is on:
                return
        raise Unavailable(f"output {self.name!r}: {self._path} was written and does not change; is its direction 'out'?")

    def is_on(self) -> bool:
        """What the pin says. Raises Unavailable."""
        try:
            with self._path.open() as pin:
                text = pin.read(MAX_PIN_CHARACTERS).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"output {self.name!r}: {self._path} cannot be read: {error}") from error
        if text not in ("0", "1"):
            raise Unavailable(f"output {self.name!r}: {self._path} holds {text[:20]!r}, not 0 or 1")
        return (text == "1") is not self._invert


class CoilOutput:
    """A coil of a Modbus relay (functions 05 and 01). `talk` runs a conversation on an open port: see `own_connection`."""

    def __init__(
        self,
        name: str,
        talk: Callable[[Talk], None],
        *,
        unit_id: int,
        coil: int,
        framing: Framing = "rtu",
        invert: bool = False,
    ) -> None:
        self.name = name
        self._talk = talk
        self._unit_id = unit_id
        self._coil = coil
        self._framing: Framing = framing
        self._invert = invert
        self._transaction = 0
        self._answer = b""

    def switch(self, on: bool) -> None:
        """Writes the coil; the relay's own word (function 01) is believed, not its echo. Raises Unavailable."""
        wanted = on is not self._invert
        failure: Unavailable | None = None
        for _ in range(TRIES):
            try:
                self._ask(request(self._unit_id, WRITE_COIL, self._coil, COIL_ON if wanted else 0))
                if self.is_on() is on:
                    return
                failure = Unavailable(f"{self._place()}: says {'off' if on else 'on'} after it was switched")
            except Unavailable as error:
                failure = error
        raise Unavailable(f"output {self.name!r}: {TRIES} tries: {failure}") from failure

    def is_on(self) -> bool:
        """What the relay says of the coil. Raises Unavailable."""
        answer = self._ask(request(self._unit_id, READ_COILS, self._coil, 1))
        if len(answer) != 4 or answer[2] != 1:
            raise Unavailable(f"{self._place()}: answers {answer.hex()} when asked for its state")
        return bool(answer[3] & 1) is not self._invert

    def _place(self) -> str:
        return f"unit {self._unit_id}, coil {self._coil}"

    def _ask(self, body: bytes) -> bytes:
        """The body of the answer. Raises Unavailable for silence and for a refusal."""
        self._transaction = (self._transaction + 1) & 0xFFFF
        self._answer = b""
        self._talk(lambda port: self._converse(port, body))
        if self._answer[1] & EXCEPTION:
            raise Unavailable(f"{self._place()}: refuses function {body[1]}: {refusal(self._answer[2])}")
        return self._answer

    def _converse(self, port: Port, body: bytes) -> None:
        for _ in range(MAX_STALE_READS):
            if not port.read(0.0):
                break
        port.write(framed(body, self._framing, self._transaction))
        heard = bytearray()
        deadline = time.monotonic() + ANSWER_S
        while (left := deadline - time.monotonic()) > 0:
            heard += port.read(left)
            if answer := self._find(bytes(heard), body):
                self._answer = answer
                return
        raise Unavailable(f"{self._place()}: no answer in {ANSWER_S:g} s (heard {len(heard)} bytes)")

    def _find(self, heard: bytes, body: bytes) -> bytes:
        """The body of the answer among what was heard; empty when it is not there yet."""
        unit, function = body[0], body[1]
        # The answer to function 05 is the request again: only reading tells it from an adapter's echo, and `switch` reads.
        shapes = ((function, len(body) if function == WRITE_COIL else 4), (function | EXCEPTION, 3))
        for told, length in shapes:
            for start in range(len(heard)):
                if self._framing == "rtu":
                    candidate = heard[start : start + length]
                    whole = heard[start : start + length + 2] == sealed(candidate)
                else:
                    candidate = heard[start + 6 : start + 6 + length]
                    whole = heard[start : start + 6 + length] == framed(candidate, "tcp", self._transaction)
                if whole and len(candidate) == length and candidate[:2] == bytes((unit, told)):
                    return candidate
        return b""


def own_connection(url: str, baud: int = 9600, *, open_line: Callable[[str, int], Port] = open_port) -> Callable[[Talk], None]:
    """Conversations that each open the port and let go of it. For a relay alone on its line, or behind a TCP gateway."""

    def run(talk: Talk) -> None:
        port = open_line(url, baud)
        try:
            talk(port)
        finally:
            port.close()

    return run


def make_output(
    name: str,
    url: str,
    *,
    unit_id: int = 1,
    coil: int = 0,
    framing: Framing = "rtu",
    baud: int = 9600,
    invert: bool = False,
    run_errand: Callable[[Talk], None] | None = None,
) -> Output:
    """The output at an address: `file:///...` is a pin, every other port a Modbus relay.

    `run_errand` is that of the polled line that holds the port already, None when no line does. Raises ConfigurationError.
    """
    check_port(url)
    if is_topic(url) or url.startswith(("http://", "https://")):
        raise ConfigurationError(f"output {name!r}: {url!r} is neither a pin (file:///...) nor the line of a Modbus relay")
    if url.startswith(FILE_SCHEME):
        return PinOutput(name, Path(url.removeprefix(FILE_SCHEME)), invert=invert)
    talk = own_connection(url, baud) if run_errand is None else run_errand
    return CoilOutput(name, talk, unit_id=unit_id, coil=coil, framing=framing, invert=invert)
