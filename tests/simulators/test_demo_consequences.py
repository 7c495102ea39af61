"""What must come of the story: each thing that is missing, doubled, untimely or of nothing is found."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from psycopg import AsyncConnection

from simulators.demo.consequences import judge_story
from simulators.truth import Crossing, DayPlanned, Delivery, HeldUp, OrderTaken, Scanned, Truth, Warming

START = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)


def minute(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


TRUTH = Truth(
    scenario="test",
    written_at=START,
    final=True,
    probes=[],
    crossings=[Crossing("depot", "dock", "AB" * 12, START, certain=True)],
    trackers=[],
    scans=[],
    unseen=[],
    ended_at=minute(60),
    deliveries=[Delivery("dock", "ASN-1", True, 1, True), Delivery("dock", "ASN-2", False, 1, True)],
    warmings=[Warming("cold", "depot", "probe", minute(10), minute(40), certain=True)],
    days=[DayPlanned("depot", minute(1))],
    orders=[OrderTaken("O-9", "depot", minute(30), certain=True)],
    held_up=[HeldUp("van", minute(12), 1500.0)],
)
FILL = [
    "INSERT INTO site (site, name_zh, name_en) VALUES ('depot', 'a', 'b')",
    "INSERT INTO location (location, site, role, name_zh, name_en) VALUES ('room', 'depot', 'cold_room', 'a', 'b')",
    "INSERT INTO location (location, site, role, name_zh, name_en, receives_into, quarantines_into) "
    "VALUES ('dock', 'depot', 'gate', 'a', 'b', 'room', 'room')",
    "INSERT INTO shipment (shipment, supplier, gate, due_from, due_until) "
    "SELECT name, 's', 'dock', '2026-03-02Z', '2026-03-03Z' FROM unnest(ARRAY['ASN-1', 'ASN-2', 'ASN-3']) AS name",
    "INSERT INTO receipt (gate, shipment, state, verdict, opened_at, last_passage_at) VALUES "
    "('dock', 'ASN-1', 'posted', 'clean', '2026-03-02Z', '2026-03-02Z'), "
    "('dock', 'ASN-2', 'posted', 'discrepancy', '2026-03-02Z', '2026-03-02Z')",
    "INSERT INTO device (site, device, location) VALUES ('depot', 'probe', 'room')",
    "INSERT INTO series (site, device, quantity) VALUES ('depot', 'probe', 'celsius')",
    "INSERT INTO limit_rule (rule, location, quantity, upper, delay_s, max_gap_s, severity, known_at) "
    "VALUES ('cold', 'room', 'celsius', 8, 600, 300, 'major', '2026-03-02Z')",
    "INSERT INTO excursion (rule, series_id, started_at, alarmed_at, ended_at, peak, area, recorded_at) "
    "SELECT 'cold', series_id, '2026-03-02 00:10:40Z', '2026-03-02 00:20:40Z', '2026-03-02 00:41Z', 12, 60, now() FROM series",
    "INSERT INTO alert (kind, source, rule, severity, opened_at, recorded_at) VALUES "
    "('receipt', 'receipt:2', 'receipt-discrepancy', 'major', '2026-03-02Z', '2026-03-02Z'), "
    "('excursion', 'series:depot.probe.celsius', 'cold', 'major', '2026-03-02Z', '2026-03-02Z'), "
    "('lateness', 'vehicle:van', 'late', 'minor', '2026-03-02Z', '2026-03-02Z')",
    "INSERT INTO plan (site, state, trigger, reasons, engine, elapsed_s, distance_m, unserved, made_at) VALUES "
    "('depot', 'superseded', 'day', '[]', 'e', 1, 1, '[]', '2026-03-02Z'), "
    "('depot', 'superseded', 'lateness', '[{\"code\": \"vehicle_late\", \"vehicle\": \"van\"}]', 'e', 1, 1, '[]', '2026-03-02Z'), "
    "('depot', 'active', 'new_order', '[]', 'e', 1, 1, '[{\"order\": \"O-9\", \"reason\": \"r\"}]', '2026-03-02Z')",
]


@pytest.fixture
async def filled(db: AsyncConnection) -> AsyncConnection:
    """A database that holds just what must come of TRUTH."""
    for statement in FILL:
        await db.execute(statement)
    return db


async def test_a_hub_that_understood_the_story_is_blamed_for_nothing(filled: AsyncConnection) -> None:
    assert await judge_story(filled, TRUTH) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE receipt SET verdict = 'discrepancy' WHERE id = 1", "receipts are not what came"),
        ("UPDATE receipt SET verdict = 'discrepancy' WHERE id = 1", "receipts whose alert is missing or not deserved"),
        ("UPDATE receipt SET verdict = 'clean' WHERE id = 2", "receipts are not what came"),
        ("UPDATE receipt SET verdict = 'clean' WHERE id = 2", "receipts whose alert is missing or not deserved"),
        ("DELETE FROM receipt WHERE id = 1", "receipts are not what came"),
        ("UPDATE receipt SET shipment = NULL WHERE id = 1", "receipts of nothing that came"),
        ("UPDATE receipt SET state = 'open' WHERE id = 1", "receipts are still open"),
        (
            "INSERT INTO receipt (gate, shipment, state, verdict, opened_at, last_passage_at) "
            "SELECT gate, shipment, state, verdict, opened_at, last_passage_at FROM receipt WHERE id = 1",
            "receipts are not what came",
        ),
        ("DELETE FROM alert WHERE kind = 'receipt'", "receipts whose alert is missing or not deserved"),
        ("DELETE FROM excursion", "rooms were too warm or too cold without an excursion"),
        ("UPDATE excursion SET started_at = '2026-03-02 00:20Z'", "rooms were too warm or too cold without an excursion"),
        ("UPDATE excursion SET started_at = '2026-03-02 00:20Z'", "excursions of rooms that were within their limits"),
        ("UPDATE excursion SET ended_at = '2026-03-02 00:30Z'", "excursions ended at another time than the room was right again"),
        ("UPDATE excursion SET ended_at = NULL", "excursions ended at another time than the room was right again"),
        ("DELETE FROM alert WHERE kind = 'excursion'", "excursions do not have one alert each"),
        ("DELETE FROM plan WHERE trigger = 'day'", "sites have no plan of the day that was planned"),
        ("UPDATE plan SET state = 'rejected' WHERE trigger = 'new_order'", "urgent orders are in no plan that was made again"),
        ("UPDATE plan SET unserved = '[]'", "urgent orders are in no plan that was made again"),
        ("UPDATE plan SET trigger = 'new_order'", "sites were planned again for more orders than came"),
        ("DELETE FROM alert WHERE kind = 'lateness'", "vehicles were held up without an alert"),
        ("UPDATE plan SET reasons = '[]'", "vehicles were held up and nothing was planned again for it"),
    ],
)
async def test_what_did_not_come_of_the_story_is_told(filled: AsyncConnection, change: str, said: str) -> None:
    await filled.execute(change)  # type: ignore[arg-type]
    failures = await judge_story(filled, TRUTH)
    assert [failure for failure in failures if said in failure], failures


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"deliveries": TRUTH.deliveries[:1]}, "receipts of nothing that came"),
        ({"warmings": []}, "excursions of rooms that were within their limits"),
        ({"orders": []}, "sites were planned again for more orders than came"),
    ],
)
async def test_what_the_hub_made_of_nothing_is_told(filled: AsyncConnection, fields: dict[str, Any], said: str) -> None:
    failures = await judge_story(filled, replace(TRUTH, **fields))
    assert [failure for failure in failures if said in failure], failures


async def test_a_delivery_that_was_interrupted_may_come_in_several_receipts(filled: AsyncConnection) -> None:
    interrupted = replace(TRUTH, deliveries=[Delivery("dock", "ASN-1", True, 2, False), TRUTH.deliveries[1]])
    assert await judge_story(filled, interrupted) == []
    again = (
        "INSERT INTO receipt (gate, shipment, state, verdict, opened_at, last_passage_at) "
        "VALUES ('dock', 'ASN-1', 'posted', 'clean', '2026-03-02Z', '2026-03-02Z')"
    )
    await filled.execute(again)
    assert await judge_story(filled, interrupted) == []
    await filled.execute(again)
    assert any("should be 1 to 2" in failure for failure in await judge_story(filled, interrupted))


async def test_an_excursion_may_be_open_when_the_world_ended_before_the_room_was_right_again(filled: AsyncConnection) -> None:
    await filled.execute("UPDATE excursion SET ended_at = NULL")
    for ended_at in (None, minute(59)):
        assert await judge_story(filled, replace(TRUTH, warmings=[replace(TRUTH.warmings[0], ended_at=ended_at)])) == []


async def test_what_only_might_have_happened_may_be_there_or_not(filled: AsyncConnection) -> None:
    warming = replace(TRUTH.warmings[0], certain=False)
    order = replace(TRUTH.orders[0], certain=False)
    jam = replace(TRUTH.held_up[0], lasted_s=650.0)
    doubtful = replace(TRUTH, warmings=[warming], orders=[order], held_up=[jam])
    assert await judge_story(filled, doubtful) == []
    for statement in (
        "DELETE FROM excursion",
        "DELETE FROM alert WHERE kind <> 'receipt'",
        "DELETE FROM plan WHERE trigger <> 'day'",
    ):
        await filled.execute(statement)  # type: ignore[arg-type]
    assert await judge_story(filled, doubtful) == []


async def test_a_scan_of_a_serial_may_open_a_receipt_of_its_own(filled: AsyncConnection) -> None:
    await filled.execute(
        "INSERT INTO receipt (gate, state, verdict, opened_at, last_passage_at) VALUES ('dock', 'posted', 'clean', now(), now())"
    )
    assert any("receipts of nothing" in failure for failure in await judge_story(filled, TRUTH))
    scan = Scanned("depot", "dock", "]d201069012340010131729010110V1\x1d21S1", START, certain=True)
    assert await judge_story(filled, replace(TRUTH, scans=[scan])) == []
