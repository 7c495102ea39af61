"""One open line and the devices on it: bytes to observations to the writer, and polls that wait until the last answer is safe."""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

from core.errors import Unavailable
from edge.alarms import Judge, judge_nothing
from edge.clock import Clock, Instant
from edge.drivers.observations import Fault, Observation
from edge.ports import Port, open_port
from edge.settings import Device
from edge.station import Station
from edge.writer import Writer

SILENCE_S: Final = 0.1
"""Real seconds without a byte after which a driver is told to finish what it holds."""
FIRST_BACKOFF_S: Final = 0.25
MAX_BACKOFF_S: Final = 5.0
MAX_STALE_READS: Final = 16
"""Reads thrown away before a poll; a line that never stops talking is asked anyway."""
MAX_QUESTIONS: Final = 64
"""Requests of one poll that each get their own time to be answered."""
MAX_ERRANDS: Final = 8
"""What may wait to be said between two polls."""
ERRAND_S: Final = 5.0
"""Real seconds an errand waits for the line: longer than a poll, shorter than a person at a lamp."""
GIVE_UP_AFTER: Final = 12
"""Polls in a row, of all devices of a line, without an answer; the line is then opened anew: its other end may be long gone."""
MIN_POLL_GAP_S: Final = 0.005
"""Real seconds between two polls of a device, however fast the clock is told to run."""
OFFLINE_AFTER: Final = 3
"""Polls or start commands in a row without a byte in answer."""

log = logging.getLogger(__name__)


def open_device(device: Device) -> Port:
    """Opens a device's line as its settings say. Raises what `open_port` raises."""
    return open_port(device.port, device.baud, web=device.web)


