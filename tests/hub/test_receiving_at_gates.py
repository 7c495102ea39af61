"""Receipts in a real database: passages in, stock, shipments, alerts and events out."""

import asyncio
import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from core.epc import sgtin96
from core.errors import InvalidInput, NotFound, RuleViolation
from core.messages import BarcodeScan, Direction, TagPassage
from hub.domain.stock import BizStep, Disposition, Movement
from hub.services import receipt_posting, receiving, stock

T0 = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
SALINE = "06901234000016"
GLOVES = "06901234000023"
MASKS = "06901234000030"
RAW_TAG = "E28011700000020F1234ABCD"


@pytest.fixture
async def depot(db: AsyncConnection) -> AsyncConnection:
    """Gate dock-1 of a depot where ASN-1 is due: 3 saline (lot A, then B) and 2 gloves; masks are known but not ordered."""
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', '总库', 'Depot')")
    await db.execute(
        "INSERT INTO location (location, site, role, name_zh, name_en) VALUES"
        " ('receiving', 'depot', 'zone', '收货区', 'Receiving'),"
        " ('hold', 'depot', 'quarantine', '隔离区', 'Quarantine')"
    )
    for gate in ("dock-1", "dock-2"):
        await db.execute(
            "INSERT INTO location VALUES (%s, 'depot', NULL, 'gate', 'ambient', '一', 'Dock', 'receiving', 'hold')", [gate]
        )
    for gtin in (SALINE, GLOVES, MASKS):
        await db.execute("INSERT INTO product VALUES (%s, '品', 'Product', 'carton', 'ambient')", [gtin])
    await add_shipment(
        db, "ASN-1", "dock-1", [(SALINE, "B", "2027-06-30", 1), (SALINE, "A", "2027-01-31", 2), (GLOVES, "G", None, 2)]
    )
    return db


async def add_shipment(
    db: AsyncConnection, name: str, gate: str, lines: list[tuple[str, str, str | None, int]], hour: int = 0
) -> None:
    due = T0 + timedelta(hours=hour)
    await db.execute("INSERT INTO shipment VALUES (%s, 'Supplier', %s, %s, %s)", [name, gate, due, due + timedelta(minutes=20)])
    for number, (gtin, lot, expiry, quantity) in enumerate(lines):
        await db.execute("INSERT INTO shipment_line VALUES (%s, %s, %s, %s, %s, %s)", [name, number, gtin, lot, expiry, quantity])


def tag(gtin: str, serial: int) -> str:
    epc = sgtin96(gtin, 7, serial)
    assert epc.hex is not None
    return epc.hex


def passage(epc: str, second: float = 0, *, portal: str = "dock-1", direction: Direction = "in") -> TagPassage:
    at = T0 + timedelta(seconds=second)
    return TagPassage(portal, epc, direction, at, at + timedelta(seconds=1), 5, -50.0, 0.9, "g")


ALL = [tag(SALINE, 1), tag(SALINE, 2), tag(SALINE, 3), tag(GLOVES, 1), tag(GLOVES, 2)]
CLEAN = [passage(epc, second) for second, epc in enumerate(ALL)]


async def take(db: AsyncConnection, passages: Iterable[TagPassage], at: float = 10) -> None:
    await receiving.take_passages(db, "depot", list(passages), T0 + timedelta(seconds=at))


async def close(db: AsyncConnection, at: float = 120) -> int:
    return await receiving.close_quiet_receipts(db, T0 + timedelta(seconds=at))


async def all_rows(db: AsyncConnection, query: str) -> list[tuple[Any, ...]]:
    return await (await db.execute(query)).fetchall()


async def held(db: AsyncConnection) -> dict[tuple[str, str, str], int]:
    rows = await all_rows(db, "SELECT location, gtin, lot, quantity FROM stock WHERE quantity > 0")
    return {(location, gtin, lot): quantity for location, gtin, lot, quantity in rows}


WHOLE = {("receiving", SALINE, "A"): 2, ("receiving", SALINE, "B"): 1, ("receiving", GLOVES, "G"): 2}


