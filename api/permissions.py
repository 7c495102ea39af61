"""Who may do what: the one table from roles to permissions."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from hub.services.people import Role


class Permission(StrEnum):
    """One thing a caller may be allowed to do. `OWN_SESSION` is everybody's who is signed in."""

    OWN_SESSION = "session.own"
    LIVE_READ = "live.read"
    RECEIPTS_READ = "receipts.read"
    SHIPMENTS_READ = "shipments.read"
    SHIPMENTS_WRITE = "shipments.write"
    ALERTS_READ = "alerts.read"
    ALERTS_DECIDE = "alerts.decide"
    COLD_ROOMS_READ = "cold_rooms.read"
    STOCK_READ = "stock.read"
    STOCK_CORRECT = "stock.correct"
    VEHICLES_READ = "vehicles.read"
    PLANS_READ = "plans.read"
    PLANS_DECIDE = "plans.decide"
    ORDERS_READ = "orders.read"
    ORDERS_WRITE = "orders.write"
    MASTER_DATA_READ = "master_data.read"
    MASTER_DATA_WRITE = "master_data.write"
    DEVICES_READ = "devices.read"
    REJECTIONS_READ = "rejections.read"
    SYSTEM_READ = "system.read"


P = Permission
_EVERYONE: Final = frozenset({P.OWN_SESSION, P.LIVE_READ, P.MASTER_DATA_READ})

PERMISSIONS: Final = MappingProxyType[Role, frozenset[Permission]](
    {
        "gate": _EVERYONE | {P.RECEIPTS_READ, P.SHIPMENTS_READ, P.ALERTS_READ},
        "storekeeper": _EVERYONE
        | {
            P.RECEIPTS_READ,
            P.SHIPMENTS_READ,
            P.SHIPMENTS_WRITE,
            P.ALERTS_READ,
            P.ALERTS_DECIDE,
            P.COLD_ROOMS_READ,
            P.STOCK_READ,
            P.STOCK_CORRECT,
            P.DEVICES_READ,
            P.ORDERS_READ,
        },
        "dispatcher": _EVERYONE
        | {
            P.VEHICLES_READ,
            P.PLANS_READ,
            P.PLANS_DECIDE,
            P.ORDERS_READ,
            P.ORDERS_WRITE,
            P.ALERTS_READ,
            P.ALERTS_DECIDE,
            P.STOCK_READ,
        },
        # A driver sees the own vehicle only: the routes and the live stream narrow these two further.
        "driver": _EVERYONE | {P.VEHICLES_READ, P.PLANS_READ},
        "maintainer": _EVERYONE
        | {P.DEVICES_READ, P.REJECTIONS_READ, P.SYSTEM_READ, P.COLD_ROOMS_READ, P.ALERTS_READ, P.VEHICLES_READ},
        "auditor": frozenset(each for each in Permission if each is P.OWN_SESSION or each.endswith(".read")),
        "admin": frozenset(Permission),
    }
)


def permits(role: Role, permission: Permission) -> bool:
    """May this role do that?"""
    return permission in PERMISSIONS[role]
