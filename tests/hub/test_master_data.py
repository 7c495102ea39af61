"""Loading master data: whole or not at all, every fault by its path."""

import asyncio
import copy
import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from core.errors import InvalidInput
from hub.services import master_data, stock

NOW = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
SALINE = "06901234000016"
DOCUMENT = """
[[sites]]
site = "depot"
name_zh = "总库"
name_en = "Depot"
latitude = 31.2
longitude = 121.5

[[locations]]
location = "dock-1"
site = "depot"
role = "gate"
name_zh = "一号门"
name_en = "Dock 1"
receives_into = "receiving"
quarantines_into = "hold"
[[locations]]
location = "receiving"
site = "depot"
parent = "hall"
role = "zone"
name_zh = "收货区"
name_en = "Receiving"
[[locations]]
location = "hall"
site = "depot"
role = "zone"
name_zh = "大厅"
name_en = "Hall"
[[locations]]
location = "hold"
site = "depot"
role = "quarantine"
storage_class = "quarantine"
name_zh = "隔离区"
name_en = "Quarantine"

[[products]]
gtin = "06901234000016"
name_zh = "生理盐水"
name_en = "Saline"
unit = "carton"
storage_class = "ambient"

[[lots]]
gtin = "06901234000016"
lot = "A"
expiry = 2027-01-31

[[shipments]]
shipment = "ASN-1"
supplier = "Supplier"
gate = "dock-1"
due_from = 2026-11-21T08:00:00+08:00
due_until = 2026-11-21T10:00:00+08:00
lines = [{ gtin = "06901234000016", lot = "A", expiry = 2027-01-31, quantity = 24 }]

[[limit_rules]]
rule = "hall-cool"
location = "hall"
quantity = "celsius"
lower = 0
upper = 8.0
delay_s = 600
max_gap_s = 300
severity = "critical"

[[devices]]
site = "depot"
device = "hall-probe"
location = "hall"

[[vehicles]]
vehicle = "van-1"
site = "depot"
name_zh = "一号车"
name_en = "Van 1"
tracker_site = "fleet"
tracker = "van-1-gps"
capacity = 40
speed_mps = 9
shift_from = 2026-11-21T00:00:00Z
shift_until = 2026-11-21T12:00:00Z

[[destinations]]
destination = "clinic"
name_zh = "诊所"
name_en = "Clinic"
latitude = 31.25
longitude = 121.45

[[orders]]
id = "O-1"
site = "depot"
destination = "clinic"
window_from = 2026-11-21T02:00:00Z
window_until = 2026-11-21T03:00:00Z
service_s = 300
demand = 4
lines = [{ gtin = "06901234000016", quantity = 4 }]

[[stock]]
location = "hall"
gtin = "06901234000016"
lot = "A"
expiry = 2027-01-31
quantity = 12
"""


@pytest.fixture
def document() -> dict[str, Any]:
    """One row or more of every table, in an order that references run against."""
    return tomllib.loads(DOCUMENT)


async def load(db: AsyncConnection, document: dict[str, Any], now: datetime = NOW) -> dict[str, int]:
    return await master_data.load(db, document, now, "person:admin")


