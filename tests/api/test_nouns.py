"""What each noun's routes tell and change, on rows as the hub writes them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from psycopg import AsyncConnection

from core.messages import TagPassage
from hub.domain.stock import Place
from hub.services import alerts, people, receiving, stock, system

SignIn = Callable[[str], Awaitable[Any]]
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
GTIN = "06901234000016"
OTHER = "06901234000023"


@pytest.fixture
async def depot(db: AsyncConnection) -> AsyncConnection:
    """A site with a gate, a cold room with a probe and a rule, two products and a van."""
    await db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', '中心仓库', 'Depot')")
    await db.execute(
        "INSERT INTO location (location, site, role, name_zh, name_en) VALUES"
        " ('cr-1', 'depot', 'cold_room', '一号冷库', 'Cold room 1'), ('depot-hold', 'depot', 'quarantine', '隔离区', 'Hold')"
    )
    await db.execute(
        "INSERT INTO location (location, site, role, name_zh, name_en, receives_into, quarantines_into)"
        " VALUES ('dock-1', 'depot', 'gate', '一号门', 'Dock 1', 'cr-1', 'depot-hold')"
    )
    await db.execute(
        "INSERT INTO product (gtin, name_zh, name_en, unit, storage_class) VALUES"
        " (%s, '疫苗', 'Vaccine', 'box', 'refrigerated'), (%s, '注射器', 'Syringe', 'box', 'ambient')",
        (GTIN, OTHER),
    )
    await db.execute("INSERT INTO device (site, device, location) VALUES ('depot', 'cr-1-probe', 'cr-1')")
    await db.execute("INSERT INTO series (site, device, quantity) VALUES ('depot', 'cr-1-probe', 'celsius')")
    await db.execute(
        "INSERT INTO limit_rule (rule, location, quantity, lower, upper, delay_s, max_gap_s, severity, known_at)"
        " VALUES ('cr-1-cold', 'cr-1', 'celsius', 2, 8, 600, 300, 'critical', '2026-11-20Z')"
    )
    await db.execute(
        "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, speed_mps, shift_from, shift_until)"
        " VALUES ('van-1', 'depot', '一号车', 'Van 1', 'fleet', 'van-1-gps', 40, 10, %(from)s, %(until)s)",
        {"from": NOW, "until": NOW + timedelta(hours=8)},
    )
    return db


async def an_alert(db: AsyncConnection) -> int:
    return await alerts.open_alert(
        db,
        kind="receipt",
        source="receipt:1",
        rule="discrepancy",
        severity="major",
        site="depot",
        location="cr-1",
        opened_at=NOW,
        details={"short": 1},
        now=NOW,
    )


async def test_an_alert_names_the_stock_it_touches_and_is_answered_once(sign_in: SignIn, depot: AsyncConnection) -> None:
    await stock.opening_balance(depot, Place("cr-1", GTIN, "A1"), 12, expiry=None, actor="test", now=NOW)
    number = await an_alert(depot)
    keeper = await sign_in("storekeeper")
    (alert,) = (await keeper.get("/alerts", state="open")).json()
    assert (alert["id"], alert["state"], alert["location_name_en"]) == (number, "open", "Cold room 1")
    assert alert["opened_at"] == "2026-11-20T08:00:00Z"
    assert alert["stock"] == [
        {"name_zh": "疫苗", "name_en": "Vaccine", "gtin": GTIN, "lot": "A1", "expiry": None, "quantity": 12, "unit": "box"},
    ]
    answered = await keeper.send("POST", f"/alerts/{number}/acknowledge", {"reason": "已通知供应商"})
    assert answered.status_code == 200
    assert (answered.json()["acknowledged_by"], answered.json()["acknowledge_reason"]) == ("storekeeper", "已通知供应商")
    again = await keeper.send("POST", f"/alerts/{number}/acknowledge", {"reason": "again"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "rule_violation")
    assert (await keeper.send("POST", f"/alerts/{number}/resolve", {"reason": "credited"})).json()["state"] == "resolved"
    assert (await keeper.get("/alerts", state="open")).json() == []


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1001, "a\x00b", None])
async def test_an_alert_is_not_answered_without_a_reason(sign_in: SignIn, depot: AsyncConnection, reason: str | None) -> None:
    number = await an_alert(depot)
    keeper = await sign_in("storekeeper")
    answer = await keeper.send("POST", f"/alerts/{number}/acknowledge", {"reason": reason})
    assert (answer.status_code, answer.json()["error"]["where"]) == (422, "reason")
    assert (await keeper.get("/alerts", state="open")).json()[0]["state"] == "open"


async def test_an_unanswered_request_of_a_stranger_leaves_the_alert_open(sign_in: SignIn, depot: AsyncConnection) -> None:
    number = await an_alert(depot)
    gate = await sign_in("gate")
    assert (await gate.send("POST", f"/alerts/{number}/acknowledge", {"reason": "let me"})).status_code == 403
    assert (await gate.get("/alerts")).json()[0]["state"] == "open"


async def test_a_cold_room_shows_its_rule_its_newest_reading_and_its_state(
    sign_in: SignIn, depot: AsyncConnection, app: FastAPI
) -> None:
    now = app.state.context.now()
    await depot.execute("INSERT INTO series_latest SELECT series_id, %s, 4.5, %s FROM series", (now, now))
    (room,) = (await (await sign_in("storekeeper")).get("/cold-rooms")).json()
    assert (room["location"], room["name_zh"], room["state"]) == ("cr-1", "一号冷库", "ok")
    assert room["rules"] == [{"rule": "cr-1-cold", "quantity": "celsius", "lower": 2.0, "upper": 8.0, "severity": "critical"}]
    assert [(each["device"], each["value"]) for each in room["series"]] == [("cr-1-probe", 4.5)]


async def test_readings_are_columns_within_the_time_asked_for(sign_in: SignIn, depot: AsyncConnection) -> None:
    await depot.execute("SELECT ensure_partitions(%s, %s)", (NOW, NOW))
    await depot.execute(
        "INSERT INTO reading SELECT series_id, %s + n * interval '1 minute', n FROM series, generate_series(0, 9) n", (NOW,)
    )
    keeper = await sign_in("storekeeper")
    number = (await keeper.get("/cold-rooms")).json()[0]["series"][0]["series_id"]
    span = {"from": "2026-11-20T16:02:00+08:00", "to": "2026-11-20T08:04:00Z"}
    chart = (await keeper.get(f"/series/{number}/readings", **span)).json()
    told = [value for value in chart["values"] if value is not None]
    assert (chart["quantity"], told) == ("celsius", [2.0, 3.0, 4.0])
    assert chart["at"][0] == (NOW + timedelta(minutes=2)).timestamp()
    assert len(chart["at"]) == len(chart["values"])


async def test_stock_is_found_by_name_and_lot_and_paged(sign_in: SignIn, depot: AsyncConnection) -> None:
    for gtin, lot in ((GTIN, "A1"), (GTIN, "A2"), (OTHER, "B1")):
        await stock.opening_balance(depot, Place("cr-1", gtin, lot), 5, expiry=None, actor="command:load", now=NOW)
    keeper = await sign_in("storekeeper")
    assert (await keeper.get("/stock")).json()["total"] == 3
    found = (await keeper.get("/stock", q="疫苗", limit=1, offset=1)).json()
    assert (found["total"], [row["lot"] for row in found["rows"]]) == (2, ["A2"])
    assert (await keeper.get("/stock", site="elsewhere")).json() == {"total": 0, "rows": []}
    (movement,) = (await keeper.get(f"/stock/{GTIN}/A1/movements")).json()
    assert (movement["quantity"], movement["to_location"], movement["from_location"]) == (5, "cr-1", None)
    assert (movement["corrects"], movement["corrected_by"]) == (None, None)


async def test_a_storekeeper_puts_a_wrong_movement_right_and_stays_its_author(sign_in: SignIn, depot: AsyncConnection) -> None:
    await stock.opening_balance(depot, Place("cr-1", GTIN, "A1"), 12, expiry=None, actor="command:load", now=NOW)
    keeper = await sign_in("storekeeper")
    (wrong,) = (await keeper.get(f"/stock/{GTIN}/A1/movements")).json()
    path, body = f"/movements/{wrong['id']}/correct", {"quantity": 10, "reason": "复点：两箱是空的"}
    told = (await (await depot.execute("SELECT count(*) FROM outgoing WHERE kind = 'stock'")).fetchone() or (0,))[0]
    answer = await keeper.send("POST", path, body)
    made = answer.json()
    assert answer.status_code == 200
    assert (made["corrects"], made["quantity"], made["from_location"], made["to_location"]) == (wrong["id"], 2, "cr-1", None)
    assert (made["actor"], made["reason"]) == ("person:storekeeper", "复点：两箱是空的")
    assert (await keeper.send("POST", path, body)).json() == made
    assert (await keeper.get("/stock")).json()["rows"][0]["quantity"] == 10
    rows = await (await depot.execute("SELECT payload FROM outgoing WHERE kind = 'stock' ORDER BY id OFFSET %s", [told])).fetchall()
    assert [row[0]["quantity"] for row in rows] == [10]
    history = (await keeper.get(f"/stock/{GTIN}/A1/movements")).json()
    assert [(each["id"], each["corrected_by"]) for each in history] == [(made["id"], None), (wrong["id"], made["id"])]
    another = await keeper.send("POST", path, {"quantity": 9, "reason": "three were empty"})
    assert another.status_code == 409
    assert "corrected already, by person:storekeeper" in another.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({"quantity": 0, "reason": " "}, 422, "reason"),
        ({"quantity": 0}, 422, "reason"),
        ({"reason": "r"}, 422, "quantity"),
        ({"quantity": -1, "reason": "r"}, 422, "quantity"),
        ({"quantity": 12, "reason": "r"}, 409, ""),
    ],
)
async def test_a_correction_that_makes_no_sense_changes_nothing(
    sign_in: SignIn, depot: AsyncConnection, body: dict[str, Any], status: int, where: str
) -> None:
    await stock.opening_balance(depot, Place("cr-1", GTIN, "A1"), 12, expiry=None, actor="command:load", now=NOW)
    keeper = await sign_in("storekeeper")
    (wrong,) = (await keeper.get(f"/stock/{GTIN}/A1/movements")).json()
    answer = await keeper.send("POST", f"/movements/{wrong['id']}/correct", body)
    assert (answer.status_code, answer.json()["error"]["where"]) == (status, where)
    assert len((await keeper.get(f"/stock/{GTIN}/A1/movements")).json()) == 1


async def test_who_may_only_look_at_stock_corrects_nothing_and_an_unknown_movement_is_not_found(
    sign_in: SignIn, depot: AsyncConnection
) -> None:
    body = {"quantity": 0, "reason": "r"}
    for role in ("dispatcher", "auditor"):
        assert (await (await sign_in(role)).send("POST", "/movements/1/correct", body)).status_code == 403
    assert (await (await sign_in("admin")).send("POST", "/movements/999/correct", body)).status_code == 404


def a_shipment(**changes: object) -> dict[str, object]:
    return {
        "shipment": "ASN-1",
        "supplier": "华东医药",
        "gate": "dock-1",
        "due_from": "2099-11-20T07:00:00Z",
        "due_until": "2099-11-20T10:00:00Z",
        "lines": [{"gtin": GTIN, "lot": "A1", "expiry": "2101-01-31", "quantity": 2}],
    } | changes


async def test_a_shipment_is_announced_and_listed(sign_in: SignIn, depot: AsyncConnection) -> None:
    keeper = await sign_in("storekeeper")
    made = await keeper.send("POST", "/shipments", a_shipment())
    assert made.status_code == 201, made.text
    assert (made.json()["state"], made.json()["lines"][0]["expiry"]) == ("expected", "2101-01-31")
    assert (await keeper.send("POST", "/shipments", a_shipment())).json() == made.json()
    assert (await keeper.get("/shipments", state="expected")).json() == [made.json()]
    assert (await keeper.send("POST", "/shipments", a_shipment(supplier="another"))).status_code == 409


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"lines": []}, "lines"),
        ({"lines": [{"gtin": "06901234000030", "lot": "A1", "quantity": 2}]}, "lines[0].gtin"),
        ({"lines": [{"gtin": "123", "lot": "A1", "quantity": 2}]}, "lines[0].gtin"),
        ({"lines": [{"gtin": GTIN, "lot": "A1", "quantity": 0}]}, "lines[0].quantity"),
        ({"lines": [{"gtin": GTIN, "lot": "A1", "quantity": 2, "colour": "red"}]}, "lines[0].colour"),
        ({"gate": "dock-9"}, "gate"),
        ({"due_from": "2099-11-20T07:00:00"}, "due_from"),
        ({"due_until": "2099-11-20T06:00:00Z"}, "due_until"),
    ],
)
async def test_a_shipment_that_is_wrong_is_refused_with_the_path(
    sign_in: SignIn, depot: AsyncConnection, changes: dict[str, object], where: str
) -> None:
    keeper = await sign_in("storekeeper")
    answer = await keeper.send("POST", "/shipments", a_shipment(**changes))
    assert (answer.status_code, answer.json()["error"]["where"]) == (422, where)
    assert (await keeper.get("/shipments")).json() == []


async def test_the_gate_shows_the_receipt_as_it_fills(sign_in: SignIn, depot: AsyncConnection) -> None:
    gate = await sign_in("gate")
    assert (await gate.get("/gates")).json() == [{"gate": "dock-1", "site": "depot", "name_zh": "一号门", "name_en": "Dock 1"}]
    assert (await gate.get("/gates/dock-1/receipt")).json() == {"gate": "dock-1", "receipt": None}
    assert (await gate.get("/gates/dock-9/receipt")).status_code == 404
    passage = TagPassage(
        portal="dock-1",
        epc="3034257BF7194E4000001A85",
        direction="in",
        first_seen=NOW,
        last_seen=NOW + timedelta(seconds=1),
        reads=9,
        peak_rssi_dbm=-50.0,
        confidence=0.9,
        group="g1",
    )
    await receiving.take_passages(depot, "depot", [passage], NOW)
    receipt = (await gate.get("/gates/dock-1/receipt")).json()["receipt"]
    assert (receipt["state"], receipt["shipment"], receipt["lines"]) == ("open", None, [])
    assert [item["confidence"] for item in receipt["items"]] == [0.9]
    assert [each["id"] for each in (await gate.get("/receipts", gate="dock-1")).json()] == [receipt["id"]]


async def test_vehicles_show_where_they_are_and_the_way_they_came(sign_in: SignIn, depot: AsyncConnection) -> None:
    dispatcher = await sign_in("dispatcher")
    (van,) = (await dispatcher.get("/vehicles")).json()
    assert (van["vehicle"], van["capacity"], van["cold_box"], van["live"]) == ("van-1", 40, False, None)
    await depot.execute("SELECT ensure_partitions(%s, %s)", (NOW, NOW))
    await depot.execute(
        "INSERT INTO position SELECT tracker_id, %s + n * interval '1 second', 31 + n / 1e5, 121"
        " FROM vehicle, generate_series(0, 59) n",
        (NOW,),
    )
    await depot.execute(
        "INSERT INTO vehicle_live (vehicle, at, latitude, longitude, recorded_at) VALUES ('van-1', %s, 31, 121, %s)", (NOW, NOW)
    )
    (van,) = (await dispatcher.get("/vehicles")).json()
    assert (van["live"]["latitude"], van["live"]["at"]) == (31.0, "2026-11-20T08:00:00Z")
    span = {"from": "2026-11-20T08:00:00Z", "to": "2026-11-20T12:00:00Z"}
    way = (await dispatcher.get("/vehicles/van-1/track", **span)).json()
    assert way["at"] == [(NOW + timedelta(seconds=n)).timestamp() for n in range(60)]
    assert len(way["latitude"]) == len(way["longitude"]) == len(way["at"])


async def test_a_driver_sees_the_own_vehicle_only(sign_in: SignIn, depot: AsyncConnection) -> None:
    await depot.execute(
        "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, speed_mps, shift_from, shift_until)"
        " SELECT 'van-2', site, name_zh, name_en, tracker_site, 'van-2-gps', capacity, speed_mps, shift_from, shift_until"
        " FROM vehicle"
    )
    driver = await sign_in("driver")
    assert (await driver.get("/vehicles")).json() == []
    await depot.execute("UPDATE person SET vehicle = 'van-2'")
    assert [each["vehicle"] for each in (await driver.get("/vehicles")).json()] == ["van-2"]
    assert (await driver.get("/vehicles/van-1/track")).status_code == 404
    assert (await driver.get("/vehicles/van-2/track")).status_code == 200


async def test_devices_and_rejections_are_shown_to_maintainers(sign_in: SignIn, depot: AsyncConnection) -> None:
    await depot.execute("INSERT INTO agent (site, agent, online) VALUES ('depot', 'depot-gateway', false)")
    await depot.execute("""UPDATE device SET counts = '{"frames": 3}'""")
    await depot.execute(
        "INSERT INTO rejected_message (topic, payload, reason, received_at) VALUES ('qm/x', %s, 'unknown kind', %s)",
        (b"\xff{}" * 200, NOW),
    )
    maintainer = await sign_in("maintainer")
    (device,) = (await maintainer.get("/devices")).json()
    assert (device["device"], device["counts"], device["agent_online"]) == ("cr-1-probe", {"frames": 3}, False)
    (rejection,) = (await maintainer.get("/rejections")).json()
    assert (rejection["reason"], rejection["size"]) == ("unknown kind", 600)
    assert rejection["start"].startswith("\\xff{}")


async def test_facts_set_aside_and_conflicts_are_shown_to_maintainers(sign_in: SignIn, depot: AsyncConnection) -> None:
    await depot.execute(
        "INSERT INTO set_aside_fact (site, agent, boot, seq, topic, payload, reason, set_aside_at)"
        " VALUES ('depot', 'depot-gateway', 'boot-0001', 7, 'qm/x', '{}', 'is not credible', %s)",
        (NOW,),
    )
    await depot.execute(
        "INSERT INTO reading_conflict SELECT series_id, %s, 5.0, %s FROM series WHERE device = 'cr-1-probe' LIMIT 1", (NOW, NOW)
    )
    maintainer = await sign_in("maintainer")
    (fact,) = (await maintainer.get("/set-aside")).json()
    assert (fact["agent"], fact["seq"], fact["reason"], fact["settlement"]) == ("depot-gateway", 7, "is not credible", None)
    assert (await maintainer.get("/set-aside", agent="nobody")).json() == []
    assert [device["conflicts"] for device in (await maintainer.get("/devices")).json()] == [1]


async def test_counts_and_limits_are_shown_to_maintainers_and_auditors(sign_in: SignIn, depot: AsyncConnection) -> None:
    await system.write_status(depot, "hub-1", {"known_readings": 3, "receipts_dropped": 1}, started_at=NOW, now=NOW)
    await system.write_status(depot, "hub-1", {"known_readings": 4, "receipts_dropped": 1}, started_at=NOW, now=NOW)
    await depot.execute("INSERT INTO mirror_queue (lines) VALUES ('abc')")
    await depot.execute("INSERT INTO set_aside_size VALUES ('depot', 'a', 2, 30), ('depot', 'b', 1, 20)")
    for role in ("maintainer", "auditor", "admin"):
        state = (await (await sign_in(role)).get("/system")).json()
        assert [(each["hub"], each["counts"]) for each in state["hubs"]] == [
            ("hub-1", {"known_readings": 4, "receipts_dropped": 1})
        ]
        assert (state["mirror"]["rows"], state["mirror"]["bytes"], state["mirror"]["dropped_rows"]) == (1, 3, 0)
        kept = state["kept"]
        assert (kept["set_aside_facts"], kept["set_aside_bytes"], kept["set_aside_largest_bytes"]) == (3, 50, 30)
        assert kept["set_aside_max_bytes_an_agent"] > kept["set_aside_bytes"]
    assert (await (await sign_in("storekeeper")).get("/system")).status_code == 403


async def test_master_data_is_listed_in_both_languages(sign_in: SignIn, depot: AsyncConnection) -> None:
    gate = await sign_in("gate")
    assert [site["name_zh"] for site in (await gate.get("/sites")).json()] == ["中心仓库"]
    assert [each["location"] for each in (await gate.get("/locations", role="gate")).json()] == ["dock-1"]
    assert [each["gtin"] for each in (await gate.get("/products", q="syr")).json()] == [OTHER]
    assert (await gate.get("/destinations")).json() == []


async def test_times_of_sessions_are_real_also_when_the_scenario_runs_fast(app: FastAPI, db: AsyncConnection) -> None:
    await people.create_person(db, "keeper", role="gate", password="a long enough password")
    session = await people.open_session(db, "keeper", app.state.context.real_now())
    assert abs(session.expires_at - datetime.now(UTC) - people.SESSION_LIFE) < timedelta(seconds=10)
