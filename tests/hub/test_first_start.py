"""A site begins once, however often its first start runs, and the hub's health check tells the truth."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from core.errors import ConfigurationError, InvalidInput, RuleViolation
from hub.adapters.postgres import conninfo
from hub.first_start import FirstThings, begin_site
from hub.health import HUB_APPLICATION, is_active
from hub.services import people

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
SITE = {"site": "depot", "name_zh": "仓库", "name_en": "Depot", "time_zone": "Asia/Shanghai"}
SECRET = "qm_" + "k" * 40
THINGS = FirstThings({"sites": [SITE]}, "a long enough password", ("simulators", SECRET))


async def counts(db: AsyncConnection) -> tuple[int, int, int]:
    cursor = await db.execute("SELECT (SELECT count(*) FROM site), (SELECT count(*) FROM person), (SELECT count(*) FROM api_token)")
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1], row[2]


async def test_an_empty_database_becomes_a_site(db: AsyncConnection) -> None:
    done = await begin_site(db, THINGS, NOW)
    assert done == ["loaded 1 rows of master data", "added admin", "put the token of simulators in force"]
    caller = await people.find_token(db, SECRET, datetime.now(UTC))
    assert caller is not None
    assert (caller.name, caller.role) == ("simulators", "admin")


async def test_a_second_start_changes_nothing(db: AsyncConnection) -> None:
    await begin_site(db, THINGS, NOW)
    before = await counts(db)
    assert await begin_site(db, THINGS, NOW) == []
    assert await counts(db) == before == (1, 1, 1)


async def test_an_administrators_new_password_outlives_a_restart(db: AsyncConnection) -> None:
    await begin_site(db, THINGS, NOW)
    await people.set_password(db, "admin", "chosen by the administrator")
    await begin_site(db, THINGS, NOW)
    row = await (await db.execute("SELECT password_hash FROM person WHERE name = 'admin'")).fetchone()
    assert row is not None
    assert people.password_matches(row[0], "chosen by the administrator")


async def test_a_token_drawn_anew_replaces_the_old_one(db: AsyncConnection) -> None:
    await begin_site(db, THINGS, NOW)
    other = "qm_" + "n" * 40
    assert await begin_site(db, FirstThings(THINGS.master, THINGS.admin_password, ("simulators", other)), NOW) == [
        "put the token of simulators in force"
    ]
    assert await people.find_token(db, SECRET, datetime.now(UTC)) is None
    assert await people.find_token(db, other, datetime.now(UTC)) is not None


@pytest.mark.parametrize(
    ("things", "error"),
    [
        (FirstThings({"sites": [{"site": "no good"}]}, "a long enough password"), InvalidInput),
        (FirstThings({"sites": [SITE]}, "short"), RuleViolation),
        (FirstThings({"sites": [SITE]}, "a long enough password", ("simulators", "short")), ConfigurationError),
    ],
)
async def test_what_is_wrong_leaves_nothing_behind(db: AsyncConnection, things: FirstThings, error: type[Exception]) -> None:
    with pytest.raises(error):
        async with db.transaction():
            await begin_site(db, things, NOW)
    assert await counts(db) == (0, 0, 0)


def test_the_command_runs_twice_and_names_what_it_cannot_read(database_uri: str, tmp_path: Path) -> None:
    for name, text in (
        ("master.toml", "[[sites]]\nsite = 'depot'\nname_zh = '仓库'\nname_en = 'Depot'\ntime_zone = 'Asia/Shanghai'\n"),
        ("password", "a long enough password\n"),
        ("token", SECRET),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    words = [
        "-m",
        "hub.first_start",
        "--master",
        str(tmp_path / "master.toml"),
        "--admin-password-file",
        str(tmp_path / "password"),
    ]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "QM_DATABASE_URI": database_uri}
        return subprocess.run(
            [sys.executable, *words, *more], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    first, second = run("--token", "simulators", str(tmp_path / "token")), run("--token", "simulators", str(tmp_path / "token"))
    assert (first.returncode, first.stdout.splitlines()[-1]) == (0, "put the token of simulators in force"), first.stderr
    assert (second.returncode, second.stdout.strip()) == (0, "nothing to do: the site has begun already"), second.stderr
    missing = run("--token", "simulators", str(tmp_path / "nowhere"))
    assert missing.returncode == 2
    assert str(tmp_path / "nowhere") in missing.stderr


def test_a_hub_that_uses_the_database_is_active_and_one_that_stopped_is_not(database_uri: str) -> None:
    assert not is_active(database_uri), "no hub at all"
    with psycopg.connect(conninfo(database_uri, HUB_APPLICATION)) as hub:
        hub.execute("SELECT 1")
        assert is_active(database_uri)
        assert not is_active(database_uri, within_s=0.0), "a hub that hangs does nothing, however short the time"
    with pytest.raises(psycopg.OperationalError):
        is_active("postgresql://nobody@127.0.0.1:1/nothing")


async def test_the_hub_shows_itself_by_the_name_the_check_looks_for(database_uri: str) -> None:
    from hub.bootstrap import run_hub
    from hub.settings import read_settings

    stop = asyncio.Event()
    settings = read_settings({"QM_DATABASE_URI": database_uri, "QM_MQTT_URL": "mqtt://127.0.0.1:1"})
    hub = asyncio.create_task(run_hub(settings, stop=stop), name="hub")
    try:
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(is_active, database_uri):  # noqa: ASYNC110  the database can only be asked
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await hub