async def test_a_clean_receipt_posts_itself_when_the_gate_falls_quiet(depot: AsyncConnection) -> None:
    await take(depot, CLEAN)
    assert await all_rows(depot, "SELECT gate, shipment, state FROM receipt") == [("dock-1", "ASN-1", "open")]
    assert await all_rows(depot, "SELECT state FROM shipment") == [("receiving",)]
    assert await close(depot, at=94) == 0, (
        "60 s end a session, and 30 s are left for what is on its way; the last tag passed 89 s ago"
    )
    assert await close(depot, at=95) == 1
    assert await all_rows(depot, "SELECT state, verdict FROM receipt") == [("posted", "clean")]
    assert await all_rows(depot, "SELECT state FROM shipment") == [("received",)]
    assert await held(depot) == WHOLE
    assert await all_rows(depot, "SELECT DISTINCT location FROM item") == [("receiving",)]
    assert await all_rows(depot, "SELECT count(*) FROM alert") == [(0,)]
    assert await stock.ledger_balanced(depot)
    told = await all_rows(depot, "SELECT payload->>'state', payload->>'verdict' FROM outgoing WHERE kind = 'receipt' ORDER BY id")
    assert told == [("open", None), ("posted", "clean")]
    assert await close(depot, at=400) == 0
    assert await held(depot) == WHOLE


async def test_a_receipt_waits_while_late_passages_are_still_being_told(depot: AsyncConnection) -> None:
    await take(depot, CLEAN[:3], at=1000)
    assert await close(depot, at=1029) == 0
    await take(depot, CLEAN[3:], at=1029)
    assert await close(depot, at=1059) == 1
    assert await held(depot) == WHOLE


async def test_order_and_repetition_of_passages_end_in_the_same_receipt(depot: AsyncConnection) -> None:
    told = [*CLEAN, *CLEAN, passage(RAW_TAG, 3), passage(tag(SALINE, 9), 1)]
    random.Random(7).shuffle(told)
    for each in told:
        await take(depot, [each])
    await close(depot)
    rows = await all_rows(depot, "SELECT gtin, serial, lot, finding FROM receipt_item ORDER BY gtin, serial")
    assert rows == [
        (SALINE, "1", "A", "expected"),
        (SALINE, "2", "A", "expected"),
        (SALINE, "3", "B", "expected"),
        (SALINE, "9", None, "over"),
        (GLOVES, "1", "G", "expected"),
        (GLOVES, "2", "G", "expected"),
        (None, None, None, "unknown_tag"),
    ]
    assert await all_rows(depot, "SELECT opened_at, last_passage_at FROM receipt") == [(T0, T0 + timedelta(seconds=5))]


async def test_a_discrepancy_is_held_listed_and_alerted_once(depot: AsyncConnection) -> None:
    await take(depot, [*CLEAN[:3], CLEAN[3], passage(tag(MASKS, 1)), passage(RAW_TAG), passage(tag("06909999000012", 1))])
    await close(depot)
    assert await all_rows(depot, "SELECT state, verdict FROM receipt") == [("posted", "discrepancy")]
    assert await all_rows(depot, "SELECT state FROM shipment") == [("receiving",)], "one box of gloves is still to come"
    stock_now = await held(depot)
    assert stock_now["hold", MASKS, "lot unknown"] == 1
    assert sum(stock_now.values()) == 5, "goods of no known product are listed and move no stock"
    assert await all_rows(depot, "SELECT biz_step, disposition FROM movement WHERE to_location = 'hold'") == [
        ("holding", "non_sellable_other")
    ]
    (alert,) = await all_rows(depot, "SELECT kind, source, rule, severity, site, location, details FROM alert")
    receipt = (await all_rows(depot, "SELECT id FROM receipt"))[0][0]
    assert alert[:6] == ("receipt", f"receipt:{receipt}", "receipt-discrepancy", "major", "depot", "dock-1")
    assert alert[6] == {
        "receipt": receipt,
        "shipment": "ASN-1",
        "short": 1,
        "findings": {"expected": 4, "unknown_tag": 1, "wrong_product": 2},
    }


async def test_a_second_receipt_goes_on_where_the_first_stopped(depot: AsyncConnection) -> None:
    await take(depot, CLEAN[:3])
    await close(depot)
    await take(depot, [passage(epc, 600) for epc in ALL[3:]], at=605)
    shown = await receiving.receipt_at_gate(depot, "dock-1")
    assert [(line["gtin"], line["expected"], line["received"]) for line in shown["receipt"]["lines"]] == [
        (SALINE, 0, 0),
        (SALINE, 0, 0),
        (GLOVES, 2, 2),
    ]
    await close(depot, at=700)
    assert await all_rows(depot, "SELECT verdict FROM receipt ORDER BY id") == [("discrepancy",), ("clean",)]
    assert await all_rows(depot, "SELECT state FROM shipment") == [("received",)]
    assert await held(depot) == WHOLE


