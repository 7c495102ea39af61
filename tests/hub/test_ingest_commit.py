"""What one group of messages does to the store, whatever the order and number of its arrivals."""

# ruff: noqa: ARG002 - the judge takes what every rule takes

import asyncio
import random
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import AsyncConnection

from core.errors import MessageRejected
from core.messages import (
    AgentStatus,
    BarcodeScan,
    Batch,
    DeviceStatus,
    Item,
    Position,
    Readings,
    Receipt,
    Series,
    TagPassage,
    encode,
)
from core.topics import AgentAddress
from hub.domain.inbound import Inbound
from hub.services import device_states, devices
from hub.services.ingest import Handlers
from hub.services.ingest_line import IngestLine
from hub.services.reading_store import Stored

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
GATEWAY = AgentAddress("depot", "depot-gateway")
BOOT = "boot-0001"


class Judge:
    """Stands where the rules stand and remembers what it was given; `refuse` raises for what a test calls poison."""

    def __init__(self, refuse: Callable[[object], bool] = lambda _: False) -> None:
        self.refuse = refuse
        self.readings = 0
        self.passages: list[TagPassage] = []
        self.scans: list[BarcodeScan] = []
        self.positions: list[Position] = []

    async def apply_readings(self, db: AsyncConnection, stored: Stored, now: datetime) -> None:
        if any(self.refuse(value) for value in stored.block.value.tolist()):
            raise ValueError("poison among the readings")
        self.readings += len(stored.block)

    async def take_passages(self, db: AsyncConnection, site: str, passages: list[TagPassage], now: datetime) -> None:
        for each in passages:
            if self.refuse(each):
                raise MessageRejected(f"portal {each.portal} is not known here")
        self.passages += passages

    async def take_scans(self, db: AsyncConnection, site: str, scans: list[BarcodeScan], now: datetime) -> None:
        self.scans += scans

    async def take_positions(self, db: AsyncConnection, site: str, positions: list[Position], now: datetime) -> None:
        self.positions += positions

    @property
    def handlers(self) -> Handlers:
        return Handlers(
            self.apply_readings,
            self.take_passages,
            self.take_scans,
            self.take_positions,
            devices.take_statuses,
            device_states.take_states,
        )


class Bench:
    """An ingest line on a real database, fed by hand."""

    def __init__(self, uri: str, judge: Judge | None = None, *, mirror: bool = False) -> None:
        self.uri = uri
        self.judge = judge or Judge()
        self.receipts: list[tuple[AgentAddress, Receipt]] = []
        self.line = IngestLine(
            take=self._never,
            transaction=self.transaction,
            publish=self.receipts.extend,
            handlers=self.judge.handlers,
            now=lambda: NOW,
            mirror=mirror,
        )

    async def _never(self) -> list[Inbound]:
        raise AssertionError("this line is fed by hand")

    @asynccontextmanager
    async def transaction(self):  # type: ignore[no-untyped-def]
        async with await AsyncConnection.connect(self.uri) as db:
            yield db

    async def feed(self, *messages: Inbound) -> None:
        await self.line.commit(self.line._group(list(messages)))

    async def all(self, query: str) -> list[tuple[object, ...]]:
        async with await AsyncConnection.connect(self.uri) as db:
            return await (await db.execute(query)).fetchall()

    async def one(self, query: str) -> object:
        return (await self.all(query))[0][0]


def message(*items: Item, seq: int = 1, boot: str = BOOT, address: AgentAddress = GATEWAY, sent_at: datetime = NOW) -> Inbound:
    return Inbound(address.up, encode(Batch(address.agent, boot, seq, sent_at, list(items))))


def readings(*values: float, device: str = "cr-1-probe", start: datetime = NOW - timedelta(hours=1), step_s: int = 30) -> Readings:
    first = int(start.timestamp() * 1e6)
    return Readings(
        [Series(device, "celsius")], [0] * len(values), [first + n * step_s * 1_000_000 for n in range(len(values))], list(values)
    )


