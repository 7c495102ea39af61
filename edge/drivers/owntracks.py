"""OwnTracks on a phone: positions over MQTT, dated by the phone (`tst`), also those it kept while it had no network.

Fields and units: owntracks.org/booklet/tech/json.
"""

import json
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal

from msgspec import Struct

from core.errors import CodeError
from edge.drivers.json_stream import number
from edge.drivers.mqtt_payload import FUTURE_TOLERANCE_S, PayloadDriver, measured, moment_of
from edge.drivers.observations import Fault, Fix, Observation
from edge.drivers.protocol import DeviceOptions

OLDEST_S: Final = 30 * 86_400.0
"""A phone keeps what it could not send; what is older than this is a wrong clock."""
_KMH_PER_MPS: Final = 3.6


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """`coordinate_system` of what the phone tells: some sold in China shift it to GCJ-02."""

    coordinate_system: Literal["wgs84", "gcj02"] = "wgs84"


class Driver(PayloadDriver):
    """Reads the locations of one phone."""

    topics: ClassVar[tuple[str, ...]] = ("{topic}",)
    Options: ClassVar[type[Struct]] = Options

    def __init__(self, options: DeviceOptions) -> None:
        super().__init__(options)
        own = options.own if isinstance(options.own, Options) else Options()
        self._system = own.coordinate_system

    def read_event(self, event: dict[str, Any], read_at: datetime) -> list[Observation]:
        """The fix of a location, and the battery; a Fault for a clock or a place that cannot be. Other types are counted."""
        kind = event.get("_type")
        if kind == "encrypted":
            self.counts["encrypted"] += 1
            return [Fault("encrypted", "the phone encrypts its payloads: clear the secret in its settings, use TLS", read_at)]
        if kind != "location":
            self.counts["other_type"] += 1
            return []
        found: list[Observation] = [self._read_fix(event, read_at)]
        if "batt" in event:
            found.append(measured("battery_percent", event["batt"], read_at, self.counts))
        return found

    def encode(self, observation: Observation) -> bytes:
        """The location that tells it. Raises CodeError."""
        if isinstance(observation, Fix):
            fields: dict[str, object] = {
                "lat": round(observation.latitude, 7),
                "lon": round(observation.longitude, 7),
                "tst": int(observation.at.timestamp()),
                "acc": observation.accuracy_m,
                "vel": None if observation.speed_mps is None else round(observation.speed_mps * _KMH_PER_MPS, 2),
                "cog": observation.course_deg,
            }
            told = {"_type": "location", **{key: value for key, value in fields.items() if value is not None}, "tid": "v1"}
            return json.dumps(told, separators=(",", ":")).encode()
        raise CodeError(f"OwnTracks cannot send {type(observation).__name__}")

    def _read_fix(self, event: dict[str, Any], read_at: datetime) -> Fix | Fault:
        latitude, longitude, at = number(event.get("lat")), number(event.get("lon")), moment_of(event.get("tst"))
        if latitude is None or longitude is None or not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            self.counts["bad_field"] += 1
            return Fault("bad_field", f"{event.get('lat')!r:.40}, {event.get('lon')!r:.40} is no place on earth", read_at)
        if at is None or not self._is_believable(at, read_at):
            self.counts["clock"] += 1
            said = f"{event.get('tst')!r:.40}" if at is None else at.isoformat()
            return Fault("clock", f"phone says {said}, it is {read_at.isoformat()}: set its clock", read_at)
        speed, course = number(event.get("vel")), number(event.get("cog"))
        accuracy = number(event.get("acc"))
        return Fix(
            at=at,
            latitude=latitude,
            longitude=longitude,
            speed_mps=None if speed is None or speed < 0 else speed / _KMH_PER_MPS,
            course_deg=None if course is None or course < 0 else course % 360,
            satellites=None,
            hdop=None,
            read_at=read_at,
            accuracy_m=None if accuracy is None or accuracy < 0 else accuracy,
            coordinate_system=self._system,
        )

    def _is_believable(self, at: datetime, read_at: datetime) -> bool:
        if self.options.believable_age_s is None:
            return True
        return timedelta(seconds=-FUTURE_TOLERANCE_S) <= read_at - at <= timedelta(seconds=OLDEST_S)
