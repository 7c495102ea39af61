"""The screens in a browser: they fill themselves, take decisions, and fit a wall and a phone."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, expect

from tests.web.depot import GLOVES, VACCINE, Depot, tag

pytestmark = pytest.mark.browser

WIDE = (1440, 900)
PHONE = (393, 851)
WAIT_MS = 15_000
BOTH = pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
OpenPage = Callable[..., Awaitable[Page]]


async def fits(page: Page) -> None:
    """Nothing sticks out to the right."""
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


@BOTH
@pytest.mark.parametrize(
    ("choice", "language", "submit", "screen"),
    [("中文", "zh-CN", "登录", "闸口"), ("English", "en", "Sign in", "Gate")],
    ids=["zh", "en"],
)
async def test_a_person_signs_in_in_either_language(
    open_page: OpenPage, depot: Depot, password: str, size: tuple[int, int], choice: str, language: str, submit: str, screen: str
) -> None:
    page = await open_page(None, "/gate", size)
    await expect(page).to_have_url(f"{depot.url}/login?back=/gate")
    await page.get_by_role("button", name=choice).click()
    await page.fill("#login-name", "gate")
    await page.fill("#login-password", "not this one")
    await page.get_by_role("button", name=submit).click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await fits(page)
    await page.fill("#login-password", password)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=screen, level=1)).to_be_visible()
    await expect(page.locator("html")).to_have_attribute("lang", language)
    await expect(page.locator(".verdict")).to_be_visible()


async def test_a_session_that_ended_leads_back_to_the_login(open_page: OpenPage, depot: Depot) -> None:
    page = await open_page("storekeeper", "/stock")
    await expect(page.locator("[data-lot=V0]")).to_be_visible()
    await depot.db.execute("DELETE FROM session")
    await page.locator("[data-lot=V0]").first.click()
    await expect(page).to_have_url(f"{depot.url}/login?back=/stock&ended=1")


async def test_a_role_is_offered_its_own_screens_only(open_page: OpenPage) -> None:
    page = await open_page("gate", "/map")
    await expect(page.locator(".verdict")).to_be_visible()
    assert await page.locator(".rail .item").count() == 2


@BOTH
async def test_the_gate_fills_itself_and_stops_what_is_wrong(open_page: OpenPage, depot: Depot, size: tuple[int, int]) -> None:
    page = await open_page("gate", "/gate/dock-1", size)
    verdict = page.locator(".verdict")
    await expect(verdict).to_have_attribute("data-verdict", "waiting")
    await expect(page.locator("[data-state=live]")).to_be_visible()
    await depot.pass_gate(tag(VACCINE, 1), tag(VACCINE, 2))
    await expect(verdict).to_have_attribute("data-verdict", "receiving")
    await expect(verdict).to_contain_text("2/3")
    await depot.pass_gate(tag(VACCINE, 3))
    await expect(verdict).to_have_attribute("data-verdict", "complete")
    await depot.pass_gate(tag(GLOVES, 9))
    await expect(verdict).to_have_attribute("data-verdict", "stop")
    await expect(verdict).to_contain_text("Stop")
    await expect(page.get_by_role("region", name="Findings")).to_contain_text("Wrong product")
    await fits(page)


@BOTH
async def test_an_alert_comes_by_itself_and_is_acknowledged_with_a_reason(
    open_page: OpenPage, depot: Depot, size: tuple[int, int]
) -> None:
    page = await open_page("storekeeper", "/alerts", size)
    await expect(page.locator("[data-room=cold-1]")).to_contain_text("10.5")
    await expect(page.locator("[data-state=live]")).to_be_visible()
    alert = await depot.warm_up()
    await expect(page.locator(".bell-count")).to_have_text("1")
    await page.locator(".row").first.click()
    await expect(page.locator(f"[data-alert='{alert}']")).to_contain_text("Too warm · Cold room 1")
    await expect(page.locator(".chart canvas")).to_be_visible()
    await expect(page.locator(".lots")).to_contain_text("Hepatitis A vaccine")
    await fits(page)
    await page.get_by_role("button", name="Acknowledge").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Acknowledge").click()
    await expect(dialog.get_by_text("Choose a reason")).to_be_visible()
    await dialog.get_by_text("Door was open, now closed").click()
    await dialog.locator("textarea").fill("冷库门没有关好")
    await dialog.get_by_role("button", name="Acknowledge").click()
    await expect(page.locator(".timeline")).to_contain_text("Acknowledged by storekeeper")
    await expect(page.locator(".bell-count")).to_have_count(0)
    row = await (await depot.db.execute("SELECT state, acknowledge_reason FROM alert WHERE id = %s", [alert])).fetchone()
    assert row == ("acknowledged", "Door was open, now closed: 冷库门没有关好")


@BOTH
async def test_stock_is_found_and_its_movements_are_told(open_page: OpenPage, size: tuple[int, int]) -> None:
    page = await open_page("storekeeper", "/stock", size)
    await expect(page.locator("[data-total='3']")).to_be_attached()
    await expect(page.locator("[data-lot=M-OLD]")).to_contain_text("Expired")
    await fits(page)
    await page.get_by_role("searchbox").fill("gloves")
    await expect(page.locator("[data-total='1']")).to_be_attached()
    await page.locator("[data-lot=G7]").click()
    movements = page.locator(".movements")
    await expect(movements).to_contain_text("Cold room 1")
    await expect(movements).to_contain_text("240")
    await fits(page)


@BOTH
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Correct this movement", "Say how you know", "Corrected by movement")),
        ("zh-CN", ("更正这条移动记录", "请说明依据", "已由第")),
    ],
    ids=["en", "zh"],
)
async def test_a_wrong_movement_is_put_right_by_keyboard_and_never_without_a_reason(
    open_page: OpenPage, depot: Depot, size: tuple[int, int], language: str, words: tuple[str, str, str]
) -> None:
    title, ask, done = words
    page = await open_page("storekeeper", "/stock", size, language)
    await page.locator("[data-lot=G7]").focus()
    await page.keyboard.press("Enter")
    await page.locator("[data-correct]").focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog").filter(has_text=title)
    await dialog.locator("[name=quantity]").press_sequentially("230")
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("alert")).to_contain_text(ask)
    await fits(page)
    await page.keyboard.press("Tab")
    await page.keyboard.type("复点少十盒")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator(".movements")).to_contain_text(done)
    await expect(page.locator(".movements li")).to_have_count(2)
    await expect(page.locator(".movements")).to_contain_text("复点少十盒")
    await fits(page)
    row = await (await depot.db.execute("SELECT quantity FROM stock WHERE lot = 'G7'")).fetchone()
    assert row == (230,)
    row = await (await depot.db.execute("SELECT actor, quantity FROM movement ORDER BY id DESC LIMIT 1")).fetchone()
    assert row == ("person:storekeeper", 10)


async def test_who_may_not_correct_is_not_asked(open_page: OpenPage) -> None:
    page = await open_page("dispatcher", "/stock")
    await page.locator("[data-lot=G7]").click()
    await expect(page.locator(".movements")).to_contain_text("240")
    await expect(page.locator("[data-correct]")).to_have_count(0)


@BOTH
async def test_the_map_shows_vehicles_and_a_proposal_is_accepted(open_page: OpenPage, depot: Depot, size: tuple[int, int]) -> None:
    page = await open_page("dispatcher", "/map", size)
    drawn = page.locator(".canvas[data-ready=true]")
    for name, count in {"vehicles": 2, "moving": 1, "stops": 3, "routes": 2, "proposed": 2, "tracks": 2}.items():
        await expect(drawn).to_have_attribute(f"data-{name}", str(count), timeout=WAIT_MS)
    await expect(page.locator("[data-vehicle=van-1]")).to_contain_text("Moving")
    await fits(page)
    if size == PHONE:
        await page.get_by_role("tab", name="Plan").click()
    proposal = page.locator("[data-proposal]")
    await expect(proposal).to_contain_text("Van 1 is about 25 min behind")
    await expect(proposal).to_contain_text("East clinic")
    await proposal.get_by_role("button", name="Accept").click()
    await expect(proposal).to_have_count(0)
    await expect(drawn).to_have_attribute("data-proposed", "0")
    rows = await (await depot.db.execute("SELECT state FROM plan ORDER BY id")).fetchall()
    assert [row[0] for row in rows] == ["superseded", "active"]


async def test_a_vehicle_moves_when_its_position_comes(open_page: OpenPage, depot: Depot) -> None:
    page = await open_page("dispatcher", "/map")
    drawn = page.locator(".canvas[data-ready=true]")
    await expect(drawn).to_have_attribute("data-moving", "1", timeout=WAIT_MS)
    await depot.db.execute(
        "UPDATE vehicle_live SET speed_mps = 12, at = at + interval '5 seconds', recorded_at = now() WHERE vehicle = 'van-2'"
    )
    await expect(drawn).to_have_attribute("data-moving", "2", timeout=WAIT_MS)


async def test_old_data_is_never_shown_as_live(open_page: OpenPage, depot: Depot) -> None:
    page = await open_page("storekeeper", "/stock")
    await expect(page.locator("[data-state=live]")).to_be_visible()
    await expect(page.locator("[data-lot=V0]")).to_be_visible()
    depot.stop()
    await expect(page.locator(".badge.stale")).to_be_visible()
    await expect(page.locator(".table")).to_have_class(re.compile("is-stale"))


async def test_all_tabs_of_a_browser_share_one_stream(open_page: OpenPage, depot: Depot) -> None:
    first = await open_page("storekeeper", "/stock")
    others = [await first.context.new_page() for _ in range(7)]
    await asyncio.gather(*(page.goto(f"{depot.url}/stock") for page in others))
    for page in others:
        await expect(page.locator("[data-state=live]")).to_be_visible()
        await expect(page.locator("[data-lot=V0]")).to_be_visible()
    assert depot.streams() == 1
