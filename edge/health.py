"""When the state of a device is worth telling: at once when it changes, its counters now and then, never in a flood."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

from core.messages import DeviceStatus

STATE_GAP_S: Final = 2.0
"""Real seconds between two statuses of one device; a device that flaps is told as it stands when they are over."""
COUNTS_GAP_S: Final = 60.0
"""Real seconds between statuses that only tell new counts."""
MAX_DETAIL: Final = 1000

State = Literal["online", "offline", "fault"]


class Health:
    """What is known of one device, and what of it was told."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._state: State | None = None
        self._detail = ""
        self._told: tuple[State, str] | None = None
        self._told_counts: dict[str, int] = {}
        self._told_at = float("-inf")

    @property
    def state(self) -> str:
        """The state as last noted; `unknown` before anything was."""
        return self._state or "unknown"

    def note(self, state: State, detail: str = "") -> None:
        """The device is found in this state."""
        self._state, self._detail = state, detail[:MAX_DETAIL]

    def due(self, counts: Mapping[str, int], at: datetime, *, real_s: float) -> DeviceStatus | None:
        """The status to tell now, if any. `counts` are totals; `real_s` is any steady clock in real seconds."""
        if self._state is None:
            return None
        current = dict(counts)
        changed = self._told != (self._state, self._detail)
        gap_s = STATE_GAP_S if changed else COUNTS_GAP_S
        if not (changed or current != self._told_counts) or real_s - self._told_at < gap_s:
            return None
        self._told, self._told_counts, self._told_at = (self._state, self._detail), current, real_s
        return DeviceStatus(self.device, at, self._state, self._detail, current)