def passage(portal: str = "dock-1", epc: str = "30340000000000000000000A") -> TagPassage:
    return TagPassage(portal, epc, "in", NOW, NOW, 5, -60.0, 0.9, "g1")


async def test_readings_arrive_with_their_series_and_latest_value(database_uri: str) -> None:
    bench = Bench(database_uri)
    await bench.feed(message(readings(4.5, 4.75, 5.0)))
    assert await bench.all("SELECT value, at FROM reading ORDER BY at") == [
        (4.5, NOW - timedelta(hours=1)),
        (4.75, NOW - timedelta(hours=1, seconds=-30)),
        (5.0, NOW - timedelta(hours=1, seconds=-60)),
    ]
    assert await bench.all("SELECT site, device, quantity, value FROM series JOIN series_latest USING (series_id)") == [
        ("depot", "cr-1-probe", "celsius", 5.0)
    ]
    assert bench.receipts == [(GATEWAY, Receipt(BOOT, [(1, 1)]))]
    assert bench.judge.readings == 3


async def test_a_batch_sent_again_changes_nothing_and_is_receipted_again(database_uri: str) -> None:
    bench = Bench(database_uri)
    first = message(readings(4.5), passage(), BarcodeScan("dock-1", "]d2010123", NOW), seq=7)
    await bench.feed(first)
    await bench.feed(first, first)
    assert await bench.one("SELECT count(*) FROM reading") == 1
    assert await bench.one("SELECT count(*) FROM passage") == 1
    assert await bench.one("SELECT count(*) FROM barcode_scan") == 1
    assert await bench.one("SELECT count(*) FROM rejected_message") == 0
    assert (len(bench.judge.passages), len(bench.judge.scans)) == (1, 1)
    assert bench.receipts == [(GATEWAY, Receipt(BOOT, [(7, 7)]))] * 2
    assert bench.line.counts.repeated_batches == 2


async def test_receipts_name_closed_ranges_of_each_life(database_uri: str) -> None:
    bench = Bench(database_uri)
    other = AgentAddress("clinic", "clinic-gateway")
    moments = iter(range(1, 99))
    batches = [message(readings(1.0, start=NOW - timedelta(minutes=next(moments))), seq=seq) for seq in (3, 1, 2, 9)]
    batches.append(message(readings(1.0), seq=5, boot="boot-0002", address=other))
    await bench.feed(*batches)
    assert {address.agent: receipt.committed for address, receipt in bench.receipts} == {
        "depot-gateway": [(1, 3), (9, 9)],
        "clinic-gateway": [(5, 5)],
    }
    assert await bench.all("SELECT boot, seqs::text FROM received_batches ORDER BY boot") == [
        ("boot-0001", "{[1,4),[9,10)}"),
        ("boot-0002", "{[5,6)}"),
    ]


