"""The four screens of the running demo, alive while the story is told; the pictures in the README are taken here."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.xdist_group("scenarios"), pytest.mark.timeout(300)]

ALIVE_WITHIN_S: Final = 90
"""Of real time, on a machine that runs other tests beside it; on a quiet one the screens are alive 45 s after the start."""
WAIT_MS: Final = ALIVE_WITHIN_S * 1000
WIDE: Final = {"width": 1440, "height": 900}
PHONE: Final = {"width": 393, "height": 851}
PICTURES: Final = os.environ.get("QM_SCREENSHOTS")
"""A folder for the pictures (docs/images for those of the README); without it they go to the test's own folder."""


class Demo:
    """`quartermaster demo`, as a person starts it."""

    def __init__(self, url: str, passwords: dict[str, str]) -> None:
        self.url = url
        self.passwords = passwords


@pytest.fixture
async def demo() -> AsyncIterator[Demo]:
    """The whole demo, up, and taken down by SIGINT afterwards."""
    words = ["-m", "quartermaster", "demo", "--port", "0"]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    told = ""
    async with asyncio.timeout(ALIVE_WITHIN_S):
        while "Ctrl-C stops everything" not in told:
            line = await process.stdout.readline()
            assert line, f"the demo ended early:\n{told}"
            told += line.decode()
    address = re.search(r"running: (http://\S+)", told)
    assert address is not None

    async def read_on() -> None:
        assert process.stdout is not None
        while await process.stdout.readline():
            pass

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read_on(), name="what the demo says")
        try:
            yield Demo(address[1], dict(re.findall(r"^ {4}(\w+) +(\S+)$", told, re.MULTILINE)))
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), ALIVE_WITHIN_S)


async def sign_in(browser: Browser, demo: Demo, role: str, *, chinese: bool, phone: bool = False) -> Page:
    context = await browser.new_context(
        viewport=PHONE if phone else WIDE,  # type: ignore[arg-type]
        locale="zh-CN" if chinese else "en",
        timezone_id="Asia/Shanghai",
    )
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    await page.goto(demo.url)
    await page.get_by_role("button", name="中文" if chinese else "English").click()
    await page.fill("#login-name", role)
    await page.fill("#login-password", demo.passwords[role])
    await page.keyboard.press("Enter")
    # The login page has a heading too: going on before the answer came would leave the page without a session.
    await page.wait_for_url(lambda url: not urlsplit(url).path.startswith("/login"), timeout=WAIT_MS)
    return page


async def test_all_four_screens_come_alive_while_the_story_is_told(demo: Demo, browser: Browser, tmp_path: Path) -> None:
    pictures = Path(PICTURES) if PICTURES else tmp_path
    pictures.mkdir(parents=True, exist_ok=True)
    english = await sign_in(browser, demo, "admin", chinese=False)
    chinese = await sign_in(browser, demo, "gate", chinese=True)
    phone = await sign_in(browser, demo, "dispatcher", chinese=True, phone=True)

    async with asyncio.timeout(ALIVE_WITHIN_S):
        await chinese.goto(f"{demo.url}/gate/dock-2")
        await expect(chinese.locator(".verdict")).to_contain_text("拦截", timeout=WAIT_MS)
        await chinese.screenshot(path=pictures / "gate.png")

        await english.goto(f"{demo.url}/stock")
        await expect(english.locator("[data-lot=N2611]").first).to_be_visible(timeout=WAIT_MS)

        await phone.goto(f"{demo.url}/map")
        await expect(phone.get_by_text("1号车").first).to_be_visible(timeout=WAIT_MS)
        await expect(phone.get_by_text("2号车").first).to_be_visible(timeout=WAIT_MS)

        await english.goto(f"{demo.url}/alerts")
        await english.get_by_text("Too warm").first.click(timeout=WAIT_MS)
        await expect(english.locator("canvas").first).to_be_visible(timeout=WAIT_MS)
        await english.screenshot(path=pictures / "alerts.png")

    await english.goto(f"{demo.url}/map")
    await expect(english.get_by_text("Van 2").first).to_be_visible(timeout=WAIT_MS)
    await english.wait_for_function("() => window.__map && window.__map.vehicles === 3", timeout=WAIT_MS)
    await english.screenshot(path=pictures / "map.png")
    await english.goto(f"{demo.url}/stock")
    await expect(english.locator("[data-lot=N2611]").first).to_be_visible(timeout=WAIT_MS)
    await english.screenshot(path=pictures / "stock.png")
    await phone.screenshot(path=pictures / "map-phone.png")
    assert len({picture.read_bytes() for picture in pictures.glob("*.png")}) >= 5
