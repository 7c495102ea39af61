"""What must have come of the story: a receipt of each delivery, an excursion of each warm room, a new plan of each disturbance.

The world says what happened (`simulators.truth`), the database what the hub made of it. Nothing here asks the code under trial.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from simulators.demo.rows import Rows, fetch, listed, queries
from simulators.truth import Truth, Warming
from simulators.world.warmth import DOUBT_S

LATE_AFTER_S: Final = 600.0
"""Seconds of a jam after which a vehicle is late enough for an alert and a new plan: what the hub promises a dispatcher."""
SERIAL: Final = "\x1d21"
"""In a GS1 DataMatrix, after a field of variable length: the serial number, (21). Such a scan may open a receipt by itself."""
_DOUBT: Final = timedelta(seconds=DOUBT_S)
_SQL: Final = queries("consequences")


async def judge_story(db: psycopg.AsyncConnection, truth: Truth) -> list[str]:
    """In words, each consequence that is missing, doubled, or of nothing that happened; none when the hub understood the story."""
    plans = await fetch(db, _SQL["plans"])
    return [
        *_receipts(truth, await fetch(db, _SQL["receipts"])),
        *listed(
            "receipts whose alert is missing or not deserved (receipt, verdict, alerts)",
            await fetch(db, _SQL["receipts_without_their_alert"]),
        ),
        *_excursions(truth, await fetch(db, _SQL["excursions"])),
        *_days(truth, plans),
        *_orders(truth, plans),
        *_jams(truth, plans, dict(await fetch(db, _SQL["late_vehicles"]))),
    ]


def _receipts(truth: Truth, rows: Rows) -> list[str]:
    """One receipt a delivery, with the verdict it deserves. A delivery that was interrupted may come in as many as it took."""
    posted: Counter[tuple[str, str]] = Counter()
    verdicts: dict[tuple[str, str], list[str]] = {}
    still_open = []
    for gate, shipment, state, verdict, count in rows:
        if state != "posted":
            still_open.append((gate, shipment))
            continue
        posted[gate, shipment] += count
        verdicts.setdefault((gate, shipment), []).extend([verdict] * count)
    came = Counter({(each.gate, each.shipment): 0 for each in truth.deliveries})
    for each in truth.deliveries:
        came[each.gate, each.shipment] += each.attempts
    whole = {(each.gate, each.shipment): each for each in truth.deliveries if each.certain}
    wrong, slack = [], Counter(scan.read_point for scan in truth.scans if SERIAL in scan.text)
    for key, attempts in came.items():
        delivery = whole.get(key)
        if delivery is not None and attempts == 1:
            deserved = "clean" if delivery.clean else "discrepancy"
            if verdicts.get(key) != [deserved]:
                wrong.append((*key, f"should be one, {deserved}", f"is {verdicts.get(key, [])}"))
        else:
            slack[key[0]] += attempts
            if not 1 <= posted[key] <= attempts:
                wrong.append((*key, f"should be 1 to {attempts}", f"is {posted[key]}"))
    strange = Counter({key: count for key, count in posted.items() if key not in came})
    return [
        *listed("receipts are not what came (gate, shipment)", wrong),
        *listed("receipts of nothing that came (gate, shipment)", [key for key in strange if strange[key] > slack[key[0]]]),
        *listed("receipts are still open (gate, shipment)", still_open),
    ]


def _excursions(truth: Truth, rows: Rows) -> list[str]:
    """Each warm spell is one excursion of each probe in that room, and one alert, at a time that can be true."""
    left = list(rows)
    missing, untimely = [], []
    for warming in truth.warmings:
        key = (warming.rule, warming.site, warming.device)
        mine = [row for row in left if row[:3] == key and abs(row[3] - warming.started_at) <= _DOUBT]
        if not mine:
            missing += [(*key, warming.started_at)] if warming.certain else []
            continue
        left.remove(mine[0])
        if not _ends_well(warming, mine[0][4], truth.ended_at):
            untimely.append((*key, f"ended {mine[0][4]}", f"should have {warming.ended_at}"))
    stored = Counter(row[:3] for row in rows)
    alerts = {row[:3]: row[5] for row in rows}
    return [
        *listed("rooms were too warm or too cold without an excursion (rule, site, probe, since)", missing),
        *listed("excursions of rooms that were within their limits (rule, site, probe, since)", [row[:4] for row in left]),
        *listed("excursions ended at another time than the room was right again (rule, site, probe)", untimely),
        *listed(
            "excursions do not have one alert each (rule, site, probe, excursions, alerts)",
            [(*key, count, alerts[key]) for key, count in stored.items() if count != alerts[key]],
        ),
    ]


def _ends_well(warming: Warming, ended_at: datetime | None, world_ended_at: datetime | None) -> bool:
    if ended_at is None:
        return warming.ended_at is None or world_ended_at is None or warming.ended_at >= world_ended_at - _DOUBT
    return warming.ended_at is not None and abs(ended_at - warming.ended_at) <= _DOUBT


def _days(truth: Truth, plans: Rows) -> list[str]:
    wanted = Counter(day.site for day in truth.days)
    made = Counter(site for site, trigger, _, _ in plans if trigger == "day")
    return listed(
        "sites have no plan of the day that was planned", [(site,) for site, count in wanted.items() if made[site] < count]
    )


def _orders(truth: Truth, plans: Rows) -> list[str]:
    """An urgent order has its place in a plan that was made again, or is told as one that cannot be served."""
    again = [(site, trigger, orders) for site, trigger, _, orders in plans if trigger != "day"]
    missing = [
        (each.site, each.order)
        for each in truth.orders
        if each.certain and not any(each.site == site and each.order in orders for site, _, orders in again)
    ]
    taken = Counter(each.site for each in truth.orders)
    made = Counter(site for site, trigger, _ in again if trigger == "new_order")
    needless = [(site, count, taken[site]) for site, count in made.items() if count > taken[site]]
    return [
        *listed("urgent orders are in no plan that was made again", missing),
        *listed("sites were planned again for more orders than came (site, plans, orders)", needless),
    ]


def _jams(truth: Truth, plans: Rows, alerts: dict[str, Any]) -> list[str]:
    """A van that stood in a jam for long is late: there is an alert about it, and a plan that says so."""
    if not truth.days:
        return []
    stuck = sorted({each.vehicle for each in truth.held_up if each.lasted_s > LATE_AFTER_S + DOUBT_S})
    told = {vehicle for _, _, vehicles, _ in plans for vehicle in vehicles}
    return [
        *listed("vehicles were held up without an alert", [(each,) for each in stuck if not alerts.get(f"vehicle:{each}")]),
        *listed("vehicles were held up and nothing was planned again for it", [(each,) for each in stuck if each not in told]),
    ]
