"""A gateway with the network down: the light still comes on, its metrics can be read, and nothing is lost for later."""

import threading
import tomllib
import urllib.request
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from edge.agent import Agent
from edge.settings import describe, parse_settings
from tests.edge.test_agent import TcpDevice, running
from tests.edge.test_alarms import until

LOCAL = """
[metrics]
bind = "127.0.0.1:0"
[[outputs]]
name = "cr-1-light"
port = "file://{pin}"
[[limits]]
name = "cr-1-warm"
device = "cr-1-probe"
upper = 0.5
delay_s = 0.0
hysteresis = 0.1
outputs = ["cr-1-light"]
"""


class Warming:
    """A probe of unit 1 that tells what the test says."""

    def __init__(self) -> None:
        from edge.drivers import xymd02
        from edge.drivers.protocol import DeviceOptions

        self.celsius = 0.0
        self._driver = xymd02.Driver(DeviceOptions())
        self.bus = TcpDevice(self._talk)

    def _talk(self, connection: object) -> None:
        while request := connection.recv(64):  # type: ignore[attr-defined]
            connection.sendall(self._driver.answer(request, self.celsius, 50.0))  # type: ignore[attr-defined]


def text(folder: Path, port: str, local: str = LOCAL) -> str:
    return f"""
[agent]
site = "depot"
name = "depot-gateway"
state_dir = "{folder / "state"}"
[uplink]
url = "mqtt://127.0.0.1:9"
{local.format(pin=folder / "value")}
[[devices]]
name = "cr-1-probe"
driver = "xymd02"
port = "{port}"
interval_s = 0.05
"""


def test_the_light_comes_on_and_goes_out_without_any_broker_and_the_metrics_say_so(tmp_path: Path) -> None:
    pin = tmp_path / "value"
    pin.write_text("1\n")
    probe = Warming()
    agent = Agent(parse_settings(tomllib.loads(text(tmp_path, probe.bus.url)), {}))
    with running(agent):
        until(lambda: pin.read_text() == "0\n")
        probe.celsius = 0.9
        until(lambda: pin.read_text() == "1\n")
        until(lambda: agent.metrics is not None)
        assert agent.metrics is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics.port}/metrics", timeout=10) as answer:
            told = answer.read().decode()
        assert 'quartermaster_edge_local_alarm{limit="cr-1-warm"} 1.0' in told
        assert "quartermaster_edge_connected 0.0" in told
        probe.celsius = 0.2
        until(lambda: pin.read_text() == "0\n")
        probe.celsius = 0.9
        until(lambda: pin.read_text() == "1\n")
    assert pin.read_text() == "0\n"
    assert agent.writer.waiting_batches > 0
    assert agent.snapshot().health.heard.keys() == {"cr-1-probe"}
    assert threading.active_count() < 10
    probe.bus.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('device = "cr-1-probe"\nupper', 'device = "cr-9-probe"\nupper'), r"limits\[0\].device: no device is named 'cr-9-probe'"),
        (
            ('outputs = ["cr-1-light"]', 'outputs = ["buzzer"]'),
            r"limits\[0\].outputs\[0\]: no output is named 'buzzer'",
        ),
        (('outputs = ["cr-1-light"]', "outputs = []"), r"limits\[0\].outputs: empty"),
        (("upper = 0.5", "lower = 5.0\nupper = 0.5"), r"limits\[0\]: lower bound 5 is not below upper bound 0.5"),
        (("delay_s = 0.0", "delay = 0.0"), r"limits\[0\].delay: unknown key; did you mean 'delay_s'"),
        (("file://", "mqtt:"), r"outputs\[0\].port: .*"),
        (('"127.0.0.1:0"', '"127.0.0.1:99999"'), r"metrics.bind: port 99999"),
        (
            ('name = "cr-1-light"\nport', 'name = "cr-1-probe"\nport'),
            r"outputs\[0\].name: 'cr-1-probe' is also the name",
        ),
    ],
)
def test_what_is_wrong_with_limits_outputs_and_metrics_is_told_with_its_path(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    document = text(tmp_path, "socket://127.0.0.1:9").replace(*change)
    with pytest.raises(ConfigurationError, match=message):
        parse_settings(tomllib.loads(document), {})


def test_check_tells_limits_and_outputs_in_words(tmp_path: Path) -> None:
    told = describe(parse_settings(tomllib.loads(text(tmp_path, "socket://127.0.0.1:9")), {}))
    assert "limit cr-1-warm: celsius of cr-1-probe above 0.5 for 0 s sounds cr-1-light" in told
    assert f"output cr-1-light: file://{tmp_path}/value" in told
    assert "metrics at http://127.0.0.1:0/metrics" in told
