"""Readings for a chart: never cut short in silence, and a gap looks like one."""

from datetime import timedelta

import pytest
from psycopg import AsyncConnection

from hub.services import series_chart
from hub.services.series_chart import series_readings
from tests.hub.cold_room import START


async def fill(db: AsyncConnection, minutes: int, *, hole: tuple[int, int] = (0, 0)) -> None:
    """A reading a minute, its value the minute within the hour."""
    await db.execute(
        "INSERT INTO reading SELECT 1, %s + n * interval '1 minute', n %% 60 FROM generate_series(0, %s) n"
        " WHERE NOT (n > %s AND n < %s)",
        (START, minutes - 1, *hole),
    )


async def test_a_span_with_few_readings_is_told_in_full(room: AsyncConnection) -> None:
    await fill(room, 10)
    told = await series_readings(room, 1, since=START, until=START + timedelta(days=1))
    assert (told["resolution"], told["values"], told["lows"], told["highs"]) == (
        "reading",
        [float(n) for n in range(10)],
        None,
        None,
    )


@pytest.mark.parametrize(("points", "resolution", "count"), [(2000, "reading", 2000), (1999, "hour", 34), (33, "day", 2)])
async def test_more_points_than_a_chart_takes_become_hours_or_days_and_the_newest_stay(
    room: AsyncConnection, monkeypatch: pytest.MonkeyPatch, points: int, resolution: str, count: int
) -> None:
    monkeypatch.setattr(series_chart, "CHART_POINTS_MAX", points)
    await fill(room, 2000)
    told = await series_readings(room, 1, since=START, until=START + timedelta(days=2))
    assert (told["resolution"], len(told["at"]), len(told["values"])) == (resolution, count, count)
    if resolution == "hour":
        assert (told["values"][0], told["lows"][0], told["highs"][0]) == (29.5, 0.0, 59.0)
        assert told["at"][-1] == (START + timedelta(hours=33)).timestamp()
    if resolution == "day":
        assert (told["lows"], told["highs"]) == ([0.0, 0.0], [59.0, 59.0])


async def test_a_pause_longer_than_the_rule_allows_is_a_null_between_two_values(room: AsyncConnection) -> None:
    await fill(room, 40, hole=(10, 26))
    told = await series_readings(room, 1, since=START, until=START + timedelta(hours=1))
    place = told["values"].index(None)
    assert (told["values"][place - 1], told["values"][place + 1]) == (10.0, 26.0)
    assert told["at"][place - 1] < told["at"][place] < told["at"][place + 1]
    assert told["values"].count(None) == 1


async def test_a_missing_hour_is_a_gap_between_hours(room: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_chart, "CHART_POINTS_MAX", 100)
    await fill(room, 600, hole=(119, 300))
    told = await series_readings(room, 1, since=START, until=START + timedelta(hours=12))
    assert [value is None for value in told["values"]] == [False, False, True, False, False, False, False, False]


async def test_a_series_that_nobody_ever_watched_is_drawn_without_gaps(room: AsyncConnection) -> None:
    await fill(room, 40, hole=(10, 26))
    await room.execute("UPDATE device SET location = NULL")
    told = await series_readings(room, 1, since=START, until=START + timedelta(hours=1))
    assert None not in told["values"]
