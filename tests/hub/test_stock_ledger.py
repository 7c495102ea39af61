"""The ledger in a real database."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from psycopg import AsyncConnection

from core.errors import NotFound, RuleViolation
from hub.domain.stock import BizStep, Disposition, KeyReused, Movement, NotOnHand, Place, balance
from hub.services import stock

NOW = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
GTIN = "06901234000016"
EPC = "urn:epc:id:sgtin:6901234.000001.7"


@pytest.fixture
async def store(db: AsyncConnection) -> AsyncConnection:
    """A depot with a shelf in a room, a fridge and a quarantine; one product with lots A (soon) and B (later)."""
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', '总库', 'Depot')")
    await db.execute(
        "INSERT INTO location (location, site, parent, role, name_zh, name_en) VALUES"
        " ('room', 'depot', NULL, 'zone', '库房', 'Room'),"
        " ('shelf', 'depot', 'room', 'zone', '货架', 'Shelf'), ('fridge', 'depot', NULL, 'refrigerator', '冰箱', 'Fridge'),"
        " ('hold', 'depot', NULL, 'quarantine', '隔离区', 'Quarantine')"
    )
    await db.execute(
        "INSERT INTO product (gtin, name_zh, name_en, unit, storage_class) VALUES (%s, '生理盐水', 'Saline', 'carton', 'ambient')",
        [GTIN],
    )
    await db.execute("INSERT INTO lot VALUES (%(g)s, 'A', '2026-12-31'), (%(g)s, 'B', '2027-12-31')", {"g": GTIN})
    await db.execute("INSERT INTO item VALUES (%s, %s, '7', 'A', NULL)", [EPC, GTIN])
    return db


def moved(
    key: str, source: str | None, target: str | None, quantity: int = 1, *, lot: str = "A", epc: str | None = None, minute: int = 0
) -> Movement:
    return Movement(
        key=key,
        gtin=GTIN,
        lot=lot,
        quantity=quantity,
        from_location=source,
        to_location=target,
        biz_step=BizStep.STORING,
        disposition=Disposition.SELLABLE_ACCESSIBLE,
        actor="person:li",
        event_time=NOW + timedelta(minutes=minute),
        epc=epc,
    )


async def sums(db: AsyncConnection) -> dict[tuple[str, str], int]:
    rows = await (await db.execute("SELECT location, lot, quantity FROM stock WHERE quantity > 0")).fetchall()
    return {(location, lot): quantity for location, lot, quantity in rows}


async def count(db: AsyncConnection, what: str) -> int:
    row = await (await db.execute(f"SELECT count(*) FROM {what}")).fetchone()
    assert row is not None
    return int(row[0])


async def test_the_same_key_with_the_same_content_changes_nothing(store: AsyncConnection) -> None:
    wanted = [moved("in", None, "shelf", 10), moved("out", "shelf", None, 3, minute=1)]
    first = await stock.post_movements(store, wanted, NOW)
    events = await count(store, "outgoing")
    again = await stock.post_movements(store, list(reversed(wanted)), NOW + timedelta(hours=1))
    assert again == list(reversed(first))
    assert await sums(store) == {("shelf", "A"): 7}
    assert await count(store, "outgoing") == events
    assert await stock.ledger_balanced(store)


async def test_the_same_key_with_other_content_is_refused_and_changes_nothing(store: AsyncConnection) -> None:
    await stock.post_movements(store, [moved("in", None, "shelf", 10)], NOW)
    with pytest.raises(KeyReused, match="movement in is in the ledger with other content"):
        await stock.post_movements(store, [moved("other", None, "fridge", 1), moved("in", None, "shelf", 11)], NOW)
    with pytest.raises(KeyReused, match="stands twice"):
        await stock.post_movements(store, [moved("x", None, "shelf", 1), moved("x", None, "shelf", 2)], NOW)
    assert await sums(store) == {("shelf", "A"): 10}
    assert await count(store, "movement") == 1


async def test_taking_more_than_is_there_says_what_is_on_hand(store: AsyncConnection) -> None:
    await stock.post_movements(store, [moved("in", None, "shelf", 2)], NOW)
    with pytest.raises(NotOnHand, match="shelf holds 2 of") as caught:
        await stock.post_movements(store, [moved("out", "shelf", None, 3)], NOW)
    assert caught.value.on_hand == 2
    with pytest.raises(NotOnHand, match="fridge holds 0 of"):
        await stock.post_movements(store, [moved("out", "fridge", None, 1)], NOW)
    assert await sums(store) == {("shelf", "A"): 2}


async def test_unknown_lots_places_and_items_are_named(store: AsyncConnection) -> None:
    with pytest.raises(NotFound, match=f"no lot Z of {GTIN}"):
        await stock.post_movements(store, [moved("a", None, "shelf", lot="Z")], NOW)
    with pytest.raises(NotFound, match="no location attic"):
        await stock.post_movements(store, [moved("a", None, "attic")], NOW)
    with pytest.raises(NotFound, match="no item urn:nobody"):
        await stock.post_movements(store, [moved("a", None, "shelf", epc="urn:nobody")], NOW)
    assert await count(store, "movement") == 0


async def test_an_item_is_in_one_place_and_moves_only_from_there(store: AsyncConnection) -> None:
    await stock.post_movements(store, [moved("in", None, "shelf", epc=EPC), moved("on", "shelf", "fridge", epc=EPC, minute=1)], NOW)
    row = await (await store.execute("SELECT location FROM item WHERE epc = %s", [EPC])).fetchone()
    assert row == ("fridge",)
    await stock.post_movements(store, [moved("more", None, "shelf", 4)], NOW)
    with pytest.raises(RuleViolation, match="is at fridge, not at shelf"):
        await stock.post_movements(store, [moved("bad", "shelf", None, epc=EPC)], NOW)
    with pytest.raises(RuleViolation, match=r"is of .* lot A, not of .* lot B"):
        await stock.post_movements(store, [moved("bad", None, "shelf", epc=EPC, lot="B")], NOW)


async def test_a_correction_is_a_new_movement_with_a_reason_and_a_name(store: AsyncConnection) -> None:
    (wrong,) = await stock.post_movements(store, [moved("in", None, "shelf", 10)], NOW)
    made = await stock.correct_movement(store, wrong, 0, reason=" counted twice ", actor="person:wu", now=NOW)
    assert await sums(store) == {}
    assert (made["corrects"], made["quantity"], made["from_location"], made["to_location"]) == (wrong, 10, "shelf", None)
    history = await stock.movements_of_lot(store, GTIN, "A")
    assert [(each["key"], each["actor"], each["reason"]) for each in history] == [
        (f"correction:{wrong}", "person:wu", "counted twice"),
        ("in", "person:li", ""),
    ]
    assert [each["corrected_by"] for each in history] == [None, made["id"]]
    with pytest.raises(NotFound, match="no movement 999"):
        await stock.correct_movement(store, 999, 0, reason="r", actor="person:wu", now=NOW)


async def test_a_correction_told_again_changes_nothing_and_another_one_is_refused(store: AsyncConnection) -> None:
    (wrong,) = await stock.post_movements(store, [moved("in", None, "shelf", 10)], NOW)
    first = await stock.correct_movement(store, wrong, 8, reason="two empty", actor="person:wu", now=NOW)
    later = NOW + timedelta(hours=1)
    assert await stock.correct_movement(store, wrong, 8, reason="two empty", actor="person:wu", now=later) == first
    assert list((await sums(store)).values()) == [8]
    with pytest.raises(RuleViolation, match=r"corrected already, by person:wu \(two empty\)"):
        await stock.correct_movement(store, wrong, 7, reason="three empty", actor="person:wu", now=later)
    assert list((await sums(store)).values()) == [8]
    again = await stock.correct_movement(store, first["id"], 3, reason="three empty", actor="person:li", now=later)
    assert (again["corrects"], again["quantity"]) == (first["id"], 1)
    assert list((await sums(store)).values()) == [7]
    assert await stock.ledger_balanced(store)


async def test_a_correction_cannot_take_what_has_left_already(store: AsyncConnection) -> None:
    (wrong,) = await stock.post_movements(store, [moved("in", None, "shelf", 10)], NOW)
    await stock.post_movements(store, [moved("out", "shelf", None, 9)], NOW)
    with pytest.raises(NotOnHand):
        await stock.correct_movement(store, wrong, 0, reason="never came", actor="person:wu", now=NOW)
    assert list((await sums(store)).values()) == [1]


async def test_two_people_who_correct_one_movement_at_once_are_told_of_each_other(
    store: AsyncConnection, database_uri: str
) -> None:
    (wrong,) = await stock.post_movements(store, [moved("in", None, "shelf", 10)], NOW)
    async with await AsyncConnection.connect(database_uri, autocommit=True) as other:
        outcomes = await asyncio.gather(
            stock.correct_movement(store, wrong, 8, reason="a", actor="person:wu", now=NOW),
            stock.correct_movement(other, wrong, 7, reason="b", actor="person:li", now=NOW),
            return_exceptions=True,
        )
    assert sorted(type(each).__name__ for each in outcomes) == ["RuleViolation", "dict"]
    assert await stock.ledger_balanced(store)


async def test_the_ledger_itself_cannot_be_altered(store: AsyncConnection) -> None:
    await stock.post_movements(store, [moved("in", None, "shelf", 10)], NOW)
    with pytest.raises(psycopg.Error, match="append-only"):
        await store.execute("UPDATE movement SET quantity = 1")


async def test_a_sum_that_was_tampered_with_is_found(store: AsyncConnection) -> None:
    await stock.post_movements(store, [moved("in", None, "shelf", 10)], NOW)
    await store.execute("UPDATE stock SET quantity = 9")
    assert await stock.ledger_differences(store) == [stock.LedgerDifference("shelf", GTIN, "A", ledger=10, stock=9)]
    assert not await stock.ledger_balanced(store)


async def test_an_opening_balance_is_booked_once(store: AsyncConnection) -> None:
    place = Place("fridge", GTIN, "C")
    expiry = date(2027, 6, 30)
    assert await stock.opening_balance(store, place, 5, expiry=expiry, actor="person:li", now=NOW)
    assert not await stock.opening_balance(store, place, 5, expiry=expiry, actor="person:wu", now=NOW + timedelta(days=1))
    with pytest.raises(KeyReused):
        await stock.opening_balance(store, place, 6, expiry=expiry, actor="person:li", now=NOW)
    with pytest.raises(RuleViolation, match="expires 2027-06-30 on record"):
        await stock.put_lot(store, GTIN, "C", expiry=date(2028, 1, 1))
    assert await sums(store) == {("fridge", "C"): 5}


async def test_stock_is_listed_by_place_and_expiry_and_found_by_any_word(store: AsyncConnection) -> None:
    await stock.post_movements(store, [moved("b", None, "shelf", 2, lot="B"), moved("a", None, "shelf", 1)], NOW)
    await stock.post_movements(store, [moved("f", None, "fridge", 7), moved("h", None, "hold", 3)], NOW)
    everything = await stock.list_stock(store)
    assert [(row["location"], row["lot"], row["quantity"]) for row in everything["rows"]] == [
        ("fridge", "A", 7),
        ("hold", "A", 3),
        ("shelf", "A", 1),
        ("shelf", "B", 2),
    ]
    assert everything["rows"][0]["location_name_zh"] == "冰箱"
    assert everything["rows"][0]["expiry"] == date(2026, 12, 31)
    page = await stock.list_stock(store, q="盐水", location="room", site="depot", limit=1, offset=1)
    assert (page["total"], [row["lot"] for row in page["rows"]]) == (2, ["B"])
    assert (await stock.list_stock(store, q="%"))["total"] == 0
    leaving = await stock.fefo(store, GTIN, site="depot", on=date(2026, 11, 21))
    assert [(lot.location, lot.lot) for lot in leaving] == [("fridge", "A"), ("shelf", "A"), ("shelf", "B")]


async def test_every_changed_sum_is_told_once(store: AsyncConnection) -> None:
    await stock.post_movements(store, [moved(f"k{n}", None, "shelf") for n in range(3)], NOW)
    rows = await (await store.execute("SELECT kind, subject, site, payload->>'quantity' FROM outgoing")).fetchall()
    assert rows == [("stock", f"shelf/{GTIN}/A", "depot", "3")]


async def _try(uri: str, wanted: Sequence[Movement]) -> bool:
    async with await AsyncConnection.connect(uri) as connection:
        try:
            await stock.post_movements(connection, wanted, NOW)
        except NotOnHand:
            return False
    return True


async def test_of_many_who_take_the_last_box_exactly_one_gets_it(store: AsyncConnection, database_uri: str) -> None:
    await stock.post_movements(store, [moved("in", None, "shelf", 1)], NOW)
    won = await asyncio.gather(*(_try(database_uri, [moved(f"pick-{n}", "shelf", None)]) for n in range(12)))
    assert sum(won) == 1
    assert await sums(store) == {}
    assert await stock.ledger_balanced(store)


async def test_transactions_that_touch_the_same_places_crosswise_never_deadlock(store: AsyncConnection, database_uri: str) -> None:
    await stock.post_movements(store, [moved("s", None, "shelf", 50), moved("f", None, "fridge", 50)], NOW)

    def crosswise(n: int) -> list[Movement]:
        pair = [moved(f"sf-{n}", "shelf", "fridge", 2), moved(f"fs-{n}", "fridge", "shelf", 1)]
        return pair if n % 2 else pair[::-1]

    assert all(await asyncio.gather(*(_try(database_uri, crosswise(n)) for n in range(12))))
    assert await sums(store) == {("shelf", "A"): 38, ("fridge", "A"): 62}
    assert await stock.ledger_balanced(store)


async def test_the_same_movement_sent_by_many_at_once_counts_once(store: AsyncConnection, database_uri: str) -> None:
    wanted = [moved(f"k{n}", None, "shelf") for n in range(5)]
    assert all(await asyncio.gather(*(_try(database_uri, wanted if n % 2 else wanted[::-1]) for n in range(8))))
    assert await sums(store) == {("shelf", "A"): 5}


@pytest.mark.parametrize("seed", range(5))
async def test_any_history_leaves_the_sums_that_the_rules_say(store: AsyncConnection, seed: int) -> None:
    rng = random.Random(seed)
    places = ["shelf", "fridge", "hold", None]
    expected: dict[Place, int] = {}
    refused = 0
    for number in range(60):
        source, target = rng.sample(places, 2)
        wanted = moved(f"k{number}", source, target, rng.randint(1, 9), lot=rng.choice("AB"), minute=number)
        try:
            expected = balance([wanted], expected)
        except NotOnHand as error:
            with pytest.raises(NotOnHand, match=str(error)):
                await stock.post_movements(store, [wanted], NOW)
            refused += 1
        else:
            await stock.post_movements(store, [wanted] * rng.randint(1, 2), NOW)
    assert refused, "a history in which nothing is refused shows little"
    assert await sums(store) == {(place.location, place.lot): quantity for place, quantity in expected.items()}
    assert await stock.ledger_balanced(store)
