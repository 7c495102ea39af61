"""Draws every credential that compose.yaml names, once: `python3 -m simulators.secret_files .secrets` (or `make secrets`).

Needs nothing but the standard library. The folder is open to its owner alone; the files in it are readable, because Compose
mounts them as they are into containers that run as other users.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

AGENTS: Final = ("depot-gateway", "clinic-gateway", "fleet-gateway")
"""The agents of compose.yaml."""
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o444
SECRET_BYTES: Final = 24
PASSWORD_BYTES: Final = 15
TOKEN_BYTES: Final = 32
TOKEN_PREFIX: Final = "qm_"  # noqa: S105  marks our tokens for secret scanners, is none itself


def _drawn() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


DRAWN: Final[Mapping[str, Callable[[], str]]] = {
    "database_password": _drawn,
    "mqtt_hub": _drawn,
    "mqtt_health": _drawn,
    **{f"mqtt_{agent}": _drawn for agent in AGENTS},
    "influx_password": _drawn,
    "influx_token": _drawn,
    "admin_password": lambda: secrets.token_urlsafe(PASSWORD_BYTES),
    "simulators_token": lambda: TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES),
}
MADE_OF: Final[Mapping[str, tuple[str, str]]] = {
    "database_uri": ("postgresql://quartermaster:{}@database:5432/quartermaster", "database_password"),
    "hub_mqtt_url": ("mqtt://hub:{}@mosquitto:1883", "mqtt_hub"),
}
"""Files that are another secret in a frame. Secrets are drawn from A-Z, a-z, 0-9, '-' and '_', so they may stand in a URL."""


def make_secrets(folder: Path) -> list[str]:
    """Makes the files that are missing and returns their names; what is there is never touched. Raises OSError."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    made = []
    for name, draw in DRAWN.items():
        made += _write_new(folder / name, draw())
    for name, (frame, part) in MADE_OF.items():
        made += _write_new(folder / name, frame.format((folder / part).read_text(encoding="utf-8")))
    return made


def _write_new(path: Path, value: str) -> list[str]:
    """Its name in a list when it was missing. The file is there whole or not at all."""
    if path.exists():
        return []
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(value)
        os.fchmod(file.fileno(), FILE_MODE)
    part.replace(path)
    return [path.name]


def main(argv: Sequence[str] | None = None) -> int:
    """Makes what is missing and says so; no secret is printed."""
    parser = argparse.ArgumentParser(prog="python3 -m simulators.secret_files", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(argv).folder
    made = make_secrets(folder)
    sys.stdout.write(f"{folder}: drew {', '.join(made)}\n" if made else f"{folder}: every secret is there already\n")
    sys.stdout.write(f"Sign in as admin with the password in {folder / 'admin_password'}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
