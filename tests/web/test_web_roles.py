"""Who sees which screens, the driver's page, and what the alerts say of a vehicle."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from playwright.async_api import Page, Route, expect

from hub.services import alerts
from tests.web.depot import Depot

pytestmark = pytest.mark.browser

WIDE = (1440, 900)
PHONE = (393, 851)
WAIT_MS = 15_000
OpenPage = Callable[..., Awaitable[Page]]

SCREENS: Final = {
    "gate": ["gate", "alerts"],
    "storekeeper": ["alerts", "gate", "stock", "devices"],
    "dispatcher": ["map", "alerts", "stock"],
    "driver": ["drive", "map"],
    "maintainer": ["devices", "alerts"],
    "auditor": ["alerts", "gate", "stock", "map", "devices"],
    "admin": ["gate", "alerts", "stock", "map", "devices"],
}


async def screens_of(page: Page) -> list[str]:
    items = page.locator(".rail .item")
    await expect(items.first).to_be_visible()
    return [str(await item.get_attribute("href")).lstrip("/") for item in await items.all()]


@pytest.mark.parametrize("role", SCREENS)
async def test_a_role_sees_its_screens_and_begins_with_the_first(open_page: OpenPage, depot: Depot, role: str) -> None:
    refused: list[str] = []
    page = await open_page(role)
    page.on("response", lambda answer: refused.append(answer.url) if answer.status == 403 else None)
    await expect(page.locator("[data-state=live]")).to_be_visible()
    assert await screens_of(page) == SCREENS[role]
    for screen in SCREENS[role]:
        await page.locator(f".rail .item[href='/{screen}']").click()
        await expect(page.locator(f".rail .item[href='/{screen}']")).to_have_attribute("aria-current", "page")
        await expect(page.locator(".stage > *").first).to_be_visible()
    await page.goto(f"{depot.url}/{SCREENS[role][0]}")
    await expect(page.locator(".stage > *").first).to_be_visible()
    assert refused == [], "a screen asked for what its role may not read"


async def test_the_servers_permissions_decide_what_is_offered_not_the_role(open_page: OpenPage, depot: Depot) -> None:
    page = await open_page(None, "/login")

    async def fewer(route: Route) -> None:
        answer = await route.fetch()
        told = await answer.json()
        if "person" in told:
            told["person"]["permissions"] = ["session.own", "live.read", "master_data.read", "stock.read"]
        await route.fulfill(response=answer, json=told)

    await page.route("**/api/v1/session", fewer)
    await page.fill("#login-name", "storekeeper")
    await page.fill("#login-password", "a long enough password")
    await page.keyboard.press("Enter")
    assert await screens_of(page) == ["stock"]
    await page.goto(f"{depot.url}/alerts")
    await expect(page).to_have_url(f"{depot.url}/stock")


@pytest.mark.parametrize(("language", "here"), [("en", "You are here"), ("zh-CN", "已到达")], ids=["en", "zh"])
async def test_a_driver_sees_the_next_stop_and_the_ones_after_it(
    open_page: OpenPage, depot: Depot, language: str, here: str
) -> None:
    page = await open_page("driver", "/", PHONE, language=language)
    await expect(page).to_have_url(f"{depot.url}/drive")
    following = page.locator("[data-next]")
    await expect(following).to_have_attribute("data-next", "O-north")
    await expect(following).to_contain_text("North clinic" if language == "en" else "城北诊所")
    await expect(page.locator("[data-stop=O-east]")).to_be_visible()
    await expect(page.locator("[data-stop=O-west]")).to_have_count(0)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    await depot.db.execute("UPDATE delivery_order SET state = 'arrived', arrived_at = now() WHERE id = 'O-north'")
    await page.reload()
    await expect(following).to_contain_text(here)
    await depot.db.execute("UPDATE delivery_order SET state = 'delivered', delivered_at = now()")
    await page.reload()
    await expect(following).to_have_count(0)


async def test_a_driver_is_told_when_the_plan_has_changed(open_page: OpenPage, depot: Depot) -> None:
    driver = await open_page("driver", "/", PHONE)
    await expect(driver.locator("[data-stop=O-east]")).to_be_visible()
    await expect(driver.locator("[data-state=live]")).to_be_attached()
    await expect(driver.locator("[data-changed]")).to_have_count(0)
    dispatcher = await open_page("dispatcher", "/map")
    await dispatcher.locator("[data-proposal]").get_by_role("button", name="Accept").click()
    banner = driver.locator("[data-changed]")
    await expect(banner).to_contain_text("Stops taken away: 1", timeout=WAIT_MS)
    await expect(driver.locator("[data-stop=O-east]")).to_have_count(0)
    await driver.reload()
    await banner.get_by_role("button", name="Got it").click()
    await expect(banner).to_have_count(0)
    await driver.reload()
    await expect(driver.locator("[data-next=O-north]")).to_be_visible()
    await expect(banner).to_have_count(0)


async def late_alert(depot: Depot, order: str, late_s: int, *, vehicle: str = "van-2") -> int:
    now = datetime.now(UTC)
    async with depot.db.transaction():
        return await alerts.open_alert(
            depot.db,
            kind="lateness",
            source=f"vehicle:{vehicle}",
            rule="late",
            severity="minor",
            site="depot",
            location=None,
            opened_at=now - timedelta(minutes=3),
            details={"vehicle": vehicle, "late_s": late_s, "order": order},
            now=now,
        )


@pytest.mark.parametrize("role", ["storekeeper", "dispatcher"])
async def test_a_late_vehicle_is_called_by_its_name_and_alerts_of_one_vehicle_read_differently(
    open_page: OpenPage, depot: Depot, role: str
) -> None:
    first = await late_alert(depot, "O-west", 700)
    async with depot.db.transaction():
        now = datetime.now(UTC)
        details = {"vehicle": "van-2", "late_s": 0, "order": "O-west"}
        await alerts.clear_alert(depot.db, source="vehicle:van-2", rule="late", cleared_at=now, details=details, now=now)
    second = await late_alert(depot, "O-east", 40)
    page = await open_page(role, "/alerts")
    caught_up, under_way = page.locator(f".row[href='/alerts/{first}']"), page.locator(f".row[href='/alerts/{second}']")
    await expect(caught_up).to_contain_text(re.compile(r"Van 2, [0-9:]{5}–[0-9:]{5}, no further delay, for West clinic \(O-west\)"))
    await expect(under_way).to_contain_text("Van 2, under a minute late, for East clinic (O-east)")
    await page.goto(f"{depot.url}/alerts/{second}")
    await expect(page.locator(".detail h2")).to_contain_text("Van 2")


async def test_the_phone_keeps_its_switches_in_one_menu(open_page: OpenPage) -> None:
    page = await open_page("storekeeper", "/stock", PHONE)
    await expect(page.locator("[data-lot=V0]")).to_be_visible()
    assert await page.locator(".bar button:visible").count() == 2
    await page.get_by_role("button", name="More").click()
    await page.get_by_role("button", name="切换为中文").click()
    await expect(page.locator("h1")).to_have_text("库存")
    await page.get_by_role("button", name="更多").click()
    await page.get_by_role("button", name="退出登录").click()
    await expect(page.locator("#login-name")).to_be_visible()
