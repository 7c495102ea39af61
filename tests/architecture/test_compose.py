"""compose.yaml, Dockerfile and the secrets name only what exists in the project, and leave no door open."""

import argparse
import importlib
import importlib.util
import json
import re
import stat
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import AsyncConnection

import quartermaster
import simulators.__main__ as simulate
from api.app import create_app
from core.messages import MAX_BATCH_BYTES
from edge.settings import read_settings as read_agent
from edge.window import WINDOW
from hub.adapters.mqtt_burst import MAX_PACKET_BYTES
from hub.bootstrap import make_solver, open_pool
from hub.first_start import FirstThings, begin_site
from hub.settings import read_settings
from simulators.scenario import load_scenario
from simulators.secret_files import AGENTS, make_secrets

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ONE_SHOT = {"site", "setup"}
SECRET_PATH = re.compile(r"/run/secrets/([A-Za-z0-9_.-]+)")
VARIABLE = re.compile(r"\bQM_[A-Z_]+\b")
INTERPOLATED = re.compile(r"(?<!\$)\$\{([A-Z_]+):?-?([^}]*)\}")


def plain(text: str) -> str:
    """What a container is given of a text: variables at their defaults, $$ as $."""
    return INTERPOLATED.sub(lambda match: match[2], text).replace("$$", "$")


def strings(value: object) -> Iterator[str]:
    """Every string in a YAML value."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif value is not None:
        yield str(value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The secrets, as `make secrets` draws them."""
    make_secrets(tmp_path / "secrets")
    return tmp_path / "secrets"


def parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    try:
        return parser.parse_args([plain(str(word)) for word in words])
    except SystemExit as error:
        raise AssertionError(f"{parser.prog} does not take {words}") from error


def parse_service(name: str) -> argparse.Namespace:
    """The command of a service of ours, by the parser that will meet it."""
    service = OURS[name]
    words = list(service["command"])
    if "entrypoint" in service:
        python, option, module = service["entrypoint"]
        assert (python, option) == ("python", "-m")
        return parse(importlib.import_module(module).make_parser(), words)
    assert words[0] != "demo", "the demo brings its own database and broker"
    if words[0] == "simulate":
        return parse(simulate._parser(), words[1:])
    return parse(quartermaster.build_parser(), words)


# What it names exists ---------------------------------------------------------------------------------------------------


def test_the_asked_services_are_there() -> None:
    assert {"mosquitto", "database", "influxdb", "setup", "hub", "api", "edge", "simulators"} <= set(SERVICES)
    assert OURS.keys() == SERVICES.keys() - {"mosquitto", "database", "influxdb"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_exists(name: str) -> None:
    parse_service(name)


def test_every_agent_of_the_scenario_has_a_service() -> None:
    configs = {str(parse_service(name).config) for name in OURS if SERVICES[name]["build"]["target"] == "gateway"}
    agents = {agent.name for agent in load_scenario("depot-day").agents}
    assert configs == {f"/site/{agent}.toml" for agent in agents}
    assert agents == set(AGENTS)


def test_every_variable_is_one_the_code_reads() -> None:
    code = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in ("hub/settings.py", "edge/clock.py"))
    read = set(re.findall(r'"(QM_[A-Z_]+)"', code))
    named = {name for text in strings(COMPOSE) for name in VARIABLE.findall(text)}
    assert named
    assert {name.removesuffix("_FILE") for name in named} - read == set()


def test_the_services_settings_are_accepted_and_lead_to_each_other(folder: Path) -> None:
    for name in ("hub", "api", "setup"):
        environment = {
            key: plain(str(value)).replace("/run/secrets", str(folder)) for key, value in SERVICES[name]["environment"].items()
        }
        settings = read_settings(environment)
        assert re.fullmatch(r"postgresql://quartermaster:[\w-]{20,}@database:5432/quartermaster", settings.database_uri)
        assert meet(name, "database")
        if name == "hub":
            mqtt = settings.require_mqtt()
            assert (mqtt.host, mqtt.port, mqtt.username) == ("mosquitto", 1883, "hub")
            assert mqtt.password == (folder / "mqtt_hub").read_text()
            assert settings.influx is not None
            assert (settings.influx.url, settings.influx.token) == ("http://influxdb:8086", (folder / "influx_token").read_text())
            assert meet("hub", "mosquitto")
            assert meet("hub", "influxdb")
        if name == "api":
            assert (settings.api_host, settings.api_port) == ("0.0.0.0", 8080)
    influx = SERVICES["influxdb"]["environment"]
    assert influx["DOCKER_INFLUXDB_INIT_ORG"] == SERVICES["hub"]["environment"]["QM_INFLUX_ORG"]
    assert influx["DOCKER_INFLUXDB_INIT_BUCKET"] == SERVICES["hub"]["environment"]["QM_INFLUX_BUCKET"]


def meet(one: str, other: str) -> bool:
    return bool(set(SERVICES[one].get("networks", [])) & set(SERVICES[other].get("networks", [])))


