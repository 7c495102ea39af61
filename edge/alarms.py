"""Limits judged on the spot: light and buzzer work with the network down, by the same folds that the hub runs (core.coldchain).

Readings come from every line and are folded in one thread, which alone switches the outputs. Where each fold stands is kept in
a file, so that a restart goes on with the same delay. An output that cannot be switched is tried again for ever, with a
bounded backoff, and is a fault on the devices screen meanwhile.
"""

import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from core import coldchain
from core.coldchain import Limit, Run
from core.errors import Unavailable
from core.messages import Series, StateChange
from edge.clock import Clock
from edge.health import Health
from edge.outputs import Output
from edge.presence import to_us
from edge.writer import Reading, Writer

FILE_NAME: Final = "alarms.json"
MAX_WAITING: Final = 10_000
"""Readings not judged yet; above it new ones are not judged here (the hub judges all of them), and counted."""
LOOK_S: Final = 0.25
FIRST_RETRY_S: Final = 0.5
MAX_RETRY_S: Final = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocalLimit:
    """A limit of one series at this agent, and the outputs that sound while its excursion lasts."""

    name: str
    series: Series
    limit: Limit
    outputs: tuple[str, ...]


class Standing(msgspec.Struct, array_like=True):
    """Where the fold of one limit stands."""

    name: str
    last_us: int
    run: Run | None


@dataclass(slots=True)
class _Switch:
    """One output: how it should be, how it was last found to be, and when to try again."""

    name: str
    output: Output
    health: Health
    wanted: bool = False
    is_on: bool | None = None
    retry_s: float = 0.0
    due_at: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)


class Alarms:
    """All local limits of one agent. `take` may be called by any thread; `run` belongs to one.

    `counts`: not_judged, late_readings, unreadable_state, state_not_kept.
    """

    def __init__(
        self,
        limits: Sequence[LocalLimit],
        *,
        state_dir: Path,
        writer: Writer,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        """`connect` must be called before `run`."""
        self.counts: Counter[str] = Counter()
        self._limits = {limit.name: limit for limit in limits}
        self._by_series: dict[Series, list[LocalLimit]] = {}
        for limit in limits:
            self._by_series.setdefault(limit.series, []).append(limit)
        self._switches: list[_Switch] = []
        self._path = state_dir / FILE_NAME
        self._writer = writer
        self._clock = clock
        self._stop = stop
        self._inbox: queue.Queue[Reading] = queue.Queue(MAX_WAITING)
        self._standing: dict[str, Standing] = {}

    def connect(self, outputs: Sequence[Output]) -> None:
        """Names what is switched."""
        self._switches = [_Switch(output.name, output, Health(output.name)) for output in outputs]

    def take(self, reading: Reading) -> None:
        """Hands a reading over; never waits."""
        if reading.series not in self._by_series:
            return
        try:
            self._inbox.put_nowait(reading)
        except queue.Full:
            self.counts["not_judged"] += 1

    def alarmed(self) -> list[str]:
        """Names of the limits whose excursion has lasted for its delay."""
        return sorted(name for name, each in self._standing.items() if coldchain.ongoing(each.run) is not None)

    def run(self) -> None:
        """Judges and switches until told to stop; then every output is turned off."""
        self._standing = self._restored()
        self._want()
        while not self._stop.is_set():
            self._switch_due()
            self._judge_waiting()
        for switch in self._switches:
            switch.wanted = False
            switch.due_at = 0.0
        self._switch_due()

    def _judge_waiting(self) -> None:
        try:
            first = self._inbox.get(timeout=LOOK_S)
        except queue.Empty:
            return
        changed = False
        for reading in [first, *(self._inbox.get_nowait() for _ in range(self._inbox.qsize()))]:
            for limit in self._by_series[reading.series]:
                changed |= self._judge(limit, reading)
        if changed:
            self._keep()
            self._want()

    def _judge(self, limit: LocalLimit, reading: Reading) -> bool:
        """True when the fold stands otherwise than before."""
        at_us = to_us(reading.at)
        before = self._standing.get(limit.name)
        if before is not None and at_us <= before.last_us:
            self.counts["late_readings"] += 1  # the hub corrects history; a light shows the present
            return False
        run = None if before is None else before.run
        after, _ = coldchain.step(limit.limit, run, coldchain.Reading(at_us, reading.value))
        self._standing[limit.name] = Standing(limit.name, at_us, after)
        return run is not None or after is not None

    def _want(self) -> None:
        sounding = {output for name in self.alarmed() for output in self._limits[name].outputs}
        for switch in self._switches:
            if switch.wanted is not (switch.name in sounding):
                switch.wanted = switch.name in sounding
                switch.due_at = switch.retry_s = 0.0

    def _switch_due(self) -> None:
        for switch in self._switches:
            if switch.is_on is not switch.wanted and time.monotonic() >= switch.due_at:
                self._switch(switch)
            status = switch.health.due(dict(switch.counts), self._clock.now(), real_s=time.monotonic())
            if status is not None:
                self._writer.tell(status)

    def _switch(self, switch: _Switch) -> None:
        try:
            switch.output.switch(switch.wanted)
        except Unavailable as error:
            switch.counts["not_switched"] += 1
            switch.retry_s = min(MAX_RETRY_S, max(FIRST_RETRY_S, switch.retry_s * 2))
            switch.due_at = time.monotonic() + switch.retry_s
            switch.health.note("fault", f"cannot be turned {'on' if switch.wanted else 'off'}: {error}")
            log.warning(
                "output_not_switched output=%s on=%s error=%r retry_s=%g", switch.name, switch.wanted, str(error), switch.retry_s
            )
            return
        switch.is_on, switch.retry_s = switch.wanted, 0.0
        switch.health.note("online")
        log.info("output_switched output=%s on=%s limits=%s", switch.name, switch.wanted, ",".join(self.alarmed()))
        self._writer.deliver([StateChange(switch.name, "alarm_output", switch.wanted, self._clock.now())])

    def _restored(self) -> dict[str, Standing]:
        """Where the folds stood; of limits that are still set. A file that cannot be read is counted and begun anew."""
        try:
            rows = msgspec.json.decode(self._path.read_bytes(), type=list[Standing])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            self.counts["unreadable_state"] += 1
            log.warning("alarm_state_unreadable path=%s error=%r", self._path, str(error))
            return {}
        now_us = to_us(self._clock.now())
        return {row.name: row for row in rows if row.name in self._limits and row.last_us <= now_us}

    def _keep(self) -> None:
        """Writes where the folds stand, whole or not at all."""
        new = self._path.with_suffix(".new")
        try:
            with new.open("wb") as file:
                file.write(msgspec.json.encode(list(self._standing.values())))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            self.counts["state_not_kept"] += 1
            log.warning("alarm_state_not_kept path=%s error=%r", self._path, str(error))


Judge = Callable[[Reading], None]


def judge_nothing(_reading: Reading) -> None:
    """What an agent without local limits does with a reading."""
