"""Which telemetry is given up first when the outbox is over its cap: the written policy.

Business facts (passages, scans, states, statuses) are never given up. Telemetry is thinned in levels, the oldest first, each level
over the whole backlog before the next begins; only what is thinned to the last level is dropped:

1. one minute: of each series its first reading of a minute, and every one that is a new minimum or maximum of that minute;
   of each tracker its first position of a minute;
2. ten minutes: the same over ten minutes.

So an excursion that was measured stays visible, with its extremes, as long as anything of its time is there. A thinned batch keeps
its number: the hub takes it as it would have taken the whole one.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from core.messages import Item, Position, Readings, Series

LEVELS_S: Final = (60, 600)
"""Seconds of event time of which each level keeps one value and the extremes."""
MAX_SERIES: Final = 10_000
"""Series and trackers remembered between two batches; above it all are forgotten, and a little more is kept."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Thinner:
    """One level. Batches are given in the order of their numbers; what it remembers joins neighbouring batches."""

    def __init__(self, span_s: int) -> None:
        self._span_us = span_s * 1_000_000
        self._span = timedelta(seconds=span_s)
        self._series: dict[Series, tuple[int, float, float]] = {}
        self._trackers: dict[str, int] = {}

    def thin(self, items: Iterable[Item]) -> list[Item]:
        """What is kept, in order; items that are not telemetry are kept whole."""
        if len(self._series) + len(self._trackers) > MAX_SERIES:
            self._series.clear()
            self._trackers.clear()
        kept: list[Item] = []
        for item in items:
            if isinstance(item, Readings):
                kept += self._thin_readings(item)
            elif not isinstance(item, Position) or self._is_first(item):
                kept.append(item)
        return kept

    def _thin_readings(self, item: Readings) -> Sequence[Item]:
        places = [
            place
            for place, (which, at_us, value) in enumerate(zip(item.which, item.at_us, item.values, strict=True))
            if self._tells_more(item.series[which], at_us, value)
        ]
        if not places:
            return ()
        used = sorted({item.which[place] for place in places})
        index = {which: number for number, which in enumerate(used)}
        return (
            Readings(
                [item.series[which] for which in used],
                [index[item.which[place]] for place in places],
                [item.at_us[place] for place in places],
                [item.values[place] for place in places],
            ),
        )

    def _tells_more(self, series: Series, at_us: int, value: float) -> bool:
        """True for the first reading of its span, and for a new extreme of it."""
        span = at_us // self._span_us
        known = self._series.get(series)
        if known is None or known[0] != span:
            self._series[series] = (span, value, value)
            return True
        _, low, high = known
        if low <= value <= high:
            return False
        self._series[series] = (span, min(low, value), max(high, value))
        return True

    def _is_first(self, position: Position) -> bool:
        span = (position.at - _EPOCH) // self._span
        if self._trackers.get(position.tracker) == span:
            return False
        self._trackers[position.tracker] = span
        return True


def thinners() -> tuple[Thinner, ...]:
    """One for each level, lowest first, remembering nothing."""
    return tuple(Thinner(span_s) for span_s in LEVELS_S)