async def _state(bench: Bench) -> list[list[tuple[object, ...]]]:
    return [
        await bench.all("SELECT device, at, value FROM reading JOIN series USING (series_id) ORDER BY 1, 2"),
        await bench.all("SELECT device, at, value FROM series_latest JOIN series USING (series_id) ORDER BY 1"),
        await bench.all("SELECT agent, boot, seqs::text FROM received_batches ORDER BY 1, 2"),
        await bench.all("SELECT agent, boot, seq, item, epc_hex FROM passage ORDER BY 1, 2, 3, 4"),
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_shuffled_and_doubled_batches_end_in_the_same_store(database_uri: str, seed: int) -> None:
    chance = random.Random(seed)
    batches = [
        message(
            readings(
                *[round(chance.uniform(2, 8), 2) for _ in range(5)],
                device=f"probe-{seq % 3}",
                start=NOW - timedelta(minutes=seq * 10),
            ),
            passage(epc=f"{seq:024X}"),
            seq=seq,
        )
        for seq in range(1, 31)
    ]
    straight, mixed = Bench(database_uri), Bench(database_uri)
    await straight.feed(*batches)
    expected = await _state(straight)
    async with await AsyncConnection.connect(database_uri, autocommit=True) as db:
        await db.execute("TRUNCATE reading, series_latest, received_batches, passage")
    deliveries = batches + chance.choices(batches, k=20)
    chance.shuffle(deliveries)
    while deliveries:
        size = chance.randint(1, 7)
        await mixed.feed(*deliveries[:size])
        deliveries = deliveries[size:]
    assert await _state(mixed) == expected
    assert mixed.judge.readings == straight.judge.readings == 150


async def test_a_late_reading_never_moves_the_latest_back(database_uri: str) -> None:
    bench = Bench(database_uri)
    await bench.feed(message(readings(5.0, start=NOW), seq=1))
    await bench.feed(message(readings(3.0, start=NOW - timedelta(days=2)), seq=2))
    assert await bench.all("SELECT at, value FROM series_latest") == [(NOW, 5.0)]
    assert await bench.one("SELECT count(*) FROM reading") == 2


async def test_the_same_moment_again_is_known_and_another_value_is_a_conflict(database_uri: str) -> None:
    bench = Bench(database_uri)
    await bench.feed(message(readings(4.0, 5.0), seq=1))
    await bench.feed(message(readings(4.0, 5.5, 6.0), seq=2))
    assert await bench.all("SELECT value FROM reading ORDER BY at") == [(4.0,), (5.0,), (6.0,)]
    assert await bench.all("SELECT value FROM reading_conflict") == [(5.5,)]
    counts = bench.line.counts
    assert (counts.readings, counts.known_readings, counts.conflicting_readings) == (3, 1, 1)
    assert bench.judge.readings == 3
    assert [receipt.committed for _, receipt in bench.receipts] == [[(1, 1)], [(2, 2)]]


async def test_two_values_of_one_moment_in_one_group_keep_the_first(database_uri: str) -> None:
    bench = Bench(database_uri)
    await bench.feed(message(readings(4.0), seq=1), message(readings(9.0), seq=2), message(readings(4.0), seq=3))
    assert await bench.all("SELECT value FROM reading") == [(4.0,)]
    assert await bench.all("SELECT value FROM reading_conflict") == [(9.0,)]
    assert bench.line.counts.known_readings == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Inbound(GATEWAY.up, b"{"), "cannot be read"),
        (Inbound(GATEWAY.up, b"\xff\x00"), "cannot be read"),
        (Inbound("qm/v2/depot/depot-gateway/up", b"{}"), "version 'v2' is not spoken here"),
        (Inbound("qm/v1/Depot!/depot-gateway/up", b"{}"), "site 'Depot!'"),
        (Inbound(GATEWAY.up, encode(Batch("other", BOOT, 1, NOW, []))), "agent 'other' on the topic of 'depot-gateway'"),
        (
            Inbound(GATEWAY.up, encode(Batch("depot-gateway", BOOT, 1, NOW, [readings(1.0)])).replace(b'"readings"', b'"smell"')),
            "Invalid value 'smell'",
        ),
        (message(Readings([Series("a", "celsius")], [0, 1], [1, 2], [1.0, 2.0])), "which names series 1, but there are only 1"),
        (
            message(Readings([Series("a", "celsius")], [0], [1, 2], [1.0, 2.0])),
            "columns of unequal length: which 1, at_us 2, values 2",
        ),
        (
            Inbound(GATEWAY.up, encode(Batch("depot-gateway", BOOT, 1, NOW, [readings(1.5)])).replace(b"1.5", b"NaN")),
            "cannot be read",
        ),
        (
            Inbound(GATEWAY.up, encode(Batch("depot-gateway", BOOT, 1, NOW, [readings(1.5)])).replace(b"1.5", b"1e999")),
            "out of range",
        ),
        (Inbound(GATEWAY.up, b"x", "packet of 9999999 bytes is over the limit"), "over the limit"),
        (Inbound(GATEWAY.receipt, b"{}"), "only the hub speaks there"),
    ],
)
async def test_a_bad_message_is_kept_whole_with_its_reason_and_disturbs_no_other(
    database_uri: str, bad: Inbound, reason: str
) -> None:
    bench = Bench(database_uri)
    await bench.feed(message(readings(4.0), seq=8), bad, message(readings(5.0, start=NOW), seq=9))
    ((topic, payload, kept_reason),) = await bench.all("SELECT topic, payload, reason FROM rejected_message")
    assert (topic, payload) == (bad.topic, bad.payload)
    assert reason in str(kept_reason)
    assert await bench.one("SELECT count(*) FROM reading") == 2
    assert await bench.one("SELECT count(*) FROM outgoing WHERE kind = 'rejection'") == 1
    assert bench.line.counts.rejections == 1


