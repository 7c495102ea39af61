"""Places on the earth: distance, what a road makes of it, and Chinese map coordinates turned back into WGS-84."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import asin, ceil, cos, pi, radians, sin, sqrt
from typing import Final

from hub.domain.routing import Matrices

EARTH_RADIUS_M: Final = 6_371_008.8  # IUGG mean radius
ROAD_FACTOR: Final = 1.3  # road length over great circle; studies of city networks give 1.2 to 1.4
REFERENCE_SPEED_MPS: Final = 10.0  # of the matrices; each vehicle scales them by its own mean speed
INVERSE_STEPS: Final = 4
_GCJ02_BOX: Final = (0.8293, 55.8271, 72.004, 137.8347)
"""South, north, west, east: where the public implementations apply the offset; wider than China."""
_KRASOVSKY_M: Final = 6_378_245.0
_ECCENTRICITY_2: Final = 0.00669342162296594323


def great_circle_m(latitude_a: float, longitude_a: float, latitude_b: float, longitude_b: float) -> float:
    """Metres between two WGS-84 points in degrees over a sphere (haversine formula)."""
    a, b = radians(latitude_a), radians(latitude_b)
    half = sin((b - a) / 2) ** 2 + cos(a) * cos(b) * sin(radians(longitude_b - longitude_a) / 2) ** 2
    return 2 * EARTH_RADIUS_M * asin(min(1.0, sqrt(half)))


def road_m(latitude_a: float, longitude_a: float, latitude_b: float, longitude_b: float) -> float:
    """Metres a road is expected to need between two points."""
    return ROAD_FACTOR * great_circle_m(latitude_a, longitude_a, latitude_b, longitude_b)


@dataclass(frozen=True, slots=True)
class GreatCircleTimes:
    """Travel times without a map: great circle times `road_factor` at a mean speed. A `TravelTimes`."""

    road_factor: float = ROAD_FACTOR

    async def matrices(self, places: Sequence[tuple[float, float]]) -> Matrices:
        """Whole metres and seconds, both rounded up, at `REFERENCE_SPEED_MPS`."""
        distances = tuple(tuple(ceil(self.road_factor * great_circle_m(*a, *b)) for b in places) for a in places)
        durations = tuple(tuple(ceil(metres / REFERENCE_SPEED_MPS) for metres in row) for row in distances)
        return Matrices(durations, distances, REFERENCE_SPEED_MPS)


def gcj02_to_wgs84(latitude: float, longitude: float) -> tuple[float, float]:
    """WGS-84 degrees of a GCJ-02 point; outside the box around China both systems are taken to agree.

    The offset is the approximation on the Krasovsky 1940 ellipsoid that is public since 2010 (known as eviltransform; compared in
    "Restrictions on geographic data in China", Wikipedia), good to some metres of the official one. It changes by less than
    0.4 % of the way moved, so that each fixed-point step leaves less than 0.4 % of the error, and INVERSE_STEPS less than 1 cm.
    """
    south, north, west, east = _GCJ02_BOX
    if not (south <= latitude <= north and west <= longitude <= east):
        return latitude, longitude
    found = latitude, longitude
    for _ in range(INVERSE_STEPS):
        offset = _gcj02_offset(*found)
        found = latitude - offset[0], longitude - offset[1]
    return found


def _gcj02_offset(latitude: float, longitude: float) -> tuple[float, float]:
    x, y = longitude - 105.0, latitude - 35.0
    common = (20 * sin(6 * x * pi) + 20 * sin(2 * x * pi)) * 2 / 3
    north = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * sqrt(abs(x)) + common
    north += (20 * sin(y * pi) + 40 * sin(y / 3 * pi)) * 2 / 3 + (160 * sin(y / 12 * pi) + 320 * sin(y * pi / 30)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * sqrt(abs(x)) + common
    east += (20 * sin(x * pi) + 40 * sin(x / 3 * pi)) * 2 / 3 + (150 * sin(x / 12 * pi) + 300 * sin(x / 30 * pi)) * 2 / 3
    phi = radians(latitude)
    flat = 1 - _ECCENTRICITY_2 * sin(phi) ** 2
    meridian = _KRASOVSKY_M * (1 - _ECCENTRICITY_2) / (flat * sqrt(flat))
    return north * 180 / (meridian * pi), east * 180 / (_KRASOVSKY_M / sqrt(flat) * cos(phi) * pi)