async def test_what_is_told_after_posting_opens_a_supplementary_receipt(depot: AsyncConnection) -> None:
    await take(depot, CLEAN)
    await close(depot)
    await take(depot, [*CLEAN, passage(tag(SALINE, 77), 2)], at=300)
    await close(depot, at=400)
    assert await all_rows(depot, "SELECT shipment, verdict FROM receipt ORDER BY id") == [
        ("ASN-1", "clean"),
        ("ASN-1", "discrepancy"),
    ]
    assert await all_rows(depot, "SELECT serial, finding FROM receipt_item ORDER BY receipt DESC LIMIT 1") == [("77", "over")]
    assert await all_rows(depot, "SELECT state FROM shipment") == [("received",)]
    assert (await held(depot))["hold", SALINE, "lot unknown"] == 1


async def test_a_serial_received_before_is_not_received_again(depot: AsyncConnection) -> None:
    await take(depot, CLEAN)
    await close(depot)
    await add_shipment(depot, "ASN-2", "dock-2", [(SALINE, "A", "2027-01-31", 1)])
    await take(depot, [passage(ALL[0], 300, portal="dock-2")], at=301)
    await close(depot, at=400)
    assert await all_rows(depot, "SELECT finding FROM receipt_item JOIN receipt ON id = receipt WHERE gate = 'dock-2'") == [
        ("doubled_serial",)
    ]
    assert await held(depot) == WHOLE


async def test_the_same_serial_at_two_gates_at_once_is_received_once(depot: AsyncConnection) -> None:
    await add_shipment(depot, "ASN-2", "dock-2", [(SALINE, "A", "2027-01-31", 1)])
    await take(depot, [*CLEAN, passage(ALL[0], portal="dock-2")])
    await close(depot)
    assert await all_rows(depot, "SELECT gate, verdict FROM receipt ORDER BY gate") == [
        ("dock-1", "discrepancy"),
        ("dock-2", "clean"),
    ]
    assert await all_rows(depot, "SELECT gate FROM receipt JOIN receipt_item ON receipt = id WHERE finding = 'doubled_serial'") == [
        ("dock-1",)
    ], "it went on longer at dock-1"
    assert await held(depot) == {("receiving", SALINE, "A"): 3, ("receiving", GLOVES, "G"): 2}


async def send_away(db: AsyncConnection) -> None:
    """All units in our hands leave."""
    rows = await all_rows(db, "SELECT epc, gtin, lot, location FROM item WHERE location IS NOT NULL")
    moves = [
        Movement(
            key=f"out:{epc}",
            gtin=gtin,
            lot=lot,
            quantity=1,
            from_location=location,
            to_location=None,
            biz_step=BizStep.SHIPPING,
            disposition=Disposition.IN_TRANSIT,
            actor="person:anna",
            event_time=T0 + timedelta(seconds=200),
            epc=epc,
        )
        for epc, gtin, lot, location in rows
    ]
    await stock.post_movements(db, moves, T0 + timedelta(seconds=200))


async def test_a_unit_that_left_and_returns_is_received_again_as_what_it_was(depot: AsyncConnection) -> None:
    await take(depot, CLEAN)
    await close(depot)
    await send_away(depot)
    await add_shipment(depot, "ASN-R", "dock-2", [(SALINE, "A", "2027-01-31", 1), (SALINE, "B", "2027-06-30", 1)])
    back = [passage(epc, 300, portal="dock-2") for epc in (ALL[0], ALL[2])]
    await take(depot, back, at=305)
    await close(depot, at=400)
    assert await all_rows(depot, "SELECT shipment, verdict FROM receipt ORDER BY id DESC LIMIT 1") == [("ASN-R", "clean")]
    assert await held(depot) == {("receiving", SALINE, "A"): 1, ("receiving", SALINE, "B"): 1}
    await take(depot, [passage(ALL[0], 600, portal="dock-2")], at=605)
    await close(depot, at=700)
    assert await all_rows(depot, "SELECT finding FROM receipt_item ORDER BY receipt DESC LIMIT 1") == [("doubled_serial",)]
    assert await stock.ledger_balanced(depot)


async def test_a_returned_unit_goes_by_its_first_code_and_the_lot_it_now_tells(depot: AsyncConnection) -> None:
    await scanned(depot, scan(f"]d201{SALINE}1727063010B\x1d211"))
    await close(depot)
    await send_away(depot)
    await add_shipment(depot, "ASN-R", "dock-2", [(SALINE, "C", None, 1)])
    await take(depot, [passage(ALL[0], 300, portal="dock-2")], at=305)
    await close(depot, at=400)
    assert await held(depot) == {("hold", SALINE, "B"): 1}, "its tag tells no lot, but we know it: it is not of lot C"
    await depot.execute("UPDATE item SET location = NULL")
    await scanned(depot, BarcodeScan("dock-2", f"]d201{SALINE}10C\x1d211", T0 + timedelta(seconds=700)))
    await close(depot, at=800)
    assert (await held(depot))["receiving", SALINE, "C"] == 1
    assert await all_rows(depot, "SELECT epc, lot, location FROM item") == [
        (f"https://id.gs1.org/01/{SALINE}/21/1", "C", "receiving")
    ]


