"""NMEA 0183 GPS receivers of any talker: positions from RMC, with what GGA, GSA and VTG of the same moment add.

A sentence without checksum is not believed. A moment is told when RMC and GGA are there, else at the next moment's sentence or
silence. A receiver that never sends RMC is read by its GGA, which tells no date: it is the day that brings its time nearest to us.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, Literal

from msgspec import Struct

from core.errors import CodeError
from edge.drivers.nmea_sentences import (
    GPS_WEEKS,
    MPS_PER_KNOT,
    angle_text,
    checksum,
    moment,
    nearest_moment,
    number,
    place,
    sentence,
    split,
    time_of_day,
    weeks_lost,
)
from edge.drivers.observations import Fault, Fix, NoFix, Observation
from edge.drivers.protocol import DeviceOptions, ReaderDriver

MAX_SENTENCE: Final = 128  # the standard says 82; receivers with more digits exceed it
NO_FIX_FAULT_S: Final = 300.0
"""Seconds without a position after which a receiver is in fault: an antenna unplugged, or a van in a hall."""
NO_FIX_QUALITY: Final = "0"
NO_FIX_MODE: Final = "1"


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """`coordinate_system` of what the receiver tells: some sold in China shift it to GCJ-02."""

    coordinate_system: Literal["wgs84", "gcj02"] = "wgs84"


@dataclass(slots=True)
class _Moment:
    """What the sentences of one moment have said so far. `since_midnight` is None when none told the time."""

    since_midnight: timedelta | None
    read_at: datetime
    fix: Fix | None = None
    place: tuple[float, float] | None = None
    quality: str | None = None
    satellites: int | None = None
    hdop: float | None = None
    hdop_of_gsa: float | None = None
    mode: str | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    told: bool = False


class Driver(ReaderDriver):
    """Reads fixes. Keeps one partial sentence and one moment."""

    default_baud: ClassVar[int] = 9600
    Options: ClassVar[type[Struct]] = Options

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        own = options.own if isinstance(options.own, Options) else Options()
        self._system = own.coordinate_system
        self._sentence: bytearray | None = None
        self._moment: _Moment | None = None
        self._emitted: datetime | None = None
        self._sends_rmc = False
        self._dated: datetime | None = None
        self._lost_at: datetime | None = None

    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """Fixes these bytes complete, NoFix for a moment without one; a Fault for a fix whose date is not to be believed."""
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
        """The moment that was waiting for more. A sentence whose checksum holds is taken although its line ending is missing."""
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
        """An RMC and a GGA of talker GP, times to the millisecond; a void RMC for NoFix. Raises CodeError."""
        if isinstance(observation, NoFix):
            clock, date = _clock_text(observation.at) if observation.at is not None else ("", "")
            return sentence(f"GPRMC,{clock},V,,,,,,,{date},,,N")
        if not isinstance(observation, Fix):
            raise CodeError(f"a GPS receiver cannot send {type(observation).__name__}")
        if not (-90 <= observation.latitude <= 90 and -180 <= observation.longitude <= 180):
            raise CodeError(f"position {observation.latitude}, {observation.longitude} is not on earth")
        clock, date = _clock_text(observation.at)
        where = (
            f"{angle_text(observation.latitude, 2)},{'S' if observation.latitude < 0 else 'N'},"
            f"{angle_text(observation.longitude, 3)},{'W' if observation.longitude < 0 else 'E'}"
        )
        speed = "" if observation.speed_mps is None else f"{observation.speed_mps / MPS_PER_KNOT:.3f}"
        course = "" if observation.course_deg is None else f"{observation.course_deg:.2f}"
        satellites = "" if observation.satellites is None else f"{observation.satellites:02d}"
        hdop = "" if observation.hdop is None else f"{observation.hdop:.2f}"
        return sentence(f"GPRMC,{clock},A,{where},{speed},{course},{date},,,A") + sentence(
            f"GPGGA,{clock},{where},1,{satellites},{hdop},,M,,M,,"
        )

    def _read(self, raw: bytes, read_at: datetime) -> list[Observation]:
        parts = split(raw)
        if isinstance(parts, str):
            self.counts.update((parts,) if parts else ())
            return []
        kind, fields = parts
        try:
            match kind:
                case "RMC":
                    return self._read_rmc(fields, read_at)
                case "GGA":
                    return self._read_gga(fields, read_at)
                case "GSA":
                    self._read_gsa(fields)
                case "VTG":
                    self._read_vtg(fields)
                case "ZDA" if self.options.believable_age_s is None and fields[3]:
                    self._dated = moment(fields[0], f"{fields[1]:0>2}{fields[2]:0>2}{fields[3][-2:]}")
        except (ValueError, IndexError):
            self.counts["bad_field"] += 1
        return []

    def _turn_to(self, clock: str, read_at: datetime) -> tuple[list[Observation], _Moment]:
        """What the moment before comes to when this is another, and the moment of that time. Raises ValueError."""
        since_midnight = time_of_day(clock) if clock else None
        if self._moment is not None and self._moment.since_midnight == since_midnight is not None:
            return [], self._moment
        released = self._release()
        self._moment = _Moment(since_midnight, read_at)
        return released, self._moment

    def _read_rmc(self, fields: list[str], read_at: datetime) -> list[Observation]:
        clock, status = fields[0], fields[1]
        if status != "A" or (len(fields) > 11 and fields[11].strip() == "N"):
            return self._read_void(clock, fields[8] if len(fields) > 8 else "", read_at)
        at = moment(clock, fields[8])
        latitude, longitude = place(fields[2:6])
        course = number(fields[7])
        speed = number(fields[6])
        fix = Fix(
            at=at,
            latitude=latitude,
            longitude=longitude,
            speed_mps=None if speed is None else speed * MPS_PER_KNOT,
            course_deg=None if course is None else course % 360,
            satellites=None,
            hdop=None,
            read_at=read_at,
            coordinate_system=self._system,
        )
        self._sends_rmc = True
        released, now = self._turn_to(clock, read_at)
        if (fault := self._disbelieve(at, read_at)) is not None:
            return [*released, fault]
        if at == self._emitted or now.fix is not None:
            self.counts["repeated_moment"] += 1  # the RMC of another constellation, or a clock that stands
            return released
        now.fix, now.told = fix, False  # also when another constellation of this moment had no position
        return [*released, *self._release_complete()]

    def _read_void(self, clock: str, date: str, read_at: datetime) -> list[Observation]:
        self._sends_rmc = True
        released, now = self._turn_to(clock, read_at)
        if now.told or now.fix is not None:
            return released  # another constellation of this moment has a position, or said the same
        now.told = True
        return [*released, *self._tell_no_fix(moment(clock, date) if clock and date else None, read_at)]

    def _read_gga(self, fields: list[str], read_at: datetime) -> list[Observation]:
        quality = fields[5]
        satellites, hdop = int(fields[6]) if fields[6] else None, number(fields[7])
        where = place(fields[1:5]) if quality not in ("", NO_FIX_QUALITY) else None
        released, now = self._turn_to(fields[0], read_at)
        now.quality = quality or NO_FIX_QUALITY
        if where is not None:
            now.place, now.satellites, now.hdop = where, satellites, hdop
        return [*released, *self._release_complete()]

    def _read_gsa(self, fields: list[str]) -> None:
        if self._moment is not None:
            self._moment.mode = max(fields[1], self._moment.mode or "")
            self._moment.hdop_of_gsa = number(fields[15])

    def _read_vtg(self, fields: list[str]) -> None:
        if self._moment is None:
            return
        knots, kmh, course = number(fields[4]), number(fields[6]), number(fields[0])
        self._moment.speed_mps = knots * MPS_PER_KNOT if knots is not None else None if kmh is None else kmh / 3.6
        self._moment.course_deg = None if course is None else course % 360

    def _disbelieve(self, at: datetime, read_at: datetime) -> Fault | None:
        """A Fault when the receiver's date cannot be true, with the reason when it is a known one."""
        limit = self.options.believable_age_s
        if limit is None or abs((read_at - at).total_seconds()) <= limit:
            return None
        self.counts["clock"] += 1
        detail = f"receiver says {at.isoformat()}, it is {read_at.isoformat()}"
        if times := weeks_lost(at, read_at, timedelta(seconds=limit)):
            self.counts["week_rollover"] += 1
            detail += f"; {times * GPS_WEEKS} weeks back, otherwise right: its week number rolled over, update its firmware"
        return Fault("clock", detail, read_at)

    def _release_complete(self) -> list[Observation]:
        """The moment, when nothing that could come would add to it."""
        now = self._moment
        if now is None or now.fix is None or now.place is None or (now.fix.speed_mps is None and now.speed_mps is None):
            return []
        return self._release()

    def _release(self) -> list[Observation]:
        """What the moment comes to, told once; its later sentences are only taken note of."""
        now = self._moment
        if now is None or now.told:
            return []
        now.told = True
        fix = now.fix if now.fix is not None or self._sends_rmc else self._fix_of_gga(now)
        if fix is None or (now.quality is None and now.mode == NO_FIX_MODE):
            at = None if fix is None else fix.at
            has_none = fix is not None or (now.quality == NO_FIX_QUALITY and not self._sends_rmc)
            return self._tell_no_fix(at, now.read_at) if has_none else []
        self._emitted, self._lost_at = fix.at, None
        return [
            replace(
                fix,
                satellites=now.satellites,
                hdop=now.hdop if now.hdop is not None else now.hdop_of_gsa,
                speed_mps=fix.speed_mps if fix.speed_mps is not None else now.speed_mps,
                course_deg=fix.course_deg if fix.course_deg is not None else now.course_deg,
            )
        ]

    def _fix_of_gga(self, now: _Moment) -> Fix | None:
        if now.place is None or now.since_midnight is None:
            return None
        reference = now.read_at
        if self.options.believable_age_s is None:
            # A capture: the day of its own ZDA, of the fix before, or, for want of any, of today.
            self.counts["date_assumed"] += self._dated is None
            reference = self._dated or now.read_at
        self._dated = at = nearest_moment(now.since_midnight, reference)
        if at == self._emitted:
            self.counts["repeated_moment"] += 1
            return None
        return Fix(at, *now.place, None, None, None, None, now.read_at, coordinate_system=self._system)

    def _tell_no_fix(self, at: datetime | None, read_at: datetime) -> list[Observation]:
        """That the receiver has no position; a Fault too when that has lasted."""
        self.counts["no_fix"] += 1
        self._lost_at = self._lost_at or read_at
        lost_s = (read_at - self._lost_at).total_seconds()
        if lost_s < NO_FIX_FAULT_S:
            return [NoFix(at, read_at)]
        return [NoFix(at, read_at), Fault("no_fix", f"no position for {lost_s:.0f} s: look at its antenna and the sky", read_at)]


def _clock_text(at: datetime) -> tuple[str, str]:
    utc = at.astimezone(UTC)
    return f"{utc:%H%M%S}.{utc.microsecond // 1000:03d}", f"{utc:%d%m%y}"
