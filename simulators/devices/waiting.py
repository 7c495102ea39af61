"""Waiting for an agent to listen on a line, for a bounded time."""

import asyncio
from collections.abc import Callable
from typing import Final

from simulators.devices.line import Connection, Wire

LISTENER_WAIT_S: Final = 30.0
"""Real seconds for which a person waits for a device's lamp."""
LOOK_EVERY_S: Final = 0.05


async def listener(line: Wire, ready: Callable[[Connection], bool] = lambda _: True) -> Connection | None:
    """The connection once there is one and it is `ready`; None after LISTENER_WAIT_S, or when the line is closing."""
    try:
        async with asyncio.timeout(LISTENER_WAIT_S):
            while not line.closing:
                connection = line.connection
                if connection is not None and not connection.broken.is_set() and ready(connection):
                    return connection
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        return None
    return None
