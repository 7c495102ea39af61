"""A serial barcode scanner: someone pulls the trigger, a line of text goes out."""

from typing import Final

from edge.drivers.barcode import Driver
from edge.drivers.observations import Scan
from edge.drivers.protocol import DeviceOptions
from simulators.devices.line import Connection, Sent, Wire
from simulators.devices.waiting import listener
from simulators.pace import Pace
from simulators.scenario import Scanner
from simulators.truth import SETTLE_S, Scanned, Tallies

MAX_TRIES: Final = 5


class ScannerDevice:
    """One scanner. A person whose scanner did not beep scans again."""

    def __init__(self, scanner: Scanner, site: str, *, pace: Pace, tallies: Tallies) -> None:
        self.read_point = scanner.read_point
        self._site = site
        self._pace = pace
        self._tallies = tallies
        self._driver = Driver(DeviceOptions())

    async def attend(self, connection: Connection) -> None:
        """A scanner takes no commands here; it only notices when the line breaks."""
        while await connection.reader.read(256):
            pass

    async def scan(self, line: Wire, text: str) -> bool:
        """Scans until the line stayed up long enough for the scan to be safe; False when it never did."""
        for _ in range(MAX_TRIES):
            connection = await listener(line)
            if connection is None:
                break
            at = self._pace.moment(self._pace.elapsed_s())
            sent = connection.send(self._driver.encode(Scan(text, at)))
            certain = await connection.outlives(SETTLE_S) and sent is Sent.WHOLE
            self._tallies.scans.append(Scanned(self._site, self.read_point, text, at, certain))
            if certain:
                return True
        if not line.closing:
            self._tallies.unseen.append(f"scan {text!r} at {self.read_point}")
        return False
