"""A day told faster than it passes: pure arithmetic between real time and scenario time.

Every process reads one clock, `now()`, made where the process is put together. In a real site scenario time is real time; a
simulation names the real moment it began, the moment its story begins, and the speed.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from core.errors import ConfigurationError

MAX_SPEED: Final = 3600.0


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Maps real moments to scenario moments: `story_origin + (real - real_origin) * speed`. Speed has no unit."""

    real_origin: datetime
    story_origin: datetime
    speed: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.speed) and 0 < self.speed <= MAX_SPEED):
            raise ConfigurationError(f"speed of time {self.speed}: must be above 0 and at most {MAX_SPEED:g}")
        if self.real_origin.tzinfo is None or self.story_origin.tzinfo is None:
            raise ConfigurationError("origins of a time scale must name their time zone")

    def at(self, real: datetime) -> datetime:
        """The scenario moment at a real moment, in UTC."""
        return (self.story_origin + (real - self.real_origin) * self.speed).astimezone(UTC)

    def real_seconds(self, duration_s: float) -> float:
        """How many real seconds a scenario duration in seconds takes."""
        return duration_s / self.speed

    def __str__(self) -> str:
        return f"{self.real_origin.isoformat()}@{self.story_origin.isoformat()}x{self.speed:g}"


def parse_time_scale(text: str) -> TimeScale:
    """Reads `<real origin>@<story origin>x<speed>`, as str(TimeScale) writes it. Raises ConfigurationError."""
    try:
        origins, speed = text.rsplit("x", 1)
        real, story = origins.split("@")
        return TimeScale(datetime.fromisoformat(real), datetime.fromisoformat(story), float(speed))
    except ValueError as error:
        raise ConfigurationError(f"time scale {text!r} is not '<real origin>@<story origin>x<speed>': {error}") from error


REAL_TIME: Final = TimeScale(datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC), 1.0)
"""Scenario time is real time."""

DAY: Final = timedelta(days=1)