async def test_goods_that_nobody_expected_are_held(depot: AsyncConnection) -> None:
    await take(depot, [passage(ALL[0], portal="dock-2")])
    await close(depot)
    assert await all_rows(depot, "SELECT shipment, verdict FROM receipt") == [(None, "discrepancy")]
    assert await held(depot) == {("hold", SALINE, "lot unknown"): 1}


async def test_going_out_other_portals_and_other_sites_make_no_receipt(depot: AsyncConnection) -> None:
    await take(depot, [passage(ALL[0], direction="out"), passage(ALL[2], portal="receiving")])
    await receiving.take_passages(depot, "clinic", CLEAN, T0)
    assert await all_rows(depot, "SELECT count(*) FROM receipt") == [(0,)]


FINDINGS = "SELECT finding, count(*) FROM receipt_item GROUP BY finding ORDER BY finding"


def undirected(epc: str, second: float = 0) -> TagPassage:
    return passage(epc, second, direction="none")


async def test_goods_seen_going_no_certain_way_are_told_to_a_person_and_put_on_no_books(depot: AsyncConnection) -> None:
    await take(depot, [*CLEAN, undirected(tag(MASKS, 1), 5)])
    shown = (await receiving.receipt_at_gate(depot, "dock-1"))["receipt"]
    assert {each["finding"] for each in shown["items"]} == {"expected", "unknown_direction"}
    await close(depot)
    assert await all_rows(depot, FINDINGS) == [("expected", 5), ("unknown_direction", 1)]
    assert await held(depot) == WHOLE
    ((findings,),) = await all_rows(depot, "SELECT details -> 'findings' FROM alert WHERE rule = 'receipt-discrepancy'")
    assert findings == {"expected": 5, "unknown_direction": 1}


async def test_goods_of_unknown_direction_alone_make_a_receipt_that_claims_no_shipment(depot: AsyncConnection) -> None:
    await take(depot, [undirected(ALL[0])])
    await close(depot)
    assert await all_rows(depot, "SELECT shipment, verdict FROM receipt") == [(None, "discrepancy")]
    assert await all_rows(depot, "SELECT state FROM shipment") == [("expected",)]
    assert await held(depot) == {}
    await take(depot, [passage(epc, 600 + second) for second, epc in enumerate(ALL)], at=610)
    await close(depot, at=800)
    assert await held(depot) == WHOLE, "what waited before the gate and came in later is a delivery like any other"


@pytest.mark.parametrize("told", [[0, 1], [1, 0]])
async def test_the_way_in_is_known_when_any_passage_of_the_session_tells_it(depot: AsyncConnection, told: list[int]) -> None:
    seen = [undirected(ALL[0], 0), passage(ALL[0], 4)]
    for each in told:
        await take(depot, [seen[each]])
    await take(depot, CLEAN[1:])
    await close(depot)
    assert await all_rows(depot, FINDINGS) == [("expected", 5)]
    assert await held(depot) == WHOLE


async def test_the_way_in_told_after_the_receipt_posted_still_brings_the_goods_onto_the_books(depot: AsyncConnection) -> None:
    await take(depot, [*CLEAN[1:], undirected(ALL[0], 0)])
    await close(depot)
    await take(depot, [passage(ALL[0], 4)], at=300)
    await close(depot, at=500)
    assert await held(depot) == WHOLE
    assert await all_rows(depot, "SELECT state FROM shipment") == [("received",)]


async def test_goods_on_record_that_stand_near_a_gate_are_no_news(depot: AsyncConnection) -> None:
    await take(depot, CLEAN)
    await close(depot)
    await take(depot, [undirected(epc, 900 + second) for second, epc in enumerate(ALL)], at=910)
    assert await all_rows(depot, "SELECT count(*) FROM receipt") == [(1,)]
    assert await all_rows(depot, "SELECT count(*) FROM alert") == [(0,)]


