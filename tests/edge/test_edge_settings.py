"""Every mistake in an agent's file is refused with its path."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from edge.__main__ import main
from edge.drivers import driver_names
from edge.port_url import LOCAL, NETWORK
from edge.settings import EdgeSettings, describe, parse_settings, read_settings

EXAMPLE = Path(__file__).parents[2] / "edge" / "agent.example.toml"
SCALE = "2026-01-01T00:00:00+00:00@2026-03-01T06:00:00+00:00x60"

GOOD = """
[agent]
site = "depot"
name = "depot-gateway"
state_dir = "state"
[uplink]
url = "mqtt://127.0.0.1"
username = "depot-gateway"
password = "secret"
[[devices]]
name = "reader"
driver = "r200"
port = "socket://127.0.0.1:7001"
portal = "dock-1"
[[devices]]
name = "scanner"
driver = "barcode"
port = "socket://127.0.0.1:7002"
read_point = "dock-1"
[[devices]]
name = "probe"
driver = "xymd02"
port = "socket://127.0.0.1:7003"
interval_s = 30
[[portals]]
name = "dock-1"
"""


def parse(text: str, **environ: str) -> EdgeSettings:
    return parse_settings(tomllib.loads(text), environ)


def test_a_good_file_gets_the_defaults_of_its_drivers() -> None:
    settings = parse(GOOD)
    assert (settings.address.up, settings.broker.port) == ("qm/v1/depot/depot-gateway/up", 1883)
    assert [(device.name, device.baud, device.polled) for device in settings.devices] == [
        ("reader", 115200, False),
        ("scanner", 9600, False),
        ("probe", 9600, True),
    ]
    assert settings.portals[0].min_reads == 2


def test_the_documented_sample_parses_and_names_every_driver(tmp_path: Path) -> None:
    (tmp_path / "mqtt-password").write_text("sesame\n")
    sample = tmp_path / "agent.toml"
    sample.write_text(EXAMPLE.read_text("utf-8").replace("/etc/quartermaster", str(tmp_path)), "utf-8")
    settings = read_settings(sample, {})
    assert {device.driver for device in settings.devices} == set(driver_names())
    assert settings.broker.tls


REFUSALS = [
    ('port = "socket://127.0.0.1:7001"', 'portt = "x"', "devices[0].portt: unknown key; did you mean 'port'?"),
    ("[uplink]", "[uplimk]", "uplimk: unknown key; did you mean 'uplink'?"),
    ('site = "depot"', "", "agent.site: missing"),
    ('site = "depot"', 'site = "De pot"', "agent.site: "),
    (
        'driver = "r200"',
        'driver = "r2000"',
        f"devices[0].driver: driver 'r2000' is not known here; use one of {', '.join(driver_names())}",
    ),
    ('port = "socket://127.0.0.1:7001"', "port = 7001", "devices[0].port: Expected `str`, got `int`"),
    ("socket://127.0.0.1:7001", "sockt://10.0.0.20", "devices[0].port: 'sockt://10.0.0.20' begins with 'sockt'"),
    ("socket://127.0.0.1:7001", "socket://10.0.0.20", "devices[0].port: 'socket://10.0.0.20' names no port of the host"),
    ("socket://127.0.0.1:7001", "socket://10.0.0.20:70000", "devices[0].port: 'socket://10.0.0.20:70000': Port out of range"),
    ("socket://127.0.0.1:7001", "rfc2217://:4000", "devices[0].port: 'rfc2217://:4000' names no host"),
    ("socket://127.0.0.1:7001", "socket://[::1:4000", "devices[0].port: 'socket://[::1:4000': Invalid IPv6 URL"),
    ("socket://127.0.0.1:7001", "socket://a b:4000", "devices[0].port: 'socket://a b:4000' names no host"),
    ("socket://127.0.0.1:7001", "socket://server:4000/bus", "devices[0].port: 'socket://server:4000/bus' says more than"),
    (
        "socket://127.0.0.1:7001",
        "ttyUSB0",
        "devices[0].port: 'ttyUSB0' is neither a device file nor a URL; did you mean '/dev/ttyUSB0'?",
    ),
    ('password = "secret"', 'password = "change-me"', "uplink.password: 'change-me' is no password"),
    ("interval_s = 30", "interval_s = 0", "devices[2].interval_s: "),
    ("interval_s = 30", "unit_id = 300", "devices[2].unit_id: "),
    ("interval_s = 30", 'portal = "dock-1"', "devices[2].portal: driver 'xymd02' has no use for one"),
    ('read_point = "dock-1"', "", "devices[1].read_point: missing; driver 'barcode' needs one"),
    ('read_point = "dock-1"', 'read_point = "dock-1"\ninterval_s = 5', "devices[1].interval_s: driver 'barcode' speaks by itself"),
    ('name = "scanner"', 'name = "reader"', "devices[1].name: 'reader' is also the name of devices[0]"),
    ('portal = "dock-1"', 'portal = "dock1"', "devices[0].portal: no portal is named 'dock1'; did you mean 'dock-1'?"),
    (
        '[[portals]]\nname = "dock-1"',
        '[[portals]]\nname = "dock-1"\n[[portals]]\nname = "dock-1"',
        "portals[1].name: 'dock-1' is also",
    ),
    (":7002", ":7001", "devices[1].port: 'socket://127.0.0.1:7001' is shared with devices[0], but only polled devices"),
    ('url = "mqtt://127.0.0.1"', 'url = "http://127.0.0.1"', "uplink.url: must be mqtt://"),
    ('url = "mqtt://127.0.0.1"', 'url = "mqtt://a:b@127.0.0.1"', "uplink.url: name and password belong"),
    ('url = "mqtt://127.0.0.1"', 'url = "mqtt://127.0.0.1:99999"', "uplink.url: "),
    ('password = "secret"', 'password_file = "/does/not/exist"', "uplink.password_file: '/does/not/exist' cannot be read"),
    ('password = "secret"', 'password = "a"\npassword_file = "b"', "uplink.password_file: uplink.password is given as well"),
    ('username = "depot-gateway"', "", "uplink.username: missing; a password is given"),
    ('password = "secret"', 'ca_file = "ca.pem"', "uplink.ca_file: only used with mqtts://"),
    ("[uplink]", '[clock]\ntime_scale = "fast"\n[uplink]', "clock.time_scale: time scale 'fast' is not"),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSALS)
def test_a_mistake_is_refused_with_its_path(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigurationError) as refused:
        parse(GOOD.replace(old, new, 1))
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "port",
    [
        "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0",
        "socket://serial-server_2:4196",
        "socket://[fd00::20]:4196",
        "rfc2217://10.0.0.20:4000?ign_set_control&timeout=3",
        "loop://",
        "hwgrep://0403:6001",
        "spy:///dev/ttyUSB0?file=bus.txt",
    ],
)
def test_every_address_that_can_be_opened_is_taken(port: str) -> None:
    assert parse(GOOD.replace("socket://127.0.0.1:7001", port)).devices[0].port == port


def test_every_scheme_taken_is_one_that_pyserial_knows() -> None:
    for scheme in (*NETWORK, *LOCAL):
        assert importlib.util.find_spec(f"serial.urlhandler.protocol_{scheme}") is not None


def test_a_password_file_that_was_never_filled_in_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    for left in ("change-me\n", ""):
        secret.write_text(left)
        with pytest.raises(ConfigurationError, match=r"uplink\.password_file: .* is no password"):
            parse(GOOD.replace('password = "secret"', f'password_file = "{secret}"'))


def test_two_probes_may_share_a_port_but_not_an_address() -> None:
    second = '[[devices]]\nname = "probe-2"\ndriver = "xymd02"\nport = "socket://127.0.0.1:7003"\nunit_id = {}\n'
    assert len(parse(GOOD + second.format(2)).devices) == 4
    with pytest.raises(ConfigurationError, match=r"devices\[3\]\.unit_id: 1 is also that of devices\[2\]"):
        parse(GOOD + second.format(1))


def test_the_password_may_stand_in_a_file_and_is_never_described(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    settings = parse(GOOD.replace('password = "secret"', f'password_file = "{secret}"'))
    assert settings.broker.password == "hunter2"
    assert "hunter2" not in repr(settings) + describe(settings)


def test_the_environment_may_name_the_time_scale_but_not_another_one() -> None:
    assert parse(GOOD, QM_TIME_SCALE=SCALE).scale.speed == 60
    with pytest.raises(ConfigurationError, match="QM_TIME_SCALE"):
        parse(GOOD + f'[clock]\ntime_scale = "{SCALE}"\n', QM_TIME_SCALE=SCALE.replace("x60", "x30"))


def test_check_prints_the_settings_and_a_mistake_ends_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(GOOD)
    assert main(["--config", str(path), "--check"]) == 0
    assert "device probe: xymd02 on socket://127.0.0.1:7003" in capsys.readouterr().out
    path.write_text(GOOD.replace("[agent]", "[agent]\nnname = 1"))
    assert main(["--config", str(path)]) == 2
    assert capsys.readouterr().err == f"quartermaster edge: {path}: agent.nname: unknown key; did you mean 'name'?\n"
    assert main(["--config", str(tmp_path / "none.toml")]) == 2
    path.write_text("= nonsense")
    assert main(["--config", str(path)]) == 2
    assert "is not TOML" in capsys.readouterr().err
