"""Facts that cannot be taken now are set aside, outlive any flood of junk, and are taken in again with their times put right."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import AsyncConnection

import quartermaster
from core.errors import MessageRejected, NotFound, RuleViolation
from core.messages import BarcodeScan, Batch, Item, Position, Readings, Receipt, Series, TagPassage, encode
from core.topics import AgentAddress
from hub.adapters.postgres import make_pool, transaction
from hub.bootstrap import make_handlers
from hub.domain.inbound import Inbound
from hub.domain.ingest_group import GroupBuilder
from hub.domain.set_aside import shifted
from hub.services import rejections, set_aside
from hub.services.ingest import Handlers
from hub.services.ingest_line import IngestLine
from hub.services.set_aside import Which

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
AHEAD = timedelta(days=365)
GATEWAY = AgentAddress("depot", "depot-gateway")
OTHER = AgentAddress("depot", "cold-gateway")
BOOT = "boot-0001"
EPC = "30395DFA80C4E9C00000000A"
Rows = list[tuple[object, ...]]


class Hub:
    """An ingest line over a database, fed by hand."""

    def __init__(self, uri: str, db: AsyncConnection) -> None:
        self.db = db
        self.pool = make_pool(uri)
        self.receipts: list[tuple[AgentAddress, Receipt]] = []
        self.handlers = make_handlers()
        self.line = self.make_line(self.handlers)

    def make_line(self, handlers: Handlers) -> IngestLine:
        return IngestLine(
            take=self._never,
            transaction=partial(transaction, self.pool),
            publish=self.receipts.extend,
            handlers=handlers,
            now=lambda: NOW,
        )

    async def _never(self) -> list[Inbound]:
        raise AssertionError("this line is fed by hand")

    async def feed(self, *messages: Inbound) -> None:
        builder = GroupBuilder()
        builder.add_all(messages, NOW)
        await self.line.commit(builder.finish(NOW))

    async def rows(self, query: str) -> Rows:
        return await (await self.db.execute(query)).fetchall()

    async def take_in(self, which: Which | None = None, *, shift_s: float = -AHEAD.total_seconds()) -> set_aside.Settled:
        async with transaction(self.pool) as db:
            return await set_aside.take_in(db, which or Which(), shift_s=shift_s, handlers=self.handlers, now=NOW, by="command:lin")


@pytest.fixture
async def hub(database_uri: str, db: AsyncConnection) -> AsyncIterator[Hub]:
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', 'd', 'd')")
    hub = Hub(database_uri, db)
    async with hub.pool:
        yield hub


def batch(*items: Item, seq: int = 1, sender: AgentAddress = GATEWAY, sent_at: datetime = NOW) -> Inbound:
    return Inbound(sender.up, encode(Batch(sender.agent, BOOT, seq, sent_at, list(items))))


def readings(*values: float, at: datetime = NOW, device: str = "cr-1-probe") -> Readings:
    at_us = int(at.timestamp() * 1e6)
    moments = [at_us - 60_000_000 * number for number in range(len(values))]
    return Readings([Series(device, "celsius")], [0] * len(values), moments, list(values))


def passage(at: datetime = NOW, portal: str = "dock-1") -> TagPassage:
    return TagPassage(portal, EPC, "in", at, at, 5, -60.0, 0.9, "g1")


def untrue(seq: int = 1, sender: AgentAddress = GATEWAY) -> Inbound:
    """A true passage in front of a reading, a passage and a scan of a clock one year ahead."""
    at = NOW + AHEAD
    return batch(
        passage(), readings(4.5, 4.6, at=at), passage(at), BarcodeScan("dock-1", "x", at), seq=seq, sender=sender, sent_at=at
    )


def junk(number: int, size: int = 10) -> Inbound:
    return Inbound(GATEWAY.up, b"%06d" % number + b"?" * size)


async def test_a_flood_of_junk_drives_out_no_fact(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "REJECTIONS_KEPT", 5)
    await hub.feed(untrue())
    await hub.feed(*[junk(number) for number in range(50)])
    async with transaction(hub.pool) as db:
        await rejections.trim_all(db, NOW)
    assert await hub.rows("SELECT count(*) FROM set_aside_fact") == [(3,)]
    assert await hub.rows("SELECT count(*) FROM rejected_message") == [(5,)]
    assert (hub.line.counts.set_aside, hub.line.counts.dropped_rejections) == (3, 45)


async def test_rejected_messages_are_bounded_in_bytes_when_they_come_and_the_newest_stay(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "REJECTED_BYTES_KEPT", 10_000)
    await hub.feed(*[junk(number, 1_000) for number in range(30)], Inbound("qm/v9/x", b"!" * 9_000))
    kept = await hub.rows("SELECT agent, left(convert_from(payload, 'UTF8'), 6) FROM rejected_message ORDER BY id")
    assert kept == [*[("depot-gateway", f"{number:06d}") for number in range(21, 30)], (None, "!!!!!!")]


async def test_of_a_long_message_the_beginning_the_size_and_the_sum_are_kept(hub: Hub) -> None:
    long = b"?" * (rejections.BEGINNING_BYTES + 7)
    cut_on_the_wire = Inbound(GATEWAY.up, b"!" * 100, "packet is over the limit", 5_000_000)
    await hub.feed(Inbound(GATEWAY.up, long), cut_on_the_wire, junk(1))
    kept = await hub.rows("SELECT octet_length(payload), size, sha256 FROM rejected_message ORDER BY id")
    assert kept == [
        (rejections.BEGINNING_BYTES, len(long), hashlib.sha256(long).digest()),
        (100, 5_000_000, None),
        (16, 16, None),
    ]


async def test_facts_of_a_clock_a_year_ahead_are_taken_in_again_once_with_their_times_put_right(hub: Hub) -> None:
    await hub.feed(untrue())
    assert await hub.rows("SELECT count(*) FROM reading") == [(0,)]
    settled = await hub.take_in()
    assert (len(settled.ids), settled.refused) == (3, [])
    again = await hub.take_in()
    assert (again.ids, again.refused) == ([], [])
    assert await hub.rows("SELECT at, value FROM reading ORDER BY at") == [(NOW - timedelta(minutes=1), 4.6), (NOW, 4.5)]
    assert await hub.rows("SELECT seq, item, first_seen FROM passage ORDER BY item") == [(1, 0, NOW), (1, 2, NOW)]
    assert await hub.rows("SELECT seq, item, at FROM barcode_scan") == [(1, 3, NOW)]
    assert await hub.rows(
        "SELECT DISTINCT settlement, settled_by, settled_at, shift_s, octet_length(payload) FROM set_aside_fact"
    ) == [("taken", "command:lin", NOW, -AHEAD.total_seconds(), 0)]
    assert await hub.rows("SELECT facts, bytes FROM set_aside_size") == [(0, 0)]
    await hub.feed(untrue())
    assert await hub.rows("SELECT count(*) FROM set_aside_fact") == [(3,)], "the batch is known: sent again it changes nothing"


async def test_what_is_still_untrue_stays_and_says_why_and_the_rest_is_taken(hub: Hub) -> None:
    await hub.feed(
        batch(passage(NOW + AHEAD), seq=1), batch(passage(NOW + 3 * AHEAD), seq=2), batch(readings(5.0, at=NOW + AHEAD), seq=3)
    )
    settled = await hub.take_in()
    assert len(settled.ids) == 2
    ((number, why),) = settled.refused
    assert "is not credible" in why
    assert await hub.rows("SELECT id, seq FROM set_aside_fact WHERE settled_at IS NULL") == [(number, 2)]
    assert await hub.rows("SELECT count(*) FROM passage") == [(1,)]
    assert await hub.rows("SELECT count(*) FROM reading") == [(1,)]


async def test_a_fact_its_rule_refused_is_taken_when_the_rule_was_mended(hub: Hub) -> None:
    async def broken(db: AsyncConnection, site: str, passages: list[TagPassage], now: datetime) -> None:
        raise ValueError("a mistake in a rule")

    sound = hub.handlers
    broken_handlers = Handlers(**{each: getattr(sound, each) for each in Handlers.__slots__} | {"take_passages": broken})
    hub.line = hub.make_line(broken_handlers)
    await hub.feed(batch(passage(), readings(4.0)))
    hub.handlers = broken_handlers
    assert [why for _, why in (await hub.take_in(shift_s=0)).refused] == ["items[0]: a mistake in a rule"]
    hub.handlers = sound
    assert (len((await hub.take_in(shift_s=0)).ids), await hub.rows("SELECT count(*) FROM passage")) == (1, [(1,)])


async def test_a_whole_batch_the_store_could_not_take_is_set_aside_and_taken_in_whole(hub: Hub) -> None:
    async def poisoned(db: AsyncConnection, block: object, now: datetime) -> None:
        raise ValueError("poison")

    hub.line = hub.make_line(
        Handlers(**{each: getattr(hub.handlers, each) for each in Handlers.__slots__} | {"apply_readings": poisoned})
    )
    await hub.feed(batch(passage(), readings(4.0), passage(portal="dock-2")))
    assert hub.receipts == [(GATEWAY, Receipt(BOOT, [(1, 1)], [1]))]
    assert await hub.rows("SELECT count(*) FROM rejected_message") == [(0,)]
    assert len((await hub.take_in(shift_s=0)).ids) == 1
    assert await hub.rows("SELECT item FROM passage ORDER BY item") == [(0,), (2,)]
    assert await hub.rows("SELECT count(*) FROM reading") == [(1,)]


async def test_at_the_limit_the_hub_takes_no_more_and_deletes_nothing_and_others_go_on(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.feed(untrue(1))
    ((size,),) = await hub.rows("SELECT bytes FROM set_aside_size")
    assert isinstance(size, int)
    monkeypatch.setattr(rejections, "SET_ASIDE_MAX_BYTES", size + 10)
    hub.receipts.clear()
    await hub.feed(untrue(2), batch(readings(7.0, device="cr-2-probe"), seq=3), untrue(1, OTHER))
    freed = {(address.agent, seq) for address, receipt in hub.receipts for seq, _ in receipt.committed}
    assert freed == {("depot-gateway", 3), ("cold-gateway", 1)}
    assert await hub.rows("SELECT agent, seq FROM set_aside_fact GROUP BY agent, seq ORDER BY agent") == [
        ("cold-gateway", 1),
        ("depot-gateway", 1),
    ]
    assert hub.line.counts.held_back == 1
    standing = "SELECT source, severity FROM alert WHERE rule = 'set-aside-full' AND cleared_at IS NULL"
    assert await hub.rows(standing) == [("agent:depot/depot-gateway", "major")]
    await hub.take_in(Which(site="depot", agent="depot-gateway"))
    assert await hub.rows(standing) == []
    hub.receipts.clear()
    await hub.feed(untrue(2))
    assert [receipt.committed for _, receipt in hub.receipts] == [[(2, 2)]], "asked again, there is room"


async def test_positions_no_rule_can_take_keep_their_sender_open_an_alert_and_are_counted(hub: Hub) -> None:
    await hub.feed(batch(Position("gps-9", NOW, 30.6, 114.3), Position("gps-9", NOW, 0.0, 0.0), seq=8))
    kept = await hub.rows("SELECT site, agent, boot, seq, left(reason, 9) FROM rejected_message ORDER BY id")
    assert kept == [("depot", "depot-gateway", BOOT, 8, "items[0]:"), ("depot", "depot-gateway", BOOT, 8, "items[1]:")]
    assert await hub.rows("SELECT source FROM alert WHERE rule = 'rejections'") == [("agent:depot/depot-gateway",)]
    assert hub.line.counts.rejections == 2
    assert hub.receipts == [(GATEWAY, Receipt(BOOT, [(8, 8)]))]


async def test_giving_facts_up_needs_a_reason_and_keeps_who_and_why(hub: Hub) -> None:
    await hub.feed(untrue())
    with pytest.raises(RuleViolation, match="a reason is needed"):
        await set_aside.dismiss(hub.db, Which(site="depot"), now=NOW, by="command:lin", reason=" ")
    with pytest.raises(RuleViolation, match="name which facts"):
        await set_aside.dismiss(hub.db, Which(), now=NOW, by="command:lin", reason="a test bench")
    async with transaction(hub.pool) as db:
        await set_aside.dismiss(db, Which(agent="depot-gateway"), now=NOW, by="command:lin", reason="a test bench")
    listed = await set_aside.list_facts(hub.db, settled=True)
    assert {(each["settlement"], each["settled_by"], each["settled_reason"]) for each in listed} == {
        ("dismissed", "command:lin", "a test bench")
    }
    assert await set_aside.list_facts(hub.db) == []


async def test_the_known_skew_of_a_clock_undoes_itself_and_a_clock_that_is_right_needs_a_number(hub: Hub) -> None:
    await hub.feed(untrue())
    assert await set_aside.correction_for(hub.db, site="depot", agent="depot-gateway") == -AHEAD.total_seconds()
    await hub.feed(batch(readings(4.0), seq=2))
    with pytest.raises(RuleViolation, match="is right by now"):
        await set_aside.correction_for(hub.db, site="depot", agent="depot-gateway")
    with pytest.raises(NotFound, match="nothing is known of the clock"):
        await set_aside.correction_for(hub.db, site="depot", agent="nobody")


@given(st.integers(-(10**9), 10**9))
def test_shifting_there_and_back_changes_nothing(shift_s: int) -> None:
    before = Batch("a", BOOT, 1, NOW, [passage(), readings(1.0, 2.0), BarcodeScan("d", "x", NOW), Position("g", NOW, 1.0, 2.0)])
    moved = shifted(before, shift_s)
    assert shifted(moved, -shift_s) == before
    assert all(one != other for one, other in zip(moved.items, before.items, strict=True)) is (shift_s != 0)


def test_a_shift_out_of_the_calendar_is_refused() -> None:
    with pytest.raises(MessageRejected, match="years 1 to 9999"):
        shifted(Batch("a", BOOT, 1, NOW, [passage()]), 1e12)


def test_the_command_lists_takes_in_and_gives_up_and_says_who(
    database_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QM_DATABASE_URI", database_uri)
    real = datetime.now(UTC)
    facts = [readings(4.5, at=real + AHEAD), BarcodeScan("dock-1", "x", real + 9 * AHEAD)]
    with psycopg.connect(database_uri, autocommit=True) as db:
        for seq, fact in enumerate(facts, start=1):
            payload = encode(Batch("depot-gateway", BOOT, seq, real, [fact]))
            db.execute(
                "INSERT INTO set_aside_fact (site, agent, boot, seq, topic, payload, reason, set_aside_at)"
                " VALUES ('depot', 'depot-gateway', %s, %s, %s, %s, 'is not credible', now())",
                (BOOT, seq, GATEWAY.up, payload),
            )

        def run(*words: str) -> tuple[int, str]:
            status = quartermaster.main(["rejections", *words])
            return status, capsys.readouterr().out

        status, said = run("list", "--agent", "depot-gateway")
        assert (status, said.count("is not credible")) == (0, 2)
        replay = ("replay", f"--shift-s={-AHEAD.total_seconds()}", "--by", "lin")
        assert run(*replay) == (1, "taken in: 1, shifted by -31536000 s; still refused: 1\n")
        assert run(*replay) == (1, "taken in: 0, shifted by -31536000 s; still refused: 1\n")
        assert run("replay", "--clock-skew")[0] == 1
        assert run("dismiss", "--reason", "a test bench", "--site", "depot", "--by", "lin") == (0, "given up: 1\n")
        assert db.execute("SELECT value FROM reading").fetchall() == [(4.5,)]
        ends = db.execute("SELECT settlement, settled_by FROM set_aside_fact ORDER BY id").fetchall()
    assert ends == [("taken", "command:lin"), ("dismissed", "command:lin")]
    assert "taken by command:lin" in run("list", "--settled")[1]
