"""When the air of a cooled room was outside a limit: from the room itself, without probes and noise."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from simulators.pace import Pace
from simulators.scenario import Probe, Scenario
from simulators.truth import Warming
from simulators.world.cold_room import STEP_S, ColdRoom

DOUBT_S: Final = 180.0
"""Seconds of the story by which a probe may tell later or earlier than the air changed: its interval, its noise, a busy machine."""


@dataclass(frozen=True, slots=True)
class Outside:
    """A span of seconds since the start; `until_s` is None while it had not ended."""

    from_s: float
    until_s: float | None


def spans_outside(room: ColdRoom, rule: dict[str, Any], *, until_s: float) -> Iterator[Outside]:
    """The spans in which a room broke a limit rule of a scenario's master data, looked at until a moment.

    A span ends when the air is back inside by the rule's hysteresis, in degrees Celsius.
    """
    upper, lower = rule.get("upper"), rule.get("lower")
    hysteresis = rule.get("hysteresis", 0.0)
    began: float | None = None
    for step in range(int(until_s // STEP_S) + 1):
        at_s = step * STEP_S
        beyond = _beyond(room.celsius(at_s), lower, upper)
        if began is None and beyond > 0:
            began = at_s
        elif began is not None and beyond <= -hysteresis:
            yield Outside(began, at_s)
            began = None
    if began is not None:
        yield Outside(began, None)


def _beyond(celsius: float, lower: float | None, upper: float | None) -> float:
    """Degrees beyond the nearer limit; negative inside."""
    sides = ([] if upper is None else [celsius - upper]) + ([] if lower is None else [lower - celsius])
    return max(sides)


def warmings(scenario: Scenario, rooms: Mapping[str, ColdRoom], pace: Pace, *, ended_s: float) -> Iterator[Warming]:
    """What each probe should have told of its room's temperature until `ended_s`, rule by rule of the scenario's master data."""
    sites = {agent.name: agent.site for agent in scenario.agents}
    probes = [each for each in scenario.devices if isinstance(each, Probe) and not each.absent]
    for rule in scenario.master.get("limit_rules", []):
        if rule["quantity"] != "celsius" or rule["location"] not in rooms:
            continue
        for span in spans_outside(rooms[rule["location"]], rule, until_s=ended_s + DOUBT_S):
            lasted_s = ended_s - span.from_s if span.until_s is None else min(span.until_s, ended_s) - span.from_s
            if lasted_s < rule["delay_s"] - DOUBT_S:
                continue
            certain = lasted_s > rule["delay_s"] + DOUBT_S
            ended_at = None if span.until_s is None else pace.moment(span.until_s)
            for probe in (each for each in probes if each.room == rule["location"]):
                yield Warming(rule["rule"], sites[probe.agent], probe.name, pace.moment(span.from_s), ended_at, certain)
