"""A Chafon UHF reader: tells who it is, and answers each inventory with the tags in its field, in several frames when many."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from edge.drivers.crc16 import MCRF4XX, crc16
from edge.drivers.observations import TagRead
from edge.drivers.uhfreader18 import (
    ANTENNA_ERROR,
    BROADCAST,
    DONE,
    INVENTORY,
    MIN_LENGTH,
    MORE,
    NO_TAG,
    READER_INFO,
    answer,
    frame,
)
from simulators.devices.line import Connection

TAGS_A_FRAME: Final = 8
MAX_COMMAND_BYTES: Final = 256
UNKNOWN_COMMAND, WRONG_LENGTH = 0xFE, 0xFD
PLAIN_TYPE, FOUR_ANTENNAS_TYPE = 0x09, 0x0C
PARAMETER_BYTES: Final = 9


@dataclass(slots=True)
class UhfReader:
    """One reader. `field_of` gives the tags before an antenna (1 to 4); `four_antennas` makes it a UHFReader288M.

    `broken_antennas` fail their check; `asked` notes the commands that were understood.
    """

    field_of: Callable[[int], list[TagRead]]
    four_antennas: bool = False
    address: int = 0
    power_dbm: int = 26
    broken_antennas: frozenset[int] = frozenset()
    asked: list[int] = field(default_factory=list)

    async def attend(self, connection: Connection) -> None:
        """Answers commands until the line breaks."""
        waiting = b""
        while data := await connection.reader.read(MAX_COMMAND_BYTES):
            waiting = self._obey(waiting + data, connection.send)

    def _obey(self, waiting: bytes, send: Callable[[bytes], object]) -> bytes:
        while waiting and len(waiting) > waiting[0]:
            whole = waiting[: waiting[0] + 1]
            if waiting[0] < MIN_LENGTH or crc16(whole[:-2], MCRF4XX) != whole[-2:]:
                waiting = waiting[1:]
                continue
            waiting = waiting[len(whole) :]
            if whole[1] in (self.address, BROADCAST):
                for reply in self._replies(whole[2], whole[3:-2]):
                    send(reply)
        return waiting

    def _replies(self, command: int, data: bytes) -> list[bytes]:
        self.asked.append(command)
        if command == READER_INFO:
            kind = FOUR_ANTENNAS_TYPE if self.four_antennas else PLAIN_TYPE
            return [frame(self.address, READER_INFO, bytes((0, 3, 1, kind, 0x02, 0x31, 0x80, self.power_dbm, 10)))]
        if command != INVENTORY:
            return [frame(self.address, command, bytes((UNKNOWN_COMMAND,)))]
        if bool(data) is not self.four_antennas or len(data) not in (0, PARAMETER_BYTES):
            return [frame(self.address, INVENTORY, bytes((WRONG_LENGTH,)))]
        antenna = data[7] - 0x7F if data else 1
        if antenna in self.broken_antennas:
            return [frame(self.address, INVENTORY, bytes((ANTENNA_ERROR,)))]
        return self._inventory(self.field_of(antenna))

    def _inventory(self, reads: list[TagRead]) -> list[bytes]:
        if not reads:
            return [frame(self.address, INVENTORY, bytes((NO_TAG,)))]
        parts = [reads[start : start + TAGS_A_FRAME] for start in range(0, len(reads), TAGS_A_FRAME)]
        return [answer(DONE if part is parts[-1] else MORE, part, address=self.address) for part in parts]
