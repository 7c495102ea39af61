"""`python -m tests.benchmarks`: measures, prints a table with the aim beside each figure, and writes bench.json."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

import psycopg

from hub.adapters.migrations import migrate
from tests.benchmarks import gateway, ingest, servers
from tests.benchmarks.ingest import Figure

OUT: Final = Path("bench.json")


def _line(figure: Figure) -> str:
    aims = []
    if figure.aim is not None:
        aims.append(f"{'at most' if figure.at_most else 'at least'} {figure.aim:,.0f} {figure.unit}")
    if figure.aim_ratio is not None:
        aims.append(f"ratio at least {figure.aim_ratio:g}")
    return (
        f"{figure.name:<62} {figure.value:>11,.0f} {figure.unit:<10} {figure.beside:>26} {figure.beside_value:>11,.0f}"
        f" {figure.ratio:>6.2f}  {'met   ' if figure.met else 'MISSED'} {', '.join(aims)}"
    )


def main() -> int:
    """Exit status 1 when an aim is missed."""
    figures = list(gateway.run())
    with servers.postgres() as uri, tempfile.TemporaryDirectory(prefix="qm-bench-") as folder:
        asyncio.run(migrate(uri))
        with psycopg.connect(uri, autocommit=True) as db:
            figures += ingest.run(db, uri, Path(folder))
    sys.stdout.write("\n".join(_line(each) for each in figures) + "\n")
    rows = [
        {
            "name": each.name,
            "value": round(each.value, 1),
            "unit": each.unit,
            "beside": each.beside,
            "beside_value": round(each.beside_value, 1),
            "ratio": round(each.ratio, 3),
        }
        for each in figures
    ]
    OUT.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(each.met for each in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
