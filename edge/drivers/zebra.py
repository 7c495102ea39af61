"""Zebra readers over MQTT: fixed ones with the IoT Connector (FX7500, FX9600, FXR90, ATR7000), hand-helds (RFD40, RFD90).

A fixed reader sends `{"type": <mode>, "timestamp", "data": {"idHex", "antenna", "peakRssi", "phase", "format": "epc", ...}}`, with
batching on an array of them. A hand-held sends `{"type": <profile>, "timestamp", "data": {"tagData": [{"EPCid", "peakRssi",
"phase", "firstSeenTime"}], "barcodeData": [{"decodedBarcode", "symbology"}]}}`. Events of the management interface (inputs,
heartbeats, errors, warnings) may come on the same topic. RSSI is in dBm, phase in degrees.
Source: Zebra IoT Connector documentation (zebradevs.github.io/rfid-ziotc-docs); RFD40/RFD90 MQTT reference, dataEVT.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from core.errors import CodeError
from edge.drivers.json_stream import Event, number
from edge.drivers.observations import Fault, Observation, PortChanged, Scan, TagRead
from edge.drivers.reader_json import JsonReader, detail_of, epc_of_hex, phase, port_number, rfc3339

_IGNORED: Final = frozenset({"heartbeat", "warning", "response", "firmwareupdateprogress", "userapp"})
_LEVELS: Final = {"high": True, "low": False, "1": True, "0": False, "true": True, "false": False}
_SINGULAR: Final = {"errors": "error", "warnings": "warning", "heartbeats": "heartbeat"}


class Driver(JsonReader):
    """Reads tags, barcodes of hand-helds, and inputs of fixed readers."""

    topics: ClassVar[tuple[str, ...]] = ("{topic}",)

    def encode(self, observation: Observation) -> bytes:
        """The message a reader sends: a hand-held for a barcode or a tag without antenna, else a fixed one. Raises CodeError."""
        data: dict[str, Any]
        match observation:
            case TagRead() if observation.antenna is None:
                kind, data = "BALANCED_PERFORMANCE", {"tagData": [_hand_held_tag(observation)]}
            case TagRead():
                kind, data = "SIMPLE", _fixed_tag(observation)
            case Scan(text):
                kind, data = "BALANCED_PERFORMANCE", {"barcodeData": [{"symbology": "CODE_39", "decodedBarcode": text}]}
            case PortChanged(port, on):
                kind, data = "gpi", {"pin": port, "state": "HIGH" if on else "LOW"}
            case _:
                raise CodeError(f"a Zebra reader cannot send {type(observation).__name__}")
        at = getattr(observation, "first_seen", None) or observation.read_at
        return msgspec.json.encode({"type": kind, "timestamp": rfc3339(at), "data": data}) + b"\n"

    def _understand(self, event: Event, read_at: datetime) -> Iterator[Observation]:
        data = event.get("data", event)
        for told in data if isinstance(data, list) else [data]:
            if isinstance(told, dict):
                yield from self._one(event, told, read_at)
            else:
                self.counts["bad_event"] += 1

    def _one(self, event: Event, told: dict[str, Any], read_at: datetime) -> Iterator[Observation]:
        if "tagData" in told or "barcodeData" in told:
            yield from self._hand_held(told, read_at, event.get("timestamp"))
        elif "idHex" in told:
            yield from self._tag(told.get("idHex"), told, read_at, event.get("timestamp"))
        else:
            yield from self._management(event, told, read_at)

    def _hand_held(self, told: dict[str, Any], read_at: datetime, sent_at: object) -> Iterator[Observation]:
        for tag in self._objects(told.get("tagData")):
            yield from self._tag(tag.get("EPCid") or tag.get("EPC"), tag, read_at, sent_at)
        for code in self._objects(told.get("barcodeData")):
            text = code.get("decodedBarcode")
            if isinstance(text, str) and text:
                yield Scan(text, read_at)
            else:
                self.counts["bad_barcode"] += 1

    def _objects(self, value: object) -> list[dict[str, Any]]:
        values = value if isinstance(value, list) else [] if value is None else [value]
        found = [each for each in values if isinstance(each, dict)]
        self.counts.update({"bad_event": len(values) - len(found)} if len(found) < len(values) else ())
        return found

    def _tag(self, told_epc: object, told: dict[str, Any], read_at: datetime, sent_at: object) -> Iterator[Observation]:
        epc = epc_of_hex(told_epc)
        if epc is None:
            self.counts["bad_epc" if told_epc else "no_epc"] += 1
            return
        antenna = port_number(told.get("antenna")) or self.options.antenna
        seen_at = self._own_time(read_at, told.get("firstSeenTime"), sent_at)
        yield TagRead(epc, antenna, number(told.get("peakRssi")), read_at, phase(told.get("phase")), seen_at)

    def _management(self, event: Event, told: dict[str, Any], read_at: datetime) -> Iterator[Observation]:
        kind = str(event.get("type") or event.get("eventType") or ("response" if "response" in event else "")).lower()
        kind = _SINGULAR.get(kind, kind)
        if kind.startswith("gpi"):
            port, level = port_number(told.get("pin", told.get("port"))), str(told.get("state", told.get("signal"))).lower()
            if port is None or level not in _LEVELS:
                self.counts["bad_gpi"] += 1
                return
            yield PortChanged(port, _LEVELS[level], read_at)
        elif kind == "error":
            said = told.get("message") or told.get("description") or msgspec.json.encode(told).decode()
            yield Fault("reader_error", detail_of(event.get("component"), said), read_at)
        else:
            self._ignore(kind, _IGNORED)


def _values(read: TagRead) -> dict[str, Any]:
    values: dict[str, Any] = {"eventNum": 1}
    if read.rssi_dbm is not None:
        values["peakRssi"] = read.rssi_dbm
    if read.phase_deg is not None:
        values["phase"] = read.phase_deg
    return values


def _epc(read: TagRead) -> str:
    epc = epc_of_hex(read.epc)
    if epc is None:
        raise CodeError(f"EPC {read.epc!r} is not 1 to 31 words of hex")
    return epc


def _fixed_tag(read: TagRead) -> dict[str, Any]:
    return {"format": "epc", "idHex": _epc(read).lower(), "antenna": read.antenna, **_values(read)}


def _hand_held_tag(read: TagRead) -> dict[str, Any]:
    return {"EPCid": _epc(read), "seenCount": 1, **_values(read)}