def test_everything_declared_is_used_and_everything_used_is_declared() -> None:
    used: dict[str, set[str]] = {"volumes": set(), "networks": set(), "configs": set(), "secrets": set()}
    for name, service in SERVICES.items():
        used["volumes"] |= {volume.split(":")[0] for volume in service.get("volumes", [])}
        used["networks"] |= set(service.get("networks", []))
        used["configs"] |= {config["source"] for config in service.get("configs", [])}
        used["secrets"] |= set(service.get("secrets", []))
        for other, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            assert condition in {"service_started", "service_healthy", "service_completed_successfully"}, f"{name}: {condition}"
            assert (condition == "service_completed_successfully") == (other in ONE_SHOT), f"{name} waits for {other}"
            assert condition != "service_healthy" or "healthcheck" in SERVICES[other], f"{name} waits for {other}"
    for kind, names in used.items():
        assert names == set(COMPOSE[kind]), kind


def test_secrets_are_those_that_are_drawn_and_only_who_needs_one_has_it(folder: Path) -> None:
    drawn = {path.name for path in folder.iterdir()}
    assert {name: value["file"] for name, value in COMPOSE["secrets"].items()} == {name: f".secrets/{name}" for name in drawn}
    for name, service in SERVICES.items():
        text = "\n".join(strings({key: value for key, value in service.items() if key != "secrets"}))
        named = {match.rstrip("$") for match in SECRET_PATH.findall(text)}
        if name == "mosquitto":  # builds most names in a loop; test_compose_broker.py runs it
            continue
        if service.get("build", {}).get("target") == "gateway":
            named = {f"mqtt_{parse_service(name).config.stem}"}
        assert named == set(service.get("secrets", [])), name


def test_build_targets_extras_and_copied_files_exist() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    assert {service["build"]["target"] for service in OURS.values()} == {"server", "gateway", "simulators"}
    assert {service["build"]["target"] for service in OURS.values()} <= stages
    assert {service["image"] for service in OURS.values()} == {
        f"quartermaster-{name}" for name in ("server", "gateway", "simulators")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(re.findall(r"--extra (\S+)", text))
    assert extras <= set(project["project"]["optional-dependencies"])
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert copied
    assert [path for path in copied if not (ROOT / path).exists()] == []
    for stage in re.findall(r"--from=(\S+)", text):
        assert stage in stages
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"uv==(\d\S+)", text) == re.findall(r"UV_VERSION := (\S+)", makefile)


def test_images_carry_their_own_extras_and_nothing_more() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    carried = {
        part.split("\n")[0].removeprefix("build-"): set(re.findall(r"--extra (\S+)", part))
        for part in re.split(r"^FROM \S+ AS ", text, flags=re.MULTILINE)
        if part.startswith("build-")
    }
    assert carried == {"server": {"hub", "routing", "api"}, "gateway": {"edge"}, "simulators": {"simulators"}}
    assert "USER 10001" in text


def test_the_image_is_sent_the_packages_and_no_secrets() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(ignored) & {*wheel["only-include"], "pyproject.toml", "uv.lock", "README.md", "LICENSE", "hatch_build.py"} == set()
    assert ".*" in ignored, "nothing that begins with a dot is sent: .secrets, .git, .venv, .demo"
    assert ".secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


# What it does is what the code expects --------------------------------------------------------------------------------------


def write_site(folder: Path) -> Path:
    words = [plain(word) for word in SERVICES["site"]["command"]]
    site = folder.parent / "site"
    assert quartermaster.main([*(str(site) if word == "/site" else word for word in words)]) == 0
    return site


def test_agents_find_their_devices_broker_and_passwords(folder: Path) -> None:
    site = write_site(folder)
    listening = parse_service("simulators")
    scenario = load_scenario(listening.scenario)
    assert listening.listen == "0.0.0.0"
    ports = []
    for agent in scenario.agents:
        path = site / f"{agent.name}.toml"
        path.write_text(path.read_text(encoding="utf-8").replace("/run/secrets", str(folder)), encoding="utf-8")
        settings = read_agent(path, {})
        assert (settings.address.site, settings.address.agent) == (agent.site, agent.name)
        assert (settings.broker.host, settings.broker.port) == ("mosquitto", 1883)
        assert settings.broker.username == f"{agent.site}/{agent.name}"
        assert settings.broker.password == (folder / f"mqtt_{agent.name}").read_text()
        service = next(name for name in OURS if f"/site/{agent.name}.toml" in SERVICES[name]["command"])
        assert f"{settings.state_dir}" in {volume.split(":")[1] for volume in SERVICES[service]["volumes"]}
        assert meet(service, "mosquitto")
        assert meet(service, "simulators")
        assert not meet(service, "database"), "a gateway has no business in the database"
        ports += [device.port for device in settings.devices]
    expected = {f"socket://simulators:{listening.base_port + index}" for index in range(len(scenario.devices))}
    assert (set(ports), len(ports)) == (expected, len(expected))


