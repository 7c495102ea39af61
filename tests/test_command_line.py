"""The command line as an administrator meets it: what each command changes, and one line for every mistake."""

import io
import os
import sys
from pathlib import Path

import psycopg
import pytest

from hub.services.people import MIN_PASSWORD_CHARACTERS, ROLES
from quartermaster import ROLES as OFFERED
from quartermaster import main

PASSWORD = "a long enough password"


class Site:
    """A migrated database and what commands said about it."""

    def __init__(self, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.uri = uri
        self._capsys = capsys

    def run(self, *words: str) -> str:
        """What a command printed; it must have ended well."""
        assert main(words) == 0
        return self._capsys.readouterr().out

    def one(self, query: str) -> tuple[object, ...] | None:
        with psycopg.connect(self.uri) as db:
            return db.execute(query).fetchone()  # type: ignore[arg-type]


@pytest.fixture
def site(database_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Site:
    monkeypatch.setenv("QM_DATABASE_URI", database_uri)
    return Site(database_uri, capsys)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Told":
    for name in [name for name in os.environ if name.startswith("QM_")]:
        monkeypatch.delenv(name)
    return Told(capsys)


class Told:
    """Runs a command that must be refused, and gives its status and the one line it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str]:
        status = main(words)
        said = self._capsys.readouterr().err
        assert said.startswith("quartermaster: ")
        assert said.count("\n") == 1, said
        return status, said


def test_a_person_is_added_given_a_new_password_shut_out_and_let_in_again(site: Site) -> None:
    site.run("person", "add", "keeper", "--role", "storekeeper", "--language", "en")
    before = site.one("SELECT password_hash FROM person")
    drawn = site.run("person", "password", "keeper").split(", ")[1].split(";")[0]
    assert len(drawn) >= MIN_PASSWORD_CHARACTERS
    assert site.one("SELECT password_hash FROM person") != before
    assert site.run("person", "list") == "keeper  storekeeper  en\n"
    site.run("person", "disable", "keeper")
    assert site.run("person", "list") == "keeper  storekeeper  en, disabled\n"
    site.run("person", "enable", "keeper")
    assert site.run("person", "list") == "keeper  storekeeper  en\n"


def test_a_new_password_and_being_shut_out_end_every_session(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n", encoding="utf-8")
    site.run("person", "add", "keeper", "--role", "storekeeper")
    for words in (["password", "keeper", "--password-file", str(secret)], ["disable", "keeper"]):
        with psycopg.connect(site.uri) as db:
            db.execute("INSERT INTO session VALUES ('\\x00', 'keeper', 'x', now(), now() + interval '1 hour')")
        assert PASSWORD not in site.run("person", *words)
        assert site.one("SELECT count(*) FROM session") == (0,)


def test_a_token_is_made_listed_and_revoked(site: Site) -> None:
    secret = site.run("token", "add", "erp", "--role", "auditor").strip()
    listed = site.run("token", "list")
    assert listed.startswith("erp  auditor  made ")
    assert secret not in listed
    site.run("token", "revoke", "erp")
    assert site.run("token", "list") == ""


def test_a_phone_is_given_a_token_listed_and_revoked(site: Site) -> None:
    with psycopg.connect(site.uri) as db:
        db.execute("INSERT INTO site (site, name_zh, name_en) VALUES ('depot', '仓', 'Depot')")
        db.execute(
            "INSERT INTO vehicle (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, speed_mps,"
            " shift_from, shift_until) VALUES"
            " ('van-1', 'depot', '车', 'Van', 'fleet', 'gps-1', 40, 10, now(), now() + interval '8 h')"
        )
    secret = site.run("tracker", "add", "phone-1", "--vehicle", "van-1", "--coordinate-system", "gcj02").strip()
    listed = site.run("tracker", "list")
    assert listed.startswith("phone-1  van-1  gcj02, made ")
    assert secret not in listed
    site.run("tracker", "revoke", "phone-1")
    assert site.run("tracker", "list") == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["person", "password", "nobody"], "person 'nobody' does not exist"),
        (["person", "disable", "nobody"], "person 'nobody' does not exist"),
        (["person", "enable", "nobody"], "person 'nobody' does not exist"),
        (["token", "revoke", "nobody"], "token 'nobody' does not exist"),
        (["tracker", "revoke", "nobody"], "tracker 'nobody' does not exist"),
        (["tracker", "add", "phone-1", "--vehicle", "van-9"], "vehicle 'van-9' does not exist"),
    ],
)
def test_whoever_does_not_exist_is_named(site: Site, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(words) == 1
    assert capsys.readouterr().err == f"quartermaster: {said}\n"


def test_an_empty_document_loads_nothing_and_says_so(told: Told, tmp_path: Path) -> None:
    for name, text in (("empty.toml", ""), ("empty.json", "{}"), ("tables.toml", "sites = []")):
        document = tmp_path / name
        document.write_text(text, encoding="utf-8")
        status, said = told("load", str(document))
        assert status == 1
        assert f"{document}: is empty" in said


def test_a_folder_in_place_of_a_file_is_told(told: Told, tmp_path: Path) -> None:
    for words in (["decode", "--driver", "r200"], ["load"]):
        status, said = told(*words, str(tmp_path))
        assert status == 2
        assert str(tmp_path) in said


def test_a_file_that_is_not_there_is_told(told: Told, tmp_path: Path) -> None:
    for words in (["decode", "--driver", "r200"], ["load"]):
        status, said = told(*words, str(tmp_path / "none"))
        assert status == 2
        assert str(tmp_path / "none") in said


def test_a_password_file_that_cannot_be_read_is_told(told: Told, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "none", binary):
        assert told("person", "password", "keeper", "--password-file", str(path))[0] == 2


@pytest.mark.parametrize(
    ("environ", "words", "said"),
    [
        ({}, ["migrate"], "QM_DATABASE_URI is not set"),
        ({"QM_DATABASE_URI": "nonsense"}, ["migrate"], "QM_DATABASE_URI: is no database's address; use postgresql://"),
        ({"QM_DATABASE_URI": "nonsense"}, ["token", "list"], "QM_DATABASE_URI"),
        ({"QM_DATABASE_URI": "postgresql://x", "QM_MQTT_URL": "mqtt://[x"}, ["migrate"], "QM_MQTT_URL: Invalid IPv6 URL"),
        ({}, ["demo", "--port", "99999"], "--port 99999: must be 1 to 65535"),
        ({}, ["demo", "--speed", "0"], "--speed 0: must be above 0"),
        ({}, ["simulate", "--speed", "0"], "--speed 0: must be above 0"),
        ({}, ["decode", "--driver", "r2000", __file__], "driver 'r2000' is not known here"),
    ],
)
def test_a_mistake_ends_in_one_line_and_status_2(
    told: Told, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], words: list[str], said: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    status, line = told(*words)
    assert status == 2
    assert said in line


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_hex_may_be_piped_into_decode(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    standard_input(monkeypatch, b"BB02220011C9340030751FEB705C5904E3D50D703A76EF7E\n")
    assert main(["decode", "--driver", "r200", "--hex"]) == 0
    assert '"epc": "30751FEB705C5904E3D50D70"' in capsys.readouterr().out


def test_what_is_no_text_is_an_epc_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    standard_input(monkeypatch, b"\xff\xfe\n30751FEB705C5904E3D50D70\n")
    assert main(["epc"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("words", [["load"], ["person"], ["token"], ["person", "password"], ["migrate"], ["hub"], ["api"]])
def test_help_names_the_settings_of_the_commands_that_read_them(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    said = capsys.readouterr().out
    assert "QM_DATABASE_URI" in said
    assert "QM_MQTT_CLIENT_ID" in said


def test_help_of_epc_says_what_has_no_pure_identity(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["epc", "--help"])
    assert "company prefix" in capsys.readouterr().out


def test_every_role_may_be_given() -> None:
    assert OFFERED == ROLES
