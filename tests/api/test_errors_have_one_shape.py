"""Bad input gets a clear answer that names what is wrong and where, changes nothing, and tells nothing of the inside."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from api.app import MAX_BODY_BYTES, create_app
from api.errors import path_of, status_of
from api.invalid_request import LONGEST_PATH, MOST_PROBLEMS, PATTERNS, field_path
from core.errors import (
    ConfigurationError,
    InvalidInput,
    MessageRejected,
    NotAllowed,
    NotFound,
    QuartermasterError,
    RuleViolation,
    Unavailable,
)
from hub.bootstrap import make_solver

SignIn = Callable[[str], Awaitable[Any]]
SHAPE = {"code", "message", "where"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MessageRejected("x"), 422),
        (InvalidInput(["lines[0].gtin: unknown"]), 422),
        (RuleViolation("x"), 409),
        (NotFound("x"), 404),
        (NotAllowed("x"), 403),
        (Unavailable("x"), 503),
        (ConfigurationError("x"), 500),
    ],
)
def test_each_error_of_ours_has_one_status(error: QuartermasterError, status: int) -> None:
    assert status_of(error) == status


def test_paths_are_written_as_people_write_them() -> None:
    assert field_path(("body", "lines", 0, "gtin")) == "lines[0].gtin"
    assert field_path(("query", "limit")) == "limit"
    assert field_path(()) == ""
    assert path_of("lines[2].gtin: there is no such product") == "lines[2].gtin"
    assert path_of("something else is wrong: really") == ""


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"name": "keeper"}, "password"),
        ({"name": "keeper", "password": "x", "admin": True}, "admin"),
        ({"name": 7, "password": "x"}, "name"),
        ({"name": "a\x00b", "password": "x"}, "name"),
        ({"name": "x" * 65, "password": "x"}, "name"),
        ({"name": "keeper", "password": "x" * 300}, "password"),
        ([], ""),
    ],
)
async def test_a_body_that_is_wrong_is_told_with_its_path(client: httpx.AsyncClient, body: object, where: str) -> None:
    answer = await client.post("/api/v1/session", json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert set(error) == SHAPE
    assert (error["code"], error["where"]) == ("invalid", where)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b'{"name": "\\ud800", "password": "x"}', b"[" * 100_000])
async def test_a_body_that_is_no_json_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/api/v1/session", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert set(answer.json()["error"]) == SHAPE


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"name": "keeper",\n "password": ,}', "the body is not JSON: line 2, column 14: expecting value; send JSON"),
        (b"", "the body is missing; send JSON"),
        (b"[]", "request: the body must be an object"),
        (b"[" * 100_000, "the body cannot be read as JSON: it is not UTF-8, or nested too deeply"),
        (b'{"name": "\xff"}', "the body cannot be read as JSON: it is not UTF-8, or nested too deeply"),
    ],
)
async def test_a_body_that_is_no_json_is_told_where_it_goes_wrong(client: httpx.AsyncClient, body: bytes, said: str) -> None:
    answer = await client.post("/api/v1/session", content=body, headers={"Content-Type": "application/json"})
    assert said in answer.json()["error"]["message"]


async def test_a_body_of_another_type_is_told_that_json_is_expected(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/session", content=b"name=keeper", headers={"Content-Type": "text/plain"})
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


async def test_every_problem_is_told_in_plain_words_with_its_path(sign_in: SignIn) -> None:
    body = {"id": "a\x00", "site": 7, "demand": 0, "priority": 200, "lines": [{"gtin": "12", "quantity": 1.5, "colour": "red"}]}
    answer = await (await sign_in("dispatcher")).send("POST", "/orders", body)
    assert answer.status_code == 422
    problems = answer.json()["error"]["message"].split("; ")
    assert "id: must not hold the character NUL" in problems
    assert "site: must be text" in problems
    assert "demand: must be at least 1" in problems
    assert "priority: must be at most 100" in problems
    assert "destination: missing, must be given" in problems
    assert "lines[0].quantity: must be a whole number" in problems
    assert any(each.startswith("lines[0].colour: unknown field") for each in problems)
    assert answer.json()["error"]["where"] == "id"


async def test_a_value_of_a_list_is_told_with_what_it_may_be(sign_in: SignIn) -> None:
    answer = await (await sign_in("admin")).get("/alerts?state=closed&limit=0")
    told = answer.json()["error"]["message"]
    assert told == "state: must be 'open', 'acknowledged', 'resolved' or 'all'; limit: must be at least 1"


async def test_a_thousand_problems_and_a_long_name_make_no_long_answer(client: httpx.AsyncClient) -> None:
    body: dict[str, object] = {"x" * 10_000: 1} | {f"field-{number}": 1 for number in range(1000)}
    message = (await client.post("/api/v1/session", json=body)).json()["error"]["message"]
    assert message.count("unknown field") + message.count("missing") == MOST_PROBLEMS
    assert message.endswith(f"and {1003 - MOST_PROBLEMS} more")
    assert "x" * (LONGEST_PATH + 1) not in message


def test_every_pattern_of_a_field_has_words(app: FastAPI) -> None:
    def patterns(part: object) -> set[str]:
        if isinstance(part, dict):
            own = {part["pattern"]} if isinstance(part.get("pattern"), str) else set()
            return own.union(*(patterns(each) for each in part.values()))
        return set().union(*(patterns(each) for each in part)) if isinstance(part, list) else set()

    assert patterns(app.openapi()) == set(PATTERNS)


async def test_a_password_is_never_repeated_in_an_answer(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/session", json={"name": 7, "password": "do not say this"})
    assert "do not say this" not in answer.text


async def in_pieces() -> AsyncIterator[bytes]:
    for _ in range(MAX_BODY_BYTES // 65536 + 1):
        yield b" " * 65536


@pytest.mark.parametrize("told", [True, False])
async def test_a_body_that_is_too_large_is_refused(client: httpx.AsyncClient, told: bool) -> None:
    content = b" " * (MAX_BODY_BYTES + 1) if told else in_pieces()
    answer = await client.post("/api/v1/session", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


async def test_a_form_from_another_site_cannot_sign_in(client: httpx.AsyncClient) -> None:
    body = b'{"name": "keeper", "password": "a long enough password"}'
    answer = await client.post("/api/v1/session", content=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/alerts?state=closed", "state"),
        ("/alerts?limit=0", "limit"),
        ("/alerts?limit=501", "limit"),
        ("/series/x/readings", "series_id"),
        ("/series/99999999999999999999/readings", "series_id"),
        ("/series/1/readings?from=yesterday", "from"),
        ("/series/1/readings?from=2026-11-20T08:00:00", "from"),
        ("/series/1/readings?from=2026-11-20T08:00:00Z&to=2026-11-19T08:00:00Z", "from"),
        ("/stock?offset=-1", "offset"),
        ("/stock?q=%00", "q"),
        ("/stock?location=%00", "location"),
    ],
)
async def test_a_query_that_is_wrong_is_told_with_its_name(sign_in: SignIn, path: str, where: str) -> None:
    admin = await sign_in("admin")
    answer = await admin.get(path)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["where"] == where


@pytest.mark.parametrize("path", ["/series/1/readings", "/stock/04012345123456/A1/movements", "/vehicles/van-9/track"])
async def test_what_does_not_exist_is_not_found(sign_in: SignIn, path: str) -> None:
    answer = await (await sign_in("admin")).get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_the_wrong_method_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.put("/api/v1/session", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, PATCH, POST"
    assert "does not take PUT, only DELETE, GET, PATCH, POST" in answer.json()["error"]["message"]


async def test_a_path_that_the_api_has_not_is_not_found_whatever_the_method(client: httpx.AsyncClient) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await client.request(method, "/api/v1/no-such-thing")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_page_takes_no_posts(client: httpx.AsyncClient) -> None:
    answer = await client.post("/map")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert set(answer.json()["error"]) == SHAPE


async def test_a_fault_inside_says_nothing_of_the_inside(sign_in: SignIn, db: AsyncConnection) -> None:
    admin = await sign_in("admin")
    await db.execute("ALTER TABLE destination RENAME TO renamed_destination")
    answer = await admin.get("/destinations")
    assert answer.status_code == 500
    assert set(answer.json()["error"]) == SHAPE
    assert "destination" not in answer.text
    assert "psycopg" not in answer.text


async def test_health_is_open_to_all_and_says_when_something_was_last_taken(client: httpx.AsyncClient, db: AsyncConnection) -> None:
    assert (await client.get("/api/v1/health")).json() == {"status": "ok", "database": True, "last_ingest_at": None}
    await db.execute("INSERT INTO agent (site, agent, last_batch_at) VALUES ('depot', 'gateway', '2026-11-20T08:00:00Z')")
    assert (await client.get("/api/v1/health")).json()["last_ingest_at"] == "2026-11-20T08:00:00Z"


async def test_while_the_database_is_away_requests_are_told_to_come_again(tmp_path: Path) -> None:
    pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
        f"host={tmp_path} dbname=none connect_timeout=1", min_size=1, open=False, timeout=0.5, reconnect_timeout=0.5
    )
    app: FastAPI = create_app(pool, make_solver())
    await pool.open(wait=False)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://quartermaster.test") as client:
            health = await client.get("/api/v1/health")
            assert (health.status_code, health.json()["database"]) == (503, False)
            refused = await client.get("/api/v1/now", headers={"Authorization": "Bearer qm_x"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
            assert int(refused.headers["retry-after"]) > 0
    finally:
        await pool.close()
