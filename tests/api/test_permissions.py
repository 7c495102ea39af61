"""Every route says what it takes to use it, and no role may do more than its work needs."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from psycopg import AsyncConnection

from api.live import KIND_PERMISSION
from api.permissions import PERMISSIONS, Permission, permits
from hub.services import people

PUBLIC = {
    ("POST", "/api/v1/session"),
    ("GET", "/api/v1/health"),
    ("GET", "/api/v1/openapi.json"),
    *((method, f"/api/v1/trackers/osmand{token}") for method in ("GET", "POST") for token in ("", "/{token}")),
    ("GET", "/{path:path}"),
}
WRITES = {
    Permission.SHIPMENTS_WRITE,
    Permission.ALERTS_DECIDE,
    Permission.PLANS_DECIDE,
    Permission.ORDERS_WRITE,
    Permission.MASTER_DATA_WRITE,
    Permission.STOCK_CORRECT,
}
SignIn = Callable[[str], Awaitable[Any]]


def declared(dependant: Dependant) -> Iterator[Permission]:
    permission = getattr(dependant.call, "permission", None)
    if permission is not None:
        yield permission
    for inner in dependant.dependencies:
        yield from declared(inner)


def routes(app: FastAPI) -> Iterator[tuple[str, str, set[Permission]]]:
    """Method, path and declared permissions of everything that answers."""
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        permissions = set() if dependant is None else set(declared(dependant))
        for method in sorted((context.methods or set()) - {"HEAD"}):
            yield method, str(context.path), permissions


def test_the_public_routes_are_those_listed_here_and_every_other_declares_one_permission(app: FastAPI) -> None:
    found = list(routes(app))
    assert len(found) > 15
    assert {(method, path) for method, path, permissions in found if not permissions} == PUBLIC
    assert [(method, path) for method, path, permissions in found if len(permissions) > 1] == []


async def test_every_route_refuses_a_stranger(app: FastAPI, client: httpx.AsyncClient) -> None:
    tried = 0
    for method, path, permissions in routes(app):
        if not permissions:
            continue
        answer = await client.request(method, path.replace("{", "").replace("}", ""), json={})
        assert (path, answer.status_code) == (path, 401)
        assert answer.json()["error"]["code"] == "not_signed_in"
        tried += 1
    assert tried > 15


async def test_every_route_lets_in_exactly_the_roles_that_have_its_permission(
    app: FastAPI, client: httpx.AsyncClient, db: AsyncConnection
) -> None:
    for role in PERMISSIONS:
        token = await people.create_token(db, f"program-{role}", role, datetime.now(UTC))
        headers = {"Authorization": f"Bearer {token}"}
        for method, path, permissions in routes(app):
            if not permissions or path == "/api/v1/live":
                continue
            (permission,) = permissions
            filled = path.replace("{id}", "999").replace("{series_id}", "999").replace("{", "").replace("}", "")
            answer = await client.request(method, filled, headers=headers, json={})
            assert (role, method, path, answer.status_code == 403) == (role, method, path, not permits(role, permission))
            assert answer.status_code < 500, (role, method, path, answer.text)


def test_every_permission_is_used_by_a_route_or_the_stream(app: FastAPI) -> None:
    used = {permission for _, _, permissions in routes(app) for permission in permissions}
    assert set(Permission) - used == set()
    assert set(KIND_PERMISSION.values()) <= used


def test_each_role_has_what_its_work_needs_and_no_more() -> None:
    writes = {role: permissions & WRITES for role, permissions in PERMISSIONS.items()}
    assert writes == {
        "gate": set(),
        "storekeeper": {Permission.SHIPMENTS_WRITE, Permission.ALERTS_DECIDE, Permission.STOCK_CORRECT},
        "dispatcher": {Permission.PLANS_DECIDE, Permission.ORDERS_WRITE, Permission.ALERTS_DECIDE},
        "driver": set(),
        "maintainer": set(),
        "auditor": set(),
        "admin": WRITES,
    }
    assert Permission.STOCK_READ not in PERMISSIONS["driver"] | PERMISSIONS["gate"] | PERMISSIONS["maintainer"]
    assert Permission.REJECTIONS_READ not in PERMISSIONS["gate"] | PERMISSIONS["driver"] | PERMISSIONS["storekeeper"]
    assert PERMISSIONS["admin"] == set(Permission)


@pytest.mark.parametrize("role", people.ROLES)
def test_every_role_of_the_database_is_in_the_table(role: people.Role) -> None:
    assert Permission.OWN_SESSION in PERMISSIONS[role]


async def test_a_refusal_names_the_permission_that_is_missing(sign_in: SignIn) -> None:
    gate = await sign_in("gate")
    error = (await gate.get("/stock")).json()["error"]
    assert error == {"code": "not_allowed", "message": "role gate may not do this: it lacks the permission stock.read", "where": ""}