async def faults(db: AsyncConnection, document: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as caught:
        await load(db, document)
    return caught.value.problems


async def count(db: AsyncConnection, table: str) -> int:
    row = await (await db.execute(f"SELECT count(*) FROM {table}")).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_document_is_loaded_once_and_again_changes_nothing(db: AsyncConnection, document: dict[str, Any]) -> None:
    first = await load(db, document)
    assert first == {
        "sites": 1, "locations": 4, "products": 1, "lots": 1, "shipments": 1, "limit_rules": 1, "devices": 1, "vehicles": 1,
        "destinations": 1, "orders": 1, "stock": 1,
    }  # fmt: skip
    events = await count(db, "outgoing")
    again = await load(db, copy.deepcopy(document), NOW + timedelta(days=1))
    assert set(again.values()) == {0}
    assert await count(db, "outgoing") == events
    assert await count(db, "movement") == 1
    assert await stock.ledger_balanced(db)


async def test_a_json_document_says_the_same_as_a_toml_one(db: AsyncConnection, document: dict[str, Any]) -> None:
    await load(db, document)
    as_json = json.loads(json.dumps(document, default=lambda value: value.isoformat()))
    assert set((await load(db, as_json)).values()) == {0}


async def test_what_changed_is_updated_and_counted(db: AsyncConnection, document: dict[str, Any]) -> None:
    await load(db, document)
    document["products"][0]["name_en"] = "Saline 0.9 %"
    document["vehicles"][0]["capacity"] = 50
    document["shipments"][0]["lines"][0]["quantity"] = 30
    document["orders"][0]["lines"].append({"gtin": SALINE, "quantity": 1})
    del document["limit_rules"][0]["lower"]
    changed = await load(db, document)
    assert {table for table, rows in changed.items() if rows} == {"products", "vehicles", "shipments", "orders", "limit_rules"}
    row = await (await db.execute("SELECT lower, upper FROM limit_rule")).fetchone()
    assert row == (None, 8.0)
    row = await (await db.execute("SELECT sum(quantity) FROM shipment_line")).fetchone()
    assert row == (30,)
    assert await count(db, "delivery_order_line") == 2


async def test_every_fault_is_listed_with_its_path_and_nothing_is_changed(db: AsyncConnection, document: dict[str, Any]) -> None:
    document["products"][0]["gtin"] = "06901234000017"
    document["locations"][1]["parent"] = "hal"
    document["locations"][1]["roll"] = "zone"
    document["limit_rules"][0]["delay_s"] = -1
    document["limit_rules"][0]["severity"] = "bad"
    document["vehicles"][0]["shift_until"] = datetime(2026, 11, 21, 12)  # noqa: DTZ001
    document["devices"] *= 2
    document["vehicle"] = []
    found = await faults(db, document)
    naive = "datetime.datetime(2026, 11, 21, 12, 0)"
    assert [problem for problem in found if "06901234000016" not in problem] == [
        "vehicle: unknown table; did you mean 'vehicles'?",
        "locations[1].roll: unknown column; did you mean 'role'?",
        "products[0].gtin: check digit is 7, should be 6",
        "limit_rules[0].delay_s: -1 must be a number from 0 to 1e+09",
        "limit_rules[0].severity: 'bad' is none of warning, minor, major, critical",
        "devices[1].device: stands in devices[0] too",
        f"vehicles[0].shift_until: {naive} must be a time with its zone, such as 2026-11-21T08:00:00+08:00",
        "locations[1].parent: there is no location 'hal'; did you mean 'hall'?",
    ]
    assert "shipments[0].lines[0].gtin: there is no product '06901234000016'" in found
    for table in ("site", "location", "product", "movement"):
        assert await count(db, table) == 0


@pytest.mark.parametrize(
    ("table", "changes", "problem"),
    [
        ("locations", {"receives_into": None}, "locations[0].receives_into: a gate must name the place its goods go to"),
        ("locations", {"quarantines_into": "dock-1"}, "locations[0].quarantines_into: must be another place"),
        ("shipments", {"gate": "hall"}, "shipments[0].gate: there is no gate 'hall'"),
        ("shipments", {"due_until": "2026-11-21T08:00:00+08:00"}, "shipments[0].due_until: must be after due_from"),
        ("shipments", {"lines": []}, "shipments[0].lines: at least one line is needed"),
        ("limit_rules", {"lower": 9}, "limit_rules[0].upper: must be above lower"),
        (
            "limit_rules",
            {"hysteresis": 99},
            "limit_rules[0].hysteresis: leaves nothing between the bounds: no value could end an excursion",
        ),
        ("limit_rules", {"lower": None, "upper": None}, "limit_rules[0].upper: a rule needs lower, upper or both"),
        ("sites", {"time_zone": "Asia/Peking"}, "sites[0].time_zone: 'Asia/Peking' is not a time zone such as Asia/Shanghai"),
        ("sites", {"latitude": True}, "sites[0].latitude: True must be a number from -90 to 90"),
        ("vehicles", {"speed_mps": 0}, "vehicles[0].speed_mps: 0 must be above 0"),
        ("stock", {"quantity": 1.5}, "stock[0].quantity: 1.5 must be a whole number from 1 to 2147483647"),
        ("stock", {"expiry": "2027-02-28"}, f"stock[0].expiry: lot A of {SALINE} expires 2027-01-31 in lots[0], not 2027-02-28"),
        ("orders", {"site": None}, "orders[0].site: is missing"),
        ("destinations", {"name_zh": "\x00"}, "destinations[0].name_zh: at most 200 characters, none of them a control character"),
    ],
)
async def test_each_fault_says_what_to_mend(
    db: AsyncConnection, document: dict[str, Any], table: str, changes: dict[str, Any], problem: str
) -> None:
    document[table][0].update(changes)
    assert await faults(db, document) == (problem,)


async def test_a_circle_of_places_is_refused(db: AsyncConnection, document: dict[str, Any]) -> None:
    document["locations"][2]["parent"] = "receiving"
    (problem,) = await faults(db, document)
    assert problem.startswith("locations: places refer to each other in a circle: ")


async def test_what_is_not_a_list_of_tables_is_refused(db: AsyncConnection) -> None:
    assert await faults(db, {"sites": "depot", "products": [3]}) == (
        "sites: a list of rows is needed",
        "products[0]: a table of columns is needed",
    )


async def test_a_document_full_of_faults_is_refused_in_bounds(db: AsyncConnection) -> None:
    found = await faults(db, {"sites": [{}] * 100})
    assert len(found) == master_data.PROBLEMS_LISTED + 1
    assert found[-1] == "and 100 more"


async def test_one_tracker_rides_on_one_vehicle(db: AsyncConnection, document: dict[str, Any]) -> None:
    await load(db, document)
    document["vehicles"][0]["vehicle"] = "van-2"
    assert await faults(db, document) == ("vehicles[0].tracker: van-1-gps rides on van-1 already",)


async def test_stock_is_never_overwritten(db: AsyncConnection, document: dict[str, Any]) -> None:
    await load(db, document)
    document["stock"][0]["quantity"] = 13
    assert await faults(db, document) == ("stock[0].quantity: hall was opened with 12; correct it by a movement with a reason",)
    document["stock"][0].update(quantity=12, expiry="2028-01-01")
    document["lots"][0]["expiry"] = "2028-01-01"
    assert f"lots[0].expiry: lot A of {SALINE} expires 2027-01-31 on record, not 2028-01-01" in await faults(db, document)


async def test_a_shipment_being_received_cannot_be_told_otherwise(db: AsyncConnection, document: dict[str, Any]) -> None:
    await load(db, document)
    await db.execute("UPDATE shipment SET state = 'receiving'")
    assert set((await load(db, document)).values()) == {0}
    document["shipments"][0]["supplier"] = "Other"
    assert await faults(db, document) == ("shipments[0]: work on it has begun, so it cannot be told otherwise now",)


async def test_the_same_document_loaded_by_many_at_once_is_loaded_once(database_uri: str, document: dict[str, Any]) -> None:
    async def one() -> int:
        async with await AsyncConnection.connect(database_uri) as connection:
            return sum((await load(connection, document)).values())

    assert sorted(await asyncio.gather(*(one() for _ in range(4)))) == [0, 0, 0, 14]


async def test_the_example_of_the_guide_loads(db: AsyncConnection) -> None:
    example = Path(__file__).parents[2] / "docs" / "site.example.toml"
    counts = await master_data.load(db, tomllib.loads(example.read_text(encoding="utf-8")), NOW, "test")
    assert all(counts.values())
    assert set(counts) >= {"sites", "locations", "products", "shipments", "limit_rules", "devices", "vehicles", "orders", "stock"}
