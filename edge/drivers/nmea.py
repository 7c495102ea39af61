"""NMEA 0183 GPS receivers: positions from RMC, satellites and HDOP from the GGA of the same moment, any talker.

A sentence without checksum is not believed. An RMC waits for its GGA no longer than the next moment's sentence or silence.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from core.errors import CodeError
from edge.drivers.observations import Fault, Fix, Observation
from edge.drivers.protocol import DeviceOptions, ReaderDriver

MAX_SENTENCE: Final = 128  # the standard says 82; receivers with more digits exceed it
MPS_PER_KNOT: Final = 1852 / 3600
NO_FIX_QUALITY: Final = "0"
_MINUTE_STEPS: Final = 10**6  # encoded minutes have six decimals, 2 mm
_SENTENCE: Final = re.compile(r"([A-Z]{2})([A-Z]{3}),(.*)\*([0-9A-Fa-f]{2})", re.DOTALL)
_CLOCK: Final = re.compile(r"(\d{1,6})(\.\d*)?")
_ANGLE: Final = re.compile(r"(\d*?)(\d{1,2}(?:\.\d*)?)")


@dataclass(frozen=True, slots=True)
class _Quality:
    """What a GGA adds to the RMC of its moment."""

    moment: str
    satellites: int | None
    hdop: float | None


class Driver(ReaderDriver):
    """Reads fixes. Keeps one partial sentence, one RMC and one GGA."""

    default_baud: ClassVar[int] = 9600

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        self._sentence: bytearray | None = None
        self._waiting: tuple[str, Fix] | None = None
        self._quality: _Quality | None = None
        self._emitted: datetime | None = None

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """Fixes these bytes complete; a Fault for a fix whose date is not to be believed."""
        found: list[Observation] = []
        for byte in data:
            if byte == 0x24:  # $
                if self._sentence is not None:
                    self.counts["cut_sentence"] += 1
                self._sentence = bytearray()
            elif self._sentence is None:
                self.counts["noise_bytes"] += byte not in b"\r\n"
            elif byte in b"\r\n":
                found.extend(self._read(bytes(self._sentence), read_at))
                self._sentence = None
            elif len(self._sentence) >= MAX_SENTENCE:
                self.counts["too_long"] += 1
                self._sentence = None
            else:
                self._sentence.append(byte)
        return found

    def flush(self, read_at: datetime) -> list[Observation]:
        """The fix that was waiting for a GGA. A sentence whose checksum holds is taken although its line ending is missing."""
        found: list[Observation] = []
        held = self._sentence
        if held is not None and held[-3:-2] == b"*" and checksum(bytes(held[:-3])) == held[-2:].decode("ascii", "replace").upper():
            self._sentence = None
            found = self._read(bytes(held), read_at)
        return [*found, *self._release()]

    def pending_bytes(self) -> int:
        """What is held of a sentence."""
        return 0 if self._sentence is None else len(self._sentence) + 1

    def encode(self, observation: Observation) -> bytes:
        """An RMC and a GGA of talker GP, times to the millisecond. Raises CodeError."""
        if not isinstance(observation, Fix):
            raise CodeError(f"a GPS receiver cannot send {type(observation).__name__}")
        if not (-90 <= observation.latitude <= 90 and -180 <= observation.longitude <= 180):
            raise CodeError(f"position {observation.latitude}, {observation.longitude} is not on earth")
        at = observation.at.astimezone(UTC)
        moment = f"{at:%H%M%S}.{at.microsecond // 1000:03d}"
        place = (
            f"{_angle_text(observation.latitude, 2)},{'S' if observation.latitude < 0 else 'N'},"
            f"{_angle_text(observation.longitude, 3)},{'W' if observation.longitude < 0 else 'E'}"
        )
        speed = "" if observation.speed_mps is None else f"{observation.speed_mps / MPS_PER_KNOT:.3f}"
        course = "" if observation.course_deg is None else f"{observation.course_deg:.2f}"
        satellites = "" if observation.satellites is None else f"{observation.satellites:02d}"
        hdop = "" if observation.hdop is None else f"{observation.hdop:.2f}"
        return sentence(f"GPRMC,{moment},A,{place},{speed},{course},{at:%d%m%y},,,A") + sentence(
            f"GPGGA,{moment},{place},1,{satellites},{hdop},,M,,M,,"
        )

    def _read(self, raw: bytes, read_at: datetime) -> list[Observation]:
        text = raw.decode("ascii", "replace")
        match = _SENTENCE.fullmatch(text)
        if match is None:
            # Proprietary sentences ($PMTK...) are well formed, and not for us.
            proprietary = text.startswith("P") and checksum(raw.rpartition(b"*")[0]) == text[-2:].upper()
            self.counts.update(() if proprietary else ("malformed" if "*" in text else "no_checksum",))
            return []
        if checksum(raw[:-3]) != match[4].upper():
            self.counts["bad_checksum"] += 1
            return []
        fields = match[3].split(",")
        try:
            if match[2] == "RMC":
                return self._read_rmc(fields, read_at)
            if match[2] == "GGA":
                return self._read_gga(fields)
        except (ValueError, IndexError):
            self.counts["bad_field"] += 1
        return []

    def _read_rmc(self, fields: list[str], read_at: datetime) -> list[Observation]:
        moment = fields[0]
        released = self._release()
        if fields[1] != "A" or (len(fields) > 11 and fields[11].strip() == "N"):
            self.counts["no_fix"] += 1
            return released
        try:
            at = _when(moment, fields[8])
            fix = Fix(
                at=at,
                latitude=_angle(fields[2], fields[3], "NS", 90),
                longitude=_angle(fields[4], fields[5], "EW", 180),
                speed_mps=None if (knots := _number(fields[6])) is None else knots * MPS_PER_KNOT,
                course_deg=None if (course := _number(fields[7])) is None else course % 360,
                satellites=None,
                hdop=None,
                read_at=read_at,
            )
        except (ValueError, IndexError):
            self.counts["bad_field"] += 1
            return released
        limit = self.options.believable_age_s
        if limit is not None and abs((read_at - at).total_seconds()) > limit:
            self.counts["clock"] += 1
            return [*released, Fault("clock", f"receiver says {at.isoformat()}, it is {read_at.isoformat()}", read_at)]
        if at == self._emitted:
            self.counts["repeated_moment"] += 1  # the RMC of another constellation, or a clock that stands
            return released
        self._waiting = (moment, fix)
        if self._quality is not None and self._quality.moment == moment:
            return [*released, *self._release()]
        return released

    def _read_gga(self, fields: list[str]) -> list[Observation]:
        moment = fields[0]
        released = [] if self._waiting is None or self._waiting[0] == moment else self._release()
        if fields[5] == NO_FIX_QUALITY:
            return released
        satellites = int(fields[6]) if fields[6] else None
        self._quality = _Quality(moment, satellites, _number(fields[7]))
        return [*released, *(self._release() if self._waiting is not None else [])]

    def _release(self) -> list[Observation]:
        """The waiting fix, with what the GGA of its moment says."""
        if self._waiting is None:
            return []
        moment, fix = self._waiting
        if self._quality is not None and self._quality.moment == moment:
            fix = replace(fix, satellites=self._quality.satellites, hdop=self._quality.hdop)
        self._waiting = None
        self._quality = None
        self._emitted = fix.at
        return [fix]


def checksum(body: bytes) -> str:
    """Two hex digits: the exclusive or of the bytes between $ and *."""
    value = 0
    for byte in body:
        value ^= byte
    return f"{value:02X}"


def sentence(body: str) -> bytes:
    """The sentence with its dollar, checksum and line ending."""
    return f"${body}*{checksum(body.encode('ascii'))}\r\n".encode("ascii")


def _when(clock: str, date: str) -> datetime:
    """Time `hhmmss.sss` and date `ddmmyy`, both with leading zeros possibly lost, in UTC. Raises ValueError."""
    match = _CLOCK.fullmatch(clock)
    if match is None or not re.fullmatch(r"[0-9]{1,6}", date):
        raise ValueError(f"time {clock!r} of {date!r}")
    moment = f"{date:0>6} {match[1]:0>6}"
    year = int(moment[4:6])
    seconds = timedelta(seconds=int(moment[11:]) + float(f"0{match[2] or ''}"))
    if seconds > timedelta(seconds=61):
        raise ValueError(f"time {clock!r} of {date!r}")
    century = 1900 if year >= 80 else 2000
    minute = datetime(year + century, int(moment[2:4]), int(moment[:2]), int(moment[7:9]), int(moment[9:11]), tzinfo=UTC)
    return minute + seconds


def _angle(text: str, side: str, sides: str, limit: int) -> float:
    """Degrees from `dddmm.mmmm` and a letter of `sides` (the second is negative). Raises ValueError."""
    match = _ANGLE.fullmatch(text)
    if match is None or len(side) != 1 or side not in sides:
        raise ValueError(f"angle {text!r} {side!r}")
    minutes = float(match[2])
    degrees = int(match[1] or 0) + minutes / 60
    if minutes >= 60 or degrees > limit:
        raise ValueError(f"angle {text!r} {side!r}")
    return -degrees if side == sides[1] else degrees


def _number(text: str) -> float | None:
    """A number that is not negative; None for an empty field. Raises ValueError."""
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"number {text!r}")
    return value


def _angle_text(degrees: float, digits: int) -> str:
    steps = round(abs(degrees) * 60 * _MINUTE_STEPS)
    whole, rest = divmod(steps, 60 * _MINUTE_STEPS)
    return f"{whole:0{digits}d}{rest // _MINUTE_STEPS:02d}.{rest % _MINUTE_STEPS:06d}"