async def test_a_carton_left_standing_at_a_gate_keeps_no_receipt_open_and_is_told_once(depot: AsyncConnection) -> None:
    await take(depot, [*CLEAN, undirected(tag(MASKS, 1), 5)])
    for second in range(20, 2000, 40):
        await take(depot, [undirected(tag(MASKS, 1), second)], at=second)
    assert await close(depot, at=2000) == 1
    assert await all_rows(depot, "SELECT last_passage_at FROM receipt") == [(T0 + timedelta(seconds=5),)]
    assert await all_rows(depot, "SELECT count(*) FROM alert") == [(1,)]


async def test_what_came_on_record_while_its_receipt_stood_open_is_not_told_of(depot: AsyncConnection) -> None:
    await take(depot, [undirected(ALL[0], 400)], at=5)
    await take(depot, CLEAN)
    await close(depot, at=600)
    assert await all_rows(depot, "SELECT shipment, state, verdict FROM receipt") == [("ASN-1", "posted", "clean")]
    assert await all_rows(depot, "SELECT count(*) FROM alert") == [(0,)]


@pytest.mark.parametrize("seed", range(6))
async def test_what_came_in_is_the_same_with_and_without_things_of_no_certain_way(depot: AsyncConnection, seed: int) -> None:
    """Between two lorries 100 s apart, in any order: nothing of no certain way joins them, stretches them or moves their goods."""
    draw = random.Random(seed)
    await add_shipment(depot, "ASN-2", "dock-1", [(MASKS, "M", None, 2)])
    lorries = [*CLEAN, passage(tag(MASKS, 1), 105), passage(tag(MASKS, 2), 108)]
    noise = [undirected(tag(MASKS, 50 + number), draw.uniform(-50, 160)) for number in range(6)]
    told = [*lorries, *noise, undirected(ALL[2], 40)]
    draw.shuffle(told)
    while told:
        size = draw.randint(1, 5)
        await take(depot, told[:size], at=5000)
        told = told[size:]
    await close(depot, at=5100)
    came = "SELECT opened_at, last_passage_at, shipment FROM receipt WHERE shipment IS NOT NULL ORDER BY opened_at"
    assert await all_rows(depot, came) == [
        (T0, T0 + timedelta(seconds=5), "ASN-1"),
        (T0 + timedelta(seconds=105), T0 + timedelta(seconds=109), "ASN-2"),
    ]
    assert await held(depot) == {**WHOLE, ("receiving", MASKS, "M"): 2}
    told_of = await all_rows(depot, "SELECT count(*), count(DISTINCT serial) FROM receipt_item WHERE finding = 'unknown_direction'")
    assert told_of == [(6, 6)]


async def refuse_masks(db: AsyncConnection) -> None:
    """Stands in for whatever a rule or the store may have against one receipt."""
    await db.execute(
        "CREATE FUNCTION refuse_masks() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'masks are not taken' USING ERRCODE = '23514'; END $$;"
        " CREATE TRIGGER refuse_masks BEFORE INSERT ON movement FOR EACH ROW"
        f" WHEN (NEW.gtin = '{MASKS}') EXECUTE FUNCTION refuse_masks()"
    )


async def test_a_receipt_that_cannot_be_posted_holds_up_no_other_and_has_an_alert(depot: AsyncConnection) -> None:
    await refuse_masks(depot)
    await take(depot, CLEAN)
    await take(depot, [passage(tag(MASKS, 1), portal="dock-2"), passage(tag(MASKS, 2), 500)])
    assert await close(depot, at=700) == 1
    assert await held(depot) == WHOLE
    states = await all_rows(depot, "SELECT gate, state, posting_problem LIKE '%masks are not taken%' FROM receipt ORDER BY id")
    assert sorted(states, key=str) == [("dock-1", "open", True), ("dock-1", "posted", None), ("dock-2", "open", True)]
    standing = "SELECT count(*) FROM alert WHERE kind = 'receipt' AND rule = 'receipt-not-posted' AND cleared_at IS NULL"
    assert await all_rows(depot, standing) == [(2,)]
    assert await close(depot, at=760) == 0, "it is not tried again at once"
    await depot.execute("DROP TRIGGER refuse_masks ON movement")
    assert await close(depot, at=700 + receipt_posting.RETRY_AFTER.total_seconds()) == 2
    assert await all_rows(depot, standing) == [(0,)]
    assert await stock.ledger_balanced(depot)


async def test_the_shipment_is_the_one_due_then_the_one_that_lists_the_goods(depot: AsyncConnection) -> None:
    await add_shipment(depot, "ASN-0", "dock-1", [(MASKS, "M", None, 1)])
    await add_shipment(depot, "ASN-9", "dock-1", [(GLOVES, "G", None, 1)], hour=1)
    await take(depot, [passage(tag(MASKS, 1), 5)])
    await take(depot, [passage(tag(GLOVES, 5), 3000)], at=3000)
    await take(depot, [passage(tag(GLOVES, 6), 5 * 3600)], at=5 * 3600)
    assert await all_rows(depot, "SELECT shipment FROM receipt ORDER BY id") == [("ASN-0",), ("ASN-9",), (None,)]


