"""Signing in and out, sessions, CSRF and tokens."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from psycopg import AsyncConnection
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.errors import NotFound, RuleViolation
from hub.services import people

PASSWORD = "a long enough password"
HERE = "127.0.0.1"
SignIn = Callable[[str], Awaitable[Any]]


async def login(client: httpx.AsyncClient, name: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/v1/session", json={"name": name, "password": password})


@pytest.fixture
async def keeper(db: AsyncConnection) -> str:
    await people.create_person(db, "keeper", role="storekeeper", password=PASSWORD)
    return "keeper"


async def test_a_person_signs_in_and_is_known_by_the_cookie(client: httpx.AsyncClient, keeper: str) -> None:
    answer = await login(client, keeper)
    assert answer.status_code == 200
    person = answer.json()["person"]
    assert (person["name"], person["role"], person["language"], person["vehicle"]) == ("keeper", "storekeeper", "zh-CN", None)
    assert "alerts.decide" in person["permissions"]
    again = await client.get("/api/v1/session")
    assert again.json() == answer.json()


async def test_the_cookie_is_http_only_strict_and_secure_behind_https(app: FastAPI, keeper: str) -> None:
    for scheme, secure in (("http", False), ("https", True)):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://quartermaster.test") as client:
            cookie = (await login(client, keeper)).headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert ("secure" in cookie) is secure


async def test_the_database_keeps_no_token_that_could_be_used(client: httpx.AsyncClient, db: AsyncConnection, keeper: str) -> None:
    await login(client, keeper)
    token = client.cookies["qm_session"]
    row = await (await db.execute("SELECT token_sha256, encode(token_sha256, 'escape') FROM session")).fetchone()
    assert row is not None
    assert bytes(row[0]) == people.digest(token)
    assert token not in row[1]


async def test_unknown_name_wrong_password_and_disabled_person_get_the_same_answer(
    client: httpx.AsyncClient, db: AsyncConnection, keeper: str
) -> None:
    await people.create_person(db, "gone", role="admin", password=PASSWORD)
    await people.disable(db, "gone")
    answers = [
        await login(client, "nobody"),
        await login(client, keeper, "not the password"),
        await login(client, "gone"),
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert len({answer.text for answer in answers}) == 1


async def test_after_ten_failures_a_name_must_wait_even_with_the_right_password(
    client: httpx.AsyncClient, db: AsyncConnection, keeper: str
) -> None:
    now = datetime.now(UTC)
    for name in (keeper, "nobody"):
        for _ in range(people.MAX_FAILURES_IN_WINDOW):
            async with db.transaction():
                await people.begin_attempt(db, name, now, address=HERE)
        answer = await login(client, name)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= people.ATTEMPT_WINDOW.total_seconds() + 1
    async with db.transaction():
        assert await people.begin_attempt(db, keeper, now + people.ATTEMPT_WINDOW + timedelta(seconds=1), address=HERE)


async def failures(db: AsyncConnection, name: str, address: str, count: int) -> None:
    for _ in range(count):
        async with db.transaction():
            await people.begin_attempt(db, name, datetime.now(UTC), address=address)


async def test_a_stranger_elsewhere_cannot_lock_a_person_out(client: httpx.AsyncClient, db: AsyncConnection, keeper: str) -> None:
    await failures(db, keeper, "203.0.113.7", people.MAX_FAILURES_IN_WINDOW)
    with pytest.raises(people.TooManyAttempts):
        await failures(db, keeper, "203.0.113.7", 1)
    assert (await login(client, keeper)).status_code == 200
    # Nor does the person's own signing in give the stranger new guesses.
    with pytest.raises(people.TooManyAttempts):
        await failures(db, keeper, "203.0.113.7", 1)


async def test_guesses_from_many_addresses_are_limited_as_well(client: httpx.AsyncClient, db: AsyncConnection, keeper: str) -> None:
    for host in range(people.MAX_FAILURES_OF_NAME // people.MAX_FAILURES_IN_WINDOW):
        await failures(db, keeper, f"203.0.113.{host}", people.MAX_FAILURES_IN_WINDOW)
    with pytest.raises(people.TooManyAttempts):
        await failures(db, keeper, "198.51.100.1", 1)
    answer = await login(client, keeper)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= people.ATTEMPT_WINDOW.total_seconds() + 1


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 500, "x" * 64),
    ],
)
def test_all_addresses_of_one_ipv6_network_are_one_origin(address: str, origin: str) -> None:
    assert people.origin_of(address) == origin


@pytest.mark.parametrize(("trusted", "counted"), [("127.0.0.1", "203.0.113.7"), ("192.0.2.1", "127.0.0.1")])
async def test_the_address_counted_is_the_one_a_trusted_proxy_tells(
    app: FastAPI, db: AsyncConnection, keeper: str, trusted: str, counted: str
) -> None:
    transport = httpx.ASGITransport(ProxyHeadersMiddleware(app, trusted_hosts=trusted))  # type: ignore[arg-type]
    headers = {"X-Forwarded-For": "203.0.113.7"}
    async with httpx.AsyncClient(transport=transport, base_url="http://quartermaster.test", headers=headers) as client:
        await login(client, keeper, "wrong")
    assert await (await db.execute("SELECT origin FROM login_attempt")).fetchall() == [(counted,)]


async def test_attempts_at_once_cannot_outrun_the_limit(client: httpx.AsyncClient, app: FastAPI, keeper: str) -> None:
    import asyncio

    async def attempt() -> str | None:
        async with app.state.context.pool.connection() as db:
            return await people.begin_attempt(db, keeper, datetime.now(UTC), address=HERE)

    results = await asyncio.gather(*(attempt() for _ in range(30)), return_exceptions=True)
    assert sum(isinstance(each, str) for each in results) == people.MAX_FAILURES_IN_WINDOW
    assert sum(isinstance(each, people.TooManyAttempts) for each in results) == 30 - people.MAX_FAILURES_IN_WINDOW


async def test_a_right_password_forgets_the_failures(client: httpx.AsyncClient, db: AsyncConnection, keeper: str) -> None:
    for _ in range(people.MAX_FAILURES_IN_WINDOW - 1):
        await people.begin_attempt(db, keeper, datetime.now(UTC), address=HERE)
    assert (await login(client, keeper)).status_code == 200
    assert (await login(client, keeper, "wrong")).status_code == 401
    assert (await login(client, keeper)).status_code == 200


async def test_signing_in_again_rotates_the_session(client: httpx.AsyncClient, keeper: str) -> None:
    first = (await login(client, keeper)).json()["csrf"]
    old = client.cookies["qm_session"]
    second = (await login(client, keeper)).json()["csrf"]
    assert first != second
    assert client.cookies["qm_session"] != old
    stale = await client.get("/api/v1/session", headers={"Cookie": f"qm_session={old}"})
    assert stale.status_code == 401


async def test_a_session_ends_at_sign_out_expiry_and_when_the_person_is_disabled(
    client: httpx.AsyncClient, db: AsyncConnection, keeper: str
) -> None:
    csrf = (await login(client, keeper)).json()["csrf"]
    assert (await client.delete("/api/v1/session", headers={"X-CSRF-Token": csrf})).status_code == 204
    assert (await client.get("/api/v1/session")).status_code == 401

    await login(client, keeper)
    await db.execute("UPDATE session SET expires_at = now()")
    assert (await client.get("/api/v1/session")).status_code == 401

    await login(client, keeper)
    await people.disable(db, keeper)
    assert (await client.get("/api/v1/session")).status_code == 401


async def test_a_new_password_ends_the_sessions_of_the_old_one(client: httpx.AsyncClient, db: AsyncConnection, keeper: str) -> None:
    await login(client, keeper)
    await people.set_password(db, keeper, "another long password")
    assert (await client.get("/api/v1/session")).status_code == 401
    assert (await login(client, keeper)).status_code == 401
    assert (await login(client, keeper, "another long password")).status_code == 200


async def test_sessions_of_one_person_are_bounded(db: AsyncConnection, keeper: str) -> None:
    now = datetime.now(UTC)
    first = await people.open_session(db, keeper, now)
    for second in range(people.MAX_SESSIONS_PER_PERSON):
        await people.open_session(db, keeper, now + timedelta(seconds=second + 1))
    assert await people.find_session(db, first.token, now) is None
    row = await (await db.execute("SELECT count(*) FROM session")).fetchone()
    assert row == (people.MAX_SESSIONS_PER_PERSON,)


@pytest.mark.parametrize("given", [None, "", "guess", "ü"])
async def test_an_unsafe_method_without_the_csrf_token_changes_nothing(sign_in: SignIn, given: str | None) -> None:
    me = await sign_in("gate")
    headers = {} if given is None else {"X-CSRF-Token": given.encode("latin-1")}
    answer = await me.http.patch("/api/v1/session", json={"language": "en"}, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "not_allowed"
    assert (await me.get("/session")).json()["person"]["language"] == "zh-CN"


async def test_a_person_chooses_a_language(sign_in: SignIn) -> None:
    me = await sign_in("gate")
    assert (await me.send("PATCH", "/session", {"language": "en"})).json()["person"]["language"] == "en"
    refused = await me.send("PATCH", "/session", {"language": "fr"})
    assert refused.status_code == 422
    assert refused.json()["error"]["where"] == "language"


async def test_a_program_calls_with_its_token_and_needs_no_csrf(client: httpx.AsyncClient, db: AsyncConnection) -> None:
    now = datetime.now(UTC)
    token = await people.create_token(db, "erp", "auditor", now)
    headers = {"Authorization": f"Bearer {token}"}
    me = await client.get("/api/v1/session", headers=headers)
    assert me.status_code == 200
    assert (me.json()["person"]["name"], me.json()["csrf"]) == ("erp", None)
    assert (await client.patch("/api/v1/session", json={"language": "en"}, headers=headers)).status_code == 409
    await people.revoke_token(db, "erp")
    assert (await client.get("/api/v1/session", headers=headers)).status_code == 401


async def test_a_token_past_its_end_lets_nobody_in(client: httpx.AsyncClient, db: AsyncConnection) -> None:
    now = datetime.now(UTC)
    token = await people.create_token(db, "erp", "auditor", now - timedelta(days=2), expires_at=now - timedelta(days=1))
    assert (await client.get("/api/v1/session", headers={"Authorization": f"Bearer {token}"})).status_code == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer nonsense", "Basic a2VlcGVyOng=", "\udc80"])
async def test_a_header_that_proves_nothing_is_refused(client: httpx.AsyncClient, header: str) -> None:
    raw = header.encode("utf-8", "surrogateescape")
    assert (await client.get("/api/v1/session", headers=[(b"Authorization", raw)])).status_code == 401


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "X"}, "name 'X'"),
        ({"name": "a b"}, "name 'a b'"),
        ({"role": "king"}, "role 'king'"),
        ({"password": "short"}, "at least 12"),
        ({"password": "x" * 257}, "at most 256"),
        ({"name": "a-very-long-name", "password": "A-very-long-NAME"}, "must not be the person's name"),
        ({"language": "fr"}, "language 'fr'"),
    ],
)
async def test_a_person_that_breaks_a_rule_is_not_added(db: AsyncConnection, change: dict[str, str], told: str) -> None:
    person = {"name": "someone", "role": "gate", "password": PASSWORD, "language": "en"} | change
    with pytest.raises(RuleViolation, match=told):
        await people.create_person(db, person.pop("name"), **person)
    row = await (await db.execute("SELECT count(*) FROM person")).fetchone()
    assert row == (0,)


async def test_names_are_taken_once(db: AsyncConnection, keeper: str) -> None:
    with pytest.raises(RuleViolation, match="already exists"):
        await people.create_person(db, keeper, role="gate", password=PASSWORD)
    await people.create_token(db, "erp", "gate", datetime.now(UTC))
    with pytest.raises(RuleViolation, match="already exists"):
        await people.create_token(db, "erp", "gate", datetime.now(UTC))
    with pytest.raises(NotFound):
        await people.create_person(db, "driver", role="driver", password=PASSWORD, vehicle="no-such-van")
    with pytest.raises(NotFound):
        await people.set_password(db, "nobody", PASSWORD)
