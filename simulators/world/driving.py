"""Where a van is: it drives stop to stop in straight lines, waits for windows, serves, and stands in jams."""

import math
from dataclasses import dataclass, field
from typing import Final

from simulators.scenario import Point, Van

EARTH_RADIUS_M: Final = 6_371_008.8
"""Mean radius R1 of the WGS 84 ellipsoid (IUGG)."""
ARRIVED_M: Final = 0.001
ARRIVED_S: Final = 0.001


def distance_m(here: Point, there: Point) -> float:
    """Great-circle distance of two (latitude, longitude) points in metres, by the haversine formula."""
    lat1, lat2 = math.radians(here[0]), math.radians(there[0])
    half_lat, half_lon = (lat2 - lat1) / 2, math.radians(there[1] - here[1]) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(chord))


def course_deg(here: Point, there: Point) -> float:
    """Initial bearing from one point to another, degrees clockwise from true north, 0 <= bearing < 360."""
    lat1, lat2, turn = math.radians(here[0]), math.radians(there[0]), math.radians(there[1] - here[1])
    north = math.cos(lat1) * math.sin(lat2) - math.sin(lat1) * math.cos(lat2) * math.cos(turn)
    return math.degrees(math.atan2(math.sin(turn) * math.cos(lat2), north)) % 360


def between(here: Point, there: Point, share: float) -> Point:
    """The point `share` (0 to 1) of the way; straight in degrees, good to a metre over a city."""
    return here[0] + (there[0] - here[0]) * share, here[1] + (there[1] - here[1]) * share


@dataclass(frozen=True, slots=True)
class Stop:
    """Somewhere to go: not served before `opens_s`, then for `service_s`. Seconds since the start."""

    order: str
    place: Point
    opens_s: float
    service_s: float


@dataclass(frozen=True, slots=True)
class Fix:
    """What the van's tracker knows: place, metres a second, degrees clockwise from true north."""

    place: Point
    speed_mps: float
    course_deg: float


@dataclass(slots=True)
class Jam:
    """The van stood still with somewhere to go: from when, and for how long so far. Seconds since the start."""

    from_s: float
    lasted_s: float = 0.0


@dataclass(slots=True)
class Driving:
    """One van's day. Only `advance` and `follow` change it; the same calls give the same day."""

    van: Van
    holdups: list[tuple[float, float]]
    """Closed-open spans of seconds in which the van cannot move."""
    now_s: float = 0.0
    place: Point = field(init=False)
    todo: list[Stop] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    jams: list[Jam] = field(default_factory=list)
    _course: float = 0.0
    _speed: float = 0.0
    _serving: Stop | None = None
    _done_s: float = 0.0

    def __post_init__(self) -> None:
        self.place = self.van.start

    @property
    def fix(self) -> Fix:
        """Place, speed and course now."""
        return Fix(self.place, self._speed, self._course)

    def follow(self, stops: list[Stop]) -> None:
        """Takes a new list of stops; what is served or being served stays as it is."""
        busy = {*self.served, *([self._serving.order] if self._serving else [])}
        self.todo = [stop for stop in stops if stop.order not in busy]

    def advance(self, to_s: float) -> None:
        """Lives on until `to_s` seconds since the start."""
        while self.now_s < to_s:
            self.now_s = min(to_s, self._act(to_s))

    def _act(self, to_s: float) -> float:
        """Does one thing, and says until when it lasts."""
        self._speed = 0.0
        if self._serving is not None:
            if self._done_s > self.now_s:
                return self._done_s
            self.served.append(self._serving.order)
            self._serving = None
            return self.now_s
        end = next((end for start, end in self.holdups if start <= self.now_s < end), None)
        if end is not None:
            self._stand(min(end, to_s) - self.now_s)
            return end
        goal = self.todo[0].place if self.todo else self.van.start
        left_m = distance_m(self.place, goal)
        if left_m > ARRIVED_M:
            return self._drive(goal, left_m, to_s)
        if not self.todo:
            return to_s
        return self._arrive(self.todo.pop(0))

    def _stand(self, seconds: float) -> None:
        """Stands in a jam: the same one as before when it has not moved since."""
        if not self.todo:
            return
        if not self.jams or self.jams[-1].from_s + self.jams[-1].lasted_s < self.now_s - ARRIVED_S:
            self.jams.append(Jam(self.now_s))
        self.jams[-1].lasted_s += seconds

    def _arrive(self, stop: Stop) -> float:
        self._serving, self.place = stop, stop.place
        self._done_s = max(self.now_s, stop.opens_s) + stop.service_s
        return self.now_s

    def _drive(self, goal: Point, left_m: float, to_s: float) -> float:
        """Roads wind: the way made good is the speed on the road over the road factor."""
        made_good = self.van.speed_mps / self.van.road_factor
        jam_s = min((start for start, _ in self.holdups if start > self.now_s), default=math.inf)
        seconds = min(to_s, jam_s, self.now_s + left_m / made_good) - self.now_s
        self._speed, self._course = self.van.speed_mps, course_deg(self.place, goal)
        share = seconds * made_good / left_m
        self.place = goal if share >= 1 - 1e-9 else between(self.place, goal, share)
        return self.now_s + seconds