async def test_two_lorries_told_of_at_once_after_an_outage_make_two_receipts(depot: AsyncConnection) -> None:
    await add_shipment(depot, "ASN-3", "dock-1", [(MASKS, "M", None, 1)], hour=1)
    await take(depot, [passage(tag(MASKS, 1), 3700), *CLEAN], at=9000)
    assert await close(depot, at=9100) == 2
    assert await all_rows(depot, "SELECT shipment, verdict FROM receipt ORDER BY id") == [("ASN-1", "clean"), ("ASN-3", "clean")]


SECOND = [passage(tag(MASKS, serial), 180 + serial) for serial in (1, 2)]
BOTH = [("ASN-1", "clean"), ("ASN-2", "clean")]


async def test_two_lorries_three_minutes_apart_make_two_receipts_told_live_or_late(depot: AsyncConnection) -> None:
    await add_shipment(depot, "ASN-2", "dock-1", [(MASKS, "M", None, 2)])
    async with depot.transaction(force_rollback=True):
        await take(depot, CLEAN, at=10)
        assert await close(depot, at=100) == 1
        await take(depot, SECOND, at=185)
        assert await close(depot, at=280) == 1
        assert await all_rows(depot, "SELECT shipment, verdict FROM receipt ORDER BY id") == BOTH
        live = await held(depot)
    await take(depot, [*SECOND, *CLEAN], at=3600)
    assert await close(depot, at=3700) == 2
    assert await all_rows(depot, "SELECT shipment, verdict FROM receipt ORDER BY opened_at") == BOTH
    assert await held(depot) == live
    assert await all_rows(depot, "SELECT count(*) FROM alert") == [(0,)]


async def test_the_second_of_two_like_shipments_is_for_the_second_lorry_though_told_first(depot: AsyncConnection) -> None:
    await add_shipment(depot, "ASN-2", "dock-1", [(SALINE, "C", None, 3), (GLOVES, "H", None, 2)])
    second = [passage(tag(gtin, 50 + number), 180) for number, gtin in enumerate([SALINE, SALINE, SALINE, GLOVES, GLOVES])]
    await take(depot, second, at=3600)
    assert await all_rows(depot, "SELECT shipment FROM receipt") == [("ASN-1",)]
    await take(depot, CLEAN, at=3601)
    assert await all_rows(depot, "SELECT shipment FROM receipt ORDER BY opened_at") == [("ASN-1",), ("ASN-2",)]
    assert await close(depot, at=3700) == 2
    assert await all_rows(depot, "SELECT shipment, verdict FROM receipt ORDER BY opened_at") == BOTH


async def test_a_passage_that_bridges_two_open_receipts_makes_them_one(depot: AsyncConnection) -> None:
    await take(depot, CLEAN[:2])
    await take(depot, [passage(epc, 100) for epc in ALL[3:]])
    assert await all_rows(depot, "SELECT count(*) FROM receipt") == [(2,)]
    await take(depot, [passage(ALL[2], 50)])
    assert await all_rows(depot, "SELECT opened_at, last_passage_at FROM receipt") == [(T0, T0 + timedelta(seconds=101))]
    assert await close(depot, at=200) == 1
    assert await all_rows(depot, "SELECT shipment, verdict FROM receipt") == [("ASN-1", "clean")]
    assert await all_rows(depot, "SELECT state FROM shipment") == [("received",)]


async def test_a_tag_that_passes_twice_does_not_join_what_came_between(depot: AsyncConnection) -> None:
    await take(depot, [*CLEAN, passage(ALL[0], 400)], at=3600)
    assert await close(depot, at=3700) == 2
    assert await all_rows(depot, "SELECT verdict FROM receipt ORDER BY opened_at") == [("clean",), ("discrepancy",)]
    assert await all_rows(depot, "SELECT finding FROM receipt_item ORDER BY seen_at DESC LIMIT 1") == [("doubled_serial",)]
    assert await held(depot) == WHOLE


async def test_a_receipt_waits_for_an_earlier_one_that_is_still_being_told(depot: AsyncConnection) -> None:
    await take(depot, [passage(epc, 180) for epc in ALL[3:]], at=1000)
    await take(depot, CLEAN[:1], at=1020)
    assert await close(depot, at=1040) == 0
    await take(depot, CLEAN[1:3], at=1045)
    assert await close(depot, at=1075) == 2


