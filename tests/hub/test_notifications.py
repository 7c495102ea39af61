"""Each change of an alert is told once, in order, whatever fails and whoever starts again."""

import logging
from datetime import UTC, datetime

import pytest
from psycopg import AsyncConnection

from core.errors import Unavailable
from hub.adapters.notify import LOG, to_log
from hub.bootstrap import make_chores
from hub.domain.notice import Notice, in_words
from hub.services import alerts, notifications, upkeep
from hub.services.events import emit
from hub.settings import HubSettings

NOW = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)


class Channel:
    """Takes notices; refuses while it is down."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []
        self.down = False

    async def send(self, notice: Notice) -> None:
        if self.down:
            raise Unavailable("the gateway does not answer")
        self.told.append((notice.alert, notice.change))


async def tell(db: AsyncConnection, channel: Channel) -> int:
    async with db.transaction():
        return await notifications.tell(db, NOW, channel="sms", send=channel.send)


async def open_one(db: AsyncConnection, source: str = "receipt:1") -> int:
    async with db.transaction():
        return await alerts.open_alert(
            db,
            kind="receipt",
            source=source,
            rule="discrepancy",
            severity="major",
            site=None,
            location=None,
            opened_at=NOW,
            details={},
            now=NOW,
        )


async def test_each_change_of_an_alert_is_told_once_and_in_order(db: AsyncConnection) -> None:
    channel = Channel()
    first, second = await open_one(db), await open_one(db, "receipt:2")
    await open_one(db)  # stands already: nothing changes
    async with db.transaction():
        await emit(db, kind="stock", subject="shelf/1/A", site=None, payload={}, at=NOW)
        await alerts.acknowledge(db, first, person="wu", reason="seen", now=NOW)
    assert await tell(db, channel) == 3
    assert channel.told == [(first, "opened"), (second, "opened"), (first, "acknowledged")]
    assert await tell(db, channel) == 0
    await alerts.resolve(db, first, person="wu", reason="done", now=NOW)
    await tell(db, channel)
    assert channel.told[3:] == [(first, "resolved")]


async def test_what_was_told_is_not_told_again_by_a_hub_that_starts_anew(db: AsyncConnection, database_uri: str) -> None:
    await open_one(db)
    await tell(db, Channel())
    later = Channel()
    async with await AsyncConnection.connect(database_uri, autocommit=True) as other:
        await tell(other, later)
    assert later.told == []


async def test_two_hubs_do_not_tell_the_same(db: AsyncConnection, database_uri: str) -> None:
    first, second = Channel(), Channel()
    await tell(db, first)  # the very first hub puts the reader on record
    await open_one(db)
    async with await AsyncConnection.connect(database_uri, autocommit=True) as other, db.transaction():
        await notifications.tell(db, NOW, channel="sms", send=first.send)
        assert await tell(other, second) == 0
    await tell(db, second)
    assert (len(first.told), second.told) == (1, [])


async def test_what_did_not_leave_is_tried_again_and_given_up_visibly(
    db: AsyncConnection, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "ATTEMPTS_MAX", 3)
    channel = Channel()
    channel.down = True
    number = await open_one(db)
    await tell(db, channel)
    channel.down = False
    await tell(db, channel)
    assert channel.told == [(number, "opened")]
    row = await (await db.execute("SELECT attempts, last_error, sent_at FROM notification")).fetchone()
    assert row == (2, None, NOW)
    channel.down = True
    await open_one(db, "receipt:2")
    for _ in range(5):
        await tell(db, channel)
    row = await (await db.execute("SELECT attempts, last_error FROM notification WHERE sent_at IS NULL")).fetchone()
    assert row == (3, "the gateway does not answer")
    assert [record for record in caplog.records if "attempt 3, given up" in record.getMessage()]


async def test_a_flood_is_told_in_rounds_and_nothing_is_left_out(db: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "READ_AT_ONCE", 3)
    monkeypatch.setattr(notifications, "SENT_AT_ONCE", 2)
    numbers = [await open_one(db, f"receipt:{each}") for each in range(7)]
    channel = Channel()
    rounds = [await tell(db, channel) for _ in range(5)]
    assert max(rounds) == 2
    assert [alert for alert, _ in channel.told] == numbers


async def test_events_that_were_not_looked_through_are_not_trimmed(db: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "OUTGOING_KEPT", 1)
    channel = Channel()
    await tell(db, channel)
    for each in range(3):
        await open_one(db, f"receipt:{each}")
    assert await upkeep.trim_outgoing(db, NOW) == 0
    await tell(db, channel)
    assert await upkeep.trim_outgoing(db, NOW) == 2
    row = await (await db.execute("SELECT count(*) FROM notification")).fetchone()
    assert (len(channel.told), row) == (3, (1,))


@pytest.mark.parametrize(
    ("severity", "change", "level"),
    [("critical", "opened", logging.ERROR), ("minor", "opened", logging.WARNING), ("critical", "cleared", logging.INFO)],
)
async def test_the_log_names_the_alert_its_place_and_its_moment(
    caplog: pytest.LogCaptureFixture, severity: str, change: str, level: int
) -> None:
    caplog.set_level(logging.INFO)
    notice = Notice(9, 3, change, "excursion", severity, "series:depot.p.celsius", "cold", "depot", "cr-1", NOW)
    await to_log(notice)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (level, in_words(notice))
    assert in_words(notice) == (
        f"alert 3 {change}: {severity} excursion of series:depot.p.celsius at depot/cr-1, rule cold, 2026-11-21T01:00:00+00:00"
    )


async def test_the_hub_writes_alerts_into_its_log(db: AsyncConnection, caplog: pytest.LogCaptureFixture) -> None:
    (chore,) = [each for each in make_chores(HubSettings(database_uri="unused")) if each.name == "tell of alerts"]
    number = await open_one(db)
    async with db.transaction():
        await chore.run(db, NOW)
    assert f"alert {number} opened: major receipt of receipt:1" in caplog.text
    rows = await (await db.execute("SELECT channel, attempts, sent_at FROM notification")).fetchall()
    assert rows == [(LOG, 1, NOW)]
