"""A fixed reader that speaks LLRP: keeps ROSpecs, takes one client, sends keepalives and drops a client that is deaf to them."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

from core.errors import ConfigurationError
from edge.drivers import llrp_frames as llrp
from edge.drivers.llrp import Driver
from edge.drivers.llrp_frames import Framer, Message, Parameter, message, number, parameter, parameters, text
from edge.drivers.observations import PortChanged, TagRead
from edge.drivers.protocol import DeviceOptions
from simulators.devices.line import Connection, Sent
from simulators.scenario import Lying

MISSED_ACKS: Final = 2
"""Keepalives in a row that may stay unanswered; at the next one the client is dropped."""
HEARD: Final = 64
DISABLED, INACTIVE, ACTIVE = 0, 1, 2
CLIENT_EXISTS, ANOTHER_TRIES = 2, 4
GOOD, M_PARAMETER, M_FIELD, M_UNSUPPORTED, FIELD_OUT_OF_RANGE = 0, 100, 101, 109, 301


@dataclass(frozen=True, slots=True)
class ReaderModel:
    """What the reader tells of itself; the defaults are those of a Speedway R420. `powers` are hundredths of a dBm from index 1."""

    vendor: int = llrp.IMPINJ
    model: int = 2001002
    firmware: str = "5.14.0.240"
    antennas: int = 4
    gpis: int = 4
    powers: tuple[int, ...] = tuple(range(1000, 3001, 25))
    most_rospecs: int = 1


@dataclass(slots=True)
class RoSpec:
    """One ROSpec: its parameter's body as it was added, and its state."""

    body: bytes
    state: int = DISABLED


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command is not done. `place` is the chain of parameter types to the field `number_of_field` that is blamed."""

    code: int
    words: str
    place: tuple[int, ...] = ()
    number_of_field: int = 0

    def parameter(self) -> bytes:
        """The LLRPStatus that tells it."""
        blamed = b""
        if self.number_of_field:
            blamed = parameter(llrp.FIELD_ERROR, self.number_of_field.to_bytes(2, "big") + FIELD_OUT_OF_RANGE.to_bytes(2, "big"))
        for kind in reversed(self.place):
            blamed = parameter(llrp.PARAMETER_ERROR, kind.to_bytes(2, "big") + (201).to_bytes(2, "big") + blamed)
        return parameter(llrp.STATUS, self.code.to_bytes(2, "big") + text(self.words) + blamed)


Answer = bytes | Refusal
_DONE: Final = Refusal(GOOD, "").parameter()


@dataclass(eq=False)
class LlrpReader:
    """One reader. What a client told it outlives the client's connection, not a `reboot`.

    `is_silent` sends nothing more, as a reader that hangs; `drops_keepalives` sends everything else. `heard` holds the types of
    the last messages, `counts`: refused_clients, dropped_clients.
    """

    model: ReaderModel = ReaderModel()
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    rospecs: dict[int, RoSpec] = field(default_factory=dict)
    keepalive_s: float = 0.0
    enabled_gpis: set[int] = field(default_factory=set)
    gpis: dict[int, bool] = field(default_factory=dict)
    is_silent: bool = False
    drops_keepalives: bool = False
    is_extended: bool = False
    heard: deque[int] = field(default_factory=lambda: deque(maxlen=HEARD))
    counts: Counter[str] = field(default_factory=Counter)
    connection: Connection | None = None
    closing: bool = False
    lying: Lying = field(default_factory=Lying)
    seed: str = ""
    _server: asyncio.Server | None = None
    _random: Random = field(init=False)
    _unanswered: int = 0
    _told: asyncio.Event = field(default_factory=asyncio.Event)
    _driver: Driver = field(default_factory=lambda: Driver(DeviceOptions()))

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311  a simulation, not a secret

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

    def reboot(self) -> None:
        """Loses the client and everything it was told."""
        self.rospecs.clear()
        self.enabled_gpis.clear()
        self.keepalive_s, self.is_extended = 0.0, False
        if self.connection is not None:
            self.connection.hang_up()

    @property
    def is_reading(self) -> bool:
        """True when a client listens and a ROSpec runs."""
        return self.connection is not None and any(each.state == ACTIVE for each in self.rospecs.values())

    def report(self, reads: list[TagRead]) -> list[Sent]:
        """Sends one report a read, as with N = 1; a reader that does not read sends none."""
        return [self._send(self._driver.encode(read)) if self.is_reading else Sent.LOST for read in reads]

    def turn_input(self, port: int, *, on: bool) -> Sent:
        """An input changes; told when the client asked for it."""
        self.gpis[port] = on
        return self._send(self._driver.encode(PortChanged(port, on, self.now()))) if port in self.enabled_gpis else Sent.LOST

    def _send(self, data: bytes) -> Sent:
        return Sent.LOST if self.connection is None or self.is_silent else self.connection.send(data)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Connection(reader, writer, self.lying, self._random)
        if self.connection is not None:
            self.counts["refused_clients"] += 1
            client.send(self._greeting(CLIENT_EXISTS))
            self._send(self._greeting(ANOTHER_TRIES))
            client.hang_up()
            return
        self.connection, self._unanswered = client, 0
        self._send(self._greeting(0))
        try:
            async with asyncio.TaskGroup() as group:
                beat = group.create_task(self._keep_alive(client))
                await self._obey_all(client)
                beat.cancel()
        finally:
            client.hang_up()
            self.connection = None

    async def _obey_all(self, client: Connection) -> None:
        framer = Framer(Counter(), capture=False)
        while not client.broken.is_set():
            try:
                data = await client.reader.read(4096)
            except ConnectionError:
                return
            if not data:
                return
            for each in framer.feed(data):
                self.heard.append(each.kind)
                self._obey(client, each)

    async def _keep_alive(self, client: Connection) -> None:
        number_of = 0
        while not client.broken.is_set():
            self._told.clear()
            try:
                async with asyncio.timeout(self.keepalive_s or None):
                    await self._told.wait()
                continue
            except TimeoutError:
                number_of += 1
            if self._unanswered > MISSED_ACKS:
                self.counts["dropped_clients"] += 1
                client.hang_up()
                return
            if not self.drops_keepalives:
                self._send(message(llrp.KEEPALIVE, number_of))
                self._unanswered += 1

    def _greeting(self, outcome: int) -> bytes:
        stamp = parameter(llrp.UTC_TIMESTAMP, round(self.now().timestamp() * 1_000_000).to_bytes(8, "big"))
        event = parameter(llrp.CONNECTION_ATTEMPT, outcome.to_bytes(2, "big"))
        return message(llrp.READER_EVENT_NOTIFICATION, 0, parameter(llrp.EVENT_DATA, stamp + event))

    def _obey(self, client: Connection, told: Message) -> None:
        if told.kind == llrp.KEEPALIVE_ACK:
            self._unanswered = 0
            return
        if told.kind == llrp.ENABLE_EVENTS_AND_REPORTS:
            return
        commands: dict[int, Callable[[bytes], Answer]] = {
            llrp.GET_READER_CAPABILITIES: self._capabilities,
            llrp.GET_READER_CONFIG: self._config,
            llrp.SET_READER_CONFIG: self._configure,
            llrp.ADD_ROSPEC: self._add,
            llrp.GET_ROSPECS: self._list,
            llrp.CUSTOM_MESSAGE: self._extend,
            llrp.DELETE_ACCESSSPEC: lambda _: b"",
            llrp.CLOSE_CONNECTION: lambda _: b"",
            llrp.DELETE_ROSPEC: self._delete,
            llrp.ENABLE_ROSPEC: lambda body: self._change(body, (DISABLED,), INACTIVE),
            llrp.DISABLE_ROSPEC: lambda body: self._change(body, (INACTIVE, ACTIVE), DISABLED),
            llrp.START_ROSPEC: lambda body: self._change(body, (INACTIVE,), ACTIVE),
            llrp.STOP_ROSPEC: lambda body: self._change(body, (ACTIVE,), INACTIVE),
        }
        if (do := commands.get(told.kind)) is None:
            refusal = Refusal(M_UNSUPPORTED, f"message type {told.kind} is not supported")
            self._send(message(llrp.ERROR_MESSAGE, told.ident, refusal.parameter()))
            return
        answer = do(told.body)
        body = answer.parameter() if isinstance(answer, Refusal) else _DONE + answer
        if told.kind == llrp.CUSTOM_MESSAGE:
            body = told.body[:4] + bytes((llrp.IMPINJ_ENABLE_EXTENSIONS + 1,)) + body
        self._send(message(llrp.ANSWERS[told.kind], told.ident, body))
        if told.kind == llrp.CLOSE_CONNECTION:
            client.hang_up()

    def _capabilities(self, _: bytes) -> Answer:
        model = self.model
        head = model.antennas.to_bytes(2, "big") + b"\x40\x00" + model.vendor.to_bytes(4, "big") + model.model.to_bytes(4, "big")
        gpio = parameter(llrp.GPIO_CAPABILITIES, model.gpis.to_bytes(2, "big") + model.gpis.to_bytes(2, "big"))
        powers = b"".join(
            parameter(llrp.POWER_LEVEL, index.to_bytes(2, "big") + power.to_bytes(2, "big", signed=True))
            for index, power in enumerate(model.powers, 1)
        )
        hops = parameter(llrp.HOP_TABLE, b"\x01\x00\x00\x01" + (920_625).to_bytes(4, "big"))
        band = parameter(llrp.UHF_BAND_CAPABILITIES, powers + parameter(llrp.FREQUENCY_INFORMATION, b"\x80" + hops))
        general = parameter(llrp.GENERAL_CAPABILITIES, head + text(model.firmware) + gpio)
        return general + parameter(llrp.REGULATORY_CAPABILITIES, b"\x00\x9c\x00\x01" + band)

    def _config(self, _: bytes) -> Answer:
        states = [(port, port in self.enabled_gpis, self.gpis.get(port, False)) for port in range(1, self.model.gpis + 1)]
        return b"".join(
            parameter(llrp.GPI_STATE, p.to_bytes(2, "big") + bytes((0x80 if told else 0, on))) for p, told, on in states
        )

    def _configure(self, body: bytes) -> Answer:
        for each in parameters(body, 1)[0]:
            if each.kind == llrp.KEEPALIVE_SPEC:
                self.keepalive_s = number(each.body, 1, 4) / 1000 if each.body[0] else 0.0
                self._told.set()
            elif each.kind == llrp.GPI_STATE:
                port = number(each.body, 0)
                if not 0 < port <= self.model.gpis:
                    return Refusal(M_PARAMETER, f"there is no input {port}", (llrp.GPI_STATE,), 1)
                (self.enabled_gpis.add if each.body[2] & 0x80 else self.enabled_gpis.discard)(port)
        return b""

    def _add(self, body: bytes) -> Answer:
        spec = next((each.body for each in parameters(body)[0] if each.kind == llrp.RO_SPEC), None)
        if spec is None:
            return Refusal(M_PARAMETER, "ROSpec is missing")
        ident = number(spec, 0, 4)
        if not ident or spec[5] != DISABLED:
            return Refusal(M_FIELD, "a ROSpec is added disabled, under a number above 0", (llrp.RO_SPEC,), 1)
        if ident in self.rospecs or len(self.rospecs) >= self.model.most_rospecs:
            return Refusal(M_PARAMETER, f"no room for ROSpec {ident}: {sorted(self.rospecs)} are there", (llrp.RO_SPEC,))
        if (refusal := self._unfit(spec)) is not None:
            return refusal
        self.rospecs[ident] = RoSpec(spec)
        return b""

    def _unfit(self, spec: bytes) -> Refusal | None:
        """What of a ROSpec this reader cannot do."""
        way: tuple[int, ...] = (llrp.RO_SPEC, llrp.AI_SPEC, llrp.INVENTORY_SPEC, llrp.ANTENNA_CONFIGURATION)
        for antenna, power in _antennas(spec):
            if antenna > self.model.antennas:
                return Refusal(M_PARAMETER, f"AntennaID {antenna} is out of range", way, 1)
            if power is not None and not 1 <= power <= len(self.model.powers):
                words = f"TransmitPowerIndex {power} is not in the TransmitPowerLevelTable"
                return Refusal(M_PARAMETER, words, (*way, llrp.RF_TRANSMITTER), 3)
        reports = [each for each in parameters(spec, 6)[0] if each.kind == llrp.RO_REPORT_SPEC]
        if any(each.kind == llrp.CUSTOM for report in reports for each in parameters(report.body, 3)[0]) and not self.is_extended:
            return Refusal(M_PARAMETER, "extensions are not enabled", (llrp.RO_SPEC, llrp.RO_REPORT_SPEC, llrp.CUSTOM))
        return None

    def _list(self, _: bytes) -> Answer:
        return b"".join(
            parameter(llrp.RO_SPEC, each.body[:5] + bytes((each.state,)) + each.body[6:]) for each in self.rospecs.values()
        )

    def _extend(self, body: bytes) -> Answer:
        if self.model.vendor != llrp.IMPINJ or number(body, 0, 4) != llrp.IMPINJ:
            return Refusal(M_UNSUPPORTED, "no such custom message")
        self.is_extended = True
        return b""

    def _delete(self, body: bytes) -> Answer:
        ident = number(body, 0, 4)
        if ident and ident not in self.rospecs:
            return Refusal(M_FIELD, f"ROSpec {ident} is not there", (), 1)
        for each in list(self.rospecs) if not ident else [ident]:
            del self.rospecs[each]
        return b""

    def _change(self, body: bytes, before: tuple[int, ...], after: int) -> Answer:
        ident = number(body, 0, 4)
        spec = self.rospecs.get(ident)
        if spec is None or spec.state not in before:
            state = "not there" if spec is None else ("disabled", "inactive", "active")[spec.state]
            return Refusal(M_FIELD, f"ROSpec {ident} is {state}", (), 1)
        spec.state = after
        return b""


def _antennas(spec: bytes) -> list[tuple[int, int | None]]:
    """Antenna and transmit power index of each AntennaConfiguration of a ROSpec."""

    def inside(found: list[Parameter], kind: int, at: Callable[[bytes], int]) -> list[Parameter]:
        return [inner for each in found if each.kind == kind for inner in parameters(each.body, at(each.body))[0]]

    plans = inside(parameters(spec, 6)[0], llrp.AI_SPEC, lambda body: 2 + 2 * number(body, 0))
    found: list[tuple[int, int | None]] = []
    for each in inside(plans, llrp.INVENTORY_SPEC, lambda _: 3):
        if each.kind == llrp.ANTENNA_CONFIGURATION:
            sent = [number(inner.body, 4) for inner in parameters(each.body, 2)[0] if inner.kind == llrp.RF_TRANSMITTER]
            found.append((number(each.body, 0), sent[0] if sent else None))
    return found
