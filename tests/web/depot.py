"""A small depot in a real database: its master data, its plans, its readings, and means to make things happen in it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg import AsyncConnection

from core.epc import sgtin96
from core.messages import TagPassage
from hub.services import alerts, master_data, receiving

VACCINE: Final = "06901234000016"
GLOVES: Final = "06901234000023"
MASKS: Final = "06901234000030"


@dataclass(frozen=True)
class Depot:
    """A served depot: where it is, and the means to make things happen in it."""

    url: str
    db: AsyncConnection
    streams: Callable[[], int]
    stop: Callable[[], None]

    async def pass_gate(self, *epcs: str, gate: str = "dock-1") -> None:
        """Tags pass a gate now."""
        at = datetime.now(UTC)
        seen = [TagPassage(gate, epc, "in", at, at + timedelta(milliseconds=200), 6, -48.0, 0.95, "pallet") for epc in epcs]
        async with self.db.transaction():
            await receiving.take_passages(self.db, "depot", seen, at)

    async def warm_up(self) -> int:
        """The cold room has been too warm for the delay of its rule: an alert opens; returns its id."""
        return await _warm_up(self.db)


def tag(gtin: str, serial: int) -> str:
    """The hex of a carton's tag."""
    epc = sgtin96(gtin, 7, serial)
    assert epc.hex is not None
    return epc.hex


def _document(now: datetime) -> dict[str, Any]:
    """Master data of a depot with one gate, one cold room, two vans, three orders and some stock."""
    places = [
        ("cold-1", "cold_room", "refrigerated", "一号冷库", "Cold room 1"),
        ("hold", "quarantine", "quarantine", "隔离区", "Quarantine"),
    ]
    goods = [
        (VACCINE, "甲肝灭活疫苗", "Hepatitis A vaccine"),
        (GLOVES, "无菌手套", "Sterile gloves"),
        (MASKS, "医用口罩", "Surgical masks"),
    ]
    clinics = [("north", "城北诊所", "North clinic", 31.27, 121.46), ("west", "城西诊所", "West clinic", 31.22, 121.40)]
    clinics.append(("east", "城东诊所", "East clinic", 31.24, 121.52))
    return {
        "sites": [{"site": "depot", "name_zh": "中心库", "name_en": "Central depot", "latitude": 31.22, "longitude": 121.47}],
        "locations": [
            {"location": "dock-1", "site": "depot", "role": "gate", "name_zh": "一号月台", "name_en": "Dock 1"}
            | {"receives_into": "cold-1", "quarantines_into": "hold"},
            *(
                {"location": name, "site": "depot", "role": role, "storage_class": kept, "name_zh": zh, "name_en": en}
                for name, role, kept, zh, en in places
            ),
        ],
        "products": [
            {"gtin": gtin, "name_zh": zh, "name_en": en, "unit": "carton", "storage_class": "refrigerated"}
            for gtin, zh, en in goods
        ],
        "shipments": [
            {"shipment": "ASN-1", "supplier": "East Supplies", "gate": "dock-1"}
            | {"due_from": now - timedelta(hours=1), "due_until": now + timedelta(hours=1)}
            | {"lines": [{"gtin": VACCINE, "lot": "V1", "expiry": now.date() + timedelta(days=400), "quantity": 3}]}
        ],
        "limit_rules": [
            {"rule": "cold-1-2-8", "location": "cold-1", "quantity": "celsius", "lower": 2, "upper": 8}
            | {"delay_s": 600, "max_gap_s": 300, "severity": "critical"}
        ],
        "devices": [{"site": "depot", "device": "cold-1-probe", "location": "cold-1"}],
        "vehicles": [
            {"vehicle": f"van-{n}", "site": "depot", "name_zh": f"{n} 号车", "name_en": f"Van {n}", "tracker_site": "fleet"}
            | {"tracker": f"van-{n}-gps", "capacity": 40, "cold_box": n == 1, "speed_mps": 9}
            | {"shift_from": now - timedelta(hours=2), "shift_until": now + timedelta(hours=8)}
            for n in (1, 2)
        ],
        "destinations": [
            {"destination": name, "name_zh": zh, "name_en": en, "latitude": lat, "longitude": lon}
            for name, zh, en, lat, lon in clinics
        ],
        "orders": [
            {"id": f"O-{name}", "site": "depot", "destination": name, "service_s": 300, "demand": 4}
            | {"window_from": now, "window_until": now + timedelta(hours=2), "lines": [{"gtin": GLOVES, "quantity": 4}]}
            for name, *_ in clinics
        ],
        "stock": [
            {"location": "cold-1", "gtin": VACCINE, "lot": "V0", "expiry": now.date() + timedelta(days=20), "quantity": 60},
            {"location": "cold-1", "gtin": GLOVES, "lot": "G7", "expiry": now.date() + timedelta(days=900), "quantity": 240},
            {"location": "hold", "gtin": MASKS, "lot": "M-OLD", "expiry": now.date() - timedelta(days=3), "quantity": 12},
        ],
    }


