"""The hub at the broker: one connection that is made again for ever, what it listens to, and the receipts that leave."""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import aiomqtt
import msgspec
from paho.mqtt.reasoncodes import ReasonCode

from core import messages, topics
from core.errors import ConfigurationError
from core.messages import Receipt
from core.topics import AgentAddress
from hub.adapters.mqtt_burst import BurstClient, Sink
from hub.domain.seq_ranges import merged

_log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 30
ANSWER_TIMEOUT_S: Final = 10.0
RECONNECT_FIRST_S: Final = 0.5
RECONNECT_MAX_S: Final = 15.0
RECEIPTS_WAITING_MAX: Final = 10_000
RECEIPTS_IN_FLIGHT: Final = 50
_FAILURE: Final = 0x80


class ReceiptBox:
    """Receipts on their way out, one an outbox life, merged while they wait. Bounded: an agent that hears nothing asks again."""

    def __init__(self) -> None:
        self.dropped = 0
        self.news = asyncio.Event()
        self._waiting: dict[tuple[AgentAddress, str], Receipt] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, receipts: Sequence[tuple[AgentAddress, Receipt]]) -> None:
        """Adds receipts to those that wait."""
        for address, receipt in receipts:
            key = (address, receipt.boot)
            before = self._waiting.get(key)
            if before is not None:
                ranges = merged([*before.committed, *receipt.committed])
                receipt = Receipt(receipt.boot, ranges, sorted({*before.rejected, *receipt.rejected}))  # noqa: PLW2901
            elif len(self._waiting) >= RECEIPTS_WAITING_MAX:
                if not self.dropped:
                    _log.warning(
                        "%d receipts wait already: more are dropped, and asked for again by their agents", len(self._waiting)
                    )
                self.dropped += 1
                continue
            self._waiting[key] = receipt
        if self._waiting:
            self.news.set()

    def take(self) -> list[tuple[AgentAddress, Receipt]]:
        """Up to RECEIPTS_IN_FLIGHT receipts, those that waited longest."""
        keys = list(self._waiting)[:RECEIPTS_IN_FLIGHT]
        taken = [(key[0], self._waiting.pop(key)) for key in keys]
        if not self._waiting:
            self.news.clear()
        return taken


class Broker:
    """The hub's connection: batches and statuses go into the sink, receipts out of the box."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        client_id: str,
        sink: Sink,
        now: Callable[[], datetime],
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        share: str | None = None,
    ) -> None:
        self.receipts = ReceiptBox()
        self.connected = asyncio.Event()
        self._host, self._port, self._client_id = host, port, client_id
        self._username, self._password = username, password
        self._tls = ssl.create_default_context() if tls else None
        self._share = share
        self._sink = sink
        self._now = now

    async def run(self) -> None:
        """Stays connected until cancelled; when the connection ends another is tried, at most RECONNECT_MAX_S later."""
        wait_s = RECONNECT_FIRST_S
        while True:
            try:
                async with self._client() as client:
                    wait_s = RECONNECT_FIRST_S
                    await self._serve(client)
            except* aiomqtt.MqttError as errors:
                _log.warning("broker %s:%d: %s", self._host, self._port, errors.exceptions[0])
            finally:
                self.connected.clear()
            # All hubs and gateways notice a broker's restart at once; they must not all come back at once.
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311
            wait_s = min(wait_s * 2, RECONNECT_MAX_S)

    def _client(self) -> BurstClient:
        return BurstClient(
            self._host,
            self._port,
            self._sink,
            identifier=self._client_id,
            username=self._username,
            password=self._password,
            tls_context=self._tls,
            keepalive=KEEPALIVE_S,
            timeout=ANSWER_TIMEOUT_S,
            clean_session=True,
            max_inflight_messages=RECEIPTS_IN_FLIGHT,
        )

    async def _serve(self, client: BurstClient) -> None:
        client.pending_calls_threshold = RECEIPTS_IN_FLIGHT
        up = topics.shared(self._share, topics.ANY_UP) if self._share else topics.ANY_UP
        granted = await client.subscribe([(up, 1), (topics.ANY_STATUS, 1)])
        if any(_refused(each) for each in granted):
            raise ConfigurationError(
                f"broker {self._host}:{self._port} refuses {up} or {topics.ANY_STATUS}: allow user {self._username!r} to read them"
            )
        _log.info("listening at broker %s:%d", self._host, self._port)
        self.connected.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_receipts(client), name="mqtt receipts")
            async for _ in client.messages:  # ends, with an error, when the connection does
                raise RuntimeError("a message came past the burst reader")

    async def _send_receipts(self, client: BurstClient) -> None:
        while True:
            await self.receipts.news.wait()
            async with asyncio.TaskGroup() as tasks:
                for address, receipt in self.receipts.take():
                    tasks.create_task(_send(client, address, receipt, self._now()), name=f"receipt to {address.agent}")


async def _send(client: BurstClient, address: AgentAddress, receipt: Receipt, now: datetime) -> None:
    try:
        await client.publish(address.receipt, messages.encode(msgspec.structs.replace(receipt, at=now)), qos=1)
    except aiomqtt.MqttError as error:
        # The agent asks again for what it was not told.
        _log.warning("a receipt to %s at %s was not delivered: %s", address.agent, address.site, error)


def _refused(granted: int | ReasonCode) -> bool:
    return (granted if isinstance(granted, int) else granted.value) >= _FAILURE
