"""How scenario time passes while the world runs."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.errors import ConfigurationError
from core.timescale import MAX_SPEED, TimeScale


def checked_speed(speed: float) -> float:
    """A speed that somebody typed, scenario seconds a real second. Raises ConfigurationError."""
    if not 0 < speed <= MAX_SPEED:
        raise ConfigurationError(f"--speed {speed:g}: must be above 0 and at most {MAX_SPEED:g}; 1 is as fast as life")
    return speed


@dataclass(frozen=True, slots=True)
class Pace:
    """Scenario seconds since the start of the story, and waits until one of them has come."""

    scale: TimeScale

    @property
    def start(self) -> datetime:
        """The moment the story begins."""
        return self.scale.story_origin.astimezone(UTC)

    def elapsed_s(self) -> float:
        """Scenario seconds since the start; negative before it."""
        return (self.scale.at(datetime.now(UTC)) - self.start).total_seconds()

    def moment(self, elapsed_s: float) -> datetime:
        """The scenario moment so many seconds after the start."""
        return self.start + timedelta(seconds=elapsed_s)

    async def until(self, elapsed_s: float) -> None:
        """Waits until the story is so many seconds old; returns at once when it is older."""
        while True:
            left_s = elapsed_s - self.elapsed_s()
            if left_s <= 0:
                return
            await asyncio.sleep(self.scale.real_seconds(left_s))
