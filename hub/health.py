"""Says whether the hub beside it is at work, for a container's health check: `python -m hub.health`.

The hub's chores use the database every minute or oftener. When none did for WITHIN_S, the hub hangs, is gone, or has no database.
"""

import os
import sys
from typing import Final

import psycopg

from core.errors import ConfigurationError
from hub.adapters.postgres import conninfo
from hub.settings import read_settings
from hub.sql import named

HUB_APPLICATION: Final = "quartermaster hub"
"""How the hub is called in pg_stat_activity."""
WITHIN_S: Final = 150.0
"""Real seconds: two rounds of the slowest chore, and some."""

_SQL = named("operation")


def is_active(uri: str, *, within_s: float = WITHIN_S) -> bool:
    """True when a hub on this machine used the database at most so many seconds ago. Raises psycopg.OperationalError."""
    with psycopg.connect(conninfo(uri, "quartermaster health")) as db:
        values = {"application_name": HUB_APPLICATION, "within_s": within_s}
        row = db.execute(_SQL["hub_was_active"], values).fetchone()
    return row is not None and bool(row[0])


def main() -> int:
    """Exit status 0 healthy, 1 not, 2 a setting is wrong."""
    try:
        active = is_active(read_settings(os.environ).database_uri)
    except ConfigurationError as error:
        sys.stderr.write(f"hub health: {error}\n")
        return 2
    except psycopg.OperationalError as error:
        sys.stderr.write(f"hub health: the database does not answer: {error}\n")
        return 1
    if not active:
        sys.stderr.write(f"hub health: the hub did not use the database for {WITHIN_S:g} s\n")
    return 0 if active else 1


if __name__ == "__main__":
    sys.exit(main())