async def test_a_bad_batch_that_can_be_named_is_receipted_as_rejected_and_kept_once(database_uri: str) -> None:
    bench = Bench(database_uri)
    payload = encode(Batch("depot-gateway", BOOT, 4, NOW, [readings(1.0)])).replace(b'"readings"', b'"smell"')
    await bench.feed(Inbound(GATEWAY.up, payload))
    await bench.feed(Inbound(GATEWAY.up, payload))
    assert bench.receipts[0] == (GATEWAY, Receipt(BOOT, [(4, 4)], [4]))
    assert bench.receipts[1][1].committed == [(4, 4)]
    assert await bench.all("SELECT agent, boot, seq FROM rejected_message") == [("depot-gateway", BOOT, 4)]


async def test_a_batch_for_another_agents_topic_frees_nothing_of_that_agent(database_uri: str) -> None:
    bench = Bench(database_uri)
    forged = Inbound(AgentAddress("depot", "thief").up, encode(Batch("depot-gateway", BOOT, 1, NOW, [readings(1.0)])))
    await bench.feed(forged)
    assert [address.agent for address, _ in bench.receipts] == ["thief"]
    await bench.feed(message(readings(2.0), seq=1))
    assert await bench.all("SELECT value FROM reading") == [(2.0,)]


@pytest.mark.parametrize("year", [1980, 2090])
async def test_a_reading_from_a_clock_years_off_is_set_aside_and_the_rest_is_committed(database_uri: str, year: int) -> None:
    bench = Bench(database_uri)
    wrong = NOW.replace(year=year)
    await bench.feed(
        message(
            readings(4.0),
            readings(8.0, 9.0, device="cr-2-probe", start=wrong),
            Position("van-1-gps", wrong, 31.0, 121.0),
            passage(),
            seq=3,
        )
    )
    assert await bench.all("SELECT value FROM reading") == [(4.0,)]
    kept = await bench.all(
        "SELECT reason, convert_from(payload, 'UTF8') FROM rejected_message"
        " UNION ALL SELECT reason, convert_from(payload, 'UTF8') FROM set_aside_fact"
    )
    assert len(kept) == 2
    assert await bench.all("SELECT site, agent, boot, seq, item FROM set_aside_fact") == [("depot", "depot-gateway", BOOT, 3, None)]
    assert all("400 days before to 10 minutes after the hub's clock" in str(reason) for reason, _ in kept)
    assert any('"values":[8.0,9.0]' in str(payload) for _, payload in kept)
    assert any("van-1-gps" in str(payload) for _, payload in kept)
    assert bench.receipts == [(GATEWAY, Receipt(BOOT, [(3, 3)]))]
    assert (len(bench.judge.passages), len(bench.judge.positions)) == (1, 0)


async def test_a_passage_its_rule_refuses_is_set_aside_alone(database_uri: str) -> None:
    bench = Bench(database_uri, Judge(lambda each: isinstance(each, TagPassage) and each.portal == "dock-9"))
    await bench.feed(
        message(passage("dock-1"), passage("dock-9"), passage("dock-2"), seq=1), message(readings(4.0), passage("dock-3"), seq=2)
    )
    assert [each.portal for each in bench.judge.passages] == ["dock-1", "dock-2", "dock-3"]
    ((reason, seq, item),) = await bench.all("SELECT reason, seq, item FROM set_aside_fact")
    assert reason == "items[1]: portal dock-9 is not known here"
    assert (seq, item) == (1, 1)
    assert await bench.one("SELECT count(*) FROM passage") == 4
    assert await bench.one("SELECT count(*) FROM reading") == 1


