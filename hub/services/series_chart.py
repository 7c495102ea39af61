"""A series as a chart needs it: its readings while they are few enough, else their hours or days; a gap looks like one."""

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from psycopg import AsyncConnection

from core.errors import NotFound
from hub.sql import named

_SQL = named("series_chart")

CHART_POINTS_MAX: Final = 20_000
Resolution = Literal["reading", "hour", "day"]
BUCKET_S: Final[dict[Resolution, float]] = {"reading": 0.0, "hour": 3600.0, "day": 86_400.0}


class _Point(NamedTuple):
    at: float
    value: float | None
    low: float | None
    high: float | None


async def series_readings(db: AsyncConnection, series_id: int, *, since: datetime, until: datetime) -> dict[str, Any]:
    """A series as columns `at` (seconds since the epoch), `values`, and `lows` and `highs` (null for single readings).

    `resolution` is the finest in which the span has at most CHART_POINTS_MAX points: single readings, or hours or days from their
    beginning with the mean, lowest and highest of each. A null value stands where a pause is longer than the rules of its device's
    places allow; a series that nobody ever watched has none. Raises NotFound.
    """
    series = await (await db.execute(_SQL["series"], {"series_id": series_id})).fetchone()
    if series is None:
        raise NotFound(f"there is no series {series_id}")
    quantity, longest_s = series
    resolution, points = await _points(db, {"series_id": series_id, "from": since, "until": until, "limit": CHART_POINTS_MAX + 1})
    if longest_s is not None:
        points = with_gaps(points, longest_s=longest_s, bucket_s=BUCKET_S[resolution])
    single = resolution == "reading"
    return {
        "series_id": series_id,
        "quantity": quantity,
        "resolution": resolution,
        "at": [each.at for each in points],
        "values": [each.value for each in points],
        "lows": None if single else [each.low for each in points],
        "highs": None if single else [each.high for each in points],
    }


async def _points(db: AsyncConnection, span: dict[str, Any]) -> tuple[Resolution, list[_Point]]:
    rows = await (await db.execute(_SQL["readings_of"], span)).fetchall()
    if len(rows) <= CHART_POINTS_MAX:
        return "reading", [_Point(at, value, None, None) for at, value in rows]
    rows = await (await db.execute(_SQL["hours_of"], span)).fetchall()
    if len(rows) <= CHART_POINTS_MAX:
        return "hour", [_Point(*row) for row in rows]
    # 20,000 days are 54 years: longer than any clock that ingest believes.
    return "day", [_Point(*row) for row in await (await db.execute(_SQL["days_of"], span)).fetchall()]


def with_gaps(points: list[_Point], *, longest_s: float, bucket_s: float) -> list[_Point]:
    """The points with an empty one in each pause longer than `longest_s`; of hours and days, where a whole one is missing too."""
    told: list[_Point] = []
    for point in points:
        if told and point.at - told[-1].at > longest_s + bucket_s:
            told.append(_Point(told[-1].at + longest_s + bucket_s, None, None, None))
        told.append(point)
    return told
