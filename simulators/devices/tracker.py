"""A GPS receiver in a van: RMC and GGA at every interval, to whoever listens."""

import asyncio
import math
from collections import deque
from random import Random
from time import monotonic
from typing import Final

from edge.drivers.nmea import Driver
from edge.drivers.observations import Fix
from edge.drivers.protocol import DeviceOptions
from simulators.devices.line import Connection, Sent, Wire
from simulators.pace import Pace
from simulators.scenario import Tracker
from simulators.truth import SETTLE_S, Tallies
from simulators.world.driving import Driving

SCATTER_M: Final = 2.0
METRES_A_DEGREE: Final = 111_320.0


class TrackerDevice:
    """One receiver. Moments are whole multiples of the interval since the start, so that a fix is known again."""

    def __init__(self, tracker: Tracker, site: str, *, driving: Driving, pace: Pace, tallies: Tallies, seed: int) -> None:
        self._tracker = tracker
        self._key = (site, tracker.name)
        self._driving = driving
        self._pace = pace
        self._tallies = tallies
        self._seed = seed
        self._driver = Driver(DeviceOptions())
        self._unsettled: deque[tuple[float, Connection, Fix]] = deque()

    async def attend(self, connection: Connection) -> None:
        """A receiver understands no commands here; it only notices when the line breaks."""
        while await connection.reader.read(256):
            pass

    async def run(self, line: Wire) -> None:
        """Sends from now on, until cancelled."""
        step = max(0, math.ceil(self._pace.elapsed_s() / self._tracker.interval_s))
        while True:
            elapsed_s = step * self._tracker.interval_s
            await self._pace.until(elapsed_s)
            self._driving.advance(elapsed_s)
            self._settle()
            if line.connection is not None:
                self._send(line.connection, elapsed_s)
            step = max(step + 1, math.floor(self._pace.elapsed_s() / self._tracker.interval_s))
            await asyncio.sleep(0)

    def _send(self, connection: Connection, elapsed_s: float) -> None:
        fix = self.fix(elapsed_s)
        if (sent := connection.send(self._driver.encode(fix))) is Sent.LOST:
            return
        self._tallies.sent[self._key] += 1
        if sent is Sent.WHOLE:
            self._unsettled.append((monotonic(), connection, fix))

    def _settle(self) -> None:
        while self._unsettled and monotonic() - self._unsettled[0][0] > SETTLE_S:
            _, connection, fix = self._unsettled.popleft()
            if not connection.broken.is_set():
                self._tallies.certain.setdefault(self._key, []).append(fix.at)

    def fix(self, elapsed_s: float) -> Fix:
        """The van's place as the receiver sees it: scattered by a few metres, at a whole moment."""
        known = self._driving.fix
        scatter = Random(f"{self._seed}:{self._tracker.name}:{elapsed_s:.3f}")  # noqa: S311  a simulation, not a secret
        north, east = scatter.gauss(0, SCATTER_M), scatter.gauss(0, SCATTER_M)
        at = self._pace.moment(elapsed_s)
        return Fix(
            at=at.replace(microsecond=at.microsecond // 1000 * 1000),
            latitude=known.place[0] + north / METRES_A_DEGREE,
            longitude=known.place[1] + east / (METRES_A_DEGREE * math.cos(math.radians(known.place[0]))),
            speed_mps=known.speed_mps,
            course_deg=known.course_deg,
            satellites=scatter.randint(7, 12),
            hdop=round(scatter.uniform(0.7, 1.4), 2),
            read_at=at,
        )