async def test_a_scan_the_table_cannot_hold_is_set_aside_alone(database_uri: str) -> None:
    bench = Bench(database_uri)
    await bench.feed(message(BarcodeScan("dock-1", "bad\0text", NOW), BarcodeScan("dock-1", "good", NOW)))
    assert await bench.all("SELECT scanned FROM barcode_scan") == [("good",)]
    assert await bench.one("SELECT count(*) FROM set_aside_fact") == 1


async def test_a_poison_batch_is_found_by_halving_and_all_others_are_committed(database_uri: str) -> None:
    bench = Bench(database_uri, Judge(lambda each: each == 666.0))
    batches = [message(readings(float(seq), start=NOW - timedelta(minutes=seq)), seq=seq) for seq in range(1, 20)]
    batches[11] = message(readings(666.0), seq=12)
    await bench.feed(*batches)
    assert await bench.one("SELECT count(*) FROM reading") == 18
    ((seq, reason, payload),) = await bench.all("SELECT seq, reason, payload FROM set_aside_fact")
    assert (seq, payload) == (12, batches[11].payload)
    assert "poison among the readings" in str(reason)
    freed = {seq for _, receipt in bench.receipts for first, last in receipt.committed for seq in range(first, last + 1)}
    assert freed == set(range(1, 20))
    assert [receipt.rejected for _, receipt in bench.receipts if receipt.rejected] == [[12]]


async def test_an_agents_status_and_its_last_will_are_kept(database_uri: str) -> None:
    bench = Bench(database_uri)
    online = AgentStatus("depot-gateway", online=True, at=NOW - timedelta(minutes=5), boot=BOOT, version="0.1.0", outbox_batches=3)
    will = AgentStatus("depot-gateway", online=False, at=NOW - timedelta(hours=9), boot=BOOT)
    await bench.feed(Inbound(GATEWAY.status, encode(online)))
    assert await bench.all("SELECT online, status_at, version, outbox_batches FROM agent") == [
        (True, NOW - timedelta(minutes=5), "0.1.0", 3)
    ]
    await bench.feed(Inbound(GATEWAY.status, encode(will)), Inbound(GATEWAY.status, b""))
    assert await bench.all("SELECT online, status_at FROM agent") == [(False, NOW)]
    assert await bench.one("SELECT count(*) FROM outgoing WHERE kind = 'device'") == 2


async def test_the_agents_clock_is_judged_by_its_freshest_batch(database_uri: str) -> None:
    bench = Bench(database_uri)
    await bench.feed(
        message(readings(1.0), seq=1, sent_at=NOW - timedelta(hours=8)), message(seq=2, sent_at=NOW + timedelta(seconds=42))
    )
    assert await bench.all("SELECT clock_skew_s, last_batch_at, boot FROM agent") == [(42.0, NOW, BOOT)]


async def test_a_devices_state_moves_forward_only_and_each_change_is_told_once(database_uri: str) -> None:
    bench = Bench(database_uri)
    fault = DeviceStatus("dock-1-reader", NOW, "fault", "antenna 2 open", {"bad_checksum": 4})
    late = DeviceStatus("dock-1-reader", NOW - timedelta(hours=1), "offline")
    again = DeviceStatus("dock-1-reader", NOW + timedelta(seconds=1), "fault", "antenna 2 open", {"bad_checksum": 5})
    await bench.feed(message(fault, seq=1))
    await bench.feed(message(late, again, seq=2))
    assert await bench.all("SELECT state, state_at, counts FROM device") == [
        ("fault", NOW + timedelta(seconds=1), {"bad_checksum": 5})
    ]
    assert await bench.one("SELECT count(*) FROM outgoing WHERE kind = 'device'") == 1


