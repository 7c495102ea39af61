"""Facts that are not readings, each kind and site in its turn; one that its rule cannot take is set aside alone."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from core.messages import BarcodeScan, TagPassage
from hub.domain.ingest_group import Envelope, Fact, Refused, Rejection, set_aside
from hub.services.faults import FAULTS, is_the_stores
from hub.sql import named

_WRITTEN_HERE = (TagPassage, BarcodeScan)
_SQL = named("ingest")

Act = Callable[[AsyncConnection, str, list[Any], datetime], Awaitable[Sequence[Refused] | None]]
"""A rule: takes facts of one kind and site, and may return those it cannot take."""
Acts = Mapping[type, Act]


async def take(db: AsyncConnection, envelopes: list[Envelope], facts: list[Fact], acts: Acts, now: datetime) -> list[Rejection]:
    """Stores passages and scans, hands every fact to the act of its kind, and returns what could not be taken.

    The acts are called once a site with all its facts of a kind, in order of arrival, each in a savepoint; when one
    fails, the facts are halved until the one that fails stands alone. Raises what the store is to blame for.
    """
    if not facts:
        return []
    groups: dict[tuple[type, str], list[Fact]] = {}
    for fact in facts:
        groups.setdefault((type(fact.value), envelopes[fact.batch].life.site), []).append(fact)
    rejected: list[Rejection] = []
    for kind, act in acts.items():
        for (each, site), mine in sorted(groups.items(), key=lambda pair: pair[0][1]):
            if each is kind:
                rejected += await _take_site(db, envelopes, mine, site, act=act, now=now)
    return rejected


async def _take_site(
    db: AsyncConnection,
    envelopes: list[Envelope],
    facts: list[Fact],
    site: str,
    *,
    act: Act,
    now: datetime,
) -> list[Rejection]:
    async def write(some: list[Fact]) -> None:
        await _add_rows(db, envelopes, some, now)

    refused: list[tuple[Fact, str]] = []

    async def judge(some: list[Fact]) -> None:
        told = await act(db, site, [fact.value for fact in some], now)
        refused.extend([(some[each.place], each.reason) for each in told or ()])

    failed = await _halving(db, facts, write) if type(facts[0].value) in _WRITTEN_HERE else []
    unwritten = {(fact.batch, fact.item) for fact, _ in failed}
    failed += await _halving(db, [fact for fact in facts if (fact.batch, fact.item) not in unwritten], judge)
    refused += [(fact, str(error).strip() or type(error).__name__) for fact, error in failed]
    return [set_aside(envelopes[fact.batch], fact.value, fact.item, reason) for fact, reason in refused]


async def _halving(
    db: AsyncConnection, facts: list[Fact], run: Callable[[list[Fact]], Awaitable[None]]
) -> list[tuple[Fact, Exception]]:
    """Runs over all facts at once in a savepoint; when that fails, over halves, down to the facts that fail alone."""
    failed: list[tuple[Fact, Exception]] = []
    waiting = [facts] if facts else []
    while waiting:
        some = waiting.pop()
        try:
            async with db.transaction():
                await run(some)
        except FAULTS as error:
            if is_the_stores(error):
                raise
            if len(some) == 1:
                failed.append((some[0], error))
            else:
                half = len(some) // 2
                waiting += [some[half:], some[:half]]
    return failed


async def _add_rows(db: AsyncConnection, envelopes: list[Envelope], facts: list[Fact], now: datetime) -> None:
    passages = [_passage(envelopes[fact.batch], fact, now) for fact in facts if isinstance(fact.value, TagPassage)]
    scans = [_scan(envelopes[fact.batch], fact, now) for fact in facts if isinstance(fact.value, BarcodeScan)]
    async with db.cursor() as cursor:
        if passages:
            await cursor.executemany(_SQL["add_passage"], passages)
        if scans:
            await cursor.executemany(_SQL["add_scan"], scans)


def _named(envelope: Envelope, fact: Fact, now: datetime) -> dict[str, object]:
    life = envelope.life
    return {"agent": life.agent, "boot": life.boot, "seq": envelope.seq, "item": fact.item, "site": life.site, "now": now}


def _passage(envelope: Envelope, fact: Fact, now: datetime) -> dict[str, object]:
    value = fact.value
    if not isinstance(value, TagPassage):
        raise TypeError(f"not a passage: {value!r}")
    return {
        **_named(envelope, fact, now),
        "portal": value.portal,
        "epc_hex": value.epc,
        "direction": value.direction,
        "first_seen": value.first_seen,
        "last_seen": value.last_seen,
        "reads": value.reads,
        "peak_rssi_dbm": value.peak_rssi_dbm,
        "confidence": value.confidence,
        "tag_group": value.group,
    }


def _scan(envelope: Envelope, fact: Fact, now: datetime) -> dict[str, object]:
    value = fact.value
    if not isinstance(value, BarcodeScan):
        raise TypeError(f"not a scan: {value!r}")
    return {**_named(envelope, fact, now), "read_point": value.read_point, "scanned": value.text, "at": value.at}
