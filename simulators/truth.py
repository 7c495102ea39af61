"""What really happened in the simulated world, to hold what the hub stored against.

A poll is acknowledged when the agent polls again on the same connection: an agent commits a reading before it asks for the next
one. A fix or scan is certain when the connection lived on for SETTLE_S afterwards. What was sent on a line that broke
before that is in doubt: it may be stored or not.
"""

from collections import Counter
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
    """One tag went through one portal. `certain` is False when the reader or its line gave up on the way."""

    site: str
    portal: str
    epc: str
    at: datetime
    certain: bool


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

    def snapshot(self, now: datetime, *, final: bool) -> Truth:
        """The counts as they stand."""
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
