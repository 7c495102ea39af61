"""Readings as columns: the shape in which they travel from the wire to the rules and the table."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ReadingBlock:
    """Three columns of one length: `series_id` int32, `at_us` int64 (microseconds since 1970 UTC), `value` float64 (finite)."""

    series_id: NDArray[np.int32]
    at_us: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.series_id)
