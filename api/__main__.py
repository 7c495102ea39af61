"""Serves the API until it is told to stop."""

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import uvicorn

from api.app import create_app
from api.live import Broadcaster
from core.errors import ConfigurationError
from hub.bootstrap import make_solver, open_pool, schema_is_missing
from hub.settings import read_settings

GRACEFUL_SHUTDOWN_S: Final = 2
BACKLOG: Final = 512


class _Server(uvicorn.Server):
    """Ends the live streams first: an open stream would hold the shutdown until its grace is over."""

    def __init__(self, config: uvicorn.Config, live: Broadcaster) -> None:
        super().__init__(config)
        self._live = live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops serving."""
        self._live.stop()
        await super().shutdown(sockets)


def _environment(bind: str | None) -> Mapping[str, str]:
    if bind is None:
        return os.environ
    return {name: value for name, value in os.environ.items() if name != "QM_API_BIND_FILE"} | {"QM_API_BIND": bind}


def listen(host: str, port: int) -> socket.socket:
    """The socket the API answers at. Raises ConfigurationError when the address is taken or not this machine's."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"QM_API_BIND {host}:{port}: cannot listen there: {error.strerror}; give another host:port, or end what listens there"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the API; returns the exit status. Raises ConfigurationError for a wrong setting."""
    parser = argparse.ArgumentParser(prog="quartermaster api", description="Serves the screens and the HTTP API.")
    parser.add_argument("--bind", metavar="HOST:PORT", help="instead of QM_API_BIND")
    arguments = parser.parse_args(argv)
    settings = read_settings(_environment(arguments.bind))
    if asyncio.run(schema_is_missing(settings)):
        raise ConfigurationError("the database has no schema yet: run `quartermaster migrate` first")
    sock = listen(settings.api_host, settings.api_port)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    app = create_app(open_pool(settings, application_name="quartermaster api"), make_solver(), time_scale=settings.time_scale)
    config = uvicorn.Config(
        app,
        backlog=BACKLOG,
        log_level="info",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
    )
    server = _Server(config, app.state.context.live)
    with sock:
        server.run(sockets=[sock])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
