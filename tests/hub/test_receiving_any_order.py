"""Receipts, stock and alerts depend on what passed, not on when, how often and in which pieces it was told."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from core.epc import sgtin96
from core.messages import TagPassage
from hub.services import receiving, stock

T0 = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
LATE_S = 5000.0
SALINE = "06901234000016"
GLOVES = "06901234000023"
MASKS = "06901234000030"
CUPS = "06901234000047"
RAW_TAGS = ("E28011700000020F1234ABCD", "E28011700000020F1234ABCE")
GATES = ("dock-1", "dock-2")
LONGEST_PASSAGE_S = 20
"""No longer than what is left for telling after the gap that ends a session: told live, it comes in time."""
Lines = Sequence[tuple[str, str, str | None, int]]


@pytest.fixture
async def depot(db: AsyncConnection) -> AsyncConnection:
    """Two gates of a depot; four products."""
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', '总库', 'Depot')")
    await db.execute(
        "INSERT INTO location (location, site, role, name_zh, name_en) VALUES"
        " ('receiving', 'depot', 'zone', '收货区', 'Receiving'), ('hold', 'depot', 'quarantine', '隔离区', 'Quarantine')"
    )
    for gate in GATES:
        await db.execute(
            "INSERT INTO location VALUES (%s, 'depot', NULL, 'gate', 'ambient', '门', 'Dock', 'receiving', 'hold')", [gate]
        )
    for gtin in (SALINE, GLOVES, MASKS, CUPS):
        await db.execute("INSERT INTO product VALUES (%s, '品', 'Product', 'carton', 'ambient')", [gtin])
    return db


async def announce(db: AsyncConnection, name: str, gate: str, lines: Lines) -> None:
    await db.execute("INSERT INTO shipment VALUES (%s, 'Supplier', %s, %s, %s)", [name, gate, T0, T0 + timedelta(hours=1)])
    for number, (gtin, lot, expiry, quantity) in enumerate(lines):
        await db.execute("INSERT INTO shipment_line VALUES (%s, %s, %s, %s, %s, %s)", [name, number, gtin, lot, expiry, quantity])


def tag(gtin: str, serial: int) -> str:
    epc = sgtin96(gtin, 7, serial)
    assert epc.hex is not None
    return epc.hex


def lorry(rng: random.Random, gate: str, start: float, epcs: Sequence[str]) -> tuple[list[TagPassage], float]:
    """The passages of one lorry, no two further apart than a session allows; and the second in which the last one ends."""
    passages, end = [], start
    for number, epc in enumerate(epcs):
        begin = start if number == 0 else rng.uniform(start, end + receiving.SESSION_GAP_S)
        last = begin + rng.uniform(0, LONGEST_PASSAGE_S)
        passages.append(
            TagPassage(gate, epc, "in", T0 + timedelta(seconds=begin), T0 + timedelta(seconds=last), 5, -50.0, 0.9, "g")
        )
        end = max(end, last)
    return passages, end


async def take(db: AsyncConnection, passages: Sequence[TagPassage], at: datetime) -> None:
    await receiving.take_passages(db, "depot", passages, at)


async def outcome(db: AsyncConnection) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that came of it, but for row numbers and the times at which it was recorded."""
    queries = {
        "receipts": "SELECT r.gate, r.shipment, r.state, r.verdict, r.opened_at, r.last_passage_at,"
        " (SELECT array_agg((i.code, i.finding, i.lot, i.seen_at)::text ORDER BY i.code)"
        "  FROM receipt_item AS i WHERE i.receipt = r.id)"
        " FROM receipt AS r ORDER BY r.gate, r.opened_at, r.id",
        "stock": "SELECT location, gtin, lot, quantity FROM stock WHERE quantity > 0 ORDER BY 1, 2, 3",
        "items": "SELECT epc, lot, location FROM item ORDER BY epc",
        "shipments": "SELECT shipment, state FROM shipment ORDER BY shipment",
        "alerts": "SELECT rule, severity, location, opened_at, (details - 'receipt')::text FROM alert ORDER BY 3, 4, 5",
    }
    return {name: await (await db.execute(query)).fetchall() for name, query in queries.items()}


def received(came: dict[str, list[tuple[Any, ...]]]) -> list[str]:
    """The shipments that came in full. A piece of nothing but strays may be told of at another shipment that is still due."""
    return [name for name, state in came["shipments"] if state == "received"]


def pieces(rng: random.Random, passages: Sequence[TagPassage]) -> list[list[TagPassage]]:
    """All of them in any order, some of them again, in pieces of any size."""
    told = [*passages, *rng.sample(passages, rng.randint(0, len(passages)))]
    rng.shuffle(told)
    cut: list[list[TagPassage]] = []
    while told:
        size = rng.choice([1, 1, 2, 5, len(told)])
        cut.append(told[:size])
        told = told[size:]
    return cut


async def tell_at_once(db: AsyncConnection, passages: Sequence[TagPassage]) -> None:
    at = T0 + timedelta(seconds=LATE_S)
    await take(db, passages, at)
    await close_all(db, at)


