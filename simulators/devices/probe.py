"""An XY-MD02 slave: answers valid requests for its unit with what its room is like."""

from typing import Final

from edge.drivers.protocol import DeviceOptions
from edge.drivers.xymd02 import Driver
from simulators.devices.line import Connection, Sent
from simulators.heartbeat import Heartbeat
from simulators.pace import Pace
from simulators.scenario import Probe
from simulators.truth import Tallies
from simulators.world.cold_room import ColdRoom

REQUEST_BYTES: Final = 8
MAX_REQUEST_BYTES: Final = 256


class ProbeDevice:
    """One probe. Its tally is kept under (site, device)."""

    def __init__(self, probe: Probe, site: str, *, room: ColdRoom, pace: Pace, tallies: Tallies, heartbeat: Heartbeat) -> None:
        self._probe = probe
        self._key = (site, probe.name)
        self._room = room
        self._pace = pace
        self._tallies = tallies
        self._heartbeat = heartbeat
        self._driver = Driver(DeviceOptions(unit_id=probe.unit_id))

    async def attend(self, connection: Connection) -> None:
        """Answers until the line breaks. An absent probe reads nothing but silence."""
        waiting, told = b"", False
        while data := await connection.reader.read(MAX_REQUEST_BYTES):
            waiting += data
            while len(waiting) >= REQUEST_BYTES:
                request, waiting = waiting[:REQUEST_BYTES], waiting[REQUEST_BYTES:]
                if told:
                    self._tallies.acknowledged[self._key] += 1
                # More requests behind this one: the agent has given it up, and will not take the answer.
                told = self._answer(connection, request, late=len(waiting) >= REQUEST_BYTES or self._heartbeat.is_late)

    def _answer(self, connection: Connection, request: bytes, *, late: bool) -> bool:
        """Answers one request; True when the answer went out whole and in time."""
        if self._probe.absent:
            return False
        celsius, humidity = self._room.measured(self._probe.name, max(0.0, self._pace.elapsed_s()))
        answer = self._driver.answer(request, celsius, humidity)
        if not answer or (sent := connection.send(answer)) is Sent.LOST:
            return False
        good = sent is Sent.WHOLE and not late
        (self._tallies.answered if good else self._tallies.doubtful)[self._key] += 1
        return good