async def test_no_receipt_before_the_commit_and_none_is_lost_when_the_server_cuts_the_connection(database_uri: str) -> None:
    cuts = 0

    async def cut(db: AsyncConnection, stored: Stored, now: datetime) -> None:
        nonlocal cuts
        if cuts < 2:
            cuts += 1
            async with await AsyncConnection.connect(database_uri, autocommit=True) as other:
                await other.execute("SELECT pg_terminate_backend(%s)", (db.info.backend_pid,))
            assert bench.receipts == []
            await db.execute("SELECT 1")

    bench = Bench(database_uri)
    bench.line.handlers = Handlers(cut, *[getattr(bench.judge.handlers, each) for each in Handlers.__slots__[1:]])
    await bench.feed(message(readings(4.0), passage(), seq=1))
    assert cuts == 2
    assert bench.receipts == [(GATEWAY, Receipt(BOOT, [(1, 1)]))]
    assert await bench.one("SELECT count(*) FROM reading") == 1
    assert await bench.one("SELECT count(*) FROM passage") == 1


async def test_a_mistake_in_a_rule_costs_its_own_fact_only(database_uri: str) -> None:
    bench = Bench(database_uri)

    async def broken(db: AsyncConnection, site: str, scans: list[BarcodeScan], now: datetime) -> None:
        if any(each.text == "trips it" for each in scans):
            await db.execute("SELECT 1 / 0")

    handlers = {each: getattr(bench.judge.handlers, each) for each in Handlers.__slots__}
    bench.line.handlers = Handlers(**{**handlers, "take_scans": broken})
    await bench.feed(message(BarcodeScan("dock-1", "trips it", NOW), BarcodeScan("dock-1", "fine", NOW), readings(4.0)))
    ((reason,),) = await bench.all("SELECT reason FROM set_aside_fact")
    assert "division by zero" in str(reason)
    assert await bench.one("SELECT count(*) FROM barcode_scan") == 2
    assert await bench.one("SELECT count(*) FROM reading") == 1


async def test_a_store_without_its_tables_is_waited_for_and_nothing_is_set_aside(database_uri: str) -> None:
    bench = Bench(database_uri)
    async with await AsyncConnection.connect(database_uri, autocommit=True) as db:
        await db.execute("ALTER TABLE series_latest RENAME TO series_lost")
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(bench.feed(message(readings(4.0))), name="feeding")
            done, _ = await asyncio.wait([feeding], timeout=0.5)
            assert (done, bench.receipts) == (set(), [])
            await db.execute("ALTER TABLE series_lost RENAME TO series_latest")
    assert await bench.one("SELECT count(*) FROM reading") == 1
    assert await bench.one("SELECT count(*) FROM rejected_message") == 0


async def test_a_failed_group_teaches_nothing(database_uri: str) -> None:
    bench = Bench(database_uri, Judge(lambda each: each == 666.0))
    await bench.feed(message(readings(666.0, device="new-probe", start=NOW - timedelta(days=300)), seq=1))
    assert await bench.one("SELECT count(*) FROM series") == 0
    await bench.feed(message(readings(4.0, device="new-probe", start=NOW - timedelta(days=300)), seq=2))
    assert await bench.all("SELECT device, value FROM reading JOIN series USING (series_id)") == [("new-probe", 4.0)]


async def test_mirror_lines_are_written_with_the_readings(database_uri: str) -> None:
    bench = Bench(database_uri, mirror=True)
    await bench.feed(message(readings(4.25)))
    at_ns = int((NOW - timedelta(hours=1)).timestamp()) * 1_000_000_000
    assert await bench.one("SELECT convert_from(lines, 'UTF8') FROM mirror_queue") == (
        f"reading,device=cr-1-probe,quantity=celsius,site=depot value=4.25 {at_ns}"
    )
