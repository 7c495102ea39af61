"""The bounded places between the wire and the table, and the small sums they are made of."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import AsyncConnection

from core.messages import Receipt
from core.topics import AgentAddress
from hub.adapters import mqtt
from hub.adapters.intake import Intake
from hub.adapters.mqtt import ReceiptBox
from hub.domain.inbound import Inbound
from hub.domain.ingest_group import SeriesKey
from hub.domain.line_protocol import LINES_AT_ONCE, reading_lines
from hub.domain.reading_block import ReadingBlock
from hub.domain.seq_ranges import merged, multirange_text, ranges_of
from hub.services.reading_store import FIRST_MONDAY, week_of, weeks_of
from hub.sql.copy_rows import numbered_reading_rows, reading_rows


def numbers_in(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(st.lists(st.integers(1, 60)))
def test_ranges_hold_exactly_the_numbers_and_never_touch(numbers: list[int]) -> None:
    ranges = ranges_of(numbers)
    assert numbers_in(ranges) == set(numbers)
    assert all(after > last + 1 for (_, last), (after, _) in pairwise(ranges))


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1]))))
def test_merged_ranges_hold_what_all_held(ranges: list[tuple[int, int]]) -> None:
    assert merged(ranges) == ranges_of(numbers_in(ranges))


async def test_the_database_reads_the_multirange(db: AsyncConnection) -> None:
    text = multirange_text([(1, 3), (9, 9)])
    row = await (await db.execute("SELECT %s::int8multirange::text", (text,))).fetchone()
    assert row == ("{[1,4),[9,10)}",)


async def test_an_intake_is_full_at_its_bound_and_calls_when_half_of_it_is_free() -> None:
    intake = Intake(max_messages=1_000, max_bytes=1_000_000)
    calls: list[int] = []
    intake.drained = lambda: calls.append(len(intake))
    intake.put([Inbound("t", b"x")] * 999)
    assert intake.full is False
    intake.put([Inbound("t", b"x")])
    states = [intake.full]
    await intake.take()
    states.append(intake.full)
    assert states == [True, True]
    assert calls == []
    for _ in range(2):
        await intake.take()
    assert calls == [400]
    assert (intake.full, len(intake)) == (False, 400)


async def test_an_intake_is_full_by_bytes_too_and_gives_in_order() -> None:
    intake = Intake(max_messages=1_000, max_bytes=100)
    sent = [Inbound("t", b"%03d" % n) for n in range(450)]
    intake.put(sent)
    assert intake.full
    assert intake.waiting_bytes == 1_350
    taken: list[Inbound] = []
    while len(intake):
        taken += await intake.take()
    assert taken == sent
    assert intake.waiting_bytes == 0
    waiting = asyncio.ensure_future(intake.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    intake.put([Inbound("t", b"last")])
    assert await waiting == [Inbound("t", b"last")]


def test_receipts_that_wait_are_merged_by_life() -> None:
    box = ReceiptBox()
    agent = AgentAddress("depot", "gateway")
    box.put([(agent, Receipt("boot-1", [(1, 4)], [2])), (agent, Receipt("boot-2", [(1, 1)]))])
    box.put([(agent, Receipt("boot-1", [(5, 6), (9, 9)], [9]))])
    assert box.take() == [(agent, Receipt("boot-1", [(1, 6), (9, 9)], [2, 9])), (agent, Receipt("boot-2", [(1, 1)]))]
    assert len(box) == 0
    assert not box.news.is_set()


def test_receipts_past_the_bound_are_counted_and_let_go() -> None:
    box = ReceiptBox()
    box.put([(AgentAddress("depot", f"a{n}"), Receipt("boot-1", [(1, 1)])) for n in range(mqtt.RECEIPTS_WAITING_MAX + 2)])
    assert (len(box), box.dropped) == (mqtt.RECEIPTS_WAITING_MAX, 2)


moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(lambda each: each.replace(tzinfo=UTC))  # noqa: DTZ001


@given(moments)
def test_weeks_begin_on_monday(moment: datetime) -> None:
    monday = FIRST_MONDAY + timedelta(weeks=week_of(moment))
    assert monday.weekday() == 0
    assert monday <= moment < monday + timedelta(weeks=1)


def test_the_weeks_of_a_block_leave_out_those_it_jumps_over() -> None:
    at = [datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 11, 23, 59, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)]
    at_us = np.array([int(each.timestamp() * 1e6) for each in at], dtype=np.int64)
    block = ReadingBlock(np.ones(3, np.int32), at_us, np.ones(3))
    assert weeks_of(block) == {week_of(at[0]), week_of(at[2])}


async def test_binary_rows_are_read_by_the_database_as_meant(db: AsyncConnection) -> None:
    at = datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    at_us = np.array([-1, 946_684_799_999_999], dtype=np.int64)
    block = ReadingBlock(np.array([-7, 2_147_483_647], np.int32), at_us, np.array([-0.1, 1e300]))
    await db.execute("CREATE TEMP TABLE bare (series_id integer, at timestamptz, value double precision)")
    await db.execute("CREATE TEMP TABLE counted (n integer, series_id integer, at timestamptz, value double precision)")
    for statement, rows in (
        ("COPY bare FROM STDIN (FORMAT binary)", reading_rows(block)),
        ("COPY counted FROM STDIN (FORMAT binary)", numbered_reading_rows(block)),
    ):
        async with db.cursor() as cursor, cursor.copy(statement) as copy:
            await copy.write(rows)
    first = (-7, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -0.1)
    second = (2_147_483_647, at, 1e300)
    assert await (await db.execute("SELECT * FROM bare ORDER BY at")).fetchall() == [first, second]
    assert await (await db.execute("SELECT * FROM counted ORDER BY n")).fetchall() == [(0, *first), (1, *second)]


def test_mirror_lines_come_in_bounded_chunks() -> None:
    count = LINES_AT_ONCE + 1
    block = ReadingBlock(np.full(count, 3, np.int32), np.arange(count, dtype=np.int64), np.full(count, -0.5))
    chunks = reading_lines(block, {3: SeriesKey("depot", "probe", "celsius")})
    assert [each.count(b"\n") + 1 for each in chunks] == [LINES_AT_ONCE, 1]
    assert chunks[1] == b"reading,device=probe,quantity=celsius,site=depot value=-0.5 5000000"


def test_the_first_receipt_dropped_and_the_first_rest_of_the_intake_are_told_and_all_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt, "RECEIPTS_WAITING_MAX", 1)
    box = ReceiptBox()
    box.put([(AgentAddress("depot", f"agent-{number}"), Receipt("boot-0001", [(1, 1)])) for number in range(4)])
    assert (len(box), box.dropped) == (1, 3)
    assert caplog.text.count("more are dropped") == 1
    intake = Intake(max_messages=2, max_bytes=1_000)
    intake.put([Inbound("t", b"x")] * 3)
    assert intake.full
    assert intake.full
    assert intake.times_full == 1
    assert caplog.text.count("reading from the broker rests") == 1
