"""How warm a cooled room is: first-order warming towards the air outside, cooling while its compressor runs."""

import math
from dataclasses import dataclass, field
from random import Random
from typing import Final

from simulators.scenario import Room

STEP_S: Final = 5.0
"""The thermostat decides once in so many seconds; between decisions the solution is exact."""


@dataclass(slots=True)
class ColdRoom:
    """Temperatures in degrees Celsius at seconds since the start. The same seed gives the same room, however often it is asked.

    Between two thermostat decisions T(t) = goal + (T0 - goal) exp(-t / tau), Newton's law of cooling, where goal is the
    air outside (compressor off) or the coldest the compressor reaches (on).
    """

    room: Room
    seed: int
    failures: list[tuple[float, float]]
    """Closed-open spans of seconds in which the compressor stands still."""
    _celsius: list[float] = field(init=False)
    _running: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._celsius = [self.room.set_point]

    def celsius(self, at_s: float) -> float:
        """The air temperature at a moment, in degrees Celsius; the start's when asked about before it."""
        step = max(0, math.floor(at_s / STEP_S))
        while len(self._celsius) <= step:
            self._advance()
        return self._celsius[step]

    def _advance(self) -> None:
        now, here = (len(self._celsius) - 1) * STEP_S, self._celsius[-1]
        if here > self.room.set_point + self.room.band:
            self._running = True
        elif here < self.room.set_point - self.room.band:
            self._running = False
        cooling = self._running and not any(start <= now < end for start, end in self.failures)
        goal = self.room.coldest if cooling else self.room.ambient
        self._celsius.append(goal + (here - goal) * math.exp(-STEP_S / (self.room.time_constant_min * 60)))

    def measured(self, probe: str, at_s: float) -> tuple[float, float]:
        """What a probe says at a moment: (degrees Celsius, percent relative humidity), with its own noise, in tenths."""
        noise = Random(f"{self.seed}:{probe}:{at_s:.3f}")  # noqa: S311  a simulation, not a secret
        celsius = self.celsius(at_s) + noise.gauss(0, self.room.noise)
        humidity = self.room.humidity * 100 + noise.gauss(0, 0.8) + 2 * math.sin(at_s / 1800)
        return round(celsius, 1), round(min(100.0, max(0.0, humidity)), 1)
