"""A bounded number of requests a second for each of a bounded number of callers (token buckets)."""

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

MAX_CALLERS: Final = 10_000
"""Callers remembered; the one that was silent longest is forgotten first, and begins anew."""


@dataclass(slots=True)
class RateLimit:
    """`burst` requests at once, and `per_s` a second in the long run."""

    per_s: float
    burst: float
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def wait_s(self, caller: str, now_s: float) -> int:
        """0 when one more request is within the limit, and counts it; else whole seconds until one is. `now_s` is monotonic."""
        left, since = self._left.get(caller, (self.burst, now_s))
        left = min(self.burst, left + (now_s - since) * self.per_s)
        if left < 1:
            return max(1, math.ceil((1 - left) / self.per_s))
        self._left[caller] = (left - 1, now_s)
        self._left.move_to_end(caller)
        if len(self._left) > MAX_CALLERS:
            self._left.popitem(last=False)
        return 0