class Line:
    """All devices of one port. `run` belongs to one thread."""

    def __init__(
        self,
        devices: Sequence[Device],
        writer: Writer,
        clock: Clock,
        *,
        stop: threading.Event,
        open_line: Callable[[Device], Port],
        judge: Judge = judge_nothing,
    ) -> None:
        self.stations = [Station(device, writer, clock, judge=judge) for device in devices]
        self.url = devices[0].port
        self._clock = clock
        self._stop = stop
        self._open_line = open_line
        self._errands: queue.Queue[tuple[Callable[[Port], None], Future[None]]] = queue.Queue(MAX_ERRANDS)
        self._is_open = False
        self._is_good = False
        self._is_owed = False
        self._unheard = 0
        self._failures = 0
        self._opened_at = self._heard_at = time.monotonic()

    def run_errand(self, errand: Callable[[Port], None]) -> None:
        """Has the line's thread talk to the port between two polls, and waits for it: a relay on the same bus as probes.

        Raises Unavailable when the errand does, when the line is not open in time, or when too many wait already.
        """
        waiting: Future[None] = Future()
        try:
            self._errands.put_nowait((errand, waiting))
        except queue.Full:
            raise Unavailable(f"port {self.url!r}: {MAX_ERRANDS} errands wait already; does the line answer at all?") from None
        try:
            waiting.result(ERRAND_S)
        except TimeoutError:
            waiting.cancel()
            raise Unavailable(f"port {self.url!r}: the line found no time in {ERRAND_S:g} s") from None

    def _run_errands(self, port: Port) -> None:
        while not self._errands.empty():
            errand, waiting = self._errands.get_nowait()
            if not waiting.set_running_or_notify_cancel():
                continue
            try:
                errand(port)
            except Unavailable as error:
                waiting.set_exception(error)
            except Exception as error:
                waiting.set_exception(error)
                raise
            else:
                waiting.set_result(None)

    def run(self) -> None:
        """Opens the port, reads it until it fails, opens it again after a jittered, bounded backoff; until told to stop.

        The backoff shrinks again only after a good session: a port that opens and closes at once is as lost as one that is shut.
        """
        while not self._stop.is_set():
            self._is_open = False
            try:
                self._session()
            except Unavailable as error:
                self._failures += 1
                self._all_offline(str(error))
                backoff = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._failures - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
                if self._failures == 1:
                    log.warning("port_lost port=%s error=%r retry_s=%.2f to %g", self.url, str(error), backoff, MAX_BACKOFF_S)
                self._stop.wait(backoff)

    def _session(self) -> None:
        port = self._open_line(self.stations[0].device)
        try:
            self._is_open, self._is_good, self._opened_at = True, False, time.monotonic()
            self._is_owed, self._unheard = False, 0
            if not self._failures:
                self._tell_open()
            for station in self.stations:
                station.begin()
                station.counts["opened"] += 1
            if self.stations[0].device.polled:
                self._ask(port)
            else:
                self._listen(port, self.stations[0])
        finally:
            port.close()

    def _tell_open(self) -> None:
        log.info("port_open port=%s devices=%s", self.url, ",".join(station.device.name for station in self.stations))
        for station in self.stations:
            if not station.device.polled:
                station.health.note("online")

    def _judge(self, *, observed: bool) -> None:
        """A session is good once it brought more than faults, or lived longer than the longest backoff."""
        if self._is_good or not (observed or time.monotonic() - self._opened_at > MAX_BACKOFF_S):
            return
        self._is_good = True
        if self._failures:
            self._failures = 0
            self._tell_open()

    def _listen(self, port: Port, station: Station) -> None:
        """A device that speaks by itself."""
        self._start(port, station)
        while not self._stop.is_set():
            data = port.read(SILENCE_S)
            now = self._clock.instant()
            if data:
                self._heard_at = time.monotonic()
                if station.unanswered:
                    station.unanswered = 0
                    station.health.note("online")
                self._deliver(station, station.driver.feed(data, now.at), now)
            else:
                self._deliver(station, station.driver.flush(now.at), now)
                self._watch_silence(port, station)
            for reply in station.driver.replies():
                port.write(reply)
            self._judge(observed=False)
            station.tell()
        for command in station.driver.stop_commands():
            port.write(command)

    def _watch_silence(self, port: Port, station: Station) -> None:
        """Starts a silent device again, or gives its line up. Raises Unavailable."""
        silent_s = time.monotonic() - self._heard_at
        restart_after_s, hang_up_after_s = station.driver.restart_after_s, station.driver.silence_limit_s()
        if hang_up_after_s is not None and silent_s > hang_up_after_s:
            station.counts["hung_up"] += 1
            raise Unavailable(f"port {self.url!r}: not a byte for {silent_s:.1f} s, {hang_up_after_s:g} are the most")
        if restart_after_s is not None and silent_s > restart_after_s:
            station.counts["restarts"] += 1
            self._start(port, station)
            self._count_unanswered(station)

    def _start(self, port: Port, station: Station) -> None:
        for command in station.driver.start_commands():
            port.write(command)
        self._heard_at = time.monotonic()

    def _ask(self, port: Port) -> None:
        """Devices that answer when asked, each at its interval, one at a time."""
        for station in self.stations:
            station.due_at = max(station.due_at, time.monotonic())
        while not self._stop.is_set():
            station = min(self.stations, key=lambda each: each.due_at)
            if self._stop.wait(max(0.0, min(station.due_at - time.monotonic(), SILENCE_S))):
                return
            self._run_errands(port)
            if time.monotonic() >= station.due_at and self._is_safe(station):
                self._poll(port, station)
                interval_s = max(MIN_POLL_GAP_S, self._clock.real_seconds(station.device.interval_s))
                station.due_at = max(station.due_at + interval_s, time.monotonic())
            self._judge(observed=False)
            for each in self.stations:
                each.tell()

    def _is_safe(self, station: Station) -> bool:
        """True when the last answer is committed: the next poll tells the device so."""
        return station.ticket is None or station.ticket.wait(SILENCE_S)

    def _poll(self, port: Port, station: Station) -> None:
        """One question and its answer, which may be of several frames and say nothing. Raises Unavailable."""
        self._drop_stale(port)
        driver = station.driver
        port.write(driver.poll())
        deadline = time.monotonic() + driver.reply_timeout_s
        observations: list[Observation] = []
        asked, is_answered = 1, False
        now = self._clock.instant()
        while not is_answered and (left := deadline - time.monotonic()) > 0:
            data = port.read(left)
            now = self._clock.instant()
            observations += driver.feed(data, now.at)
            for reply in driver.replies():
                port.write(reply)
                asked += 1
                if asked <= MAX_QUESTIONS:
                    deadline = time.monotonic() + driver.reply_timeout_s
            is_answered = driver.is_answered(observed=bool(observations))
        if not is_answered:
            self._is_owed = True
            observations += driver.flush(now.at)
        if not observations and not is_answered:
            station.counts["no_answer"] += 1
            self._count_unanswered(station)
            self._give_up_when_deaf()
            return
        station.unanswered = self._unheard = 0
        if not observations:
            station.health.note("online")
        self._deliver(station, observations, now)

    def _give_up_when_deaf(self) -> None:
        """Raises Unavailable when nobody on the line has answered for long: a half-open connection tells nothing of itself."""
        self._unheard += 1
        if self._unheard >= GIVE_UP_AFTER:
            raise Unavailable(f"port {self.url!r}: nobody answered {self._unheard} polls; the line is opened anew")

    def _drop_stale(self, port: Port) -> None:
        """Throws away what came unasked; after an unanswered poll also what is still on its way, until the line is silent.

        An RTU answer does not say which question it answers: a late one must not meet the next question.
        """
        wait_s = SILENCE_S if self._is_owed else 0.0
        self._is_owed = False
        for _ in range(MAX_STALE_READS):
            if not port.read(wait_s):
                return

    def _count_unanswered(self, station: Station) -> None:
        station.unanswered += 1
        if station.unanswered >= OFFLINE_AFTER:
            station.health.note("offline", f"no answer on {self.url}")

    def _deliver(self, station: Station, observations: Sequence[Observation], now: Instant) -> None:
        if observations:
            self._judge(observed=not all(isinstance(each, Fault) for each in observations))
            station.deliver(observations, now)

    def _all_offline(self, reason: str) -> None:
        for station in self.stations:
            station.counts["lost"] += self._is_open
            if self._is_open and station.standing_fault:
                # The device said itself why it hangs up; once it cannot be reached at all it is offline.
                station.health.note("fault", station.standing_fault)
            else:
                station.health.note("offline", reason)
            station.tell()
