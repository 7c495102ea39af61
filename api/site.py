"""The web app's files: one page for every address that is not the API's, and assets that never change under their name."""

import mimetypes
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

from core.errors import NotFound

BUILT: Final = Path(__file__).parent / "static"
_PAGE_CACHE: Final = "no-cache"
_ASSET_CACHE: Final = "public, max-age=31536000, immutable"
# Types that Python's table lacks or that differ from machine to machine.
_TYPES: Final = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".pmtiles": "application/octet-stream",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
NOT_BUILT: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Quartermaster</title>
<h1>UI not built</h1>
<p>The API is running, but this installation carries no web app. Run <code>make setup</code> in a checkout, or install a
released wheel, which has it inside. The API describes itself at <a href="/api/v1/openapi.json">/api/v1/openapi.json</a>.</p>
<h1 lang="zh-CN">界面尚未构建</h1>
<p lang="zh-CN">接口正在运行，但此安装不含网页应用。请在源码目录运行 <code>make setup</code>，或安装正式发布的 wheel 包。</p>
</html>
"""


def _file_within(folder: Path, path: str) -> Path | None:
    if "\x00" in path:
        return None
    found = (folder / path).resolve()
    return found if found.is_relative_to(folder.resolve()) and found.is_file() else None


def _typed(path: Path, cache: str) -> FileResponse:
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, media_type=media_type, headers={"Cache-Control": cache})


def site_router(folder: Path) -> APIRouter:
    """Serves `folder`; mount it last, since it answers every path."""
    router = APIRouter(include_in_schema=False)

    def serve(path: str) -> Response:
        if path == "api" or path.startswith("api/"):
            raise NotFound(f"/{path} does not exist; the API describes itself at /api/v1/openapi.json")
        asset = _file_within(folder, path) if path else None
        if asset is not None and asset.name != "index.html":
            return _typed(asset, _ASSET_CACHE if path.startswith("assets/") else _PAGE_CACHE)
        if path.startswith("assets/"):
            raise NotFound(f"/{path} does not exist")
        page = _file_within(folder, "index.html")
        if page is None:
            return HTMLResponse(NOT_BUILT, headers={"Cache-Control": _PAGE_CACHE})
        return _typed(page, _PAGE_CACHE)

    router.add_api_route("/{path:path}", serve, methods=["GET", "HEAD"], response_class=Response)
    return router
