"""One device as the agent keeps it: its driver, its health, and what becomes of what it says."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from core.messages import BarcodeScan, Position, Series, StateChange
from edge.alarms import Judge, judge_nothing
from edge.clock import Clock, Instant
from edge.drivers import load_driver
from edge.drivers.observations import (
    Fault,
    Fix,
    Identity,
    Measured,
    NoFix,
    Observation,
    Online,
    PortChanged,
    Scan,
    Setting,
    Switched,
    TagRead,
)
from edge.health import Health
from edge.settings import Device
from edge.writer import Delivery, PortalRead, Reading, Ticket, Writer

log = logging.getLogger(__name__)


class Station:
    """One device of a line: `deliver` takes what its driver understood, `tell` its state. Belongs to the line's thread."""

    def __init__(self, device: Device, writer: Writer, clock: Clock, *, judge: Judge = judge_nothing) -> None:
        self.device = device
        self.health = Health(device.name)
        self.counts: Counter[str] = Counter()
        self.ticket: Ticket | None = None
        self.due_at = 0.0
        self.unanswered = 0
        self.heard_at: datetime | None = None
        self.standing_fault = ""
        self._writer = writer
        self._clock = clock
        self._judge = judge
        self._inputs: dict[str, bool] = {}
        self._earlier: Counter[str] = Counter()
        self.driver = load_driver(device.driver)(device.options)

    def begin(self) -> None:
        """The line is a new one: what the driver holds of a frame that the last one cut off is forgotten, its counts are not."""
        self._earlier += self.driver.counts
        self.standing_fault = ""
        unfinished = self.driver.pending_bytes()
        if unfinished:
            self.counts["unfinished_frame"] += 1
        self.driver = load_driver(self.device.driver)(self.device.options)

    def totals(self) -> dict[str, int]:
        """Counters of the driver, in all its lives, and of the line."""
        return {name: count for name, count in (self._earlier + self.driver.counts + self.counts).items() if count}

    def deliver(self, observations: Sequence[Observation], now: Instant) -> None:
        """Hands what was observed to the writer, and notes how the device does: a fault stands until it says something good."""
        if not observations:
            return
        self.heard_at = now.at
        faults = [observation for observation in observations if isinstance(observation, Fault)]
        self.standing_fault = f"{faults[-1].code}: {faults[-1].detail}" if faults else ""
        if faults:
            self.health.note("fault", self.standing_fault)
        else:
            self.health.note("online")
        deliveries = [delivery for each in observations if (delivery := self._translate(each, now)) is not None]
        if deliveries:
            self.ticket = self._writer.deliver(deliveries)

    def tell(self) -> None:
        """Hands a status to the writer when one is due."""
        status = self.health.due(self.totals(), self._clock.now(), real_s=time.monotonic())
        if status is not None:
            log.info(
                "device_state device=%s state=%s detail=%r counts=%s", status.device, status.state, status.detail, status.counts
            )
            self._writer.tell(status)

    def _translate(self, observation: Observation, now: Instant) -> Delivery | None:
        device = self.device
        match observation:
            case TagRead() if device.portal is not None:
                return PortalRead(device.portal, observation, now.shift)
            case Scan(text, read_at) if device.read_point is not None:
                return BarcodeScan(device.read_point, text, read_at)
            case Measured(quantity, value, read_at):
                reading = Reading(Series(device.name, quantity), read_at, value)
                self._judge(reading)
                return reading
            case Fix():
                return _position(device.name, observation)
            case Switched(name, on, read_at):
                if self._inputs.get(name) is on:
                    return None
                self._inputs[name] = on
                return StateChange(device.name, name, on, read_at)
            case Fault() | NoFix() | PortChanged() | Setting() | Identity() | Online():
                return None
        # A hand-held that scans and reads tags may be given only one of the two places.
        self.counts["no_place_for"] += 1
        return None


def _position(tracker: str, fix: Fix) -> Position:
    return Position(
        tracker=tracker,
        at=fix.at,
        latitude=fix.latitude,
        longitude=fix.longitude,
        speed_mps=fix.speed_mps,
        course_deg=fix.course_deg,
        satellites=fix.satellites,
        hdop=fix.hdop,
        coordinate_system=fix.coordinate_system,
        accuracy_m=fix.accuracy_m,
    )
