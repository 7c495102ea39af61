"""Times on the screens are those of the site, wherever the browser is."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Page, expect

from tests.web.depot import VACCINE, Depot, tag

pytestmark = pytest.mark.browser

FAR = "America/St_Johns"
"""A zone with another hour and another minute than any site's."""
SITE = ZoneInfo("Asia/Shanghai")
WAIT_MS = 15_000
OpenPage = Callable[..., Awaitable[Page]]


def at_the_site(moment: datetime) -> str:
    return moment.astimezone(SITE).strftime("%H:%M")


async def promised_until(depot: Depot, order: str) -> datetime:
    row = await (await depot.db.execute("SELECT window_until FROM delivery_order WHERE id = %s", [order])).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


async def test_the_gate_tells_the_clock_of_its_site(open_page: OpenPage, depot: Depot) -> None:
    page = await open_page("gate", "/gate/dock-1", zone=FAR)
    await expect(page.locator("[data-state=live]")).to_be_visible()
    before = datetime.now(UTC)
    await depot.pass_gate(tag(VACCINE, 1), "30" + "0" * 21 + "1")
    seen = page.get_by_role("region", name="Findings").locator(".finding .num").last
    await expect(seen).to_be_visible()
    assert await seen.inner_text() in {at_the_site(before), at_the_site(before + timedelta(minutes=1))}


async def test_an_alert_is_dated_by_its_site(open_page: OpenPage, depot: Depot) -> None:
    alert = await depot.warm_up()
    row = await (await depot.db.execute("SELECT opened_at FROM alert WHERE id = %s", [alert])).fetchone()
    assert row is not None
    page = await open_page("storekeeper", f"/alerts/{alert}", zone=FAR)
    moments = page.locator(".timeline .moment").filter(has_text="Alert")
    await expect(moments).to_contain_text(row[0].astimezone(SITE).strftime("%H:%M:%S"))


async def test_a_plan_promises_in_the_time_of_its_depot(open_page: OpenPage, depot: Depot) -> None:
    page = await open_page("dispatcher", "/map", zone=FAR)
    await expect(page.locator(".route").first).to_contain_text(at_the_site(await promised_until(depot, "O-east")), timeout=WAIT_MS)


async def test_each_site_has_its_own_clock(open_page: OpenPage, depot: Depot) -> None:
    await depot.db.execute("INSERT INTO site (site, name_zh, name_en, time_zone) VALUES ('port', '港口', 'Port', 'Asia/Kolkata')")
    await depot.db.execute(
        "INSERT INTO location (location, site, role, name_zh, name_en, storage_class, receives_into, quarantines_into)"
        " SELECT 'quay', 'port', role, '码头', 'Quay', storage_class, receives_into, quarantines_into"
        " FROM location WHERE location = 'dock-1'"
    )
    page = await open_page("gate", "/gate/dock-1", zone=FAR)
    zone = page.locator("[data-zone]")
    await expect(zone).to_have_text("China Standard Time")
    await page.get_by_role("button", name="Quay").click()
    await expect(zone).to_have_text("India Standard Time")


async def test_the_zone_is_named_only_where_it_is_not_the_browsers(open_page: OpenPage) -> None:
    abroad = await open_page("storekeeper", "/stock", language="zh-CN", zone=FAR)
    await expect(abroad.locator("[data-zone]")).to_have_text("中国标准时间")
    at_home = await open_page("storekeeper", "/stock")
    await expect(at_home.locator("[data-lot=V0]")).to_be_visible()
    await expect(at_home.locator("[data-zone]")).to_have_count(0)


async def test_a_zone_that_the_browser_does_not_know_becomes_utc_and_says_so(open_page: OpenPage, depot: Depot) -> None:
    await depot.db.execute("UPDATE site SET time_zone = 'Mars/Olympus'")
    page = await open_page("gate", "/gate/dock-1", zone=FAR)
    await expect(page.locator("[data-zone]")).to_have_text("Coordinated Universal Time")


async def test_a_lot_expires_when_its_day_ends_at_the_site(open_page: OpenPage, depot: Depot) -> None:
    today = datetime.now(SITE).date()
    for lot, expiry in (("V0", today), ("G7", today - timedelta(days=1))):
        await depot.db.execute("UPDATE lot SET expiry = %s WHERE lot = %s", [expiry, lot])
    page = await open_page("storekeeper", "/stock", zone="Pacific/Kiritimati")
    await expect(page.locator("[data-lot=V0]")).to_contain_text("0 days left")
    await expect(page.locator("[data-lot=G7]")).to_contain_text("Expired")
