"""What phones with Traccar Client or OsmAnd tell over HTTP: one fix a request, as form or query, or as the newer client's JSON.

Fields and units: traccar.org/osmand. The form tells speed in knots, the JSON in metres a second.
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from core.errors import InvalidInput

MPS_PER_KNOT: Final = 1852 / 3600
MILLISECONDS_FROM: Final = 2**31
"""A timestamp at or above it counts milliseconds."""
_PLAIN_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,16}(\.\d+)?", re.ASCII)
_FALSE: Final = frozenset({"false", "0", "no"})


@dataclass(frozen=True, slots=True)
class Report:
    """One fix as a phone told it, degrees in the phone's own coordinate system. `valid` is False when the phone has no fix."""

    at: datetime
    latitude: float
    longitude: float
    speed_mps: float | None
    course_deg: float | None
    accuracy_m: float | None
    hdop: float | None
    valid: bool = True


def device_of(fields: Mapping[str, str]) -> str:
    """The identifier in a form, empty when there is none."""
    return fields.get("id") or fields.get("deviceid") or ""


def device_of_json(document: object) -> str:
    """The identifier in the newer client's JSON, empty when there is none."""
    told = document.get("device_id") if isinstance(document, dict) else None
    return told if isinstance(told, str) else ""


def read_form(fields: Mapping[str, str], now: datetime) -> Report:
    """The fix in a form or query; without a timestamp it is of `now`. Raises InvalidInput naming every field that is wrong."""
    problems: list[str] = []
    latitude, longitude = fields.get("lat"), fields.get("lon")
    if fields.get("location") and latitude is None and longitude is None:
        latitude, _, longitude = fields["location"].partition(",")
    speed = _number("speed", fields.get("speed"), problems)
    course = _number("bearing", fields.get("bearing") or fields.get("heading"), problems)
    report = Report(
        at=_moment("timestamp", fields.get("timestamp"), problems) or now,
        latitude=_degrees("lat", latitude, 90, problems),
        longitude=_degrees("lon", longitude, 180, problems),
        speed_mps=None if speed is None or speed < 0 else speed * MPS_PER_KNOT,
        course_deg=None if course is None or course < 0 else course % 360,
        accuracy_m=_not_negative(_number("accuracy", fields.get("accuracy"), problems)),
        hdop=_not_negative(_number("hdop", fields.get("hdop"), problems)),
        valid=fields.get("valid", "true").lower() not in _FALSE,
    )
    if problems:
        raise InvalidInput(problems)
    return report


def read_json(document: object, now: datetime) -> Report:
    """The fix in the newer client's JSON; -1 stands for unknown. Raises InvalidInput naming every field that is wrong."""
    location = document.get("location") if isinstance(document, dict) else None
    coords = location.get("coords") if isinstance(location, dict) else None
    if not isinstance(location, dict) or not isinstance(coords, dict):
        raise InvalidInput(["location.coords: missing; it must be an object with latitude and longitude"])
    problems: list[str] = []
    where = "location.coords."
    course = _number(f"{where}heading", coords.get("heading"), problems)
    report = Report(
        at=_moment("location.timestamp", location.get("timestamp"), problems) or now,
        latitude=_degrees(f"{where}latitude", coords.get("latitude"), 90, problems),
        longitude=_degrees(f"{where}longitude", coords.get("longitude"), 180, problems),
        speed_mps=_not_negative(_number(f"{where}speed", coords.get("speed"), problems)),
        course_deg=None if course is None or course < 0 else course % 360,
        accuracy_m=_not_negative(_number(f"{where}accuracy", coords.get("accuracy"), problems)),
        hdop=None,
    )
    if problems:
        raise InvalidInput(problems)
    return report


def _number(path: str, told: object, problems: list[str]) -> float | None:
    """A finite number; None for one that was not told."""
    if told is None or told == "":
        return None
    found = math.nan
    if isinstance(told, str | int | float) and not isinstance(told, bool):
        with suppress(ValueError, OverflowError):
            found = float(told)
    if not math.isfinite(found):
        problems.append(f"{path}: must be a number")
        return None
    return found


def _degrees(path: str, told: object, limit: int, problems: list[str]) -> float:
    before = len(problems)
    found = _number(path, told, problems)
    if found is None:
        if len(problems) == before:
            problems.append(f"{path}: missing; it must be given in degrees")
        return 0.0
    if abs(found) > limit:
        problems.append(f"{path}: must be degrees from -{limit} to {limit}")
    return found


def _not_negative(value: float | None) -> float | None:
    return None if value is None or value < 0 else value


def _moment(path: str, told: object, problems: list[str]) -> datetime | None:
    """Seconds or milliseconds since 1970, ISO 8601, or `yyyy-MM-dd HH:mm:ss`; UTC where no zone is told."""
    if told is None or told == "":
        return None
    with suppress(ValueError, OverflowError, OSError):
        return _read_moment(str(told))
    problems.append(f"{path}: must be seconds or milliseconds since 1970, ISO 8601, or yyyy-MM-dd HH:mm:ss in UTC")
    return None


def _read_moment(text: str) -> datetime:
    if _NUMBER.fullmatch(text):
        number = float(text)
        return datetime.fromtimestamp(number / 1000 if number >= MILLISECONDS_FROM else number, UTC)
    if "T" not in text and not _PLAIN_TIME.fullmatch(text):
        raise ValueError(text)
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
