"""The tables of a master data document, in the order in which they depend on each other."""

from collections.abc import Iterable, Iterator
from typing import Final

from hub.domain.documents import (
    Column,
    Row,
    Table,
    code,
    day,
    gtin,
    moment,
    name,
    number,
    one_of,
    text,
    time_zone,
    whole,
    yes_or_no,
)

_NAMES: Final = (Column("name_zh", text), Column("name_en", text))
_LATITUDE: Final = number(-90, 90)
_LONGITUDE: Final = number(-180, 180)
_STORAGE: Final = ("ambient", "cool", "refrigerated", "frozen", "hazardous")


def _in_order(row: Row, first: str, second: str) -> Iterator[tuple[str, str]]:
    if row[second] <= row[first]:
        yield second, f"must be after {first}"


def _check_location(row: Row) -> Iterator[tuple[str, str]]:
    for column in ("receives_into", "quarantines_into"):
        if row["role"] == "gate" and row[column] is None:
            yield column, "a gate must name the place its goods go to"
        if row["role"] != "gate" and row[column] is not None:
            yield column, f"only a gate has one, and the role is {row['role']}"
        if row[column] == row["location"]:
            yield column, "must be another place"
    if row["parent"] == row["location"]:
        yield "parent", "a place cannot be inside itself"


def _check_rule(row: Row) -> Iterator[tuple[str, str]]:
    if row["lower"] is None and row["upper"] is None:
        yield "upper", "a rule needs lower, upper or both"
    elif row["lower"] is not None and row["upper"] is not None and row["lower"] >= row["upper"]:
        yield "upper", "must be above lower"
    elif row["lower"] is not None and row["upper"] is not None and 2 * row["hysteresis"] >= row["upper"] - row["lower"]:
        yield "hysteresis", "leaves nothing between the bounds: no value could end an excursion"


def _check_lines(row: Row) -> Iterator[tuple[str, str]]:
    expiry: dict[tuple[str, str], object] = {}
    for index, line in enumerate(row["lines"]):
        first = expiry.setdefault((line["gtin"], line["lot"]), line["expiry"])
        if first != line["expiry"]:
            yield f"lines[{index}].expiry", f"lot {line['lot']} stands with another expiry ({first}) above"


def _check_shipment(row: Row) -> Iterable[tuple[str, str]]:
    return [*_in_order(row, "due_from", "due_until"), *_check_lines(row)]


SITES: Final = Table(
    "sites",
    ("site",),
    (
        Column("site", name),
        *_NAMES,
        Column("time_zone", time_zone, required=False, default="Asia/Shanghai"),
        Column("latitude", _LATITUDE, required=False),
        Column("longitude", _LONGITUDE, required=False),
    ),
)
LOCATIONS: Final = Table(
    "locations",
    ("location",),
    (
        Column("location", name),
        Column("site", name, "sites"),
        Column("parent", name, "locations", required=False),
        Column("role", one_of("gate", "zone", "cold_room", "refrigerator", "quarantine", "vehicle")),
        Column("storage_class", one_of(*_STORAGE, "quarantine"), required=False, default="ambient"),
        *_NAMES,
        Column("receives_into", name, "locations", required=False),
        Column("quarantines_into", name, "locations", required=False),
    ),
    check=_check_location,
)
PRODUCTS: Final = Table(
    "products",
    ("gtin",),
    (
        Column("gtin", gtin),
        *_NAMES,
        Column("unit", text),
        Column("storage_class", one_of(*_STORAGE)),
        Column("short_dated_days", whole(0, 36_500), required=False, default=90),
    ),
)
LOTS: Final = Table(
    "lots", ("gtin", "lot"), (Column("gtin", gtin, "products"), Column("lot", code), Column("expiry", day, required=False))
)
SHIPMENTS: Final = Table(
    "shipments",
    ("shipment",),
    (
        Column("shipment", code),
        Column("supplier", text),
        Column("gate", name, "gates"),
        Column("due_from", moment),
        Column("due_until", moment),
    ),
    lines=(
        Column("gtin", gtin, "products"),
        Column("lot", code),
        Column("expiry", day, required=False),
        Column("quantity", whole(1)),
    ),
    check=_check_shipment,
)
LIMIT_RULES: Final = Table(
    "limit_rules",
    ("rule",),
    (
        Column("rule", name),
        Column("location", name, "locations"),
        Column("quantity", one_of("celsius", "humidity_percent")),
        Column("lower", number(), required=False),
        Column("upper", number(), required=False),
        Column("inclusive", yes_or_no, required=False, default=True),
        Column("delay_s", number(0)),
        Column("hysteresis", number(0), required=False, default=0.0),
        Column("max_gap_s", number(0, above=0)),
        Column("severity", one_of("warning", "minor", "major", "critical")),
    ),
    check=_check_rule,
)
DEVICES: Final = Table(
    "devices",
    ("site", "device"),
    (Column("site", name), Column("device", name), Column("location", name, "locations", required=False)),
)
VEHICLES: Final = Table(
    "vehicles",
    ("vehicle",),
    (
        Column("vehicle", name),
        Column("site", name, "sites"),
        *_NAMES,
        Column("tracker_site", name),
        Column("tracker", name),
        Column("capacity", whole(1)),
        Column("cold_box", yes_or_no, required=False, default=False),
        Column("speed_mps", number(0, 100, above=0)),
        Column("shift_from", moment),
        Column("shift_until", moment),
    ),
    check=lambda row: _in_order(row, "shift_from", "shift_until"),
)
DESTINATIONS: Final = Table(
    "destinations",
    ("destination",),
    (Column("destination", name), *_NAMES, Column("latitude", _LATITUDE), Column("longitude", _LONGITUDE)),
)
ORDERS: Final = Table(
    "orders",
    ("id",),
    (
        Column("id", code),
        Column("site", name, "sites"),
        Column("destination", name, "destinations"),
        Column("window_from", moment),
        Column("window_until", moment),
        Column("service_s", whole(0)),
        Column("demand", whole(1)),
        Column("needs_cold_box", yes_or_no, required=False, default=False),
        Column("priority", whole(0, 100), required=False, default=50),
    ),
    lines=(Column("gtin", gtin, "products"), Column("quantity", whole(1))),
    check=lambda row: _in_order(row, "window_from", "window_until"),
)
STOCK: Final = Table(
    "stock",
    ("location", "gtin", "lot"),
    (
        Column("location", name, "locations"),
        Column("gtin", gtin, "products"),
        Column("lot", code),
        Column("expiry", day, required=False),
        Column("quantity", whole(1)),
    ),
)
TABLES: Final = (
    SITES, LOCATIONS, PRODUCTS, LOTS, SHIPMENTS, LIMIT_RULES, DEVICES, VEHICLES, DESTINATIONS, ORDERS, STOCK,
)  # fmt: skip