async def test_several_hubs_taking_and_closing_at_once_post_each_receipt_once(depot: AsyncConnection, database_uri: str) -> None:
    async def hub(number: int) -> int:
        async with await AsyncConnection.connect(database_uri) as connection:
            await take(connection, CLEAN[number % 5 :] + CLEAN[: number % 5])
            await connection.commit()
            return await close(connection)

    assert sum(await asyncio.gather(*(hub(number) for number in range(6)))) >= 1
    await close(depot)
    assert await held(depot) == WHOLE
    assert await all_rows(depot, "SELECT count(*) FROM receipt_item") == [(5,)]
    assert await stock.ledger_balanced(depot)


def scan(text: str, second: float = 2) -> BarcodeScan:
    return BarcodeScan("dock-1", text, T0 + timedelta(seconds=second))


async def scanned(db: AsyncConnection, *scans: BarcodeScan) -> None:
    await receiving.take_scans(db, "depot", list(scans), T0 + timedelta(seconds=10))


async def test_a_scanned_carton_counts_and_its_tag_does_not_count_again(depot: AsyncConnection) -> None:
    await scanned(depot, scan(f"]d201{SALINE}1727063010B\x1d211"))
    await take(depot, CLEAN)
    await close(depot)
    assert await all_rows(depot, "SELECT verdict FROM receipt") == [("clean",)]
    assert await all_rows(
        depot, "SELECT code, lot, epc_hex IS NOT NULL FROM receipt_item WHERE serial = '1' AND gtin LIKE '%16'"
    ) == [("urn:epc:id:sgtin:6901234.000001.1", "B", True)]
    assert await held(depot) == WHOLE


async def test_a_lot_label_joins_a_receipt_but_neither_opens_one_nor_counts(depot: AsyncConnection) -> None:
    await scanned(depot, scan(f"]C101{GLOVES}10G"))
    assert await all_rows(depot, "SELECT count(*) FROM receipt") == [(0,)]
    await take(depot, CLEAN)
    await scanned(depot, scan(f"]C101{GLOVES}10G"), scan(f"]C101{GLOVES}10G", 3))
    await close(depot)
    assert await all_rows(depot, "SELECT verdict, (SELECT count(*) FROM receipt_item) FROM receipt") == [("clean", 6)]
    assert await held(depot) == WHOLE


async def test_a_scan_that_lost_its_separators_is_flagged_and_not_believed(depot: AsyncConnection) -> None:
    await take(depot, CLEAN)
    await scanned(depot, scan(f"]d201{SALINE}10LOT717280630"))
    await close(depot)
    assert await all_rows(depot, "SELECT verdict FROM receipt") == [("discrepancy",)]
    assert await all_rows(depot, "SELECT gtin, finding FROM receipt_item WHERE finding <> 'expected'") == [(None, "unknown_tag")]


async def test_scanning_a_carton_in_stock_is_no_receipt(depot: AsyncConnection) -> None:
    await take(depot, CLEAN)
    await close(depot)
    await scanned(depot, scan(f"]d201{SALINE}10A\x1d211", 500))
    assert await all_rows(depot, "SELECT count(*) FROM receipt") == [(1,)]


async def test_an_expired_carton_is_known_by_its_barcode_and_held(depot: AsyncConnection) -> None:
    await scanned(depot, scan(f"]d201{SALINE}1726110010OLD\x1d21x"))
    await close(depot)
    assert await all_rows(depot, "SELECT finding FROM receipt_item") == [("over",)], "day 00 is the last of November"
    await scanned(depot, scan(f"]d201{SALINE}1726103110OLDER\x1d21y", 500))
    await close(depot, at=900)
    assert (await held(depot)) == {("hold", SALINE, "OLD"): 1, ("hold", SALINE, "OLDER"): 1}
    assert await all_rows(depot, "SELECT expiry::text FROM lot ORDER BY lot") == [("2026-11-30",), ("2026-10-31",)]
    assert await all_rows(depot, "SELECT findings FROM (SELECT details->'findings' AS findings, id FROM alert) a ORDER BY id") == [
        ({"over": 1},),
        ({"expired": 1},),
    ]


SHIPMENT = {
    "shipment": "ASN-7",
    "supplier": "Supplier",
    "gate": "dock-2",
    "due_from": "2026-11-21T10:00:00+08:00",
    "due_until": "2026-11-21T11:00:00+08:00",
    "lines": [{"gtin": SALINE, "lot": "A", "expiry": "2027-01-31", "quantity": 2}, {"gtin": GLOVES, "lot": "G", "quantity": 1}],
}


