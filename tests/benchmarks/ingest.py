"""How fast readings go from MQTT to committed rows, each figure beside a bare COPY of the same rows in the same run."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg

from hub.domain.ingest_group import epoch_us
from hub.sql.copy_rows import reading_rows
from tests.benchmarks import servers
from tests.benchmarks.agents import SITE, Load

Database = psycopg.Connection[tuple[Any, ...]]

ROUNDS: Final = 3
ROUNDS_ON_FULL: Final = 5
FULL_TABLE_ROWS: Final = int(os.environ.get("QM_BENCH_ROWS", "50000000"))
FILL_CHUNK_ROWS: Final = 2_000_000
FILL_STEP_S: Final = 10
APART_US: Final = 20_000 * 1_000_000  # the rounds on the full table do not overlap in event time
GENERATOR_TIMEOUT_S: Final = 180

AIM_GROUPED_PER_S: Final = 200_000
AIM_GROUPED_RATIO: Final = 0.4
AIM_SINGLE_PER_S: Final = 15_000
AIM_FULL_RATIO: Final = 0.9
AIM_PEAK_MEMORY_MB: Final = 150


@dataclasses.dataclass(frozen=True)
class Figure:
    """One line of the table. `aim` is what the value, and `aim_ratio` what the ratio, should at least be (memory: at most)."""

    name: str
    value: float
    unit: str
    beside: str
    beside_value: float
    aim: float | None = None
    aim_ratio: float | None = None
    at_most: bool = False

    @property
    def ratio(self) -> float:
        """Value by the figure beside it."""
        return self.value / self.beside_value

    @property
    def met(self) -> bool:
        """True when every aim is reached."""
        if self.aim is not None and (self.value > self.aim if self.at_most else self.value < self.aim):
            return False
        return self.aim_ratio is None or self.ratio >= self.aim_ratio


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _two_days_ago() -> int:
    return epoch_us(datetime.now(UTC).replace(microsecond=0) - timedelta(days=2))


def grouped(boot: str, start_us: int) -> Load:
    """200 readings a message."""
    return Load(agents=8, devices=10, messages=1_500, readings=200, window=64, start_us=start_us, boot=boot)


def single(boot: str, start_us: int) -> Load:
    """One reading a message."""
    return Load(agents=16, devices=10, messages=6_000, readings=1, window=256, start_us=start_us, boot=boot)


def _set_up(db: Database) -> None:
    """One cold room, every device in it, and a rule that judges every series."""
    db.execute("INSERT INTO site (site, name_zh, name_en) VALUES (%s, '基准', 'Benchmark')", (SITE,))
    db.execute(
        "INSERT INTO location (location, site, role, storage_class, name_zh, name_en)"
        " VALUES ('bench-room', %s, 'cold_room', 'refrigerated', '冷库', 'Cold room')",
        (SITE,),
    )
    db.execute(
        "INSERT INTO device (site, device, location)"
        " SELECT %s, format('probe-%%s-%%s', a, d), 'bench-room' FROM generate_series(0, 15) a, generate_series(0, 9) d",
        (SITE,),
    )
    db.execute(
        "INSERT INTO limit_rule (rule, location, quantity, lower, upper, delay_s, max_gap_s, severity, known_at)"
        " VALUES ('bench-cold', 'bench-room', 'celsius', 2, 8, 600, 900, 'major', now()),"
        " ('bench-dry', 'bench-room', 'humidity_percent', 20, 75, 600, 900, 'minor', now())"
    )


def _send(load: Load, port: int) -> float:
    """Seconds from the first packet to the last receipt, measured by the agents' own process."""
    asked = json.dumps({**dataclasses.asdict(load), "port": port})
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.agents", asked], capture_output=True, timeout=GENERATOR_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    return float(json.loads(done.stdout)["elapsed_s"])


def _rows(db: Database) -> int:
    row = db.execute("SELECT count(*) FROM reading").fetchone()
    return int(row[0]) if row else 0


def _bare_copy(db: Database, load: Load) -> float:
    """Seconds for one COPY of the load's rows into the emptied table."""
    numbers = {
        (device, quantity): number for device, quantity, number in db.execute("SELECT device, quantity, series_id FROM series")
    }
    rows = reading_rows(load.block(numbers))
    db.execute("TRUNCATE reading")
    db.execute("CHECKPOINT")
    began = time.perf_counter()
    with db.cursor() as cursor, cursor.copy("COPY reading (series_id, at, value) FROM STDIN (FORMAT binary)") as copy:
        copy.write(rows)
    return time.perf_counter() - began


