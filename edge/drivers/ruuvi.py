"""RuuviTags heard by a Ruuvi Gateway that speaks MQTT: data formats 5 (RAWv2) and 6 (Ruuvi Air), as the advertisement has them.

The gateway repeats what it hears; a measurement is known by its sequence number. Layouts and the values that stand for "not
available": docs.ruuvi.com, Bluetooth advertisements.
"""

import json
import struct
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta, Struct

from core.errors import CodeError
from core.messages import Quantity
from edge.drivers.mqtt_payload import PayloadDriver, measured, presence
from edge.drivers.observations import Fault, Measured, Observation, Online
from edge.drivers.protocol import DeviceOptions

COMPANY: Final = 0x0499
MAX_TAGS: Final = 64
"""Tags whose last sequence number is remembered, when no MAC was chosen."""
_MANUFACTURER_DATA: Final = 0xFF
_FORMAT_5: Final = struct.Struct(">BhHHhhhHBH6s")
_FORMAT_6: Final = struct.Struct(">BhHHHHBBBBBB3s")
_NO_I16: Final = -0x8000
_NO_U16: Final = 0xFFFF
_ENCODED_MAC: Final = bytes.fromhex("CBB8334C884F")


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """`mac` of the tag to listen to; of a Ruuvi Air (format 6), which tells only the end of its own, the last three bytes count."""

    mac: Annotated[str, Meta(pattern=r"^([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5})?\Z")] = ""


@dataclass(frozen=True, slots=True)
class _Advertised:
    """One measurement. A value is None where the sensor has none."""

    mac: str
    sequence: int | None
    values: dict[Quantity, float | None]


class Driver(PayloadDriver):
    """Reads one tag, or all that speak on the topic."""

    topics: ClassVar[tuple[str, ...]] = ("{topic}",)
    Options: ClassVar[type[Struct]] = Options

    def __init__(self, options: DeviceOptions) -> None:
        super().__init__(options)
        own = options.own if isinstance(options.own, Options) else Options()
        self._mac = own.mac.upper()
        self._sequences: OrderedDict[str, int] = OrderedDict()

    def read_event(self, event: dict[str, Any], read_at: datetime) -> list[Observation]:
        """The values of one advertisement that was not heard before."""
        if event.get("state") in ("online", "offline"):
            return [presence(event["state"] == "online", read_at)]
        told = _manufacturer_data(event.get("data"))
        advertised = None if told is None else _read_format(told)
        if advertised is None:
            self.counts["other_advertisement"] += 1
            return []
        if self._mac and not self._mac.endswith(advertised.mac):
            self.counts["other_device"] += 1
            return []
        if self._is_repeated(advertised):
            self.counts["repeated_measurement"] += 1
            return []
        at = self.when(event.get("ts"), read_at)
        found: list[Observation] = []
        for quantity, value in advertised.values.items():
            if value is not None:
                found.append(measured(quantity, value, at, self.counts))
            elif quantity == "celsius":
                self.counts["no_value"] += 1
                found.append(Fault("no_value", f"tag {advertised.mac} has no temperature: its sensor does not answer", at))
            else:
                self.counts["not_available"] += 1
        return found

    def encode(self, observation: Observation) -> bytes:
        """The gateway's message with an advertisement of format 5 that holds this value alone. Raises CodeError."""
        match observation:
            case Online():
                return b'{"state":"online"}'
            case Fault("offline"):
                return b'{"state":"offline"}'
            case Measured(quantity, value, at) if quantity != "battery_percent":
                return self._encode_measured(quantity, value, at)
        raise CodeError(f"a RuuviTag cannot send {observation}")

    def _encode_measured(self, quantity: Quantity, value: float, at: datetime) -> bytes:
        steps = {"celsius": 200.0, "humidity_percent": 400.0, "pressure_pa": 1.0, "battery_volts": 1000.0}
        offset = {"pressure_pa": 50_000.0, "battery_volts": 1.6}.get(quantity, 0.0)
        told: dict[str, int] = {quantity: round((value - offset) * steps[quantity])}
        # The same measurement has the same number, another one most likely not.
        sequence = zlib.crc32(f"{quantity} {value} {at}".encode()) % _NO_U16
        try:
            frame = _FORMAT_5.pack(
                5,
                told.get("celsius", 0),
                told.get("humidity_percent", _NO_U16),
                told.get("pressure_pa", _NO_U16),
                *(_NO_I16,) * 3,
                told.get("battery_volts", 0x7FF) << 5 | 0x1F,
                0xFF,
                sequence,
                _ENCODED_MAC,
            )
        except struct.error as error:
            raise CodeError(f"{quantity} {value} does not fit into data format 5: {error}") from error
        data = f"0201061BFF9904{frame.hex().upper()}"
        stamp = f"{at.timestamp():.0f}"
        message = {"gw_mac": "C8:25:2D:8E:9C:2C", "rssi": -59, "aoa": [], "gwts": stamp, "ts": stamp, "data": data, "coords": ""}
        return json.dumps(message, separators=(",", ":")).encode()

    def _is_repeated(self, advertised: _Advertised) -> bool:
        if advertised.sequence is None:
            return False
        if self._sequences.get(advertised.mac) == advertised.sequence:
            return True
        self._sequences[advertised.mac] = advertised.sequence
        self._sequences.move_to_end(advertised.mac)
        if len(self._sequences) > MAX_TAGS:
            self._sequences.popitem(last=False)
        return False


def _manufacturer_data(told: object) -> bytes | None:
    """What the structure of manufacturer data of our company holds, in an advertisement written as hex; None when there is none.

    Structures are length, type, data (Bluetooth Core 5.4, volume 3 part C, section 11).
    """
    try:
        data = bytes.fromhex(told) if isinstance(told, str) else b""
    except ValueError:
        return None
    place = 0
    while place + 1 < len(data) and data[place]:
        end = place + 1 + data[place]
        if data[place + 1] == _MANUFACTURER_DATA and data[place + 2 : place + 4] == COMPANY.to_bytes(2, "little"):
            return data[place + 4 : end]
        place = end
    return None


def _read_format(data: bytes) -> _Advertised | None:
    if data[:1] == b"\x05" and len(data) >= _FORMAT_5.size:
        _, celsius, humidity, pressure, *_, power, _, sequence, mac = _FORMAT_5.unpack_from(data)
        millivolts = power >> 5
        values = _climate(celsius, humidity, pressure)
        values["battery_volts"] = None if millivolts == 0x7FF else (1600 + millivolts) / 1000
        return _Advertised(mac.hex(":").upper(), None if sequence == _NO_U16 else sequence, values)
    if data[:1] == b"\x06" and len(data) >= _FORMAT_6.size:
        fields = _FORMAT_6.unpack_from(data)
        return _Advertised(fields[-1].hex(":").upper(), fields[10], _climate(*fields[1:4]))
    return None


def _climate(celsius: int, humidity: int, pressure: int) -> dict[Quantity, float | None]:
    return {
        "celsius": None if celsius == _NO_I16 else round(celsius * 0.005, 3),
        "humidity_percent": None if humidity == _NO_U16 else round(humidity * 0.0025, 4),
        "pressure_pa": None if pressure == _NO_U16 else pressure + 50_000.0,
    }
