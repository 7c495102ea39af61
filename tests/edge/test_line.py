"""A port that does not stay open is tried ever less often, and told once."""

import logging
import threading
import tomllib
from collections.abc import Callable

import pytest

from core.errors import Unavailable
from core.messages import BarcodeScan
from edge.clock import Clock
from edge.drivers import barcode
from edge.drivers.observations import Scan
from edge.drivers.protocol import DeviceOptions
from edge.line import FIRST_BACKOFF_S, MAX_BACKOFF_S, Line
from edge.ports import Port
from edge.presence import EPOCH
from edge.settings import Device, parse_settings

SCANNER = """
[agent]
site = "depot"
name = "depot-gateway"
state_dir = "state"
[uplink]
url = "mqtt://127.0.0.1"
[[devices]]
name = "scanner"
driver = "barcode"
port = "socket://127.0.0.1:7002"
read_point = "dock-1"
"""
SCANNED = barcode.Driver(DeviceOptions()).encode(Scan("4006381333931", EPOCH))


class Paper:
    """Stands where the writer stands and keeps what it is given."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def deliver(self, items: list[object]) -> None:
        self.told += items

    def tell(self, status: object) -> None:
        self.told.append(status)


class Backoffs(threading.Event):
    """The event that ends a line, which notes each wait instead of waiting, and is set after `rounds` of them."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._rounds = rounds

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if len(self.waits) >= self._rounds:
            self.set()
        return self.is_set()


class Brief:
    """A port that brings what it has and then is closed by the other side."""

    def __init__(self, *data: bytes) -> None:
        self._data = list(data)

    def read(self, timeout_s: float) -> bytes:
        self.waited_s = timeout_s
        if not self._data:
            raise Unavailable("the other side closed the connection")
        return self._data.pop(0)

    def write(self, data: bytes) -> None:
        """Nothing is asked of a scanner."""

    def close(self) -> None:
        """Nothing is held."""


def backoffs(rounds: int, open_line: Callable[[Device], Port]) -> list[float]:
    stop = Backoffs(rounds)
    devices = parse_settings(tomllib.loads(SCANNER), {}).devices
    Line(devices, Paper(), Clock(), stop=stop, open_line=open_line).run()  # type: ignore[arg-type]
    return stop.waits


def test_a_port_that_opens_and_closes_at_once_is_tried_ever_less_often() -> None:
    waits = backoffs(12, lambda *_: Brief())
    assert waits[0] <= FIRST_BACKOFF_S
    assert all(MAX_BACKOFF_S / 2 <= each <= MAX_BACKOFF_S for each in waits[5:])


def test_it_is_told_once_that_it_was_lost(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="edge.line"):
        backoffs(12, lambda *_: Brief())
    told = [record.getMessage().split()[0] for record in caplog.records]
    assert [each for each in told if each.startswith("port_")] == ["port_open", "port_lost"]


def test_an_observation_makes_the_backoff_small_again_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    ports = iter([*[Brief() for _ in range(8)], Brief(SCANNED), Brief()])
    with caplog.at_level(logging.INFO, logger="edge.line"):
        waits = backoffs(9, lambda *_: next(ports))
    assert waits[7] >= MAX_BACKOFF_S / 2
    assert waits[8] <= FIRST_BACKOFF_S
    told = [record.getMessage().split()[0] for record in caplog.records if record.getMessage().startswith("port_")]
    assert told == ["port_open", "port_lost", "port_open", "port_lost"]


def test_a_session_that_outlived_the_longest_backoff_counts_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    class Silent(Brief):
        def read(self, timeout_s: float) -> bytes:
            now[0] += 1.0
            return super().read(timeout_s)

    monkeypatch.setattr("edge.line.time.monotonic", lambda: now[0])
    ports = iter([*[Brief() for _ in range(8)], Silent(*[b""] * 7)])
    waits = backoffs(9, lambda *_: next(ports))
    assert waits[7] >= MAX_BACKOFF_S / 2
    assert waits[8] <= FIRST_BACKOFF_S


def test_a_scan_cut_off_by_a_lost_line_is_not_joined_to_the_next_one() -> None:
    paper = Paper()
    devices = parse_settings(tomllib.loads(SCANNER), {}).devices
    ports = iter([Brief(b"]C1010690123456789"), Brief(SCANNED)])
    line = Line(devices, paper, Clock(), stop=Backoffs(2), open_line=lambda *_: next(ports))  # type: ignore[arg-type]
    line.run()
    assert [each.text for each in paper.told if isinstance(each, BarcodeScan)] == ["4006381333931"]
    assert line.stations[0].totals()["unfinished_frame"] == 1
