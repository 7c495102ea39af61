"""The count finds what is lost, doubled, invented or out of balance."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from psycopg import AsyncConnection
from psycopg.errors import UndefinedTable

from simulators.demo.tally import Summary, missing_parts, tally
from simulators.truth import Crossing, ProbeTally, Scanned, TrackerTally, Truth

START = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
EPC = "3035A537C80019E69267C6AF"
TRUTH = Truth(
    scenario="test",
    written_at=START,
    final=True,
    probes=[ProbeTally("depot", "probe", answered=5, acknowledged=4, doubtful=0)],
    crossings=[Crossing("depot", "dock", EPC, START, certain=True), Crossing("depot", "dock", "AB" * 12, START, certain=False)],
    trackers=[TrackerTally("fleet", "gps", 2, [START])],
    scans=[Scanned("depot", "dock", "]d201", START, certain=True)],
    unseen=[],
)


@pytest.fixture
async def filled(db: AsyncConnection) -> AsyncConnection:
    """A database that holds exactly what TRUTH says."""
    statements = [
        "INSERT INTO site (site, name_zh, name_en) VALUES ('depot', 'a', 'b')",
        "INSERT INTO location (location, site, role, name_zh, name_en) VALUES ('main', 'depot', 'zone', 'a', 'b')",
        "INSERT INTO device (site, device) VALUES ('depot', 'probe')",
        "INSERT INTO series (site, device, quantity) VALUES ('depot', 'probe', 'celsius'), ('depot', 'probe', 'humidity_percent')",
        "SELECT ensure_partitions('2026-03-02Z', '2026-03-02Z')",
        "INSERT INTO reading SELECT series_id, timestamptz '2026-03-02Z' + step * interval '1 min', 5 "
        "FROM series, generate_series(1, 4) AS step",
        "INSERT INTO product (gtin, name_zh, name_en, unit, storage_class) "
        "VALUES ('06901234001037', 'a', 'b', 'carton', 'ambient')",
        "INSERT INTO lot (gtin, lot) VALUES ('06901234001037', 'L')",
        "INSERT INTO movement (key, gtin, lot, quantity, to_location, biz_step, disposition, actor, event_time, record_time) "
        "VALUES ('k', '06901234001037', 'L', 7, 'main', 'receiving', 'in_progress', 'test', now(), now())",
        "INSERT INTO stock VALUES ('main', '06901234001037', 'L', 7)",
        "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, speed_mps, shift_from, "
        "shift_until) VALUES ('van', 'depot', 'a', 'b', 'fleet', 'gps', 9, 9, '2026-03-02Z', '2026-03-03Z')",
        "INSERT INTO position SELECT tracker_id, '2026-03-02Z', 30, 114 FROM vehicle",
        "INSERT INTO barcode_scan VALUES ('a', 'b', 1, 0, 'depot', 'dock', ']d201', '2026-03-02Z', now())",
    ]
    for statement in statements:
        await db.execute(statement)
    await passage(db, 1)
    return db


async def passage(db: AsyncConnection, seq: int, epc: str = EPC) -> None:
    await db.execute(
        "INSERT INTO passage VALUES ('gateway', 'boot', %s, 0, 'depot', 'dock', %s, 'in', %s, %s, 9, -50, 1, 'group', now())",
        (seq, epc, START, START + timedelta(seconds=seq // 10)),
    )


async def found(database_uri: str, truth: Truth = TRUTH) -> Summary:
    return await tally(database_uri, truth)


async def test_what_agrees_is_counted_without_failures(filled: AsyncConnection, database_uri: str) -> None:
    summary = await found(database_uri)
    assert summary.failures == []
    assert (summary.readings_sent, summary.readings_stored, summary.readings_lost, summary.readings_doubled) == (10, 8, 0, 0)
    assert (summary.passages, summary.positions, summary.ledger_balanced) == (1, 1, True)


async def test_an_acknowledged_reading_that_is_not_stored_is_lost(filled: AsyncConnection, database_uri: str) -> None:
    await filled.execute("DELETE FROM reading WHERE at > '2026-03-02 00:02Z' AND series_id = (SELECT min(series_id) FROM series)")
    summary = await found(database_uri)
    assert (summary.readings_lost, summary.readings_doubled) == (2, 0)
    assert "depot/probe celsius: 2 stored, but 4 acknowledged and 5 answered (2 lost, 0 doubled)" in summary.failures


async def test_more_readings_than_answers_are_doubled(filled: AsyncConnection, database_uri: str) -> None:
    await filled.execute("INSERT INTO reading SELECT series_id, at + interval '1 s', 5 FROM reading WHERE at < '2026-03-02 00:03Z'")
    summary = await found(database_uri)
    assert (summary.readings_lost, summary.readings_doubled) == (0, 2)


async def test_a_doubtful_answer_may_be_stored_or_not(filled: AsyncConnection, database_uri: str) -> None:
    truth = replace(TRUTH, probes=[ProbeTally("depot", "probe", answered=3, acknowledged=2, doubtful=1)])
    assert (await found(database_uri, truth)).failures == []


async def test_readings_of_a_device_nobody_simulates_are_told(filled: AsyncConnection, database_uri: str) -> None:
    summary = await found(database_uri, replace(TRUTH, probes=[]))
    assert any("readings nobody sent" in failure for failure in summary.failures)


async def test_a_tag_that_crossed_for_certain_must_have_a_passage(filled: AsyncConnection, database_uri: str) -> None:
    await filled.execute("DELETE FROM passage")
    assert (await found(database_uri)).failures == [f"1 tags crossed a portal oftener than they have passages: depot/dock/{EPC}"]


async def test_a_second_passage_for_one_crossing_is_told_whenever_it_was(filled: AsyncConnection, database_uri: str) -> None:
    await passage(filled, 20)
    assert (await found(database_uri)).failures == [f"1 tags have more passages than crossings: depot/dock/{EPC}"]


async def test_a_passage_of_nobody_is_told(filled: AsyncConnection, database_uri: str) -> None:
    await passage(filled, 3, "CD" * 12)
    assert (await found(database_uri)).failures == [f"1 passages of tags that did not cross: depot/dock/{'CD' * 12}"]


async def test_one_passage_for_two_certain_crossings_is_told(filled: AsyncConnection, database_uri: str) -> None:
    twice = replace(TRUTH, crossings=[*TRUTH.crossings, TRUTH.crossings[0]])
    assert (await found(database_uri, twice)).failures == [
        f"1 tags crossed a portal oftener than they have passages: depot/dock/{EPC}"
    ]
    await passage(filled, 20)
    assert (await found(database_uri, twice)).failures == []


async def test_a_crossing_whose_line_broke_makes_one_passage_or_none(filled: AsyncConnection, database_uri: str) -> None:
    broken = replace(TRUTH, crossings=[*TRUTH.crossings, replace(TRUTH.crossings[0], certain=False)])
    assert (await found(database_uri, broken)).failures == []
    await passage(filled, 20)
    assert (await found(database_uri, broken)).failures == []
    await passage(filled, 40)
    assert (await found(database_uri, broken)).failures == [f"1 tags have more passages than crossings: depot/dock/{EPC}"]


async def test_a_reading_that_came_again_with_another_value_is_a_doubled_one(filled: AsyncConnection, database_uri: str) -> None:
    await filled.execute("INSERT INTO reading_conflict SELECT series_id, at, 6, at FROM reading ORDER BY series_id, at LIMIT 1")
    summary = await found(database_uri)
    assert summary.readings_doubled == 1
    assert [
        failure for failure in summary.failures if failure.startswith("1 readings came twice with different values: depot/probe/")
    ]


async def test_lost_and_invented_positions_are_told(filled: AsyncConnection, database_uri: str) -> None:
    lost = replace(TRUTH, trackers=[TrackerTally("fleet", "gps", 2, [START, START + timedelta(seconds=15)])])
    assert any(failure.startswith("1 positions were lost: fleet/gps/") for failure in (await found(database_uri, lost)).failures)
    none = replace(TRUTH, trackers=[])
    assert any("more positions than were sent" in failure for failure in (await found(database_uri, none)).failures)


async def test_lost_and_doubled_scans_are_told(filled: AsyncConnection, database_uri: str) -> None:
    lost = replace(TRUTH, scans=TRUTH.scans * 2)
    assert any("scans were lost" in failure for failure in (await found(database_uri, lost)).failures)
    none = replace(TRUTH, scans=[])
    assert any("stored more often" in failure for failure in (await found(database_uri, none)).failures)


async def test_stock_that_is_not_the_sum_of_its_movements_is_told(filled: AsyncConnection, database_uri: str) -> None:
    await filled.execute("UPDATE stock SET quantity = 6")
    summary = await found(database_uri)
    assert not summary.ledger_balanced
    assert any("main/06901234001037/L/7/6" in failure for failure in summary.failures)


async def test_a_rejected_message_and_an_unseen_pallet_are_told(filled: AsyncConnection, database_uri: str) -> None:
    await filled.execute("INSERT INTO rejected_message (topic, payload, reason, received_at) VALUES ('t', '', 'bad', now())")
    summary = await found(database_uri, replace(TRUTH, unseen=["tag X at dock"]))
    assert summary.failures == ["1 messages were rejected: bad", "not seen by any reader: tag X at dock"]


async def test_what_did_not_happen_is_named(filled: AsyncConnection, database_uri: str) -> None:
    told = missing_parts(await found(database_uri))
    assert "excursions is 0, the scenario has some" in told
    assert not any(line.startswith("passages") for line in told)


async def test_a_database_without_the_schema_is_no_success(filled: AsyncConnection, database_uri: str) -> None:
    await filled.execute("DROP TABLE barcode_scan")
    with pytest.raises(UndefinedTable):
        await found(database_uri)
