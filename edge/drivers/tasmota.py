"""Tasmota: one sensor of the many that a board may have, from `tele/<topic>/SENSOR`; its last will on `tele/<topic>/LWT`.

`Time` has no zone, so a value is dated by its arrival. A sensor that does not answer is told as null, or is not told at all.
"""

import json
from datetime import datetime
from typing import Any, ClassVar, Final

from msgspec import Struct

from core.errors import CodeError
from core.messages import Quantity
from edge.drivers.json_stream import number
from edge.drivers.mqtt_payload import PayloadDriver, measured
from edge.drivers.observations import Fault, Measured, Observation, Online
from edge.drivers.protocol import DeviceOptions

POWER_ON_CELSIUS: Final = 85.0
"""What a DS18B20 holds until its first conversion; told again and again it is one that loses its power."""
_QUANTITIES: Final[dict[str, Quantity]] = {
    "Temperature": "celsius",
    "Humidity": "humidity_percent",
    "Pressure": "pressure_pa",
}
_PA_PER: Final = {"hPa": 100.0, "mbar": 100.0, "mmHg": 133.322387415, "inHg": 3386.389}
"""Of the units Tasmota can be set to (NIST SP 811, conventional mercury)."""


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """`sensor` is the key (`AM2301`, `DS18B20-1`) or the `Id` of the sensor to read; only needed where a message has several."""

    sensor: str = ""


class Driver(PayloadDriver):
    """Reads one sensor of a Tasmota board."""

    topics: ClassVar[tuple[str, ...]] = ("tele/{topic}/SENSOR", "tele/{topic}/LWT")
    Options: ClassVar[type[Struct]] = Options

    def __init__(self, options: DeviceOptions) -> None:
        super().__init__(options)
        own = options.own if isinstance(options.own, Options) else Options()
        self._sensor = own.sensor

    def read_event(self, event: dict[str, Any], read_at: datetime) -> list[Observation]:
        """What the chosen sensor says; a Fault when it says nothing, or when nobody chose among several."""
        sensors = {name: each for name, each in event.items() if isinstance(each, dict) and each.keys() & _QUANTITIES.keys()}
        chosen = self._choose(sensors)
        if chosen is None:
            return self._not_chosen(sensors, read_at)
        fields = sensors[chosen]
        found: list[Observation] = []
        for key, quantity in _QUANTITIES.items():
            if key in fields:
                found.append(self._read_value(chosen, quantity, self._in_unit(key, fields[key], event), read_at))
        return found

    def encode(self, observation: Observation) -> bytes:
        """The payload that tells it. Raises CodeError."""
        name = self._sensor or "AM2301"
        match observation:
            case Measured(quantity, value):
                for key, named in _QUANTITIES.items():
                    if named == quantity:
                        told = round(value / _PA_PER["hPa"] if key == "Pressure" else value, 3)
                        return _payload({name: {key: told}})
            case Fault("no_value"):
                return _payload({name: {"Temperature": None, "Humidity": None}})
            case Fault("offline"):
                return b"Offline"
            case Online():
                return b"Online"
        raise CodeError(f"a Tasmota board cannot send {observation}")

    def _choose(self, sensors: dict[str, dict[str, Any]]) -> str | None:
        if not self._sensor:
            return next(iter(sensors)) if len(sensors) == 1 else None
        return next((name for name, each in sensors.items() if self._sensor in (name, each.get("Id"))), None)

    def _not_chosen(self, sensors: dict[str, dict[str, Any]], read_at: datetime) -> list[Observation]:
        told = ", ".join(sensors)[:200]
        if self._sensor:
            self.counts["sensor_missing"] += 1
            detail = f"sensor {self._sensor!r} is not in the message ({told or 'no sensor is'}): look at its wires"
            return [Fault("sensor_missing", detail, read_at)]
        if not sensors:
            self.counts["other_message"] += 1
            return []
        self.counts["several_sensors"] += 1
        return [Fault("several_sensors", f"the message has {told}: choose one with options.sensor", read_at)]

    def _in_unit(self, key: str, value: object, event: dict[str, Any]) -> object:
        told = number(value)
        if told is None:
            return value
        if key == "Temperature" and event.get("TempUnit") == "F":
            return round((told - 32) / 1.8, 3)
        if key == "Pressure":
            return round(told * _PA_PER.get(str(event.get("PressureUnit", "hPa")), _PA_PER["hPa"]), 1)
        return told

    def _read_value(self, sensor: str, quantity: Quantity, value: object, read_at: datetime) -> Measured | Fault:
        seen = measured(quantity, value, read_at, self.counts)
        if isinstance(seen, Measured) and quantity == "celsius" and sensor.startswith("DS18") and seen.value == POWER_ON_CELSIUS:
            self.counts["power_on_value"] += 1
            return Fault("power_on_value", f"{sensor}: 85 C is what it holds before it measures: look at its power", read_at)
        return seen


def _payload(sensors: dict[str, object]) -> bytes:
    message = {"Time": "2026-01-01T00:00:00", **sensors, "TempUnit": "C", "PressureUnit": "hPa"}
    return json.dumps(message, separators=(",", ":")).encode()
