"""A phone that tells its place over HTTP as Traccar Client and OsmAnd do: the form with knots, or the newer client's JSON."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from core.errors import RuleViolation, Unavailable
from edge.drivers.nmea_sentences import MPS_PER_KNOT
from edge.drivers.observations import Fix

TIMEOUT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class OsmAndPhone:
    """One phone. `url` is the address of the server, without a path; the token is its device identifier, as people set it up."""

    url: str
    token: str

    def tell_by_query(self, fix: Fix) -> None:
        """One fix as query. Raises RuleViolation when it is refused, Unavailable when nobody answers."""
        fields = {
            "id": self.token,
            "lat": fix.latitude,
            "lon": fix.longitude,
            "timestamp": int(fix.at.timestamp()),
            "speed": None if fix.speed_mps is None else fix.speed_mps / MPS_PER_KNOT,
            "bearing": fix.course_deg,
            "accuracy": fix.accuracy_m,
            "hdop": fix.hdop,
        }
        self._send(f"?{urlencode({name: value for name, value in fields.items() if value is not None})}", None)

    def tell_by_json(self, fix: Fix) -> None:
        """One fix as the newer client sends it, the token in the address. Raises as above."""
        coords = {
            "latitude": fix.latitude,
            "longitude": fix.longitude,
            "speed": -1 if fix.speed_mps is None else fix.speed_mps,
            "heading": -1 if fix.course_deg is None else fix.course_deg,
            "accuracy": -1 if fix.accuracy_m is None else fix.accuracy_m,
        }
        location = {"timestamp": fix.at.isoformat(), "coords": coords, "is_moving": True, "battery": {"level": 0.8}, "extras": {}}
        self._send(f"/{quote(self.token)}", {"device_id": "van", "location": location})

    def _send(self, rest: str, document: object) -> None:
        address = f"{self.url}/api/v1/trackers/osmand{rest}"
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(address, data=data, headers={"Content-Type": "application/json"} if data else {})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  the scheme is the caller's own
                answer.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                told = error.read(MAX_ANSWER_BYTES).decode(errors="replace")
            raise RuleViolation(f"HTTP {error.code} {told}") from error
        except (urllib.error.URLError, OSError) as error:
            raise Unavailable(f"{self.url}: {error}") from error
