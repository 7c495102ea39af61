"""What a trail of fixes says: which fixes can be true, when a vehicle left its depot, when it halted at a stop and went on.

All of it are folds over event time: the same set of fixes gives the same answer in whatever order they came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hub.domain.geo import great_circle_m

MAX_SPEED_MPS: Final = 70.0
JITTER_M: Final = 150.0  # two fixes this near are never a jump, however close in time
ARRIVE_RADIUS_M: Final = 120.0
USABLE_ACCURACY_M: Final = 120.0  # a fix that claims a wider radius could be at any stop or at none: it judges nothing
LEAVE_MARGIN_M: Final = 60.0  # beyond the radius before a vehicle counts as gone: noise must not end a visit
CLEARLY_OUTSIDE_DEG: Final = 0.002  # of latitude: 222 m
ARRIVE_SPEED_MPS: Final = 2.0
DWELL: Final = timedelta(seconds=30)  # inside the radius of the next stop without a slow fix
DWELL_OUT_OF_TURN: Final = timedelta(seconds=120)  # at a stop that is not the next one, or whose goods were not seen to leave


@dataclass(frozen=True, slots=True)
class Fix:
    """Where a vehicle was, WGS-84 degrees; `speed_mps` and `course_deg` as the tracker said, if it did."""

    at: datetime
    latitude: float
    longitude: float
    speed_mps: float | None = None
    course_deg: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A stop of the route that is not known to be done. Only fixes from `since` on count; `aboard` are its goods.

    `halted_from` is when the halt began that was under way before the first fix.
    """

    order: str
    latitude: float
    longitude: float
    since: datetime
    aboard: bool = True
    halted_from: datetime | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """A halt at a stop: first fix inside, and first fix clearly outside again if there is one."""

    order: str
    arrived_at: datetime
    left_at: datetime | None


def believable(fixes: Sequence[Fix]) -> list[Fix]:
    """The fixes without jumps over `MAX_SPEED_MPS`, in order of time as given.

    A jump is believed once a second fix confirms the new place, so that one wrong fix cannot hold a vehicle for ever.
    """
    kept: list[Fix] = []
    doubted: Fix | None = None
    for fix in fixes:
        if not kept or _drivable(kept[-1], fix):
            kept.append(fix)
            doubted = None
        elif doubted is not None and _drivable(doubted, fix):
            kept += [doubted, fix]
            doubted = None
        else:
            doubted = fix
    return kept


def _drivable(a: Fix, b: Fix) -> bool:
    metres = great_circle_m(a.latitude, a.longitude, b.latitude, b.longitude)
    return metres <= JITTER_M or metres <= MAX_SPEED_MPS * (b.at - a.at).total_seconds()


def departures(fixes: Sequence[Fix], latitude: float, longitude: float, *, from_there: bool) -> list[datetime]:
    """When the vehicle left this place: each first fix clearly outside after one inside, in order of time.

    With `from_there` a vehicle whose first fix is outside is held to have come from this place.
    """
    inside = from_there
    left: list[datetime] = []
    for fix in fixes:
        metres = great_circle_m(fix.latitude, fix.longitude, latitude, longitude)
        if inside and metres > ARRIVE_RADIUS_M + LEAVE_MARGIN_M:
            inside = False
            left.append(fix.at)
        elif metres <= ARRIVE_RADIUS_M:
            inside = True
    return left


def visits(fixes: Sequence[Fix], targets: Sequence[Target]) -> list[Visit]:
    """The halts at `targets` (in the order of the route), each at most once.

    A halt at the next target is a slow fix or `DWELL` inside the radius; passing slowly by a later one is none, it takes
    `DWELL_OUT_OF_TURN` there.
    """
    waiting = list(targets)
    entered = {each.order: each.halted_from for each in targets if each.halted_from is not None}
    halted = set(entered)
    done: list[Visit] = []
    for fix in fixes:
        for target in [each for each in waiting if each.order in entered or _may_be_near(fix, each)]:
            if fix.at < target.since:
                continue
            metres = great_circle_m(fix.latitude, fix.longitude, target.latitude, target.longitude)
            if metres <= ARRIVE_RADIUS_M:
                first = entered.setdefault(target.order, fix.at)
                if _halts(fix, first, in_turn=target.aboard and _same_place(target, waiting[0])):
                    halted.add(target.order)
            elif metres > ARRIVE_RADIUS_M + LEAVE_MARGIN_M and target.order in entered:
                first = entered.pop(target.order)
                if target.order in halted:
                    done.append(Visit(target.order, first, fix.at))
                    waiting.remove(target)
    return done + [Visit(target.order, entered[target.order], None) for target in waiting if target.order in halted]


def _may_be_near(fix: Fix, target: Target) -> bool:
    """False for a fix that is clearly outside already by its latitude: a cheap test for the many."""
    return abs(fix.latitude - target.latitude) <= CLEARLY_OUTSIDE_DEG


def _halts(fix: Fix, first: datetime, *, in_turn: bool) -> bool:
    if not in_turn:
        return fix.at - first >= DWELL_OUT_OF_TURN
    slow = fix.speed_mps is not None and fix.speed_mps <= ARRIVE_SPEED_MPS
    return slow or fix.at - first >= DWELL


def _same_place(a: Target, b: Target) -> bool:
    return (a.latitude, a.longitude) == (b.latitude, b.longitude)
