"""Orders and plans over HTTP, with the real solver."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

SignIn = Callable[[str], Awaitable[Any]]
GTIN = "06901234000016"


@pytest.fixture
async def town(db: AsyncConnection) -> AsyncConnection:
    """A depot with two vans on shift, three clinics and a product."""
    now = datetime.now(UTC)
    await db.execute(
        "INSERT INTO site (site, name_zh, name_en, latitude, longitude) VALUES ('depot', '仓库', 'Depot', 31.20, 121.40)"
    )
    await db.execute(
        "INSERT INTO product (gtin, name_zh, name_en, unit, storage_class) VALUES (%s, '疫苗', 'Vaccine', 'box', 'refrigerated')",
        (GTIN,),
    )
    for number in (1, 2):
        await db.execute(
            "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, cold_box, speed_mps,"
            " shift_from, shift_until) VALUES (%s, 'depot', '车', 'Van', 'fleet', %s, 10, true, 10, %s, %s)",
            (f"van-{number}", f"van-{number}-gps", now, now + timedelta(hours=10)),
        )
    for number in (1, 2, 3):
        await db.execute(
            "INSERT INTO destination (destination, name_zh, name_en, latitude, longitude)"
            " VALUES (%s, '诊所', 'Clinic', %s, 121.41)",
            (f"clinic-{number}", 31.20 + number / 100),
        )
    return db


def an_order(number: int, **changes: object) -> dict[str, object]:
    now = datetime.now(UTC)
    return {
        "id": f"ORD-{number}",
        "site": "depot",
        "destination": f"clinic-{number}",
        "window_from": now.isoformat(),
        "window_until": (now + timedelta(hours=6)).isoformat(),
        "service_s": 300,
        "demand": 4,
        "lines": [{"gtin": GTIN, "quantity": 20}],
    } | changes


async def test_an_order_is_taken_listed_and_cancelled(sign_in: SignIn, town: AsyncConnection) -> None:
    dispatcher = await sign_in("dispatcher")
    made = await dispatcher.send("POST", "/orders", an_order(1))
    assert made.status_code == 201, made.text
    assert (made.json()["state"], made.json()["priority"], made.json()["name_en"]) == ("planned_for", 50, "Clinic")
    assert (await dispatcher.get("/orders", site="depot")).json() == [made.json()]
    assert (await dispatcher.send("POST", "/orders", an_order(1))).status_code == 409
    assert (await dispatcher.send("POST", "/orders/ORD-1/cancel")).json()["state"] == "cancelled"
    assert (await dispatcher.send("POST", "/orders/ORD-1/cancel")).status_code == 409
    assert (await dispatcher.send("POST", "/orders/ORD-9/cancel")).status_code == 404


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"lines": [{"gtin": GTIN, "quantity": 1}, {"gtin": "06901234000993", "quantity": 1}]}, "lines[1].gtin"),
        ({"lines": [{"gtin": "12", "quantity": 1}]}, "lines[0].gtin"),
        ({"lines": [{"gtin": GTIN, "quantity": -1}]}, "lines[0].quantity"),
        ({"destination": "nowhere"}, "destination"),
        ({"site": "nowhere"}, "site"),
        ({"demand": 11}, "demand"),
        ({"demand": 0}, "demand"),
        ({"priority": 101}, "priority"),
        ({"service_s": -1}, "service_s"),
        ({"window_until": "2020-01-01T00:00:00Z"}, "window_until"),
        ({"window_from": "2026-11-20 08:00"}, "window_from"),
        ({"urgent": True}, "urgent"),
        ({"id": ""}, "id"),
        ({"id": "a\x00"}, "id"),
    ],
)
async def test_an_order_that_is_wrong_is_refused_with_the_path(
    sign_in: SignIn, town: AsyncConnection, changes: dict[str, object], where: str
) -> None:
    dispatcher = await sign_in("dispatcher")
    answer = await dispatcher.send("POST", "/orders", an_order(1, **changes))
    assert (answer.status_code, answer.json()["error"]["where"]) == (422, where)
    assert (await dispatcher.get("/orders")).json() == []


async def test_a_day_is_planned_proposed_accepted_and_read_by_its_driver(sign_in: SignIn, town: AsyncConnection) -> None:
    dispatcher = await sign_in("dispatcher")
    for number in (1, 2, 3):
        assert (await dispatcher.send("POST", "/orders", an_order(number))).status_code == 201
    planned = await dispatcher.send("POST", "/sites/depot/plan", {"from": datetime.now(UTC).isoformat()})
    assert planned.status_code == 200, planned.text
    plan = planned.json()
    stops = [stop for route in plan["routes"] for stop in route["stops"]]
    assert (plan["state"], plan["trigger"], plan["unserved"]) == ("proposed", "day", [])
    assert sorted(stop["order"] for stop in stops) == ["ORD-1", "ORD-2", "ORD-3"]
    assert (await dispatcher.get("/sites/depot/plan")).json()["active"] is None

    accepted = await dispatcher.send("POST", f"/plans/{plan['id']}/accept")
    assert (accepted.json()["state"], accepted.json()["decided_by"]) == ("active", "dispatcher")
    assert (await dispatcher.send("POST", f"/plans/{plan['id']}/reject")).status_code == 409
    both = (await dispatcher.get("/sites/depot/plan")).json()
    assert (both["active"]["id"], both["proposed"]) == (plan["id"], None)
    assert [each["id"] for each in (await dispatcher.get("/plans", state="active")).json()] == [plan["id"]]

    driver = await sign_in("driver")
    own = plan["routes"][0]["vehicle"]
    assert (await driver.get("/sites/depot/plan")).json()["active"]["routes"] == []
    await town.execute("UPDATE person SET vehicle = %s WHERE name = 'driver'", (own,))
    seen = (await driver.get("/sites/depot/plan")).json()["active"]
    assert [route["vehicle"] for route in seen["routes"]] == [own]


async def test_a_proposal_is_turned_down_once(sign_in: SignIn, town: AsyncConnection) -> None:
    dispatcher = await sign_in("dispatcher")
    await dispatcher.send("POST", "/orders", an_order(1))
    plan = (await dispatcher.send("POST", "/sites/depot/plan")).json()
    assert (await dispatcher.send("POST", f"/plans/{plan['id']}/reject")).json()["state"] == "rejected"
    assert (await dispatcher.send("POST", f"/plans/{plan['id']}/accept")).status_code == 409
    assert (await dispatcher.send("POST", "/plans/999/accept")).status_code == 404


async def test_a_site_that_cannot_be_planned_says_why(sign_in: SignIn, town: AsyncConnection) -> None:
    dispatcher = await sign_in("dispatcher")
    assert (await dispatcher.send("POST", "/sites/nowhere/plan")).status_code == 404
    await town.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('lost', '无', 'Lost')")
    answer = await dispatcher.send("POST", "/sites/lost/plan")
    assert answer.status_code == 409
    assert "coordinates" in answer.json()["error"]["message"]
    wrong = await dispatcher.send("POST", "/sites/depot/plan", {"from": "tomorrow"})
    assert (wrong.status_code, wrong.json()["error"]["where"]) == (422, "from")


async def test_master_data_is_loaded_whole_or_not_at_all(sign_in: SignIn, db: AsyncConnection) -> None:
    admin = await sign_in("admin")
    document: dict[str, Any] = {
        "sites": [{"site": "depot", "name_zh": "仓库", "name_en": "Depot"}],
        "products": [
            {"gtin": GTIN, "name_zh": "疫苗", "name_en": "Vaccine", "unit": "box", "storage_class": "refrigerated"},
        ],
    }
    wrong = {**document, "products": [document["products"][0] | {"gtin": "06901234000017"}]}
    refused = await admin.send("POST", "/master-data", wrong)
    assert (refused.status_code, refused.json()["error"]["where"]) == (422, "products[0].gtin")
    assert (await admin.get("/sites")).json() == []
    assert (await admin.send("POST", "/master-data", document)).status_code == 200
    assert [each["gtin"] for each in (await admin.get("/products")).json()] == [GTIN]
    assert (await admin.send("POST", "/master-data", {"site": []})).json()["error"]["where"] == "site"
    assert (await admin.send("POST", "/master-data", [])).status_code == 422
