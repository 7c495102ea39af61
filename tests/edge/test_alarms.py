"""Light and buzzer on the spot: at the minute the rule says, through restarts, and whatever the output does."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.coldchain import Limit
from core.errors import Unavailable
from core.messages import DeviceStatus, Series, StateChange
from edge.alarms import FILE_NAME, MAX_WAITING, Alarms, LocalLimit
from edge.clock import Clock
from edge.writer import Reading

T = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
PROBE = Series("cr-1-probe", "celsius")
TOO_WARM = LocalLimit("cr-1-warm", PROBE, Limit(None, 8.0, True, 600.0, 0.5, 900.0), ("buzzer", "light"))
TOO_COLD = LocalLimit("cr-1-cold", PROBE, Limit(2.0, None, True, 0.0, 0.0, 900.0), ("light",))


class Lamp:
    """An output that notes how it is switched, and can be out of order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.history: list[bool] = []
        self.is_broken = False
        self.news = threading.Condition()

    def switch(self, on: bool) -> None:
        with self.news:
            if self.is_broken:
                raise Unavailable("no answer from the relay")
            self.history.append(on)
            self.news.notify_all()

    def is_on(self) -> bool:
        return self.history[-1]

    def until(self, history: list[bool]) -> None:
        with self.news:
            assert self.news.wait_for(lambda: self.history == history, 10), f"{self.history}, not {history}"


class Paper:
    """Stands where the writer stands."""

    def __init__(self) -> None:
        self.states: list[StateChange] = []
        self.statuses: list[DeviceStatus] = []

    def deliver(self, items: list[StateChange]) -> None:
        self.states += items

    def tell(self, status: DeviceStatus) -> None:
        self.statuses.append(status)


class Gateway:
    """Alarms in a thread of their own, as the agent runs them."""

    def __init__(self, folder: Path, *limits: LocalLimit) -> None:
        self.buzzer, self.light, self.paper = Lamp("buzzer"), Lamp("light"), Paper()
        self._stop = threading.Event()
        self.alarms = Alarms(limits, state_dir=folder, writer=self.paper, clock=Clock(), stop=self._stop)  # type: ignore[arg-type]
        self.alarms.connect([self.buzzer, self.light])
        self._thread = threading.Thread(target=self.alarms.run)
        self._thread.start()

    def say(self, *readings: tuple[float, float]) -> None:
        for minute, value in readings:
            self.alarms.take(Reading(PROBE, T + timedelta(minutes=minute), value))

    def end(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path, TOO_WARM, TOO_COLD)
    made.buzzer.until([False])
    made.light.until([False])
    yield made
    made.end()


def until(true: Callable[[], bool]) -> None:
    """Waits for what another thread does."""
    waiting = threading.Event()
    for _ in range(200):
        if true():
            return
        waiting.wait(0.05)
    raise AssertionError("it did not come to that in 10 s")


def test_buzzer_and_light_sound_when_the_delay_is_over_and_stop_when_it_is_cold_again(gateway: Gateway) -> None:
    gateway.say(*((minute, 9.0) for minute in range(10)))
    gateway.light.until([False])
    gateway.say((10, 9.0))
    gateway.buzzer.until([False, True])
    gateway.light.until([False, True])
    assert gateway.alarms.alarmed() == ["cr-1-warm"]
    gateway.say((11, 7.8))
    gateway.say((12, 7.4))
    gateway.buzzer.until([False, True, False])
    assert [(each.device, each.input, each.on) for each in gateway.paper.states if each.device == "buzzer"] == [
        ("buzzer", "alarm_output", on) for on in (False, True, False)
    ]


def test_a_limit_without_delay_switches_only_its_own_outputs(gateway: Gateway) -> None:
    gateway.say((0, 1.9))
    gateway.light.until([False, True])
    assert gateway.buzzer.history == [False]


def test_an_output_stays_on_while_any_of_its_limits_is_broken(gateway: Gateway) -> None:
    other = Series("cr-2-probe", "celsius")
    gateway.alarms._limits["cr-2-cold"] = LocalLimit("cr-2-cold", other, TOO_COLD.limit, ("light",))
    gateway.alarms._by_series[other] = [gateway.alarms._limits["cr-2-cold"]]
    gateway.say((0, 1.0))
    gateway.alarms.take(Reading(other, T, 1.0))
    gateway.light.until([False, True])
    until(lambda: gateway.alarms.alarmed() == ["cr-1-cold", "cr-2-cold"])
    gateway.say((1, 4.0))
    until(lambda: gateway.alarms.alarmed() == ["cr-2-cold"])
    assert gateway.light.history == [False, True]
    gateway.alarms.take(Reading(other, T + timedelta(minutes=1), 4.0))
    gateway.light.until([False, True, False])


def test_a_restart_in_the_middle_of_the_delay_changes_no_minute_of_the_alarm(tmp_path: Path) -> None:
    first = Gateway(tmp_path, TOO_WARM)
    first.say(*((minute, 9.0) for minute in range(6)))
    until(lambda: (tmp_path / FILE_NAME).exists() and first.alarms._inbox.empty())
    first.end()
    second = Gateway(tmp_path, TOO_WARM)
    second.say(*((minute, 9.0) for minute in range(6, 10)))
    second.buzzer.until([False])
    second.say((10, 9.0))
    second.buzzer.until([False, True])
    second.end()
    third = Gateway(tmp_path, TOO_WARM)
    third.buzzer.until([True])
    third.end()
    assert third.buzzer.history == [True, False], "an agent that ends leaves no buzzer on"


def test_an_output_out_of_order_is_a_named_fault_and_is_tried_until_it_obeys(gateway: Gateway) -> None:
    gateway.light.until([False])
    gateway.light.is_broken = True
    gateway.say((0, 1.0))
    until(lambda: any(each.state == "fault" and "no answer from the relay" in each.detail for each in gateway.paper.statuses))
    gateway.light.is_broken = False
    gateway.light.until([False, True])


def test_a_reading_of_the_past_turns_nothing(gateway: Gateway) -> None:
    gateway.say((5, 4.0))
    gateway.say((4, 1.0))
    until(lambda: gateway.alarms.counts["late_readings"] == 2)
    assert gateway.light.history == [False]


def test_a_state_file_that_cannot_be_read_is_counted_and_begun_anew(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{half")
    gateway = Gateway(tmp_path, TOO_COLD)
    gateway.light.until([False])
    gateway.end()
    assert gateway.alarms.counts["unreadable_state"] == 1


def test_readings_beyond_the_bound_are_counted_and_never_wait(tmp_path: Path) -> None:
    alarms = Alarms([TOO_COLD], state_dir=tmp_path, writer=Paper(), clock=Clock(), stop=threading.Event())  # type: ignore[arg-type]
    for number in range(MAX_WAITING + 3):
        alarms.take(Reading(PROBE, T + timedelta(seconds=number), 4.0))
    assert alarms.counts["not_judged"] == 3