def _beside_copy(db: Database, port: int, make: Callable[[str, int], Load], label: str) -> tuple[float, float]:
    """Median rates, in readings a second, of the hub and of the bare COPY, taken in turns."""
    rates, copies = [], []
    for number in range(ROUNDS):
        load = make(f"{label}-{number:04d}", _two_days_ago())
        db.execute("TRUNCATE reading, series_latest")
        rates.append(_round(db, load, port, before=0))
        copies.append(load.total / _bare_copy(db, load))
        _say(f"  {label} round {number + 1}: {rates[-1]:,.0f}/s, bare COPY {copies[-1]:,.0f}/s, all {load.total:,} stored once")
    return statistics.median(rates), statistics.median(copies)


def _fill(db: Database, start_us: int) -> None:
    """Brings the table to FULL_TABLE_ROWS with earlier readings of the same series, one each FILL_STEP_S."""
    db.execute("TRUNCATE reading, series_latest")
    row = db.execute("SELECT array_agg(series_id ORDER BY series_id) FROM series").fetchone()
    series = row[0] if row else []
    steps = FULL_TABLE_ROWS // len(series)
    chunk = max(1, FILL_CHUNK_ROWS // len(series))
    db.execute(
        "SELECT ensure_partitions(to_timestamp(%(end)s - day * 86400), to_timestamp(%(end)s - day * 86400))"
        " FROM generate_series(0, %(days)s) day",
        {"end": start_us // 1_000_000, "days": steps * FILL_STEP_S // 86_400 + 1},
    )
    for first in range(steps, 0, -chunk):
        db.execute(
            "INSERT INTO reading SELECT series_id, to_timestamp(%(end)s - back * %(step)s), 5"
            " FROM generate_series(%(first)s, %(last)s, -1) back, unnest(%(series)s::int[]) series_id",
            {
                "end": start_us // 1_000_000,
                "first": first,
                "last": max(first - chunk + 1, 1),
                "step": FILL_STEP_S,
                "series": series,
            },
        )
        _say(f"  filled {(steps - max(first - chunk, 0)) * len(series):,} of {FULL_TABLE_ROWS:,} rows")
    db.execute("VACUUM (ANALYZE) reading")
    db.execute("CHECKPOINT")


def _on_full_table(db: Database, port: int, folder: Path) -> Figure:
    """The hub on a full table and a second one on an empty table, round by round in turns, so that a machine whose speed drifts
    slows both."""
    start_us = _two_days_ago()
    _fill(db, start_us)
    before = _rows(db)
    full_rates, empty_rates = [], []
    with (
        servers.another_database(db) as empty_uri,
        psycopg.connect(empty_uri, autocommit=True) as empty,
        servers.mosquitto() as empty_port,
        servers.hub(empty_uri, empty_port, folder / "empty-hub.log"),
    ):
        _set_up(empty)
        for number in range(ROUNDS_ON_FULL):
            load = grouped(f"full-{number:05d}", start_us + number * APART_US)
            empty.execute("TRUNCATE reading, series_latest")
            empty_rates.append(_round(empty, load, empty_port, before=0))
            full_rates.append(_round(db, load, port, before=before + number * load.total))
            _say(f"  round {number + 1}: {full_rates[-1]:,.0f}/s on {before:,} rows, {empty_rates[-1]:,.0f}/s on none")
    return Figure(
        f"readings committed, 200 a message, {before / 1e6:,.0f} million rows there",
        statistics.median(full_rates),
        "readings/s",
        "the same on an empty table",
        statistics.median(empty_rates),
        AIM_GROUPED_PER_S,
        AIM_FULL_RATIO,
    )


def _round(db: Database, load: Load, port: int, *, before: int) -> float:
    """Readings a second of one load, after a checkpoint; every one of them must then be stored once."""
    db.execute("CHECKPOINT")
    rate = load.total / _send(load, port)
    stored = _rows(db) - before
    if stored != load.total:
        raise RuntimeError(f"{load.total} readings sent to a table of {before}, {stored} stored")
    return rate


def run(db: Database, uri: str, folder: Path) -> Iterator[Figure]:
    """All figures of the ingest."""
    _set_up(db)
    with servers.mosquitto() as port, servers.hub(uri, port, folder / "hub.log") as hub:
        rate, copy = _beside_copy(db, port, grouped, "grouped")
        yield Figure(
            "readings committed, 200 a message", rate, "readings/s", "bare COPY", copy, AIM_GROUPED_PER_S, AIM_GROUPED_RATIO
        )
        rate, copy = _beside_copy(db, port, single, "single")
        yield Figure("readings committed, 1 a message", rate, "readings/s", "bare COPY", copy, AIM_SINGLE_PER_S)
        yield _on_full_table(db, port, folder)
        peak = servers.peak_memory_mb(hub)
        yield Figure("peak memory of the hub", peak, "MB", "limit", AIM_PEAK_MEMORY_MB, AIM_PEAK_MEMORY_MB, at_most=True)
