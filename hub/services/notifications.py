"""Tells people of alerts outside the screens: each change of an alert leaves once by each channel, also over a restart.

A reader of `outgoing` notes what is to be sent; what is noted is sent, and marked in the transaction that did so. A hub that dies
between the two tells that one change again: an alert told twice is better than one told never.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import class_row

from core.errors import QuartermasterError
from hub.domain.notice import Notice
from hub.sql import named

_SQL = named("notifications")
_log = logging.getLogger(__name__)

READ_AT_ONCE: Final = 5_000
"""Outgoing events of all kinds looked through in one round."""
SENT_AT_ONCE: Final = 50
"""Changes of alerts sent in one round; the others wait for the next."""
ATTEMPTS_MAX: Final = 10
"""Failed attempts after which a notification is given up, with an error in the log."""

Send = Callable[[Notice], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Due(Notice):
    attempts: int


async def tell(db: AsyncConnection, now: datetime, *, channel: str, send: Send) -> int:
    """Sends what changed of alerts since the last time, oldest first, in the caller's transaction; returns how many were sent.

    `send` raises QuartermasterError for what did not leave; it is tried again in the next round, ATTEMPTS_MAX times. While
    another hub is at it, nothing is done here.
    """
    reader = {"reader": f"notify:{channel}", "channel": channel}
    await db.execute(_SQL["begin"], reader)
    row = await (await db.execute(_SQL["lock_reader"], reader)).fetchone()
    if row is None:
        return 0
    await db.execute(_SQL["note"], {**reader, "place": row[0], "limit": READ_AT_ONCE})
    async with db.cursor(row_factory=class_row(_Due)) as cursor:
        await cursor.execute(_SQL["due"], {"channel": channel, "attempts": ATTEMPTS_MAX, "limit": SENT_AT_ONCE})
        due = await cursor.fetchall()
    sent = 0
    for notice in due:
        which = {"outgoing": notice.outgoing, "channel": channel}
        try:
            await send(notice)
        except QuartermasterError as error:
            await db.execute(_SQL["failed"], {**which, "error": str(error)})
            said = "given up" if notice.attempts + 1 >= ATTEMPTS_MAX else "to be tried again"
            _log.error("alert %d was not told by %s (attempt %d, %s): %s", notice.alert, channel, notice.attempts + 1, said, error)
        else:
            await db.execute(_SQL["sent"], {**which, "now": now})
            sent += 1
    return sent
