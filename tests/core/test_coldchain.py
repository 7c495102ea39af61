"""The cold-chain folds, on series small enough to check by hand."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.coldchain import Limit, Reading, excursions, fold, gaps, mean_kinetic_temperature, ongoing

MINUTE = 60_000_000
FRIDGE = Limit(lower=2.0, upper=8.0, inclusive=True, delay_s=600, hysteresis=0.5, max_gap_s=300)


def minutes(*values: float, start: int = 0) -> list[Reading]:
    """One reading a minute."""
    return [Reading((start + index) * MINUTE, value) for index, value in enumerate(values)]


def test_an_excursion_opens_at_the_exact_minute_of_the_delay() -> None:
    found = excursions(FRIDGE, minutes(5.0, *[9.0] * 11))
    assert [(each.started_us, each.alarmed_us, each.ended_us) for each in found] == [(MINUTE, 11 * MINUTE, None)]


def test_a_run_shorter_than_the_delay_is_no_excursion() -> None:
    assert excursions(FRIDGE, minutes(5.0, *[9.0] * 10, 5.0)) == []


def test_the_alarm_falls_between_readings_where_the_delay_ends_there() -> None:
    readings = [Reading(0, 9.0), Reading(240_000_000, 9.0), Reading(480_000_000, 9.0), Reading(720_000_000, 9.0)]
    assert [each.alarmed_us for each in excursions(FRIDGE, readings)] == [600_000_000]


def test_equality_is_outside_when_inclusive_and_inside_when_not() -> None:
    inclusive = Limit(lower=None, upper=30.0, inclusive=True, delay_s=0, hysteresis=0, max_gap_s=300)
    exclusive = Limit(lower=None, upper=30.0, inclusive=False, delay_s=0, hysteresis=0, max_gap_s=300)
    assert len(excursions(inclusive, minutes(29.9, 30.0))) == 1
    assert excursions(inclusive, minutes(29.9, 29.9)) == []
    assert excursions(exclusive, minutes(30.0)) == []


def test_a_limit_of_zero_is_a_limit() -> None:
    freeze = Limit(lower=0.0, upper=None, inclusive=True, delay_s=0, hysteresis=0, max_gap_s=300)
    assert [each.side for each in excursions(freeze, minutes(0.1, 0.0))] == ["below"]


def test_an_excursion_ends_only_when_back_by_the_hysteresis() -> None:
    found = excursions(FRIDGE, minutes(*[9.0] * 11, 7.8, 7.6, 7.4))
    assert [each.ended_us for each in found] == [13 * MINUTE]


def test_minutes_between_limit_and_hysteresis_are_not_counted_as_outside() -> None:
    run, ended = fold(FRIDGE, None, minutes(9.0, 9.0, 7.8, 7.8, 9.0, 9.0))
    assert ended == []
    assert run is not None
    assert run.counted_us == 2 * MINUTE


def test_silence_stops_the_clock_and_is_a_finding() -> None:
    readings = [*minutes(9.0, 9.0), *minutes(*[9.0] * 10, start=60)]
    run, _ = fold(FRIDGE, None, readings)
    assert run is not None
    assert run.counted_us == 10 * MINUTE
    assert list(gaps(readings, longest_s=300)) == [(MINUTE, 60 * MINUTE)]


def test_from_above_straight_to_below_are_two_runs() -> None:
    found = excursions(FRIDGE, minutes(*[9.0] * 12, *[1.0] * 12))
    assert [(each.side, each.ended_us) for each in found] == [("above", 12 * MINUTE), ("below", None)]


def test_peak_and_area_tell_how_far_and_how_long() -> None:
    (found,) = excursions(FRIDGE, minutes(*[10.0] * 11))
    assert found.peak == 10.0
    assert math.isclose(found.area, 20.0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Limit(None, None, True, 0, 0, 1),
        lambda: Limit(8.0, 2.0, True, 0, 0, 1),
        lambda: Limit(2.0, 8.0, True, -1, 0, 1),
        lambda: Limit(2.0, 8.0, True, 0, 0, 0),
        lambda: Limit(2.0, 8.0, True, 0, 3.0, 1),
    ],
)
def test_a_limit_that_means_nothing_is_refused(build: Callable[[], Limit]) -> None:
    with pytest.raises(ValueError, match=r"."):
        build()


values = st.lists(st.sampled_from([1.0, 2.0, 2.4, 5.0, 7.6, 8.0, 9.0]), max_size=40)


@given(values, st.integers(0, 40))
def test_a_fold_may_be_cut_anywhere(series: list[float], cut: int) -> None:
    limit = Limit(lower=2.0, upper=8.0, inclusive=True, delay_s=120, hysteresis=0.5, max_gap_s=300)
    readings = minutes(*series)
    run, first = fold(limit, None, readings[:cut])
    run, second = fold(limit, run, readings[cut:])
    last = ongoing(run)
    assert [*first, *second, *([] if last is None else [last])] == excursions(limit, readings)


@given(values)
def test_after_a_clear_reading_the_past_does_not_matter(series: list[float]) -> None:
    limit = Limit(lower=2.0, upper=8.0, inclusive=True, delay_s=120, hysteresis=0.5, max_gap_s=300)
    low, high = limit.clear_range()
    run = None
    for reading in minutes(*series):
        run, _ = fold(limit, run, [reading])
        assert not (low < reading.value < high and run is not None)


def test_mkt_of_a_constant_is_the_constant() -> None:
    assert math.isclose(mean_kinetic_temperature([25.0] * 10), 25.0, abs_tol=1e-9)


def test_mkt_of_a_warm_day_is_the_published_formula() -> None:
    # By hand: T = 10000 / -ln((exp(-10000/298.15) + exp(-10000/308.15)) / 2) - 273.15
    expected = 10_000 / -math.log((math.exp(-10_000 / 298.15) + math.exp(-10_000 / 308.15)) / 2) - 273.15
    assert math.isclose(mean_kinetic_temperature([25.0, 35.0]), expected, abs_tol=1e-9)


@given(st.lists(st.floats(-80, 60), min_size=1, max_size=50))
def test_mkt_is_never_below_the_mean_nor_above_the_warmest(celsius: list[float]) -> None:
    mkt = mean_kinetic_temperature(celsius)
    assert math.fsum(celsius) / len(celsius) - 1e-6 <= mkt <= max(celsius) + 1e-6


def test_mkt_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no readings"):
        mean_kinetic_temperature([])
