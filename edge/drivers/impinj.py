"""Impinj readers with the IoT device interface (R700, R720), and Speedway readers with Speedway Connect: JSON events.

An event is `{"timestamp", "hostname", "eventType": X, "XEvent": {...}}`; the HTTP stream sends one a line and CR LF when there is
none, MQTT and webhook send one or an array. Each field of a `tagInventoryEvent` can be switched off at the reader: `epcHex` or
`epc` (base64 of the URL's alphabet), `antennaPort`, `peakRssiCdbm` (hundredths of a dBm), `phaseAngle` (degrees), `lastSeenTime`.
Speedway Connect sends `{"antennaPort", "epc" (hex), "firstSeenTimestamp", "peakRssi" (dBm), "isHeartBeat"}`.
Source: Impinj IoT device interface API 1.7 (OpenAPI); Impinj support article 360000044739.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from core.errors import CodeError
from edge.drivers.json_stream import Event, number
from edge.drivers.observations import Fault, Observation, PortChanged, TagRead
from edge.drivers.protocol import WebAccess
from edge.drivers.reader_json import JsonReader, detail_of, epc_of_base64, epc_of_hex, phase, port_number, rfc3339

STREAM_PATH: Final = "/api/v1/data/stream"
_IGNORED: Final = frozenset({"antennaConnected", "antennaActivation", "diagnostic", "heartbeat", "inventoryStatus"})
_TRANSITIONS: Final = {"lowtohigh": True, "hightolow": False}

Text = Annotated[str, Meta(min_length=1, max_length=512)]


class ImpinjOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """`preset` is started at the reader before its HTTP stream is read; `username` and the others are the reader's login."""

    preset: Text | None = None
    username: Text | None = None
    password_file: Text | None = None
    ca_file: Text | None = None


class Driver(JsonReader):
    """Reads tag and GPI events over MQTT, over the HTTP stream, and from a socket of Speedway Connect."""

    topics: ClassVar[tuple[str, ...]] = ("{topic}",)
    Options: ClassVar[type[Struct]] = ImpinjOptions
    hang_up_after_s: ClassVar[float | None] = 90.0
    """The interface's own advice: it sends CR LF when it has nothing to tell."""

    def web_access(self) -> WebAccess:
        """How the reader's HTTP stream is asked for."""
        own = self.options.own if isinstance(self.options.own, ImpinjOptions) else ImpinjOptions()
        start = () if own.preset is None else (f"/api/v1/profiles/inventory/presets/{quote(own.preset, safe='')}/start",)
        return WebAccess(username=own.username, password_file=own.password_file, ca_file=own.ca_file, posts=start)

    def encode(self, observation: Observation) -> bytes:
        """A line of the HTTP stream. Raises CodeError for what the reader cannot say."""
        match observation:
            case TagRead():
                kind, body = "tagInventory", _inventory_event(observation)
            case PortChanged(port, on):
                kind, body = "gpiTransition", {"gpi": port, "transition": "low-to-high" if on else "high-to-low"}
            case _:
                raise CodeError(f"an Impinj reader cannot send {type(observation).__name__}")
        event = {"timestamp": rfc3339(observation.read_at), "eventType": kind, f"{kind}Event": body}
        return msgspec.json.encode(event) + b"\r\n"

    def _understand(self, event: Event, read_at: datetime) -> Iterator[Observation]:
        kind = event.get("eventType")
        if kind is None:
            kind = _kind_by_fields(event)
        body = event.get(f"{kind}Event")
        told = body if isinstance(body, dict) else {}
        match kind:
            case "tagInventory":
                yield from self._tag(told, read_at, event.get("timestamp"))
            case "speedway":
                yield from self._speedway(event, read_at)
            case "gpiTransition":
                yield from self._input(told, read_at)
            case "overflow":
                yield Fault("overflow", f"the reader dropped {told.get('eventsPurged', 'some')} events it could not send", read_at)
            case "antennaDisconnected":
                yield Fault("antenna", f"antenna {detail_of(told.get('antennaPort'))} is disconnected", read_at)
            case "inventoryStatus" if told.get("status") == "idle":
                yield Fault("idle", "the reader's inventory stopped; start its preset, or name it in options.preset", read_at)
            case str() if kind.lower().endswith("error"):
                yield Fault("reader_error", detail_of(kind, told.get("message"), told.get("detail")), read_at)
            case _:
                self._ignore(kind, _IGNORED)

    def _tag(self, told: dict[str, Any], read_at: datetime, sent_at: object) -> Iterator[Observation]:
        epc = epc_of_hex(told["epcHex"]) if told.get("epcHex") else epc_of_base64(told.get("epc"))
        if epc is None:
            self.counts["bad_epc" if told.get("epcHex") or told.get("epc") else "no_epc"] += 1
            return
        centi_dbm = number(told.get("peakRssiCdbm"))
        yield TagRead(
            epc,
            port_number(told.get("antennaPort")) or self.options.antenna,
            None if centi_dbm is None else centi_dbm / 100,
            read_at,
            phase(told.get("phaseAngle")),
            self._own_time(read_at, told.get("lastSeenTime"), sent_at),
        )

    def _speedway(self, event: Event, read_at: datetime) -> Iterator[Observation]:
        if event.get("isHeartBeat") is True:
            self._ignore("heartbeat", _IGNORED)
            return
        epc = epc_of_hex(event.get("epc"))
        if epc is None:
            self.counts["bad_epc" if event.get("epc") else "no_epc"] += 1
            return
        antenna = port_number(event.get("antennaPort")) or self.options.antenna
        seen_at = self._own_time(read_at, event.get("firstSeenTimestamp"))
        yield TagRead(epc, antenna, number(event.get("peakRssi")), read_at, phase(event.get("phaseAngle")), seen_at)

    def _input(self, told: dict[str, Any], read_at: datetime) -> Iterator[Observation]:
        port = port_number(told.get("gpi"))
        named = "".join(letter for letter in str(told.get("transition")).lower() if letter.isalpha())
        if port is None or named not in _TRANSITIONS:
            self.counts["bad_gpi"] += 1
            return
        yield PortChanged(port, _TRANSITIONS[named], read_at)


def _kind_by_fields(event: Event) -> str | None:
    if "tagInventoryEvent" in event:
        return "tagInventory"
    return "speedway" if "isHeartBeat" in event or ("epc" in event and "antennaPort" in event) else None


def _inventory_event(read: TagRead) -> dict[str, Any]:
    if epc_of_hex(read.epc) is None:
        raise CodeError(f"EPC {read.epc!r} is not 1 to 31 words of hex")
    body: dict[str, Any] = {"epcHex": read.epc.upper()}
    if read.antenna is not None:
        body["antennaPort"] = read.antenna
    if read.rssi_dbm is not None:
        body["peakRssiCdbm"] = round(read.rssi_dbm * 100)
    if read.phase_deg is not None:
        body["phaseAngle"] = round(read.phase_deg, 2)
    if read.first_seen is not None:
        body["lastSeenTime"] = rfc3339(read.first_seen)
    return body