async def tell_in_pieces(db: AsyncConnection, passages: Sequence[TagPassage], rng: random.Random) -> None:
    at = T0 + timedelta(seconds=LATE_S)
    for piece in pieces(rng, passages):
        await take(db, piece, at)
    await close_all(db, at)


async def tell_live(db: AsyncConnection, passages: Sequence[TagPassage]) -> None:
    """Each passage two seconds after its end, and a look for quiet receipts every ten seconds."""
    waiting = sorted(passages, key=lambda each: each.last_seen, reverse=True)
    now = T0
    while waiting:
        now += timedelta(seconds=2)
        piece = []
        while waiting and waiting[-1].last_seen + timedelta(seconds=2) <= now:
            piece.append(waiting.pop())
        await take(db, piece, now)
        if (now - T0).seconds % 10 == 0:
            await receiving.close_quiet_receipts(db, now)
    await close_all(db, now)


async def close_all(db: AsyncConnection, now: datetime) -> None:
    await receiving.close_quiet_receipts(db, now + timedelta(seconds=200))
    rows = await (await db.execute("SELECT count(*) FROM receipt WHERE state = 'open'")).fetchall()
    assert rows == [(0,)]


@pytest.mark.parametrize("seed", range(10))
async def test_what_is_told_late_in_any_order_ends_as_if_it_had_been_told_live(depot: AsyncConnection, seed: int) -> None:
    rng = random.Random(seed)
    tags = [tag(gtin, serial) for gtin in (SALINE, GLOVES, MASKS, CUPS) for serial in range(1, 6)]
    passages: list[TagPassage] = []
    for gate in GATES:
        start = rng.uniform(0, 60)
        await announce(depot, f"{gate}-a", gate, [(SALINE, "A", "2027-01-31", 2), (SALINE, "B", None, 1), (GLOVES, "G", None, 1)])
        await announce(depot, f"{gate}-b", gate, [(SALINE, "C", "2026-11-01", 1), (GLOVES, "H", None, 2), (MASKS, "M", None, 1)])
        for _ in range(rng.randint(2, 4)):
            # The same serials at several gates, in several lorries and twice in one are part of it.
            made, end = lorry(rng, gate, start, rng.choices([*tags, *RAW_TAGS], k=rng.randint(1, 6)))
            passages += made
            start = end + receiving.SESSION_GAP_S + rng.choice([0.001, 30, 120])
    async with depot.transaction(force_rollback=True):
        await tell_live(depot, passages)
        live = await outcome(depot)
        assert await stock.ledger_balanced(depot)
    assert len(live["receipts"]) >= 2 * len(GATES)
    async with depot.transaction(force_rollback=True):
        await tell_at_once(depot, passages)
        assert await outcome(depot) == live
    for _ in range(3):
        async with depot.transaction(force_rollback=True):
            await tell_in_pieces(depot, passages, rng)
            assert await outcome(depot) == live


@pytest.mark.parametrize("seed", range(10))
async def test_posting_between_the_pieces_makes_supplementary_receipts_and_the_same_stock(
    depot: AsyncConnection, seed: int
) -> None:
    rng = random.Random(seed)
    contents = {f"{gate}-{gtin}": (gate, gtin) for gate in GATES for gtin in (SALINE, GLOVES)}
    passages: list[TagPassage] = []
    starts = dict.fromkeys(GATES, 0.0)
    for name, (gate, gtin) in contents.items():
        await announce(depot, name, gate, [(gtin, f"{gate}-1", "2026-11-01", 1), (gtin, f"{gate}-2", None, rng.randint(1, 3))])
    serials = iter(range(1, 1000))
    for gate, gtin in [*contents.values(), *rng.sample(list(contents.values()), 2)]:
        epcs = [tag(each, next(serials)) for each in rng.choices([gtin, gtin, gtin, CUPS], k=rng.randint(1, 6))]
        made, end = lorry(rng, gate, starts[gate], [*epcs, *rng.sample(epcs, 1), *rng.sample(RAW_TAGS, 1)])
        passages += made
        starts[gate] = end + receiving.SESSION_GAP_S + rng.choice([0.001, 30, 120])
    async with depot.transaction(force_rollback=True):
        await tell_at_once(depot, passages)
        at_once = await outcome(depot)
    for _ in range(3):
        async with depot.transaction(force_rollback=True):
            now = T0 + timedelta(seconds=LATE_S)
            for piece in pieces(rng, passages):
                now += timedelta(seconds=rng.choice([1, 100]))
                await take(depot, piece, now)
                await receiving.close_quiet_receipts(depot, now + timedelta(seconds=rng.choice([0, 40])))
            await close_all(depot, now)
            came = await outcome(depot)
            assert came["stock"] == at_once["stock"]
            assert received(came) == received(at_once)
            assert len(came["receipts"]) >= len(at_once["receipts"])
            assert await stock.ledger_balanced(depot)
