"""Zebra readers as MQTT clients: a fixed one with the IoT Connector, which may batch, and a hand-held."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from edge.drivers.observations import Observation, Scan, TagRead
from edge.drivers.protocol import DeviceOptions
from edge.drivers.reader_json import rfc3339
from edge.drivers.zebra import Driver
from simulators.devices.mqtt_publisher import MqttPublisher


class ZebraReader:
    """One reader that publishes what it sees on its topic. With `batching`, one array a call; else a message an observation."""

    def __init__(self, publisher: MqttPublisher, topic: str, *, batching: bool = False) -> None:
        self._publisher = publisher
        self._topic = topic
        self._batching = batching
        self._driver = Driver(DeviceOptions())

    def see(self, observations: Sequence[Observation]) -> None:
        """Publishes. Raises CodeError for what the reader cannot say, Unavailable when the broker does not answer."""
        events = [self._driver.encode(observation).strip() for observation in observations]
        for payload in [b"[" + b",".join(events) + b"]"] if self._batching else events:
            self._publisher.publish(self._topic, payload)

    def beat(self, at: datetime) -> None:
        """Publishes the heartbeat of the management interface."""
        event = {"type": "heartbeat", "timestamp": rfc3339(at), "data": {"radio_control": {"numErrors": 0}}}
        self._publisher.publish(self._topic, msgspec.json.encode(event))


class ZebraHandHeld:
    """One RFD40 or RFD90: the tags and barcodes of one pull of the trigger come in one message."""

    def __init__(self, publisher: MqttPublisher, topic: str) -> None:
        self._publisher = publisher
        self._topic = topic

    def pull(self, seen: Sequence[TagRead | Scan], at: datetime) -> None:
        """Publishes what was seen. Raises Unavailable when the broker does not answer."""
        tags: list[dict[str, object]] = [
            {"EPCid": each.epc, "peakRssi": each.rssi_dbm, "seenCount": 1, "eventNum": number, "accessResults": []}
            for number, each in enumerate(seen, 1)
            if isinstance(each, TagRead)
        ]
        codes = [{"symbology": "CODE_39", "decodedBarcode": each.text} for each in seen if isinstance(each, Scan)]
        data = {name: values for name, values in (("tagData", tags), ("barcodeData", codes)) if values}
        self._publisher.publish(
            self._topic, msgspec.json.encode({"type": "BALANCED_PERFORMANCE", "timestamp": rfc3339(at), "data": data})
        )
