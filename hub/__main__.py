"""The hub as a process: `quartermaster hub`, or `python -m hub`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

from core.errors import ConfigurationError
from hub.bootstrap import run_hub
from hub.settings import HubSettings, read_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT. Exit status 2 says that a setting is wrong, and which."""
    parser = argparse.ArgumentParser(
        prog="quartermaster hub",
        description="Takes what the agents send over MQTT, commits it, judges it by the rules and answers with receipts.",
        epilog="Settings: QM_DATABASE_URI, QM_MQTT_URL, QM_MQTT_SHARE, QM_MQTT_CLIENT_ID, QM_INFLUX_URL, QM_INFLUX_TOKEN, "
        "QM_INFLUX_ORG, QM_INFLUX_BUCKET, QM_TIME_SCALE, QM_REPLAN_POLICY; each may be given as <NAME>_FILE instead.",
    )
    parser.add_argument(
        "--log", default="info", choices=["debug", "info", "warning", "error"], help="how much to say (default: info)"
    )
    options = parser.parse_args(argv)
    logging.basicConfig(level=options.log.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_run(read_settings(os.environ)))
    except* ConfigurationError as errors:
        sys.stderr.write(f"quartermaster hub: {errors.exceptions[0]}\n")
        raise SystemExit(2) from None
    return 0


async def _run(settings: HubSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    await run_hub(settings, stop=stop)


if __name__ == "__main__":
    sys.exit(main())
