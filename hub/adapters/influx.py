"""The mirror: lines queued by the ingest go to InfluxDB in order, and leave the queue when it has them."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from psycopg import AsyncConnection

from core.errors import Unavailable
from hub.sql import named

_log = logging.getLogger(__name__)
_SQL = named("mirror")

ROWS_AT_ONCE: Final = 4
LOOK_EVERY_S: Final = 1.0
RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
ANSWER_TIMEOUT_MS: Final = 10_000
KEPT_OF_REFUSED_BYTES: Final = 65_536
NEVER_TAKEN: Final = frozenset({400, 413, 422})


@dataclass(slots=True)
class Mirror:
    """Drains `mirror_queue` into one bucket. Of lines InfluxDB will never take the beginning goes into `rejected_message`."""

    url: str
    org: str
    bucket: str
    token: str = field(repr=False)
    transaction: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    now: Callable[[], datetime]
    retry_first_s: float = RETRY_FIRST_S

    async def run(self) -> None:
        """Drains until cancelled; an outage on either side is waited out, at most RETRY_MAX_S between two attempts."""
        wait_s = self.retry_first_s
        with InfluxDBClient(url=self.url, token=self.token, org=self.org, timeout=ANSWER_TIMEOUT_MS, retries=False) as client:
            while True:
                try:
                    more = await self.drain_some(client)
                    wait_s = self.retry_first_s
                    pause_s = 0.0 if more else LOOK_EVERY_S
                except Unavailable as error:
                    _log.warning("mirror: %s", error)
                    pause_s, wait_s = wait_s, min(wait_s * 2, RETRY_MAX_S)
                await asyncio.sleep(pause_s)

    async def drain_some(self, client: InfluxDBClient) -> bool:
        """Sends the oldest rows and deletes them; false when there was nothing. Raises Unavailable, nothing deleted then."""
        async with self.transaction() as db:
            rows = await (await db.execute(_SQL["oldest"], {"limit": ROWS_AT_ONCE})).fetchall()
        if not rows:
            return False
        for number, lines in rows:
            refusal = await asyncio.to_thread(self._write, client, bytes(lines))
            # A crash between the two writes a line twice, which InfluxDB takes as the same point.
            async with self.transaction() as db:
                if refusal is not None:
                    await db.execute(
                        _SQL["refuse"], {"lines": lines, "reason": refusal, "now": self.now(), "kept": KEPT_OF_REFUSED_BYTES}
                    )
                await db.execute(_SQL["delete"], {"ids": [number]})
        return True

    def _write(self, client: InfluxDBClient, lines: bytes) -> str | None:
        """None when taken, or why these lines will never be. Raises Unavailable."""
        try:
            with client.write_api(write_options=SYNCHRONOUS) as api:
                api.write(bucket=self.bucket, org=self.org, record=lines)
        except ApiException as error:
            if error.status in NEVER_TAKEN:
                _log.error("InfluxDB at %s refuses lines for good: %s", self.url, error.message)
                return f"InfluxDB answered {error.status}: {error.message}"
            raise Unavailable(f"InfluxDB at {self.url} answered {error.status}: {error.message}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"InfluxDB at {self.url} does not answer: {error}") from error
        return None
