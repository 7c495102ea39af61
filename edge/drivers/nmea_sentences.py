"""NMEA 0183 sentences as text: checksums, angles, times and dates, in both directions; no driver, no state."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

MPS_PER_KNOT: Final = 1852 / 3600
GPS_WEEKS: Final = 1024
"""The week number of GPS has ten bits: a receiver that lost count tells dates this many weeks back."""
_MINUTE_STEPS: Final = 10**6  # encoded minutes have six decimals, 2 mm
_SENTENCE: Final = re.compile(r"([A-Z][A-Z0-9])([A-Z]{3}),(.*)\*([0-9A-Fa-f]{2})", re.DOTALL)
_CLOCK: Final = re.compile(r"(\d{1,6})(\.\d*)?", re.ASCII)
_ANGLE: Final = re.compile(r"(\d*?)(\d{1,2}(?:\.\d*)?)", re.ASCII)
_DAY: Final = timedelta(days=1)


def checksum(body: bytes) -> str:
    """Two hex digits: the exclusive or of the bytes between $ and *."""
    value = 0
    for byte in body:
        value ^= byte
    return f"{value:02X}"


def sentence(body: str) -> bytes:
    """The sentence with its dollar, checksum and line ending."""
    return f"${body}*{checksum(body.encode('ascii'))}\r\n".encode("ascii")


def split(raw: bytes) -> tuple[str, list[str]] | str:
    """Formatter (`RMC`, of any talker) and fields of what stood between $ and line end; else the name of what is wrong.

    The name is empty for a sound sentence that is a vendor's own (`$PMTK...`).
    """
    text = raw.decode("ascii", "replace")
    match = _SENTENCE.fullmatch(text)
    if match is None:
        proprietary = text.startswith("P") and checksum(raw.rpartition(b"*")[0]) == text[-2:].upper()
        return "" if proprietary else "malformed" if "*" in text else "no_checksum"
    if checksum(raw[:-3]) != match[4].upper():
        return "bad_checksum"
    return match[2], match[3].split(",")


def time_of_day(clock: str) -> timedelta:
    """Time since midnight of `hhmmss.sss`, leading zeros possibly lost. Raises ValueError."""
    match = _CLOCK.fullmatch(clock)
    if match is None:
        raise ValueError(f"time {clock!r}")
    digits = f"{match[1]:0>6}"
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:]) + float(f"0{match[2] or ''}")
    if hours > 23 or minutes > 59 or seconds > 61:
        raise ValueError(f"time {clock!r}")
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def moment(clock: str, date: str) -> datetime:
    """Time `hhmmss.sss` and date `ddmmyy`, both with leading zeros possibly lost, in UTC. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,6}", date):
        raise ValueError(f"date {date!r}")
    digits = f"{date:0>6}"
    year = int(digits[4:])
    century = 1900 if year >= 80 else 2000
    return datetime(year + century, int(digits[2:4]), int(digits[:2]), tzinfo=UTC) + time_of_day(clock)


def nearest_moment(since_midnight: timedelta, reference: datetime) -> datetime:
    """The moment of that time of day that is nearest to `reference`: for sentences that tell no date."""
    midnight = reference.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return min((midnight + days * _DAY + since_midnight for days in (-1, 0, 1)), key=lambda at: abs(at - reference))


def angle(text: str, side: str, sides: str, limit: int) -> float:
    """Degrees from `dddmm.mmmm` and a letter of `sides` (the second is negative). Raises ValueError."""
    match = _ANGLE.fullmatch(text)
    if match is None or len(side) != 1 or side not in sides:
        raise ValueError(f"angle {text!r} {side!r}")
    minutes = float(match[2])
    degrees = int(match[1] or 0) + minutes / 60
    if minutes >= 60 or degrees > limit:
        raise ValueError(f"angle {text!r} {side!r}")
    return -degrees if side == sides[1] else degrees


def place(fields: list[str]) -> tuple[float, float]:
    """Latitude and longitude in degrees of four fields: angle, N or S, angle, E or W. Raises ValueError and IndexError."""
    return angle(fields[0], fields[1], "NS", 90), angle(fields[2], fields[3], "EW", 180)


def number(text: str) -> float | None:
    """A number that is not negative; None for an empty field. Raises ValueError."""
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"number {text!r}")
    return value


def angle_text(degrees: float, digits: int) -> str:
    """`dddmm.mmmmmm` with so many digits of whole degrees; the sign is left to the letter beside it."""
    steps = round(abs(degrees) * 60 * _MINUTE_STEPS)
    whole, rest = divmod(steps, 60 * _MINUTE_STEPS)
    return f"{whole:0{digits}d}{rest // _MINUTE_STEPS:02d}.{rest % _MINUTE_STEPS:06d}"


def weeks_lost(at: datetime, now: datetime, tolerance: timedelta) -> int:
    """How often the ten-bit week number of GPS rolled over unnoticed by whoever says `at`; 0 when that does not explain it."""
    rolled = timedelta(weeks=GPS_WEEKS)
    for times in (1, 2):
        if abs(now - at - times * rolled) <= tolerance:
            return times
    return 0
