"""What simulated people do through the API: plan the day, take an urgent order, answer an alert, drive the plan."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final

from core.errors import QuartermasterError, Unavailable
from simulators.api_client import ApiClient, Json
from simulators.pace import Pace
from simulators.scenario import Acknowledge, PlanDay, UrgentOrder, anchored
from simulators.truth import DayPlanned, OrderTaken, Tallies
from simulators.world.driving import Driving, Stop

MAX_TRIES: Final = 40
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 2.0
READ_PLAN_EVERY_S: Final = 60.0
"""Scenario seconds between two looks at the plan."""
SHORTEST_LOOK_S: Final = 0.5
"""Real seconds between two looks, however fast time passes."""
LOOKS_BEFORE_COMPLAINT: Final = 10
GONE: Final = frozenset({"delivered", "cancelled"})

Tell = Callable[[str], None]


async def patiently(what: str, ask: Callable[[], Awaitable[Json]]) -> Json:
    """Asks again with growing pauses while the API does not answer. Raises Unavailable after MAX_TRIES."""
    wait_s = FIRST_WAIT_S
    for _ in range(MAX_TRIES):
        try:
            return await ask()
        except Unavailable as error:
            refused = error
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)
    raise Unavailable(f"{what}: given up after {MAX_TRIES} tries: {refused}")


class People:
    """The staff of a scenario."""

    def __init__(self, api: ApiClient, pace: Pace, tell: Tell, tallies: Tallies) -> None:
        self._api = api
        self._pace = pace
        self._tell = tell
        self._tallies = tallies

    async def do(self, event: PlanDay | UrgentOrder | Acknowledge) -> None:
        """One thing a person does. A refusal is told, not raised: the world goes on."""
        try:
            if isinstance(event, PlanDay):
                await self._plan_day(event)
            elif isinstance(event, UrgentOrder):
                await self._take_order(anchored(event.order, self._pace.start))
            else:
                await self._acknowledge(event)
        except QuartermasterError as error:
            self._tell(f"refused: {error}")

    async def _take_order(self, order: dict[str, Any]) -> None:
        at, certain = self._now(), False
        try:
            await patiently("urgent order", lambda: self._api.post("/orders", order))
            certain = True
            self._tell(f"an urgent order comes in: {order['id']} for {order['destination']}")
        finally:
            if any(day.site == order["site"] for day in self._tallies.days):
                self._tallies.orders.append(OrderTaken(order["id"], order["site"], at, certain))

    async def _plan_day(self, event: PlanDay) -> None:
        path = f"/sites/{event.site}/plan"
        plan = await patiently("plan of the day", lambda: self._api.post(path, {"from": self._pace.start}))
        if plan["state"] == "proposed":
            plan = await self._api.post(f"/plans/{plan['id']}/accept")
        self._tallies.days.append(DayPlanned(event.site, self._now()))
        stops = sum(len(route["stops"]) for route in plan["routes"])
        self._tell(
            f"the dispatcher plans the day: {stops} stops on {len(plan['routes'])} routes, {plan['distance_m'] / 1000:.1f} km"
        )

    async def _acknowledge(self, event: Acknowledge) -> None:
        alerts = await patiently("alerts", lambda: self._api.get("/alerts?state=open"))
        for alert in (each for each in alerts if each["location"] == event.location):
            await self._api.post(f"/alerts/{alert['id']}/acknowledge", {"reason": event.reason})
            self._tell(f"the storekeeper acknowledges the alert at {event.location}: {event.reason}")

    async def drive_plans(self, drivings: Mapping[str, Driving], sites: set[str]) -> None:
        """Has the vans follow the plan in force, looked up each scenario minute, until cancelled."""
        known: dict[str, int] = {}
        failures = 0
        while True:
            for site in sorted(sites):
                try:
                    plan = (await self._api.get(f"/sites/{site}/plan"))["active"]
                except QuartermasterError as error:
                    failures += 1
                    if failures == LOOKS_BEFORE_COMPLAINT:
                        self._tell(f"the drivers cannot read their plan: {error}")
                    continue
                failures = 0
                if plan is not None:
                    self._hand_out(plan, drivings, known)
            await asyncio.sleep(max(SHORTEST_LOOK_S, self._pace.scale.real_seconds(READ_PLAN_EVERY_S)))

    def _hand_out(self, plan: dict[str, Any], drivings: Mapping[str, Driving], known: dict[str, int]) -> None:
        routes = {route["vehicle"]: route["stops"] for route in plan["routes"]}
        for vehicle, driving in drivings.items():
            driving.follow([self._stop(stop) for stop in routes.get(vehicle, []) if stop["state"] not in GONE])
        if known.get(plan["site"]) not in (None, plan["id"]):
            self._tell(f"the vans follow plan {plan['id']} now ({plan['trigger']})")
        known[plan["site"]] = plan["id"]

    def _stop(self, stop: dict[str, Any]) -> Stop:
        return Stop(
            order=stop["order"],
            place=(stop["latitude"], stop["longitude"]),
            opens_s=self._elapsed_s(stop["window_from"]),
            service_s=self._elapsed_s(stop["departure_at"]) - self._elapsed_s(stop["start_at"]),
        )

    def _now(self) -> datetime:
        return self._pace.moment(self._pace.elapsed_s())

    def _elapsed_s(self, moment: str) -> float:
        return (datetime.fromisoformat(moment) - self._pace.start).total_seconds()
