"""What a reader sees of tags going by: who answers in which inventory round, and how strongly."""

import math
from dataclasses import dataclass
from random import Random
from typing import Final

SETTLED_ROUNDS: Final = 2
"""A reader's field holds every tag well inside for all but the first and last so many rounds."""
PEAK_RSSI_DBM: Final = -48.0
FADE_DB: Final = 14.0
STRAY_RSSI_DBM: Final = -78.0
STRAY_CHANCE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Read:
    """One tag answered one round. `epc` is hexadecimal."""

    epc: str
    rssi_dbm: int


class PassingPallet:
    """Tags of one pallet moving through a portal in a number of inventory rounds.

    Each tag answers a round with a chance of its own, 65 to 95 %, less while the pallet enters and leaves; the strength
    rises to the middle of the pass and falls again.
    """

    def __init__(self, epcs: list[str], rounds: int, seed: str) -> None:
        self._random = Random(seed)  # noqa: S311  a simulation, not a secret
        self.epcs = epcs
        self.rounds = rounds
        self._chance = {epc: self._random.uniform(0.65, 0.95) for epc in epcs}
        self._depth = {epc: self._random.uniform(-6, 0) for epc in epcs}
        self._answers = dict.fromkeys(epcs, 0)

    def inventory(self, number: int, least: int) -> list[Read]:
        """The answers in round `number` of 0 .. rounds-1.

        A pallet whose tag answered fewer than `least` times by the last round is not read at all in the field: the person
        pushing it waits for the reader's count, so the last rounds answer until the count is right.
        """
        middle = math.sin(math.pi * (number + 0.5) / self.rounds)
        edge = 1.0 if SETTLED_ROUNDS <= number < self.rounds - SETTLED_ROUNDS else 0.5
        owed = self.rounds - number <= least
        reads = []
        for epc in self.epcs:
            must = owed and self._answers[epc] < least
            if must or self._random.random() < self._chance[epc] * edge:
                self._answers[epc] += 1
                strength = PEAK_RSSI_DBM - FADE_DB * (1 - middle) + self._depth[epc] + self._random.gauss(0, 1.0)
                reads.append(Read(epc, max(-68, min(-30, round(strength)))))
        self._random.shuffle(reads)
        return reads


class Strays:
    """Tags that lie about near a portal and answer now and then, faintly."""

    def __init__(self, epcs: list[str], seed: str) -> None:
        self._random = Random(seed)  # noqa: S311  a simulation, not a secret
        self.epcs = epcs

    def inventory(self) -> list[Read]:
        """The answers in one round."""
        return [
            Read(epc, round(STRAY_RSSI_DBM + self._random.gauss(0, 1.5)))
            for epc in self.epcs
            if self._random.random() < STRAY_CHANCE
        ]
