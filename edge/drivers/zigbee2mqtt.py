"""Zigbee2MQTT: climate sensors, door contacts, water leak sensors, one device a topic; availability on `<topic>/availability`.

Any key may be missing and null means unknown. `last_seen`, when Zigbee2MQTT is set to send it, dates what is told: on its start it
publishes remembered values again.
"""

import json
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from msgspec import Struct

from core.errors import CodeError
from core.messages import Input, Quantity
from edge.drivers.json_stream import number
from edge.drivers.mqtt_payload import PayloadDriver, measured, presence
from edge.drivers.observations import Fault, Measured, Observation, Online, Switched
from edge.drivers.protocol import DeviceOptions

_MEASURED: Final[dict[str, tuple[Quantity, float]]] = {
    "temperature": ("celsius", 1.0),
    "humidity": ("humidity_percent", 1.0),
    "pressure": ("pressure_pa", 100.0),  # hPa
    "battery": ("battery_percent", 1.0),
    "voltage": ("battery_volts", 0.001),  # mV
}
_BATTERY_MV: Final = (1_000.0, 20_000.0)
"""A plug tells the volts of the mains under the same key; a battery's millivolts are more."""


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """`mains_key` names the key that tells of the mains, as `ac_status`; they are lost when it says `mains_lost_when`."""

    mains_key: str = ""
    mains_lost_when: bool = True


class Driver(PayloadDriver):
    """Reads one Zigbee device."""

    topics: ClassVar[tuple[str, ...]] = ("{topic}", "{topic}/availability")
    Options: ClassVar[type[Struct]] = Options

    def __init__(self, options: DeviceOptions) -> None:
        super().__init__(options)
        own = options.own if isinstance(options.own, Options) else Options()
        # contact is true while the two halves touch: the door is shut.
        self._switched: dict[str, tuple[Input, bool]] = {"contact": ("door_open", False), "water_leak": ("water_leak", True)}
        if own.mains_key:
            self._switched[own.mains_key] = ("mains_power", not own.mains_lost_when)

    def read_event(self, event: dict[str, Any], read_at: datetime) -> list[Observation]:
        """Measured values and inputs of one payload; presence of `{"state": "online"}`."""
        state = event.get("state")
        if state in ("online", "offline"):
            return [presence(state == "online", read_at)]
        at = self.when(event.get("last_seen"), read_at)
        found: list[Observation] = []
        for key, value in event.items():
            if key not in _MEASURED and key not in self._switched:
                continue
            if value is None:
                self.counts["unknown_value"] += 1
            elif key in self._switched:
                found.append(self._read_switch(key, value, at))
            elif (seen := self._read_value(key, value, at)) is not None:
                found.append(seen)
        return found

    def encode(self, observation: Observation) -> bytes:
        """The payload that tells it. Raises CodeError."""
        match observation:
            case Measured(quantity, value, at):
                for key, (named, factor) in _MEASURED.items():
                    if named == quantity:
                        return _payload({key: round(value / factor, 3), "linkquality": 120, "last_seen": _last_seen(at)})
            case Switched(name, on, at):
                for key, (switch, on_when) in self._switched.items():
                    if switch == name:
                        return _payload({key: on is on_when, "linkquality": 120, "last_seen": _last_seen(at)})
            case Online():
                return _payload({"state": "online"})
            case Fault("offline"):
                return _payload({"state": "offline"})
        raise CodeError(f"a Zigbee sensor cannot send {observation}")

    def _read_switch(self, key: str, value: object, at: datetime) -> Switched | Fault:
        if not isinstance(value, bool):
            self.counts["bad_field"] += 1
            return Fault("bad_field", f"{key}: {value!r:.80} is neither true nor false", at)
        name, on_when = self._switched[key]
        return Switched(name, value is on_when, at)

    def _read_value(self, key: str, value: object, at: datetime) -> Measured | Fault | None:
        quantity, factor = _MEASURED[key]
        told = number(value)
        if key == "voltage" and told is not None and not _BATTERY_MV[0] <= told <= _BATTERY_MV[1]:
            self.counts["no_battery_voltage"] += 1
            return None
        return measured(quantity, value if told is None else round(told * factor, 4), at, self.counts)


def _payload(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _last_seen(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
