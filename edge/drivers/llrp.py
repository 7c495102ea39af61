"""Fixed UHF readers that speak LLRP 1.0.1 or 1.1 over TCP (Impinj, Zebra, ThingMagic/Jadak and others), port 5084.

The reader greets, then is told one message at a time: what can you do, forget what you were told, keepalives and events, one
ROSpec that reads without end. A reader takes one client. What it was told it forgets when it restarts, so every connection
begins from nothing, also one that takes over what a lost connection left behind.
"""

from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Final

from msgspec import Struct

from core.errors import CodeError
from edge.drivers import llrp_frames as llrp
from edge.drivers.llrp_frames import Framer, Message, Parameter, message, number, parameter, parameters, text_at
from edge.drivers.llrp_reports import read_report, report_of
from edge.drivers.llrp_setup import ROSPEC_ID, Capabilities, Options, Step, read_capabilities, read_rospec, steps
from edge.drivers.llrp_status import read_status
from edge.drivers.observations import Fault, Identity, Observation, PortChanged, Setting, TagRead
from edge.drivers.protocol import DeviceOptions, ReaderDriver

SILENT_KEEPALIVES: Final = 2.5
"""Keepalive periods without a byte after which the reader is given up; noticed within three."""
REFUSED_WAIT_S: Final = 1.0
"""Real seconds a reader that refused the connection may take to end it."""
PATIENCE: Final = 3
"""Keepalives that a command may stay unanswered, and that a refused set-up rests before it is tried again."""
CHECK_EVERY: Final = 6
"""Keepalives between two questions whether the reader still runs what it was told; the first comes with the first keepalive."""
MAX_REPLIES: Final = 1024
ACTIVE: Final = 2
IMPINJ_MODELS: Final = {
    2001001: "Speedway R220",
    2001002: "Speedway R420",
    2001003: "xPortal",
    2001007: "xArray",
    2001008: "xSpan",
    2001009: "Speedway R120",
    2001052: "R700",
}
_HIGH: Final = 0x80
_BUSY: Final = (
    "another client holds the reader; close the vendor's tool or the other gateway. It is tried again until the reader is free. "
    "If this gateway's own lost connection holds it, the reader lets go when its keepalives stay unanswered; else restart it"
)


