"""An R200 module at a gate: answers commands, inventories round by round, sends a notice for each tag that answers."""

import asyncio
from collections import Counter
from time import monotonic
from typing import Final

from edge.drivers.observations import TagRead
from edge.drivers.protocol import DeviceOptions
from edge.drivers.r200 import COMMAND, END, FAILED, HEAD, INVENTORY, MULTI_POLL, NO_TAG, RESPONSE, Driver, frame
from simulators.devices.line import Connection, Sent, Wire
from simulators.devices.waiting import listener
from simulators.pace import Pace
from simulators.scenario import Portal, Reader
from simulators.truth import SETTLE_S, Crossing, Tallies
from simulators.world.pallet import PassingPallet, Read, Strays

ROUND_S: Final = 0.08
"""Real seconds an inventory round takes."""
NO_TAG_EVERY: Final = 10
"""Rounds between two notices that no tag answered."""
MAX_PASSES: Final = 6
PAUSE_SHARE: Final = 0.7
"""Of the time a portal waits for a tag: a longer pause between two reads, as on a machine that was held up, may part its track."""
INFO, STOP, UNKNOWN_COMMAND = 0x03, 0x28, 0x17
VERSION: Final = b"\x00M100 26dBm V1.0"
MAX_COMMAND_BYTES: Final = 64


class ReaderDevice:
    """One reader at one portal; `absent_after_s` is how long in real seconds the portal waits for a tag to be gone."""

    def __init__(
        self, reader: Reader, site: str, *, portal: Portal, absent_after_s: float, strays: Strays, pace: Pace, tallies: Tallies
    ) -> None:
        self.reader = reader
        self._site = site
        self._portal = portal
        self._absent_after_s = absent_after_s
        self._strays = strays
        self._pace = pace
        self._tallies = tallies
        self._driver = Driver(DeviceOptions())
        self._rounds_left: dict[Connection, int] = {}
        self._passing = asyncio.Lock()

    async def attend(self, connection: Connection) -> None:
        """Answers commands until the line breaks."""
        waiting = b""
        try:
            while data := await connection.reader.read(MAX_COMMAND_BYTES):
                waiting = self._obey(connection, waiting + data)
        finally:
            self._rounds_left.pop(connection, None)

    def _obey(self, connection: Connection, waiting: bytes) -> bytes:
        """Does what whole frames say and returns the unfinished rest; a broken frame is passed over."""
        while (start := waiting.find(HEAD)) >= 0:
            waiting = waiting[start:]
            if len(waiting) < 5 or len(waiting) < (size := int.from_bytes(waiting[3:5], "big") + 7) <= MAX_COMMAND_BYTES:
                return waiting
            body, tail = waiting[1 : size - 2], waiting[size - 2 : size]
            if size > MAX_COMMAND_BYTES or tail != bytes((sum(body) & 0xFF, END)) or body[0] != COMMAND:
                waiting = waiting[1:]
                continue
            self._do(connection, body[1], body[4:])
            waiting = waiting[size:]
        return b""

    def _do(self, connection: Connection, command: int, parameters: bytes) -> None:
        if command == MULTI_POLL and len(parameters) == 3:
            self._rounds_left[connection] = int.from_bytes(parameters[1:], "big")
        elif command == STOP:
            self._rounds_left.pop(connection, None)
            connection.send(frame(RESPONSE, STOP, b"\x00"))
        elif command == INFO:
            connection.send(frame(RESPONSE, INFO, VERSION))
        elif command == INVENTORY:
            self._rounds_left[connection] = max(1, self._rounds_left.get(connection, 0))
        else:
            connection.send(frame(RESPONSE, FAILED, bytes((UNKNOWN_COMMAND,))))

    def is_running(self, connection: Connection) -> bool:
        """True while the agent on the line lets it read."""
        return self._rounds_left.get(connection, 0) > 0

    def spend_round(self, connection: Connection) -> None:
        """An inventory round is over."""
        self._rounds_left[connection] -= 1

    async def idle(self, line: Wire) -> None:
        """Inventories an empty gate until cancelled: strays now and then, else word that no tag answered."""
        number = 0
        while True:
            await asyncio.sleep(ROUND_S)
            connection = line.connection
            if self._passing.locked() or connection is None or not self.is_running(connection):
                continue
            self.spend_round(connection)
            number += 1
            reads = self._strays.inventory()
            self._notify(connection, reads)
            if not reads and number % NO_TAG_EVERY == 0:
                self.tell_no_tag(connection)

    def notice(self, read: Read) -> bytes:
        """What the reader sends for one answer of a tag."""
        return self._driver.encode(TagRead(read.epc, None, float(read.rssi_dbm), self._pace.start))

    def tell_no_tag(self, connection: Connection) -> None:
        """Word that no tag answered."""
        connection.send(frame(RESPONSE, FAILED, bytes((NO_TAG,))))

    def _notify(self, connection: Connection, reads: list[Read]) -> Counter[str]:
        """Sends notices; how many of each EPC went out whole."""
        whole: Counter[str] = Counter()
        for read in reads:
            whole[read.epc] += connection.send(self.notice(read)) is Sent.WHOLE
        return whole

    async def carry(self, line: Wire, epcs: list[str], seed: str) -> list[list[Crossing]]:
        """Takes tags through the gate, again when the reader's lamp went out on the way; the crossings of each attempt.

        The last attempt's are certain, unless the lamp never stayed on: then the tags are told as unseen.
        """
        attempts: list[list[Crossing]] = []
        async with self._passing:
            while len(attempts) < MAX_PASSES and (connection := await listener(line, self.is_running)) is not None:
                at = self._pace.moment(self._pace.elapsed_s())
                pauses: Counter[str] = Counter()
                certain = await self._pass(connection, PassingPallet(epcs, self.reader.rounds, f"{seed}:{len(attempts)}"), pauses)
                crossings = [Crossing(self._site, self._portal.name, epc, at, certain, 1 + pauses[epc]) for epc in epcs]
                self._tallies.crossings += crossings
                attempts.append(crossings)
                if certain:
                    return attempts
            if not line.closing:
                self._tallies.unseen += [f"tag {epc} at {self._portal.name}" for epc in epcs]
            return attempts

    async def _pass(self, connection: Connection, pallet: PassingPallet, pauses: Counter[str]) -> bool:
        """One pass; True when every tag was told often enough and the line then lived until the passage was safe.

        Counts in `pauses` how often a tag was not told for so long that the portal could take it for gone.
        """
        whole: Counter[str] = Counter()
        told_s: dict[str, float] = {}
        for number in range(pallet.rounds):
            await asyncio.sleep(ROUND_S)
            if connection.broken.is_set() or not self.is_running(connection):
                return False
            self.spend_round(connection)
            told = self._notify(connection, pallet.inventory(number, self._portal.min_reads))
            now_s = monotonic()
            for epc in +told:
                pauses[epc] += now_s - told_s.get(epc, now_s) > self._absent_after_s * PAUSE_SHARE
                told_s[epc] = now_s
            whole += told
        # However a pause parted its reads, one of the parts must have enough of them.
        if any(whole[epc] < self._portal.min_reads * (1 + pauses[epc]) for epc in pallet.epcs):
            return False
        return await connection.outlives(self._absent_after_s + SETTLE_S)