async def fill(db: AsyncConnection, now: datetime) -> None:
    """Puts everything into an empty, migrated database."""
    await master_data.load(db, _document(now), now, "person:admin")
    await _add_movement(db, now)
    await _add_plans(db, now)


async def _add_plans(db: AsyncConnection, now: datetime) -> None:
    """A plan in force, and a proposal that gives the order of the east to the other van."""
    routes = {
        "active": [("van-1", "O-north", 20), ("van-1", "O-east", 50), ("van-2", "O-west", 25)],
        "proposed": [("van-1", "O-north", 20), ("van-2", "O-west", 25), ("van-2", "O-east", 45)],
    }
    active: int | None = None
    for state, stops in routes.items():
        cursor = await db.execute(
            "INSERT INTO plan (site, state, trigger, replaces, reasons, engine, elapsed_s, distance_m, made_at)"
            " VALUES ('depot', %s, %s, %s, %s::jsonb, 'pyvrp', 1.5, 42000, %s) RETURNING id",
            [
                state,
                "day" if active is None else "lateness",
                active,
                "[]" if active is None else '[{"code": "vehicle_late", "vehicle": "van-1", "late_s": 1500}]',
                now,
            ],
        )
        row = await cursor.fetchone()
        assert row is not None
        active = active or row[0]
        for place, (vehicle, order, minutes) in enumerate(stops):
            at = now + timedelta(minutes=minutes)
            await db.execute(
                "INSERT INTO plan_stop (plan, vehicle, place, order_id, arrival_at, start_at, departure_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [row[0], vehicle, place, order, at, at, at + timedelta(minutes=5)],
            )


async def _add_movement(db: AsyncConnection, now: datetime) -> None:
    """One hour of readings of the cold room, and where the vans are."""
    await db.execute("SELECT ensure_partitions(%s, %s)", [now - timedelta(days=1), now + timedelta(days=1)])
    await db.execute("INSERT INTO series (site, device, quantity) VALUES ('depot', 'cold-1-probe', 'celsius')")
    await db.execute(
        "INSERT INTO reading (series_id, at, value) SELECT s.series_id, %(now)s - n * interval '30 seconds',"
        " 4.5 + greatest(0, 20 - n / 3.0) * 0.3 FROM series AS s, generate_series(0, 120) AS n",
        {"now": now},
    )
    await db.execute("INSERT INTO series_latest SELECT series_id, %(now)s, 10.5, %(now)s FROM series", {"now": now})
    for n, (latitude, longitude, speed) in enumerate([(31.24, 121.465, 9.0), (31.221, 121.43, 0.0)], start=1):
        await db.execute(
            "INSERT INTO vehicle_live VALUES (%s, %s, %s, %s, %s, 15, %s)", [f"van-{n}", now, latitude, longitude, speed, now]
        )
        await db.execute(
            "INSERT INTO position"
            " SELECT v.tracker_id, %(now)s - n * interval '20 seconds', %(lat)s - n * 0.001, %(lon)s, %(mps)s, 15"
            " FROM vehicle AS v, generate_series(0, 20) AS n WHERE v.vehicle = %(vehicle)s",
            {"now": now, "lat": latitude, "lon": longitude, "mps": speed, "vehicle": f"van-{n}"},
        )


async def _warm_up(db: AsyncConnection) -> int:
    now = datetime.now(UTC)
    row = await (await db.execute("SELECT series_id FROM series")).fetchone()
    assert row is not None
    details = {"series_id": row[0], "device": "cold-1-probe", "quantity": "celsius", "side": "high", "peak": 10.5, "area": 21.0}
    async with db.transaction():
        return await alerts.open_alert(
            db,
            kind="excursion",
            source="series:depot.cold-1-probe.celsius",
            rule="cold-1-2-8",
            severity="critical",
            site="depot",
            location="cold-1",
            opened_at=now,
            details=details | {"started_at": (now - timedelta(minutes=10)).isoformat(), "lower": 2.0, "upper": 8.0, "delay_s": 600},
            now=now,
        )
