"""The agent put together: one thread a port, one for the outbox, one for the uplink, and the supervisor that watches them."""

import fcntl
import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import ConfigurationError
from edge.alarms import Alarms, judge_nothing
from edge.clock import Clock
from edge.health import Health
from edge.line import Line, open_device
from edge.metrics import MetricsServer
from edge.outbox import FILE_NAME, Outbox
from edge.outputs import Output, make_output
from edge.port_url import is_topic
from edge.ports import Port
from edge.presence import Presence
from edge.settings import Device, EdgeSettings
from edge.skew import LIMIT_S
from edge.snapshot import Snapshot, take_snapshot
from edge.subscription import Subscription
from edge.uplink import Uplink
from edge.writer import Writer

SUPERVISE_S: Final = 0.25
"""Real seconds between two looks at the threads."""
RESTART_AFTER_S: Final = 1.0
END_SHARES: Final = {"ports": 8.0, "commit": 2.0, "uplink": 8.0, "outbox": 2.0}
"""Real seconds that each part may take to end, all its threads together, whatever disk, broker and devices do: 20 in all."""
CAP_QUIET_S: Final = 60.0
"""Real seconds without a drop after which the outbox counts as under its cap again."""
STEP_QUIET_S: Final = 60.0
"""Real seconds for which a clock that was set is a fault."""
OPEN_S: Final = 60.0
"""Longest wait for the outbox to be checked and opened."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker:
    """A named thread that is started again when it crashes."""

    name: str
    target: Callable[[], None]
    thread: threading.Thread
    crash: BaseException | None = None
    restart_at: float = 0.0


class Agent:
    """One agent from its settings. `run` returns the exit status; `stop` may be called by any thread or signal handler."""

    def __init__(self, settings: EdgeSettings, *, open_line: Callable[[Device], Port] = open_device) -> None:
        self.clock = Clock(settings.scale)
        self.counts: Counter[str] = Counter()
        self.metrics: MetricsServer | None = None
        self._settings = settings
        self._path = settings.state_dir / FILE_NAME
        self._asked_to_stop = threading.Event()
        self._stop_lines, self._stop_uplink, self._stop_writer = threading.Event(), threading.Event(), threading.Event()
        self._dropped, self._dropped_at = 0, 0.0
        self._stepped_at = 0.0
        self._troubles: dict[str, str] = {}
        self._health = Health(settings.address.agent)
        self.writer = Writer(self._open_outbox, Presence(settings.portals), self.clock, stop=self._stop_writer)
        self.uplink = Uplink(
            settings.broker,
            settings.address,
            self.writer,
            self._path,
            clock=self.clock,
            stop=self._stop_uplink,
            replay_per_s=settings.replay_per_s,
            health=lambda: self.snapshot().health,
        )
        self.writer.on_commit = self.uplink.wake
        self.alarms = self._watch_limits()
        self._judge = judge_nothing if self.alarms is None else self.alarms.take
        self.lines = [
            Line(devices, self.writer, self.clock, stop=self._stop_lines, open_line=open_line, judge=self._judge)
            for devices in _by_port(device for device in settings.devices if not is_topic(device.port))
        ]
        if self.alarms is not None:
            self.alarms.connect(self._outputs())
        self.subscription = self._subscribe([device for device in settings.devices if is_topic(device.port)])

    def _watch_limits(self) -> Alarms | None:
        settings = self._settings
        if not settings.limits:
            return None
        return Alarms(settings.limits, state_dir=settings.state_dir, writer=self.writer, clock=self.clock, stop=self._stop_lines)

    def _outputs(self) -> list[Output]:
        """Relays on a line that is polled talk through it; the rest have connections of their own."""
        polled = {line.url: line.run_errand for line in self.lines if line.stations[0].device.polled}
        return [
            make_output(
                each.name,
                each.port,
                unit_id=each.unit_id,
                coil=each.coil,
                framing=each.framing,
                baud=each.baud,
                invert=each.invert,
                run_errand=polled.get(each.port),
            )
            for each in self._settings.outputs
        ]

    def snapshot(self) -> Snapshot:
        """Everything the agent knows of itself now; may be called by any thread."""
        stations = [station for line in self.lines for station in line.stations]
        stations += [] if self.subscription is None else self.subscription.stations
        counts = Counter(self.counts)
        counts += Counter() if self.alarms is None else self.alarms.counts
        return take_snapshot(
            self.writer,
            self.uplink,
            stations=stations,
            counts=counts,
            alarms=() if self.alarms is None else self.alarms.alarmed(),
            state_dir=self._settings.state_dir,
        )

    def _subscribe(self, devices: list[Device]) -> Subscription | None:
        broker = self._settings.local_broker
        if not devices or broker is None:
            return None
        return Subscription(
            devices,
            broker,
            address=self._settings.address,
            writer=self.writer,
            clock=self.clock,
            stop=self._stop_lines,
            judge=self._judge,
        )

    def stop(self) -> None:
        """Asks for a clean end: everything seen is committed, what can be sent at once is sent, statuses say offline."""
        self._asked_to_stop.set()

    def run(self) -> int:
        """Works until `stop`. 0 after a clean end, 1 when the outbox failed. Raises ConfigurationError."""
        with _alone(self._settings.state_dir):
            self.metrics = None if self._settings.metrics is None else MetricsServer(*self._settings.metrics, self.snapshot)
            writer = self._begin("outbox", self.writer.run)
            self._await_outbox(writer)
            workers = [self._begin("uplink", self.uplink.run)]
            workers += [self._begin(f"port {line.url}", line.run) for line in self.lines]
            if self.subscription is not None:
                workers.append(self._begin(f"local broker {self.subscription.url}", self.subscription.run))
            if self.alarms is not None:
                workers.append(self._begin("alarms", self.alarms.run))
            log.info("agent_started site=%s agent=%s boot=%s ports=%d", *self._identity(), len(self.lines))
            try:
                while not self._asked_to_stop.wait(SUPERVISE_S) and writer.crash is None:
                    self._supervise(workers)
            finally:
                if self.metrics is not None:
                    self.metrics.stop()
                self._end(writer, workers)
        return 1 if writer.crash is not None else 0

    def _open_outbox(self) -> Outbox:
        return Outbox(self._path, self._settings.address.agent, cap_bytes=self._settings.outbox_cap_bytes)

    def _identity(self) -> tuple[str, str, str]:
        return self._settings.address.site, self._settings.address.agent, self.writer.boot

    def _begin(self, name: str, target: Callable[[], None]) -> Worker:
        worker = Worker(name, target, threading.Thread())
        self._start(worker)
        return worker

    def _start(self, worker: Worker) -> None:
        def supervised() -> None:
            try:
                worker.target()
            except Exception as error:
                log.exception("thread_crashed name=%r", worker.name)
                worker.crash = error

        worker.crash = None
        worker.thread = threading.Thread(target=supervised, name=worker.name, daemon=True)
        worker.thread.start()

    def _await_outbox(self, writer: Worker) -> None:
        deadline = time.monotonic() + OPEN_S
        while not self.writer.ready.wait(SUPERVISE_S):
            if isinstance(writer.crash, ConfigurationError):
                raise writer.crash
            if writer.crash is not None or time.monotonic() > deadline:
                raise ConfigurationError(f"agent.state_dir: outbox {str(self._path)!r} could not be opened in {OPEN_S:g} s")
        if self.writer.recovered_from is not None:
            self.counts["corrupt_outbox"] += 1
            detail = f"outbox was corrupt; kept as {self.writer.recovered_from.name}, a new one was begun"
            log.error("outbox_corrupt kept_as=%s", self.writer.recovered_from)
            self._troubles["corrupt_outbox"] = detail
        self._note_health()

    def _note_health(self, resolved: str = "") -> None:
        """A fault that names every trouble there is now, else online."""
        if self._troubles:
            self._health.note("fault", "; ".join(self._troubles.values()))
        else:
            self._health.note("online", resolved)

    def _begin_trouble(self, name: str, detail: str) -> None:
        if self._troubles.get(name) != detail:
            self._troubles[name] = detail
            self._note_health()

    def _end_trouble(self, name: str, resolved: str) -> None:
        if self._troubles.pop(name, None) is not None:
            self._note_health(resolved)

    def _supervise(self, workers: list[Worker]) -> None:
        now = time.monotonic()
        for worker in workers:
            if worker.crash is None or worker.thread.is_alive():
                continue
            if not worker.restart_at:
                self.counts["crashed_threads"] += 1
                self._begin_trouble(worker.name, f"thread {worker.name!r} crashed: {worker.crash!r}")
                worker.restart_at = now + RESTART_AFTER_S
            elif now >= worker.restart_at:
                worker.restart_at = 0.0
                self._end_trouble(worker.name, f"thread {worker.name!r} was started again")
                log.warning("thread_restarted name=%r", worker.name)
                self._start(worker)
        self._watch_outbox(now)
        self._watch_clock(now)
        self._watch_skew()
        status = self._health.due({**self.writer.losses, **self.counts}, self.clock.now(), real_s=now)
        if status is not None:
            log.info("agent_state state=%s detail=%r counts=%s", status.state, status.detail, status.counts)
            self.writer.tell(status)

    def _watch_clock(self, now: float) -> None:
        if self.clock.steps != self.counts["clock_steps"]:
            self.counts["clock_steps"] = self.clock.steps
            self._stepped_at = now
            size_s = self.clock.last_step_s
            log.warning("clock_step size_s=%.3f", size_s)
            self._begin_trouble(
                "clock_step", f"clock_step: the clock was set {'back' if size_s < 0 else 'on'} by {abs(size_s):.1f} s"
            )
        elif now - self._stepped_at > STEP_QUIET_S:
            self._end_trouble("clock_step", "the clock is steady again")

    def _watch_skew(self) -> None:
        if self.uplink.skew.is_too_large:
            seconds = self.uplink.skew.seconds or 0.0
            direction = "ahead of" if seconds > 0 else "behind"
            self._begin_trouble("clock_skew", f"clock_skew: the clock is over {LIMIT_S:g} s {direction} the hub's; let NTP set it")
        else:
            self._end_trouble("clock_skew", "the clock agrees with the hub's")

    def _watch_outbox(self, now: float) -> None:
        trouble = self.writer.trouble
        if trouble:
            self._begin_trouble("disk", trouble)
        else:
            self._end_trouble("disk", "the outbox can be written again")
        dropped = self.writer.losses.get("dropped_batches", 0)
        if dropped != self._dropped:
            self._dropped, self._dropped_at = dropped, now
            self._begin_trouble("cap", "the oldest telemetry is dropped: the outbox is over its cap, or the disk is full")
        elif self._dropped_at and now - self._dropped_at > CAP_QUIET_S:
            self._dropped_at = 0.0
            self._end_trouble("cap", "no telemetry is dropped any more")

    def _end(self, writer: Worker, workers: list[Worker]) -> None:
        """Ports first, then what they brought is committed and sent if the hub answers, the outbox last."""
        self._stop_lines.set()
        _join(workers[1:], END_SHARES["ports"])
        self.writer.close_inbox()
        if writer.crash is None:
            self.writer.deliver([]).wait(END_SHARES["commit"])
        self._stop_uplink.set()
        self.uplink.wake()
        _join(workers[:1], END_SHARES["uplink"])
        self._stop_writer.set()
        _join([writer], END_SHARES["outbox"])
        left = [worker.name for worker in [writer, *workers] if worker.thread.is_alive()]
        log.info("agent_stopped waiting_batches=%d threads_left=%s", self.writer.waiting_batches, left)


def run_agent(settings: EdgeSettings) -> int:
    """Runs an agent until SIGTERM or SIGINT; returns its exit status. Call it from the main thread."""
    agent = Agent(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    return agent.run()


def _join(workers: Iterable[Worker], patience_s: float) -> None:
    """Waits for the threads, all together at most so long."""
    deadline = time.monotonic() + patience_s
    for worker in workers:
        worker.thread.join(max(0.0, deadline - time.monotonic()))


def _by_port(devices: Iterable[Device]) -> list[list[Device]]:
    ports: dict[str, list[Device]] = {}
    for device in devices:
        ports.setdefault(device.port, []).append(device)
    return list(ports.values())


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """Holds the state directory, so that two agents cannot write one outbox. Raises ConfigurationError."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / "agent.lock").open("w")
    except OSError as error:
        raise ConfigurationError(f"agent.state_dir: {str(state_dir)!r} cannot be used: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(f"agent.state_dir: another agent is at work in {str(state_dir)!r}; stop it first") from error
        yield