def test_the_times_of_the_first_start_stay_while_settings_are_renewed(folder: Path) -> None:
    site = write_site(folder)
    master = site / "master.json"
    before = master.read_bytes()
    (site / "depot-gateway.toml").write_text("spoiled", encoding="utf-8")
    write_site(folder)
    assert master.read_bytes() == before
    assert "spoiled" not in (site / "depot-gateway.toml").read_text(encoding="utf-8")


async def test_what_setup_loads_is_accepted_by_a_real_database(db: AsyncConnection, folder: Path) -> None:
    arguments = parse_service("setup")
    assert str(arguments.master) == "/site/master.json"
    name, token = arguments.token
    master = json.loads((write_site(folder) / arguments.master.name).read_text(encoding="utf-8"))
    things = FirstThings(
        master, (folder / arguments.admin_password_file.name).read_text(), (name, (folder / Path(token).name).read_text())
    )
    assert len(await begin_site(db, things, datetime.now(UTC))) == 3
    assert await begin_site(db, things, datetime.now(UTC)) == []


def test_health_checks_look_where_the_services_are() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) != (name in ONE_SHOT), name
        assert (service["restart"] == "no") == (name in ONE_SHOT), name
        assert service["init"] is True, name
    for name in ("hub", "edge", "edge-clinic", "edge-fleet"):
        assert f":{1883:04X} 01 " in SERVICES[name]["healthcheck"]["test"][1], name
    assert str(parse_service("simulators").truth) in SERVICES["simulators"]["healthcheck"]["test"][-1]
    check = SERVICES["api"]["healthcheck"]["test"][-1]
    compile(check, "api", "exec")
    app = create_app(open_pool(read_settings({"QM_DATABASE_URI": "postgresql://127.0.0.1:1/none"})), make_solver())
    (path,) = re.findall(r"http://127\.0\.0\.1:8080(/[^']*)'", check)
    assert path in app.openapi()["paths"]
    assert importlib.util.find_spec("hub.health") is not None
    assert "python -m hub.health" in SERVICES["hub"]["healthcheck"]["test"][1]


# Doors ---------------------------------------------------------------------------------------------------------------------


def test_nothing_is_reachable_from_outside_unless_asked() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"mosquitto", "api"}
    for name, ports in published.items():
        for port in ports:
            assert plain(port).startswith("127.0.0.1:"), f"{name}: {port}"


def test_no_password_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key, value in (service.get("environment") or {}).items():
            if key.endswith("_FILE"):
                assert str(value).startswith("/run/secrets/"), f"{name}: {key}"
            else:
                assert not re.search(r"PASSWORD|TOKEN|SECRET|URI$|MQTT_URL$", key), f"{name}: {key}: secrets are given as files"
    text = "\n".join(strings(COMPOSE))
    assert re.findall(r"://[^/\s:@]+:[^/\s@]+@", text) == [], "a URL with a password"


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_more_rights_than_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert "cap_add" not in service or name in {"database", "influxdb"}
    if name in OURS:
        assert service["read_only"] is True
        assert "user" not in service, "the image's own user, who is not root"
        writable = [volume for volume in service.get("volumes", []) if not volume.endswith(":ro")]
        assert len(writable) <= 1
    else:
        assert not any(source.startswith((".", "/")) for volume in service["volumes"] for source in [volume.split(":")[0]])


def test_a_read_only_service_takes_no_config_for_compose_could_not_copy_it_in() -> None:
    assert [name for name, service in SERVICES.items() if service.get("read_only") and service.get("configs")] == []


def test_the_broker_refuses_strangers_and_its_limits_fit_the_code() -> None:
    words = dict(
        line.split(maxsplit=1)
        for line in COMPOSE["configs"]["mosquitto_conf"]["content"].splitlines()
        if line.strip() and not line.startswith("#")
    )
    assert words["allow_anonymous"] == "false"
    assert words["persistence"] == "true"
    assert f"{words['persistence_location'].rstrip('/')}" in {volume.split(":")[1] for volume in SERVICES["mosquitto"]["volumes"]}
    assert int(words["message_size_limit"]) == MAX_PACKET_BYTES > MAX_BATCH_BYTES
    window = sum(WINDOW.values())
    assert f"({window} batches each)" in COMPOSE["configs"]["mosquitto_conf"]["content"]
    assert int(words["max_queued_messages"]) // window == 26
    assert int(words["max_inflight_messages"]) > 20


# Secrets --------------------------------------------------------------------------------------------------------------------


def test_secrets_are_drawn_once_and_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert len(make_secrets(folder)) == len(COMPOSE["secrets"])
    before = {path.name: path.read_text() for path in folder.iterdir()}
    (folder / "mqtt_hub").unlink()
    assert make_secrets(folder) == ["mqtt_hub"]
    after = {path.name: path.read_text() for path in folder.iterdir()}
    assert {name for name in before if after[name] != before[name]} == {"mqtt_hub"}
    drawn = [before[name] for name in before if name not in {"database_uri", "hub_mqtt_url"}]
    assert len(set(drawn)) == len(drawn)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20,}", value) for value in drawn)


def test_secrets_are_closed_to_the_machine_and_open_in_the_container(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "nobody else enters the folder"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}, "any user of a container may read its own"
