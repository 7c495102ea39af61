"""What really happened in the simulated world, to hold what the hub stored against.

A poll is acknowledged when the agent polls again on the same connection: an agent commits a reading before it asks for the next
one. A fix or scan is certain when the connection lived on for SETTLE_S afterwards. What was sent on a line that broke
before that is in doubt: it may be stored or not.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from core.errors import ConfigurationError

SETTLE_S: Final = 2.0
"""Real seconds after which an agent that is alive has written what it was told."""


class ProbeTally(Struct, frozen=True):
    """Polls of one probe: answered whole, acknowledged by the next poll, and answered so that the answer may not have been read."""

    site: str
    device: str
    answered: int
    acknowledged: int
    doubtful: int


class Crossing(Struct, frozen=True):
    """One tag went through one portal. `certain` is False when the reader or its line gave up on the way.

    `most` is how many passages it may make: one, and one more for each pause in which the portal could take the tag for gone.
    """

    site: str
    portal: str
    epc: str
    at: datetime
    certain: bool
    most: int = 1


class TrackerTally(Struct, frozen=True):
    """Fixes one tracker sent: how many, and the moments of those that must be stored."""

    site: str
    tracker: str
    sent: int
    certain: list[datetime]


class Scanned(Struct, frozen=True):
    """One barcode was scanned."""

    site: str
    read_point: str
    text: str
    at: datetime
    certain: bool


class Delivery(Struct, frozen=True):
    """A shipment's pallet was taken through a gate, in so many `attempts`; `clean` when it held just what was announced.

    `certain` when one attempt was enough and all its tags crossed once: then it makes one receipt and no more.
    """

    gate: str
    shipment: str
    clean: bool
    attempts: int
    certain: bool


class Warming(Struct, frozen=True):
    """The air of a room was outside a limit for longer than its delay, where a probe should have told of it.

    `ended_at` is None while it still was when the world ended. `certain` is False when it had only just lasted long enough.
    """

    rule: str
    site: str
    device: str
    started_at: datetime
    ended_at: datetime | None
    certain: bool


class DayPlanned(Struct, frozen=True):
    """The dispatcher had the day of a site planned and accepted it."""

    site: str
    at: datetime


class OrderTaken(Struct, frozen=True):
    """An urgent order was taken by the API while a plan of its site was in force; `certain` is False when no answer came."""

    order: str
    site: str
    at: datetime
    certain: bool


class HeldUp(Struct, frozen=True):
    """A van with stops before it stood in a jam, for `lasted_s` seconds of the story so far."""

    vehicle: str
    at: datetime
    lasted_s: float


class Truth(Struct, frozen=True):
    """Everything at once. `final` is True when the world stood still."""

    scenario: str
    written_at: datetime
    final: bool
    probes: list[ProbeTally]
    crossings: list[Crossing]
    trackers: list[TrackerTally]
    scans: list[Scanned]
    unseen: list[str]
    """Pallets that went by while no reader was ready."""
    ended_at: datetime | None = None
    """The moment of the story at which this was written."""
    deliveries: list[Delivery] = []
    warmings: list[Warming] = []
    days: list[DayPlanned] = []
    orders: list[OrderTaken] = []
    held_up: list[HeldUp] = []


@dataclass(slots=True)
class Tallies:
    """The running counts, by (site, device)."""

    scenario: str
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    acknowledged: Counter[tuple[str, str]] = field(default_factory=Counter)
    doubtful: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    certain: dict[tuple[str, str], list[datetime]] = field(default_factory=dict)
    crossings: list[Crossing] = field(default_factory=list)
    scans: list[Scanned] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    days: list[DayPlanned] = field(default_factory=list)
    orders: list[OrderTaken] = field(default_factory=list)

    def snapshot(
        self,
        now: datetime,
        *,
        final: bool,
        ended_at: datetime | None = None,
        warmings: Sequence[Warming] = (),
        held_up: Sequence[HeldUp] = (),
    ) -> Truth:
        """The counts as they stand, and what the world says of its rooms and vans at the moment `ended_at` of the story."""
        return Truth(
            scenario=self.scenario,
            written_at=now,
            final=final,
            probes=[
                ProbeTally(*key, self.answered[key], self.acknowledged[key], self.doubtful[key])
                for key in sorted({*self.answered, *self.doubtful})
            ],
            crossings=list(self.crossings),
            trackers=[TrackerTally(*key, count, list(self.certain.get(key, []))) for key, count in sorted(self.sent.items())],
            scans=list(self.scans),
            unseen=list(self.unseen),
            ended_at=ended_at,
            deliveries=list(self.deliveries),
            warmings=list(warmings),
            days=list(self.days),
            orders=list(self.orders),
            held_up=list(held_up),
        )


def write_truth(path: Path, truth: Truth) -> None:
    """Replaces the file in one step, so that a reader never sees half of it."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(truth), indent=1))
    part.replace(path)


def read_truth(path: Path) -> Truth:
    """The truth a simulator wrote. Raises ConfigurationError naming the file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Truth)
    except OSError as error:
        raise ConfigurationError(f"truth file {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"truth file {path}: {error}") from error
