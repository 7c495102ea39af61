"""A fixed reader over a gate: pallets pass it as they pass any reader, and it tells so in LLRP."""

from datetime import datetime
from typing import Final

from edge.drivers.llrp import Driver
from edge.drivers.observations import TagRead
from edge.drivers.protocol import DeviceOptions
from simulators.devices.line import Connection
from simulators.devices.llrp_reader import LlrpReader
from simulators.devices.reader import ReaderDevice
from simulators.pace import Pace
from simulators.scenario import Portal, Reader
from simulators.truth import Tallies
from simulators.world.pallet import Read, Strays

ANTENNA: Final = 1


class LlrpGate(ReaderDevice):
    """One fixed reader at one portal; `wire` is what the agent connects to."""

    def __init__(
        self, reader: Reader, site: str, *, portal: Portal, absent_after_s: float, strays: Strays, pace: Pace, tallies: Tallies
    ) -> None:
        super().__init__(reader, site, portal=portal, absent_after_s=absent_after_s, strays=strays, pace=pace, tallies=tallies)
        self.wire = LlrpReader(now=self._now, lying=reader.lying, seed=f"{site}:{reader.name}")
        self._speech = Driver(DeviceOptions())

    def _now(self) -> datetime:
        return self._pace.moment(self._pace.elapsed_s())

    def is_running(self, connection: Connection) -> bool:
        """True while a ROSpec runs for that agent."""
        return self.wire.connection is connection and self.wire.is_reading

    def spend_round(self, connection: Connection) -> None:
        """A ROSpec without stop trigger has no last round."""

    def tell_no_tag(self, connection: Connection) -> None:
        """No report is sent of an inventory without tags."""

    def notice(self, read: Read) -> bytes:
        """A report of one tag."""
        now = self._now()
        return self._speech.encode(TagRead(read.epc, ANTENNA, float(read.rssi_dbm), now, None, now))
