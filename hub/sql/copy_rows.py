"""Rows of readings as PostgreSQL's binary COPY format, built for all rows at once.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format". A row is its number of fields, then each field
with its length before it, all big-endian; a timestamptz is microseconds since 2000-01-01T00:00Z.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hub.domain.reading_block import ReadingBlock

POSTGRES_EPOCH_US: Final = 946_684_800_000_000
SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"

_READING: Final = [
    ("fields", ">i2"),
    ("series_length", ">i4"),
    ("series_id", ">i4"),
    ("at_length", ">i4"),
    ("at", ">i8"),
    ("value_length", ">i4"),
    ("value", ">f8"),
]
_NUMBERED: Final = [_READING[0], ("number_length", ">i4"), ("number", ">i4"), *_READING[1:]]


def _fill(rows: NDArray[np.void], block: ReadingBlock, *, fields: int) -> None:
    rows["fields"] = fields
    rows["series_length"] = 4
    rows["series_id"] = block.series_id
    rows["at_length"] = 8
    rows["at"] = block.at_us - POSTGRES_EPOCH_US
    rows["value_length"] = 8
    rows["value"] = block.value


def reading_rows(block: ReadingBlock) -> bytes:
    """A whole COPY of `(series_id, at, value)`: 34 bytes a row."""
    rows = np.empty(len(block), dtype=_READING)
    _fill(rows, block, fields=3)
    return SIGNATURE + rows.tobytes() + TRAILER


def numbered_reading_rows(block: ReadingBlock) -> bytes:
    """A whole COPY of `(n, series_id, at, value)`, n being the index of the row in the block."""
    rows = np.empty(len(block), dtype=_NUMBERED)
    _fill(rows, block, fields=4)
    rows["number_length"] = 4
    rows["number"] = np.arange(len(block), dtype=np.int32)
    return SIGNATURE + rows.tobytes() + TRAILER
