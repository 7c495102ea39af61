"""Readings as InfluxDB line protocol."""

from collections.abc import Mapping
from typing import Final

from hub.domain.ingest_group import SeriesKey
from hub.domain.reading_block import ReadingBlock

LINES_AT_ONCE: Final = 5_000


def reading_lines(block: ReadingBlock, names: Mapping[int, SeriesKey]) -> list[bytes]:
    """Chunks of at most LINES_AT_ONCE lines, `reading,device=..,quantity=..,site=.. value=<float> <nanoseconds>`.

    Names need no escaping: sites, devices and quantities hold only letters, digits, '-' and '_'.
    https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
    """
    heads = {number: f"reading,device={key.device},quantity={key.quantity},site={key.site} value=" for number, key in names.items()}
    columns = zip(block.series_id.tolist(), block.value.tolist(), block.at_us.tolist(), strict=True)
    lines = [f"{heads[series]}{value!r} {at_us}000" for series, value, at_us in columns]
    return ["\n".join(lines[start : start + LINES_AT_ONCE]).encode() for start in range(0, len(lines), LINES_AT_ONCE)]
