"""The web app's files, and the headers on everything."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.headers import CONTENT_SECURITY_POLICY
from api.live import Pool
from hub.bootstrap import make_solver

SCRIPT = "export const greeting = 'hello'\n" * 100


@pytest.fixture
def static(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>app</title>")
    (folder / "assets" / "index-BxY1.js").write_text(SCRIPT)
    (folder / "base.pmtiles").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "secret.txt").write_text("not yours")
    return folder


@pytest.fixture
async def browser(pool: Pool, static: Path) -> AsyncIterator[httpx.AsyncClient]:
    app: FastAPI = create_app(pool, make_solver(), static=static)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://quartermaster.test") as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/alerts", "/map/van-1", "/index.html"])
async def test_every_screen_is_the_one_page_and_is_asked_for_anew(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<title>app</title>" in answer.text


async def test_hashed_assets_are_kept_for_good_and_compressed(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/assets/index-BxY1.js", headers={"Accept-Encoding": "gzip"})
    assert answer.text == SCRIPT
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert len(gzip.compress(SCRIPT.encode())) < len(SCRIPT)


async def test_a_missing_asset_is_not_found_rather_than_the_page(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/assets/index-old.js")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_map_tiles_are_served_in_ranges_and_never_compressed(browser: httpx.AsyncClient) -> None:
    whole = await browser.get("/base.pmtiles", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in whole.headers
    part = await browser.get("/base.pmtiles", headers={"Range": "bytes=10-19", "Accept-Encoding": "gzip"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["etag"] == whole.headers["etag"]


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/..%2f..%2fsecret.txt", "//etc/passwd", "/%00"]
)
async def test_nothing_outside_the_folder_is_served(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    assert "not yours" not in answer.text
    assert "root:" not in answer.text


async def test_an_unknown_address_of_the_api_is_not_a_page(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/api/v1/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_without_a_web_app_the_page_says_so_in_both_languages(pool: Pool, tmp_path: Path) -> None:
    app = create_app(pool, make_solver(), static=tmp_path / "absent")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://quartermaster.test") as client:
        answer = await client.get("/")
    assert answer.status_code == 200
    assert "UI not built" in answer.text
    assert "界面尚未构建" in answer.text


@pytest.mark.parametrize("path", ["/", "/api/v1/health", "/api/v1/nothing", "/assets/none.js"])
async def test_every_answer_carries_the_headers_that_keep_a_browser_safe(browser: httpx.AsyncClient, path: str) -> None:
    headers = (await browser.get(path)).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    if path.startswith("/api/"):
        assert headers["cache-control"] == "no-store"
