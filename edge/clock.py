"""The agent's clock: what time it is in the story, how long a story's second really takes, and when the clock was set."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from core.errors import ConfigurationError
from core.timescale import REAL_TIME, TimeScale, parse_time_scale

VARIABLE: Final = "QM_TIME_SCALE"
STEP_S: Final = 0.25
"""Real seconds by which wall and steady time may come apart before the clock counts as set; slewing stays far below."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A scenario moment in UTC, and the scenario time by which the clock had been set on (or back) until then.

    Two instants lie `(a.at - a.shift) - (b.at - b.shift)` apart, whatever was done to the clock between them.
    """

    at: datetime
    shift: timedelta


class Clock:
    """Scenario time; in a real site that is the machine's wall clock, which NTP or a person may set at any moment.

    A clock that was set is found by comparing it with a steady one. `steps` counts how often, `last_step_s` is the last size
    in scenario seconds (negative: set back). Any thread may ask.
    """

    def __init__(
        self,
        scale: TimeScale = REAL_TIME,
        *,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scale = scale
        self.steps = 0
        self.last_step_s = 0.0
        self._wall = wall
        self._steady = steady
        self._lock = threading.Lock()
        self._shift = timedelta()
        self._began_at, self._began_s = wall(), steady()

    def now(self) -> datetime:
        """The scenario moment, in UTC."""
        return self.instant().at

    def instant(self) -> Instant:
        """The scenario moment with what is needed to compare it with one before the clock was set."""
        with self._lock:
            before_s = self._steady()
            wall = self._wall()
            after_s = self._steady()
            elapsed = timedelta(seconds=(before_s + after_s) / 2 - self._began_s)
            apart = wall - self._began_at - elapsed - self._shift
            # A thread that was held up between the readings sees them apart by as much.
            if abs(apart) > timedelta(seconds=STEP_S + (after_s - before_s)):
                self._shift += apart
                self.steps += 1
                self.last_step_s = apart.total_seconds() * self.scale.speed
            return Instant(self.scale.at(wall), self._shift * self.scale.speed)

    def real_seconds(self, duration_s: float) -> float:
        """Real seconds that a scenario duration in seconds takes."""
        return self.scale.real_seconds(duration_s)


def choose_scale(from_file: str | None, environ: Mapping[str, str]) -> TimeScale:
    """The scale of `[clock] time_scale`, else of QM_TIME_SCALE, else real time.

    Raises ConfigurationError naming where the text stands, also when the two disagree.
    """
    from_environment = environ.get(VARIABLE) or None
    if from_file is not None and from_environment is not None and from_file != from_environment:
        raise ConfigurationError(f"clock.time_scale and {VARIABLE} name different scales; keep one of them")
    text, where = (from_file, "clock.time_scale") if from_file is not None else (from_environment, VARIABLE)
    if text is None:
        return REAL_TIME
    try:
        return parse_time_scale(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
