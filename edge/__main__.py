"""The edge process: `quartermaster edge --config FILE [--check]`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from core.errors import ConfigurationError
from edge.agent import run_agent
from edge.settings import describe, read_settings

LOG_FORMAT: Final = "%(asctime)s level=%(levelname)s thread=%(threadName)r logger=%(name)s event=%(message)s"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the agent, or with --check only prints what its file says. 0 clean end, 1 outbox failed, 2 a setting is wrong."""
    parser = argparse.ArgumentParser(prog="quartermaster edge", description="The agent beside the devices.")
    parser.add_argument("--config", type=Path, required=True, help="the agent's TOML file (see edge/agent.example.toml)")
    parser.add_argument("--check", action="store_true", help="print what the file says and end")
    arguments = parser.parse_args(argv)
    try:
        settings = read_settings(arguments.config)
        if arguments.check:
            sys.stdout.write(describe(settings))
            return 0
        logging.basicConfig(format=LOG_FORMAT, level=logging.INFO)
        return run_agent(settings)
    except ConfigurationError as error:
        sys.stderr.write(f"quartermaster edge: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
