"""A store that cannot take facts now is waited for: nothing is refused, nothing receipted, and the line goes on afterwards."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict

from core.messages import AgentStatus, BarcodeScan, Batch, DeviceStatus, Item, Readings, Receipt, Series, TagPassage, encode
from core.topics import AgentAddress
from hub.adapters.postgres import make_pool, transaction
from hub.domain.inbound import Inbound
from hub.domain.ingest_group import GroupBuilder, IngestGroup
from hub.services import device_states, devices, limits, positions, receiving, rejections
from hub.services.ingest import Handlers
from hub.services.ingest_line import IngestLine
from hub.sql.blame import store_does_not_fit, store_is_down

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
GATEWAY = AgentAddress("depot", "depot-gateway")
BOOT = "boot-0001"
WAIT_S = 30.0
NOT_YET_S = 0.7

Sql = Callable[[str], Awaitable[list[tuple[object, ...]]]]


class Line:
    """An ingest line over a pool, as the hub has it, fed by hand."""

    def __init__(self, uri: str, **rules: object) -> None:
        self.pool = make_pool(uri)
        self.receipts: list[tuple[AgentAddress, Receipt]] = []
        own: dict[str, object] = {
            "apply_readings": limits.Rules().apply_readings,
            "take_passages": receiving.take_passages,
            "take_scans": receiving.take_scans,
            "take_positions": positions.take_positions,
            "take_statuses": devices.take_statuses,
            "take_states": device_states.take_states,
        }
        self.line = IngestLine(
            take=self._never,
            transaction=partial(transaction, self.pool),
            publish=self.receipts.extend,
            handlers=Handlers(**{**own, **rules}),  # type: ignore[arg-type]
            now=lambda: NOW,
        )

    async def _never(self) -> list[Inbound]:
        raise AssertionError("this line is fed by hand")

    async def feed(self, *messages: Inbound) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.line.commit(group(*messages))


def group(*messages: Inbound) -> IngestGroup:
    builder = GroupBuilder()
    builder.add_all(messages, NOW)
    return builder.finish(NOW)


@asynccontextmanager
async def line_on(uri: str, **rules: object) -> AsyncIterator[Line]:
    line = Line(uri, **rules)
    async with line.pool:
        yield line


def message(*items: Item, seq: int = 1, address: AgentAddress = GATEWAY) -> Inbound:
    return Inbound(address.up, encode(Batch(address.agent, BOOT, seq, NOW, list(items))))


def reading(value: float = 4.5, minute: int = 0, device: str = "cr-1-probe") -> Readings:
    at_us = int((NOW - timedelta(minutes=minute)).timestamp() * 1e6)
    return Readings([Series(device, "celsius")], [0], [at_us], [value])


def passage(portal: str = "dock-1") -> TagPassage:
    return TagPassage(portal, "30395DFA80C4E9C00000000A", "in", NOW, NOW, 5, -60.0, 0.9, "g1")


@pytest.fixture
def rows(db: AsyncConnection) -> Sql:
    async def ask(query: str) -> list[tuple[object, ...]]:
        return await (await db.execute(query)).fetchall()

    return ask


async def waits_until(line: Line, fed: Inbound, mend: Callable[[], Awaitable[object]]) -> None:
    """Feeds while the store is broken, sees that nothing is receipted, mends the store and sees the receipt."""
    async with asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(line.feed(fed), name="feeding")
        done, _ = await asyncio.wait([feeding], timeout=NOT_YET_S)
        assert (done, line.receipts) == (set(), [])
        await mend()
    assert [receipt for _, receipt in line.receipts] == [Receipt(BOOT, [(1, 1)])]


@pytest.mark.parametrize(
    ("damage", "mend"),
    [
        ("ALTER TABLE receipt_item RENAME TO receipt_lost", "ALTER TABLE receipt_lost RENAME TO receipt_item"),
        ("ALTER TABLE passage RENAME COLUMN tag_group TO lost", "ALTER TABLE passage RENAME COLUMN lost TO tag_group"),
        ("ALTER TABLE outgoing RENAME TO outgoing_lost", "ALTER TABLE outgoing_lost RENAME TO outgoing"),
    ],
)
async def test_a_business_fact_on_a_schema_that_does_not_fit_is_not_refused_but_waits(
    database_uri: str, db: AsyncConnection, rows: Sql, damage: str, mend: str
) -> None:
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', 'd', 'd')")
    await db.execute("INSERT INTO location (location, site, role, name_zh, name_en) VALUES ('store', 'depot', 'zone', 's', 's')")
    await db.execute(
        "INSERT INTO location (location, site, role, name_zh, name_en, receives_into, quarantines_into)"
        " VALUES ('dock-1', 'depot', 'gate', 'g', 'g', 'store', 'store')"
    )
    await db.execute(damage)
    async with line_on(database_uri) as line:
        told = message(passage(), DeviceStatus("dock-1-reader", NOW, "fault"))
        await waits_until(line, told, lambda: db.execute(mend))
    assert await rows("SELECT count(*) FROM passage") == [(1,)]
    assert await rows("SELECT count(*) FROM receipt_item") == [(1,)]
    assert await rows("SELECT count(*) FROM rejected_message") == [(0,)]


async def test_a_missing_right_is_waited_for(database_uri: str, db: AsyncConnection, rows: Sql) -> None:
    async def limited(db: AsyncConnection, site: str, scans: list[BarcodeScan], now: datetime) -> None:
        await db.execute("SET LOCAL ROLE pg_monitor")
        await db.execute("SELECT FROM barcode_scan")
        await db.execute("RESET ROLE")

    async with line_on(database_uri, take_scans=limited) as line:
        told = message(BarcodeScan("dock-1", "x", NOW))
        await waits_until(line, told, lambda: db.execute("GRANT SELECT ON barcode_scan TO pg_monitor"))
    assert await rows("SELECT count(*) FROM barcode_scan") == [(1,)]
    assert await rows("SELECT count(*) FROM rejected_message") == [(0,)]


async def test_a_read_only_database_is_waited_for(database_uri: str, db: AsyncConnection, rows: Sql) -> None:
    name = conninfo_to_dict(database_uri)["dbname"]
    await db.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with line_on(database_uri) as line:

        async def mend() -> None:
            await db.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
            await db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()", (name,)
            )

        await waits_until(line, message(reading(), passage()), mend)
    assert await rows("SELECT count(*) FROM reading") == [(1,)]
    assert await rows("SELECT count(*) FROM passage") == [(1,)]
    assert await rows("SELECT count(*) FROM rejected_message") == [(0,)]


async def test_a_transaction_the_server_times_out_is_tried_again(database_uri: str, db: AsyncConnection, rows: Sql) -> None:
    ended: list[str | None] = []

    async def slow(mine: AsyncConnection, site: str, scans: list[BarcodeScan], now: datetime) -> None:
        if not ended:
            await mine.execute("SET LOCAL idle_in_transaction_session_timeout = '50ms'")
            while (await rows(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {mine.info.backend_pid}")) != [(0,)]:
                await rows("SELECT pg_sleep(0.01)")
            try:
                await mine.execute("SELECT 1")
            except psycopg.Error as error:
                ended.append(error.sqlstate)
                raise

    async with line_on(database_uri, take_scans=slow) as line:
        await line.feed(message(BarcodeScan("dock-1", "x", NOW)))
        assert [receipt for _, receipt in line.receipts] == [Receipt(BOOT, [(1, 1)])]
    assert ended == ["25P03"]
    assert await rows("SELECT count(*) FROM barcode_scan") == [(1,)]
    assert await rows("SELECT count(*) FROM rejected_message") == [(0,)]


async def test_a_refusal_that_cannot_be_written_is_waited_for(database_uri: str, db: AsyncConnection, rows: Sql) -> None:
    await db.execute(
        "CREATE FUNCTION refuse_it() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '23514'; END $$;"
        "CREATE TRIGGER refuse_it BEFORE INSERT ON set_aside_fact FOR EACH ROW EXECUTE FUNCTION refuse_it()"
    )
    poison = message(reading(4.0), seq=1)

    async def never(db: AsyncConnection, block: object, now: datetime) -> None:
        raise ValueError("poison")

    async with line_on(database_uri, apply_readings=never) as line:
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(line.feed(poison), name="feeding")
            done, _ = await asyncio.wait([feeding], timeout=NOT_YET_S)
            assert (done, line.receipts) == (set(), [])
            await db.execute("DROP TRIGGER refuse_it ON set_aside_fact")
        assert [receipt for _, receipt in line.receipts] == [Receipt(BOOT, [(1, 1)], [1])]
    assert await rows("SELECT seq, reason FROM set_aside_fact") == [(1, "ValueError: poison")]


async def test_timescales_decompression_limit_is_lifted_and_hitting_it_costs_the_fact_alone(database_uri: str, rows: Sql) -> None:
    seen: list[object] = []

    async def packed(db: AsyncConnection, site: str, scans: list[BarcodeScan], now: datetime) -> None:
        row = await (
            await db.execute("SELECT current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction')")
        ).fetchone()
        seen.append(row and row[0])
        if any(each.text == "old" for each in scans):
            await db.execute("DO $$ BEGIN RAISE 'tuple decompression limit exceeded by operation' USING ERRCODE = '53400'; END $$")

    async with line_on(database_uri, take_scans=packed) as line:
        await line.feed(message(BarcodeScan("dock-1", "old", NOW), BarcodeScan("dock-1", "new", NOW)))
    assert set(seen) == {"0"}
    ((reason,),) = await rows("SELECT reason FROM set_aside_fact")
    assert str(reason).startswith("items[0]: tuple decompression limit exceeded")
    assert len(line.receipts) == 1


@pytest.mark.parametrize(
    ("error", "down", "unfit"),
    [
        (errors.ReadOnlySqlTransaction, True, False),
        (errors.IdleInTransactionSessionTimeout, True, False),
        (errors.lookup("25P04"), True, False),
        (errors.DiskFull, True, False),
        (errors.DeadlockDetected, True, False),
        (errors.AdminShutdown, True, False),
        (errors.IoError, True, False),
        (errors.InternalError_, True, False),
        (errors.LockNotAvailable, True, False),
        (psycopg.OperationalError, True, False),
        (psycopg.InterfaceError, True, False),
        (errors.InFailedSqlTransaction, False, False),
        (errors.ConfigurationLimitExceeded, False, False),
        (errors.ProgramLimitExceeded, False, False),
        (errors.SyntaxError, False, False),
        (errors.CheckViolation, False, False),
        (errors.NumericValueOutOfRange, False, False),
        (psycopg.DataError, False, False),
        (psycopg.ProgrammingError, False, False),
        (ValueError, False, False),
        (errors.UndefinedTable, False, True),
        (errors.UndefinedColumn, False, True),
        (errors.UndefinedFunction, False, True),
        (errors.InsufficientPrivilege, False, True),
        (errors.InvalidSchemaName, False, True),
    ],
)
def test_blame_goes_by_the_sqlstate(error: type[Exception], down: bool, unfit: bool) -> None:
    assert (store_is_down(error("x")), store_does_not_fit(error("x"))) == (down, unfit)


async def test_readings_a_store_lets_fall_are_not_receipted(database_uri: str, db: AsyncConnection, rows: Sql) -> None:
    async with line_on(database_uri) as line:
        await line.feed(message(reading(4.0, minute=3), seq=9))
        line.receipts.clear()
        await db.execute(
            "CREATE FUNCTION let_fall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
            "CREATE TRIGGER let_fall BEFORE INSERT ON reading FOR EACH ROW WHEN (NEW.value = 6.0) EXECUTE FUNCTION let_fall()"
        )
        both = message(reading(4.0, minute=3), reading(6.0, minute=1))
        await waits_until(line, both, lambda: db.execute("DROP TRIGGER let_fall ON reading"))
    assert await rows("SELECT value FROM reading ORDER BY at") == [(4.0,), (6.0,)]
    assert await rows("SELECT count(*) FROM rejected_message") == [(0,)]


async def test_two_sites_with_an_agent_and_life_of_one_name_are_kept_apart(database_uri: str, rows: Sql) -> None:
    here, there = AgentAddress("depot", "gateway"), AgentAddress("clinic", "gateway")
    batches = [message(reading(4.0), passage("door"), BarcodeScan("door", "x", NOW), seq=7, address=each) for each in (here, there)]
    async with line_on(database_uri) as line:
        await line.feed(*batches)
        await line.feed(*batches)
        assert [address for address, _ in line.receipts] == [here, there, here, there]
        assert {receipt.committed[0] for _, receipt in line.receipts} == {(7, 7)}
    for table in ("reading", "passage", "barcode_scan"):
        assert await rows(f"SELECT count(*) FROM {table}") == [(2,)]
    assert await rows("SELECT site, agent, seqs::text FROM received_batches ORDER BY site") == [
        ("clinic", "gateway", "{[7,8)}"),
        ("depot", "gateway", "{[7,8)}"),
    ]


async def test_two_lives_of_one_agent_in_one_group_are_both_marked(database_uri: str, rows: Sql) -> None:
    second = Inbound(GATEWAY.up, encode(Batch("depot-gateway", "boot-0002", 1, NOW, [reading(5.0, minute=1)])))
    async with line_on(database_uri) as line:
        await line.feed(message(reading(4.0), seq=3), second)
    assert await rows("SELECT boot, seqs::text FROM received_batches ORDER BY boot") == [
        ("boot-0001", "{[3,4)}"),
        ("boot-0002", "{[1,2)}"),
    ]


def unreadable(seq: int, address: AgentAddress = GATEWAY) -> Inbound:
    return Inbound(address.up, encode(Batch(address.agent, BOOT, seq, NOW, [reading()])).replace(b'"readings"', b'"smell"'))


async def test_a_batch_refused_twice_in_one_group_is_kept_once(database_uri: str, rows: Sql) -> None:
    async with line_on(database_uri) as line:
        await line.feed(unreadable(4), unreadable(4), unreadable(5))
        assert line.receipts == [(GATEWAY, Receipt(BOOT, [(4, 5)], [4, 5]))]
        assert (line.line.counts.rejections, line.line.counts.repeated_batches) == (2, 1)
    assert await rows("SELECT seq FROM rejected_message ORDER BY id") == [(4,), (5,)]


async def test_refusals_raise_one_alert_of_their_agent_until_an_hour_passes_without_any(
    database_uri: str, db: AsyncConnection, rows: Sql
) -> None:
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', 'd', 'd')")
    nowhere = AgentAddress("unheard-of", "gateway")
    async with line_on(database_uri) as line:
        await line.feed(
            unreadable(1), unreadable(2), unreadable(1, nowhere), Inbound("qm/v9/x", b"?"), Inbound(GATEWAY.status, b"{")
        )
        await line.feed(unreadable(3))
    asked = "SELECT source, kind, rule, site, state, cleared_at, details ->> 'agent' FROM alert ORDER BY source"
    standing = [
        ("agent:depot/depot-gateway", "device", "rejections", "depot", "open", None, "depot-gateway"),
        ("agent:unheard-of/gateway", "device", "rejections", None, "open", None, "gateway"),
    ]
    assert await rows(asked) == standing
    assert await rows("SELECT count(*) FROM outgoing WHERE kind = 'alert'") == [(2,)]
    await db.execute("UPDATE rejected_message SET received_at = %s WHERE site = 'depot'", (NOW + timedelta(minutes=30),))
    assert await rejections.clear_quiet(db, NOW + timedelta(minutes=59)) == 0
    assert await rejections.clear_quiet(db, NOW + timedelta(minutes=61)) == 1
    assert await rejections.clear_quiet(db, NOW + timedelta(minutes=91)) == 1
    assert await rejections.clear_quiet(db, NOW + timedelta(minutes=92)) == 0
    cleared = await rows("SELECT source, cleared_at FROM alert ORDER BY source")
    assert cleared == [(standing[0][0], NOW + timedelta(minutes=91)), (standing[1][0], NOW + timedelta(minutes=61))]
    async with line_on(database_uri) as line:
        await line.feed(unreadable(4))
    assert len(await rows("SELECT id FROM alert WHERE cleared_at IS NULL")) == 1


async def test_a_flood_of_one_agents_refusals_drives_out_no_others(
    db: AsyncConnection, rows: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "REJECTIONS_KEPT", 2)
    await db.execute(
        "INSERT INTO rejected_message (topic, payload, reason, site, agent, received_at)"
        " SELECT n::text, '', '', CASE WHEN n > 1 THEN 'depot' ELSE 'clinic' END, 'gateway', now() FROM generate_series(1, 9) n"
    )
    assert await rejections.trim_all(db, NOW) == 6
    assert await rows("SELECT topic FROM rejected_message ORDER BY id") == [("1",), ("8",), ("9",)]


async def test_of_two_hubs_with_the_same_news_one_tells_it(database_uri: str, rows: Sql) -> None:
    status = Inbound(GATEWAY.status, encode(AgentStatus("depot-gateway", online=True, at=NOW, boot=BOOT)))
    will = Inbound(GATEWAY.status, encode(AgentStatus("depot-gateway", online=False, at=NOW, boot=BOOT)))
    faulty = DeviceStatus("dock-1-reader", NOW, "fault")
    async with line_on(database_uri) as one, line_on(database_uri) as other:
        for each in (status, will, status):
            async with asyncio.TaskGroup() as tasks:
                for line in (one, other, one, other):
                    tasks.create_task(line.feed(each), name="hub")
        async with asyncio.TaskGroup() as tasks:
            for seq, line in enumerate((one, other, one, other), start=1):
                tasks.create_task(line.feed(message(faulty, seq=seq)), name="hub")
    told = await rows("SELECT subject, count(*) FROM outgoing WHERE kind = 'device' GROUP BY subject ORDER BY subject")
    assert told == [("depot:depot-gateway", 3), ("depot:dock-1-reader", 1)]


async def test_offline_since_stays_when_the_will_is_heard_again(db: AsyncConnection, rows: Sql) -> None:
    will = {GATEWAY: AgentStatus("depot-gateway", online=False, at=NOW - timedelta(days=3), boot=BOOT)}
    for minutes in (0, 10, 20):
        assert await devices.take_agent_statuses(db, will, NOW + timedelta(minutes=minutes)) == 0
    assert await rows("SELECT online, status_at, clock_skew_s FROM agent") == [(False, NOW, None)]
    assert await rows("SELECT count(*) FROM outgoing") == [(1,)]


@pytest.mark.parametrize("told", ["0001-01-01T00:00:00+14:00", "2099-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"])
async def test_a_status_of_an_impossible_time_is_dated_by_the_hub_and_counted(database_uri: str, rows: Sql, told: str) -> None:
    status = f'{{"agent": "depot-gateway", "online": true, "at": "{told}", "boot": "boot-0001"}}'.encode()
    async with line_on(database_uri) as line:
        await line.feed(Inbound(GATEWAY.status, status))
        assert line.line.counts.misdated_statuses == 1
    ((online, status_at, skew_s),) = await rows("SELECT online, status_at, clock_skew_s FROM agent")
    assert (online, status_at) == (True, NOW)
    assert abs(float(str(skew_s))) > 86_400
