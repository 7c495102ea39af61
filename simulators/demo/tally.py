"""Counts what the database holds and holds it against the truth of the simulators."""

from collections import Counter
from typing import Any, Final

import psycopg
from msgspec import Struct

from simulators.demo.consequences import judge_story
from simulators.demo.rows import Rows, fetch, listed, queries
from simulators.truth import Truth

QUANTITIES: Final = ("celsius", "humidity_percent")
"""What one answer of a probe holds."""


class Summary(Struct, frozen=True):
    """The outcome of a run. `failures` says in words what does not hold; empty means all is well."""

    readings_sent: int
    readings_stored: int
    readings_lost: int
    readings_doubled: int
    passages: int
    receipts_posted: int
    receipts_with_discrepancy: int
    excursions: int
    alerts: int
    positions: int
    plans: int
    replans: int
    ledger_balanced: bool
    failures: list[str] = []


MUST_HAPPEN: Final = (
    "readings_sent",
    "readings_stored",
    "passages",
    "receipts_posted",
    "receipts_with_discrepancy",
    "excursions",
    "alerts",
    "positions",
    "plans",
    "replans",
)


_SQL: Final = queries("tally")
Tag = tuple[str, str, str]
"""Site, portal, EPC in hexadecimal."""


async def tally(uri: str, truth: Truth) -> Summary:
    """Counts in one snapshot of the database. Only `failures` about the truth are in it, not about what must happen."""
    async with await psycopg.AsyncConnection.connect(uri) as db, db.transaction():
        await db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        names, totals = await _totals(db)
        lost, doubled, failures = _readings(truth, await _rows(db, "readings"))
        failures += await _passages(db, truth)
        failures += await _positions(db, truth)
        failures += _scans(truth, await _rows(db, "scans"))
        conflicts = await _rows(db, "conflicts")
        failures += listed("readings came twice with different values", conflicts)
        failures += await judge_story(db, truth)
        failures += listed("messages were rejected", await _rows(db, "rejected"))
        unbalanced = await _rows(db, "ledger_differences")
        failures += listed("stock differs from its movements (location, gtin, lot, moved, stock)", unbalanced)
    return Summary(
        **dict(zip(names, totals, strict=True)),
        readings_sent=sum(probe.answered for probe in truth.probes) * len(QUANTITIES),
        readings_lost=lost,
        readings_doubled=doubled + len(conflicts),
        ledger_balanced=not unbalanced,
        failures=failures + [f"not seen by any reader: {what}" for what in truth.unseen],
    )


def missing_parts(summary: Summary) -> list[str]:
    """In words, which of the things that must happen in a whole day did not."""
    return [f"{name} is 0, the scenario has some" for name in MUST_HAPPEN if getattr(summary, name) == 0]


async def _rows(db: psycopg.AsyncConnection, name: str, values: dict[str, list[Any]] | None = None) -> Rows:
    return await fetch(db, _SQL[name], values)


async def _totals(db: psycopg.AsyncConnection) -> tuple[list[str], tuple[int, ...]]:
    cursor = await db.execute(_SQL["totals"])
    row = await cursor.fetchone()
    return [column.name for column in cursor.description or []], row or ()


def _readings(truth: Truth, rows: Rows) -> tuple[int, int, list[str]]:
    """Lost and doubled readings. Acknowledged polls must be stored; more than were answered must not be."""
    stored = {(site, device, quantity): count for site, device, quantity, count in rows}
    lost, doubled, failures = 0, 0, []
    for probe in truth.probes:
        for quantity in QUANTITIES:
            count = stored.pop((probe.site, probe.device, quantity), 0)
            missing, extra = max(0, probe.acknowledged - count), max(0, count - probe.answered - probe.doubtful)
            lost, doubled = lost + missing, doubled + extra
            if missing or extra:
                failures.append(
                    f"{probe.site}/{probe.device} {quantity}: {count} stored, but {probe.acknowledged} acknowledged "
                    f"and {probe.answered} answered ({missing} lost, {extra} doubled)"
                )
    strangers = [(*key, count) for key, count in stored.items() if count]
    return lost, doubled, failures + listed("readings nobody sent", strangers)


async def _passages(db: psycopg.AsyncConnection, truth: Truth) -> list[str]:
    """Passages of each tag at each portal: one for each crossing that is certain, and no more than all crossings may make."""
    least: Counter[Tag] = Counter()
    most: Counter[Tag] = Counter()
    for each in truth.crossings:
        tag = (each.site, each.portal, each.epc)
        least[tag] += each.certain
        most[tag] += each.most
    held = {(site, portal, epc): count for site, portal, epc, count in await _rows(db, "passages")}
    lost = [tag for tag, count in least.items() if held.get(tag, 0) < count]
    strange = [tag for tag in held if tag not in most]
    doubled = [tag for tag, count in held.items() if tag in most and count > most[tag]]
    return [
        *listed("tags crossed a portal oftener than they have passages", lost),
        *listed("passages of tags that did not cross", strange),
        *listed("tags have more passages than crossings", doubled),
    ]


async def _positions(db: psycopg.AsyncConnection, truth: Truth) -> list[str]:
    values: dict[str, list[Any]] = {"site": [], "tracker": [], "at": []}
    for tracker in truth.trackers:
        values["site"] += [tracker.site] * len(tracker.certain)
        values["tracker"] += [tracker.tracker] * len(tracker.certain)
        values["at"] += tracker.certain
    lost = await _rows(db, "fixes_not_stored", values)
    sent = {(each.site, each.tracker): each.sent for each in truth.trackers}
    extra = [(site, name, count) for site, name, count in await _rows(db, "fixes") if count > sent.get((site, name), 0)]
    return [*listed("positions were lost", lost), *listed("more positions than were sent", extra)]


def _scans(truth: Truth, rows: Rows) -> list[str]:
    stored = {(site, point, text): count for site, point, text, count in rows}
    certain = Counter((each.site, each.read_point, each.text) for each in truth.scans if each.certain)
    possible = Counter((each.site, each.read_point, each.text) for each in truth.scans)
    lost = [key for key, count in certain.items() if stored.get(key, 0) < count]
    extra = [key for key, count in stored.items() if count > possible[key]]
    return [*listed("scans were lost", lost), *listed("scans stored more often than scanned", extra)]
