"""Limits and excursions as folds over readings in event time. The hub runs them; they are pure, so that an agent can too.

A fold takes readings in order of event time. A reading outside the limit begins a run; time counts while one outside reading
follows another; the run becomes an excursion when the counted time reaches the delay; it ends at the first reading that is
back inside by the hysteresis. Silence counts as neither inside nor outside: a pause longer than `max_gap_s` stops the clock
for its length, and `gaps` names it as a finding of its own.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

ACTIVATION_OVER_GAS_CONSTANT_K: Final = 10_000.0
"""Delta H / R in kelvin for MKT: the conventional 83.144 kJ/mol over 8.3144 J/(mol K) (USP <1079.2>)."""
CELSIUS_ZERO_K: Final = 273.15
_US: Final = 1_000_000

Side = Literal["above", "below"]


@dataclass(frozen=True, slots=True)
class Limit:
    """One rule: bounds in the unit of the readings (either may be None), durations in seconds.

    With `inclusive` a value equal to a bound is already outside. `hysteresis` is how far inside a value must come to end a run.
    """

    lower: float | None
    upper: float | None
    inclusive: bool
    delay_s: float
    hysteresis: float
    max_gap_s: float

    def __post_init__(self) -> None:
        if self.lower is None and self.upper is None:
            raise ValueError("a limit needs a lower or an upper bound")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower bound {self.lower:g} is not below upper bound {self.upper:g}")
        if self.delay_s < 0 or self.hysteresis < 0 or self.max_gap_s <= 0:
            raise ValueError("delay and hysteresis must not be negative and the longest gap must be above zero")
        low, high = self.clear_range()
        if low >= high:
            raise ValueError(f"hysteresis {self.hysteresis:g} leaves nothing between the bounds: no value could end an excursion")

    def side(self, value: float) -> Side | None:
        """On which side of the limit a value is outside, or None when it is inside."""
        if self.upper is not None and (value >= self.upper if self.inclusive else value > self.upper):
            return "above"
        if self.lower is not None and (value <= self.lower if self.inclusive else value < self.lower):
            return "below"
        return None

    def recovered(self, value: float, side: Side) -> bool:
        """True when a value ends a run on that side: inside the limit by the hysteresis."""
        if side == "above" and self.upper is not None:
            mark = self.upper - self.hysteresis
            return value < mark if self.inclusive else value <= mark
        if side == "below" and self.lower is not None:
            mark = self.lower + self.hysteresis
            return value > mark if self.inclusive else value >= mark
        return True

    def clear_range(self) -> tuple[float, float]:
        """Open interval of values after which every fold stands at its beginning, whatever came before."""
        low = -math.inf if self.lower is None else self.lower + self.hysteresis
        high = math.inf if self.upper is None else self.upper - self.hysteresis
        return low, high

    def beyond(self, value: float, side: Side) -> float:
        """How far a value is past the bound of that side, in the unit of the reading; never negative."""
        bound = self.upper if side == "above" else self.lower
        if bound is None:
            return 0.0
        return max(0.0, value - bound if side == "above" else bound - value)


@dataclass(frozen=True, slots=True)
class Reading:
    """A value at a moment (microseconds since 1970 UTC)."""

    at_us: int
    value: float


@dataclass(frozen=True, slots=True)
class Run:
    """Readings outside on one side. `counted_us` is the time seen outside; `area` is in unit-minutes beyond the bound."""

    side: Side
    started_us: int
    last_us: int
    last_value: float
    counted_us: int
    peak: float
    area: float
    alarmed_us: int | None


@dataclass(frozen=True, slots=True)
class Excursion:
    """A run that lasted for the delay. `ended_us` is None while it goes on; `area` is in unit-minutes beyond the bound."""

    side: Side
    started_us: int
    alarmed_us: int
    ended_us: int | None
    peak: float
    area: float


def step(limit: Limit, run: Run | None, reading: Reading) -> tuple[Run | None, Excursion | None]:
    """One reading further: the run that now goes on (or None), and the excursion that this reading ended (or None)."""
    side = limit.side(reading.value)
    if run is None:
        return (None if side is None else _begin(limit, side, reading)), None
    if side == run.side:
        return _lengthen(limit, run, reading), None
    if side is None and not limit.recovered(reading.value, run.side):
        # Inside, but not by the hysteresis: the run is not over, and this stretch does not count.
        return replace(run, last_us=reading.at_us, last_value=reading.value), None
    ended = None if run.alarmed_us is None else _excursion(run, run.alarmed_us, reading.at_us)
    return (None if side is None else _begin(limit, side, reading)), ended


def fold(limit: Limit, run: Run | None, readings: Iterable[Reading]) -> tuple[Run | None, list[Excursion]]:
    """All readings, in order of event time: the run at the end, and the excursions that ended on the way."""
    ended = []
    for reading in readings:
        run, excursion = step(limit, run, reading)
        if excursion is not None:
            ended.append(excursion)
    return run, ended


def ongoing(run: Run | None) -> Excursion | None:
    """The excursion that a run is, once it has lasted for the delay."""
    if run is None or run.alarmed_us is None:
        return None
    return _excursion(run, run.alarmed_us, None)


def excursions(limit: Limit, readings: Iterable[Reading]) -> list[Excursion]:
    """Every excursion in a series from its beginning; the last one may still go on."""
    run, ended = fold(limit, None, readings)
    last = ongoing(run)
    return ended if last is None else [*ended, last]


def gaps(readings: Sequence[Reading], *, longest_s: float) -> Iterator[tuple[int, int]]:
    """Pauses longer than `longest_s` between neighbours, as (from, until) in microseconds."""
    for before, after in itertools.pairwise(readings):
        if after.at_us - before.at_us > longest_s * _US:
            yield before.at_us, after.at_us


def mean_kinetic_temperature(celsius: Sequence[float]) -> float:
    """MKT in degrees Celsius of equally spaced temperatures (USP <1079.2>).

    T_K = (dH/R) / -ln(mean(exp(-dH / (R T)))). It weighs warm stretches more than a mean does and never excuses a freeze.
    Raises ValueError for an empty sequence or a value at or below absolute zero.
    """
    if not celsius:
        raise ValueError("MKT of no readings")
    kelvin = [value + CELSIUS_ZERO_K for value in celsius]
    if min(kelvin) <= 0 or not all(math.isfinite(value) for value in kelvin):
        raise ValueError("MKT needs finite temperatures above absolute zero")
    # Around the warmest value, so that the exponentials neither vanish nor lose their digits.
    warmest = max(kelvin)
    terms = math.fsum(math.exp(ACTIVATION_OVER_GAS_CONSTANT_K * (1 / warmest - 1 / value)) for value in kelvin)
    return 1 / (1 / warmest - math.log(terms / len(kelvin)) / ACTIVATION_OVER_GAS_CONSTANT_K) - CELSIUS_ZERO_K


def _begin(limit: Limit, side: Side, reading: Reading) -> Run:
    return Run(
        side=side,
        started_us=reading.at_us,
        last_us=reading.at_us,
        last_value=reading.value,
        counted_us=0,
        peak=reading.value,
        area=0.0,
        alarmed_us=reading.at_us if limit.delay_s == 0 else None,
    )


def _lengthen(limit: Limit, run: Run, reading: Reading) -> Run:
    pause_us = reading.at_us - run.last_us
    counts = pause_us <= limit.max_gap_s * _US and limit.side(run.last_value) == run.side
    if not counts:
        pause_us = 0
    delay_us = round(limit.delay_s * _US)
    counted_us = run.counted_us + pause_us
    alarmed_us = run.alarmed_us
    if alarmed_us is None and counted_us >= delay_us:
        alarmed_us = reading.at_us - (counted_us - delay_us)
    mean_beyond = (limit.beyond(run.last_value, run.side) + limit.beyond(reading.value, run.side)) / 2
    return replace(
        run,
        last_us=reading.at_us,
        last_value=reading.value,
        counted_us=counted_us,
        peak=max(run.peak, reading.value) if run.side == "above" else min(run.peak, reading.value),
        area=run.area + mean_beyond * pause_us / (60 * _US),
        alarmed_us=alarmed_us,
    )


def _excursion(run: Run, alarmed_us: int, ended_us: int | None) -> Excursion:
    return Excursion(run.side, run.started_us, alarmed_us, ended_us, run.peak, run.area)