async def test_an_announced_shipment_is_listed_and_announcing_it_again_changes_nothing(depot: AsyncConnection) -> None:
    made = await receiving.create_shipment(depot, SHIPMENT, T0)
    assert (made["state"], made["due_from"], made["lines"][0]["expiry"]) == ("expected", T0 + timedelta(hours=1), "2027-01-31")
    assert await receiving.create_shipment(depot, SHIPMENT, T0 + timedelta(days=9)) == made
    assert [each["shipment"] for each in await receiving.list_shipments(depot, state="expected")] == ["ASN-7", "ASN-1"]
    with pytest.raises(RuleViolation, match="ASN-7 was announced with other content"):
        await receiving.create_shipment(depot, {**SHIPMENT, "supplier": "Other"}, T0)


async def test_every_fault_of_a_shipment_is_named_with_its_path(depot: AsyncConnection) -> None:
    async def faults(**changes: object) -> tuple[str, ...]:
        with pytest.raises(InvalidInput) as caught:
            await receiving.create_shipment(depot, {**SHIPMENT, **changes}, T0)
        return caught.value.problems

    line = {"gtin": "06901234000017", "lot": "", "expiry": "2027-02-30", "quantity": 0, "lott": "A"}
    assert await faults(lines=[line]) == (
        "lines[0].lott: unknown column; did you mean 'lot'?",
        "lines[0].gtin: check digit is 7, should be 6",
        "lines[0].lot: '' must be 1 to 64 printable ASCII characters",
        "lines[0].expiry: '2027-02-30' is not a day such as 2027-06-30",
        "lines[0].quantity: 0 must be a whole number from 1 to 2147483647",
    )
    unknown = {"gtin": "06909999000012", "lot": "A", "quantity": 1}
    assert await faults(gate="dock-3", lines=[SHIPMENT["lines"][0], unknown]) == (
        "gate: there is no gate 'dock-3'; did you mean 'dock-2'?",
        "lines[1].gtin: there is no product '06909999000012'",
    )
    assert await faults(due_until="2026-11-21T09:00:00+08:00") == ("due_until: must be after due_from",)
    assert await faults(due_from="2026-11-21 10:00") == (
        "due_from: '2026-11-21 10:00' must be a time with its zone, such as 2026-11-21T08:00:00+08:00",
    )
    assert await faults(lines=[]) == ("lines: at least one line is needed",)
    assert await faults(due_from="2025-01-01T00:00:00Z", due_until="2025-01-02T00:00:00Z") == (
        "due_until: 2025-01-02T00:00:00+00:00 is past",
    )
    assert len(await receiving.list_shipments(depot)) == 1


async def test_the_gate_shows_its_open_receipt_else_the_newest_posted(depot: AsyncConnection) -> None:
    assert await receiving.receipt_at_gate(depot, "dock-1") == {"gate": "dock-1", "receipt": None}
    await take(depot, [*CLEAN[:4], passage(RAW_TAG, 2)])
    receipt = (await receiving.receipt_at_gate(depot, "dock-1"))["receipt"]
    assert (receipt["shipment"], receipt["supplier"], receipt["state"], receipt["verdict"]) == ("ASN-1", "Supplier", "open", None)
    assert (receipt["short"], receipt["discrepancies"], len(receipt["items"])) == (1, 1, 5)
    assert receipt["lines"][0] == {
        "gtin": SALINE,
        "name_zh": "品",
        "name_en": "Product",
        "lot": "A",
        "expiry": date(2027, 1, 31),
        "expected": 2,
        "received": 2,
        "over": 0,
    }
    assert receipt["items"][-1] == {
        "code": f"urn:epc:raw:96.x{RAW_TAG}",
        "gtin": None,
        "lot": None,
        "serial": None,
        "finding": "unknown_tag",
        "seen_at": T0 + timedelta(seconds=2),
        "confidence": 0.9,
    }
    await close(depot)
    posted = (await receiving.receipt_at_gate(depot, "dock-1"))["receipt"]
    assert (posted["state"], posted["verdict"], posted["id"]) == ("posted", "discrepancy", receipt["id"])
    (listed,) = await receiving.list_receipts(depot, gate="dock-1", limit=5)
    assert (listed["id"], listed["received"], listed["discrepancies"]) == (receipt["id"], 4, 1)
    with pytest.raises(NotFound, match="no gate attic"):
        await receiving.receipt_at_gate(depot, "attic")
    assert [gate["gate"] for gate in await receiving.list_gates(depot)] == ["dock-1", "dock-2"]