class Driver(ReaderDriver):
    """Sets a reader up and reads its reports. Keeps one unfinished message and the rest of the set-up.

    `counts`, besides the framer's: merged_reads (tell `report_every = 1`), no_epc, broken_tag_report, unknown_parameter, clock,
    refused, refused_unneeded, no_answer, not_reading, set_up_again, unexpected_answer, buffer_warning, antenna_events,
    other_client, replies_dropped.
    """

    Options: ClassVar[type[Struct]] = Options

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        self._own = options.own if isinstance(options.own, Options) else Options()
        self._framer = Framer(self.counts, capture=options.capture)
        self._replies: list[bytes] = []
        self._steps: deque[Step] = deque()
        self._asked: tuple[Step, int] | None = None
        self._reader = Capabilities()
        self._last_id = 0
        self._keepalives = 0
        self._is_running = False
        self._can_check = True
        self._is_refused = False

    def silence_limit_s(self) -> float | None:
        """Two and a half keepalive periods; short once the reader refused the connection."""
        return REFUSED_WAIT_S if self._is_refused else SILENT_KEEPALIVES * self._own.keepalive_s

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """Tag reads, inputs, faults and the reader's identity, as these bytes complete them."""
        return [seen for each in self._framer.feed(data) for seen in self._understand(each, read_at)]

    def flush(self, read_at: datetime) -> list[Observation]:
        """What lies whole behind a wreck. An unfinished message is kept: TCP may yet bring the rest."""
        return [seen for each in self._framer.settle() for seen in self._understand(each, read_at)]

    def replies(self) -> list[bytes]:
        """The next command of the set-up, and acknowledged keepalives."""
        replies, self._replies = self._replies, []
        return replies

    def stop_commands(self) -> list[bytes]:
        """Ends the inventory and frees the reader for the next client."""
        ours = ROSPEC_ID.to_bytes(4, "big")
        return [self._numbered(llrp.DELETE_ROSPEC, ours), self._numbered(llrp.CLOSE_CONNECTION)]

    def pending_bytes(self) -> int:
        """Bytes of an unfinished message."""
        return len(self._framer)

    def encode(self, observation: Observation) -> bytes:
        """A report of one tag, or the event of an input. Raises CodeError for anything else and for what does not fit."""
        if isinstance(observation, TagRead):
            return report_of(observation)
        if isinstance(observation, PortChanged) and 0 < observation.port < 65_536:
            event = parameter(llrp.GPI_EVENT, observation.port.to_bytes(2, "big") + bytes((_HIGH if observation.on else 0,)))
            stamp = parameter(llrp.UTC_TIMESTAMP, round(observation.read_at.timestamp() * 1_000_000).to_bytes(8, "big"))
            return message(llrp.READER_EVENT_NOTIFICATION, 0, parameter(llrp.EVENT_DATA, stamp + event))
        raise CodeError(f"an LLRP reader cannot send {observation!r}")

    def _understand(self, told: Message, read_at: datetime) -> list[Observation]:
        if told.kind == llrp.KEEPALIVE:
            self._reply(message(llrp.KEEPALIVE_ACK, told.ident))
            return self._watch(read_at)
        if told.kind == llrp.RO_ACCESS_REPORT:
            return self._report(told.found, read_at)
        if told.kind == llrp.READER_EVENT_NOTIFICATION:
            events = [event for each in told.found if each.kind == llrp.EVENT_DATA for event in each.inside[0]]
            return [seen for event in events for seen in self._event(event, read_at)]
        if told.kind in _ANSWERING or told.kind == llrp.ERROR_MESSAGE:
            return self._answer(told, read_at)
        self.counts["unknown_message"] += 1
        return []

    def _report(self, told: Sequence[Parameter], read_at: datetime) -> list[Observation]:
        found: list[Observation] = []
        doubted: datetime | None = None
        for each in told:
            if each.kind != llrp.TAG_REPORT_DATA or (report := read_report(*each.inside, self.counts)) is None:
                continue
            self.counts["merged_reads"] += max(0, report.seen_count - 1)
            first_seen = report.first_seen
            limit_s = self.options.believable_age_s
            if first_seen is not None and limit_s is not None and abs((read_at - first_seen).total_seconds()) > limit_s:
                self.counts["clock"] += 1
                doubted, first_seen = first_seen, None
            antenna = self.options.antenna if report.antenna is None else report.antenna
            found.append(TagRead(report.epc, antenna, report.rssi_dbm, read_at, report.phase_deg, first_seen))
        if doubted is not None:
            detail = f"the reader says {doubted.isoformat()}, it is {read_at.isoformat()}; set its time server"
            found.append(Fault("clock", detail, read_at))
        return found

    def _event(self, event: Parameter, read_at: datetime) -> list[Observation]:
        body = event.body
        match event.kind:
            case llrp.CONNECTION_ATTEMPT:
                return self._greeted(number(body, 0), read_at)
            case llrp.GPI_EVENT:
                return [PortChanged(number(body, 0), bool(body[2] & _HIGH), read_at)]
            case llrp.ANTENNA_EVENT:
                self.counts["antenna_events"] += 1
                detail = f"antenna {number(body, 1)} was disconnected; look at its cable"
                return [] if body[0] else [Fault("antenna_lost", detail, read_at)]
            case llrp.READER_EXCEPTION:
                return [Fault("reader_exception", text_at(body, 0)[0][:300], read_at)]
            case llrp.BUFFER_OVERFLOW:
                return [Fault("reports_lost", "the reader's buffer ran over and reads are lost; is the network too slow?", read_at)]
            case llrp.BUFFER_WARNING:
                self.counts["buffer_warning"] += 1
            case llrp.ROSPEC_EVENT if body[0] and self._is_running and number(body, 1, 4) == ROSPEC_ID:
                return self._halt(Fault("not_reading", "the reader ended the inventory; it is set up again", read_at), rest=1)
        return []

    def _greeted(self, outcome: int, read_at: datetime) -> list[Observation]:
        """ConnectionAttemptEvent: 0 success, 1 and 2 a client is there, 3 failed, 4 (told to the old client) another one tries."""
        if outcome == 0:
            if self._asked is None and not self._is_running:
                self._begin()
            return []
        if outcome == 4:
            self.counts["other_client"] += 1
            return []
        self._is_refused = True
        self.counts["refused"] += 1
        if outcome in (1, 2):
            return [Fault("reader_busy", f"ConnectionAttemptEvent {outcome}: {_BUSY}", read_at)]
        return [Fault("connection_refused", f"ConnectionAttemptEvent {outcome}: the reader gives no reason; restart it", read_at)]

    def _answer(self, told: Message, read_at: datetime) -> list[Observation]:
        found = parameters(told.body, 5)[0] if told.kind == llrp.CUSTOM_MESSAGE else list(told.found)
        status = read_status(found)
        asked = self._asked[0] if self._asked is not None and self._asked[1] == told.ident else None
        if asked is None or (told.kind != llrp.ERROR_MESSAGE and llrp.ANSWERS[asked.kind] != told.kind):
            if not self.options.capture:
                self.counts["unexpected_answer"] += 1
                return []
            asked = None
        else:
            self._asked, self._keepalives = None, 0
        if status is not None and not status.is_good:
            return self._refused(asked, told.kind, status.words, read_at)
        return self._done(asked, told.kind, found, read_at=read_at)

    def _refused(self, asked: Step | None, kind: int, words: str, read_at: datetime) -> list[Observation]:
        if asked is not None and asked.optional:
            self.counts["refused_unneeded"] += 1
            self._can_check = self._can_check and asked.kind != llrp.GET_ROSPECS
            self._advance(asked.kind)
            return []
        self.counts["refused"] += 1
        name = llrp.NAMES.get(_ANSWERING.get(kind, kind) if asked is None else asked.kind, f"message {kind}")
        detail = f"{name} is refused: {words}"
        if asked is not None and asked.kind == llrp.ADD_ROSPEC:
            detail += f". Wanted: {_wanted(self._own)}; {self._reader.offered}"
        return self._halt(Fault("refused", detail, read_at), rest=PATIENCE)

    def _done(self, asked: Step | None, kind: int, found: list[Parameter], *, read_at: datetime) -> list[Observation]:
        seen: list[Observation] = []
        if kind == llrp.ANSWERS[llrp.GET_READER_CAPABILITIES] and (reader := read_capabilities(found)) is not None:
            self._reader = reader
            seen.append(Identity(_model(reader), reader.firmware, read_at))
        if kind == llrp.ANSWERS[llrp.GET_READER_CONFIG]:
            states = [each.body for each in found if each.kind == llrp.GPI_STATE]
            wanted = self._own.gpis
            ports = [(number(body, 0), body[3]) for body in states if body[3] < 2]
            seen += [PortChanged(port, bool(high), read_at) for port, high in ports if port in wanted or self.options.capture]
        if kind == llrp.ANSWERS[llrp.GET_ROSPECS] and asked is not None:
            spec = next((each.body for each in found if each.kind == llrp.RO_SPEC and number(each.body, 0, 4) == ROSPEC_ID), None)
            if spec is None or spec[5] != ACTIVE:
                return self._halt(Fault("not_reading", "the reader forgot its ROSpec; it is set up again", read_at), rest=1)
            return [Setting(name, value, read_at) for name, value in read_rospec(spec, self._reader).items()]
        if asked is None:
            return seen
        if asked.kind == llrp.GET_READER_CAPABILITIES:
            try:
                self._steps.extend(steps(self._own, self._reader))
            except CodeError as error:
                return [*seen, *self._halt(Fault("not_possible", str(error), read_at), rest=PATIENCE)]
        self._advance(asked.kind)
        return seen

    def _watch(self, read_at: datetime) -> list[Observation]:
        """A keepalive came: the only clock of the dialogue."""
        self._keepalives += 1
        if self._asked is not None and self._keepalives >= PATIENCE:
            name = llrp.NAMES.get(self._asked[0].kind, "")
            self.counts["no_answer"] += 1
            self._begin()
            return [Fault("no_answer", f"the reader did not answer {name} in {PATIENCE} keepalives; it is set up anew", read_at)]
        if self._asked is None and not self._is_running and self._keepalives >= PATIENCE:
            self.counts["set_up_again"] += 1
            self._begin()
        elif self._asked is None and self._is_running and self._can_check and self._keepalives >= CHECK_EVERY:
            self._ask(Step(llrp.GET_ROSPECS, optional=True))
        return []

    def _begin(self) -> None:
        self._steps.clear()
        self._is_running = False
        self._ask(Step(llrp.GET_READER_CAPABILITIES, b"\x00"))

    def _halt(self, fault: Fault, *, rest: int) -> list[Observation]:
        """Stops the set-up or the inventory; it begins anew after so many keepalives."""
        self.counts[fault.code] += fault.code == "not_reading"
        self._steps.clear()
        self._asked, self._is_running = None, False
        self._keepalives = PATIENCE - rest
        return [fault]

    def _advance(self, done: int) -> None:
        if self._steps:
            self._ask(self._steps.popleft())
        elif done == llrp.START_ROSPEC:
            self._is_running = True
            self._keepalives = CHECK_EVERY - 1
            self._reply(self._numbered(llrp.ENABLE_EVENTS_AND_REPORTS))

    def _ask(self, step: Step) -> None:
        self._keepalives = 0
        self._reply(self._numbered(step.kind, step.body))
        self._asked = (step, self._last_id)

    def _numbered(self, kind: int, body: bytes = b"") -> bytes:
        self._last_id += 1
        return message(kind, self._last_id, body)

    def _reply(self, data: bytes) -> None:
        if self.options.capture:
            return
        if len(self._replies) >= MAX_REPLIES:
            self.counts["replies_dropped"] += 1
            return
        self._replies.append(data)


_ANSWERING: Final = {answer: kind for kind, answer in llrp.ANSWERS.items()}


def _model(reader: Capabilities) -> str:
    """Vendor and model in words; the numbers where no name is known."""
    if reader.vendor == llrp.IMPINJ:
        return f"Impinj {IMPINJ_MODELS.get(reader.model, reader.model)}"
    return f"vendor {reader.vendor} model {reader.model}"


def _wanted(own: Options) -> str:
    """The options a reader may refuse, for people."""
    wanted = {
        "tx_power_dbm": own.tx_power_dbm,
        "tx_power_index": own.tx_power_index,
        "mode_index": own.mode_index,
        "antennas": list(own.antennas) or None,
        "session": own.session,
    }
    return ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None)
