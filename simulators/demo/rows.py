"""Named statements beside the modules of the demo, and how what they find is told."""

from importlib.resources import files
from typing import Any, Final, LiteralString

import psycopg

MAX_NAMED: Final = 5
"""How many of the things that are wrong a message names."""
_MARK: Final = "-- name: "

Rows = list[tuple[Any, ...]]


def _trusted(text: str) -> LiteralString:
    # The file ships with the program and holds no input of anyone's.
    return text


def queries(name: str) -> dict[str, LiteralString]:
    """The named statements of a .sql file beside this module."""
    text = files("simulators.demo").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    blocks = (block.partition("\n") for block in text.split(_MARK)[1:])
    return {title.strip(): _trusted(body.strip()) for title, _, body in blocks}


async def fetch(db: psycopg.AsyncConnection, statement: LiteralString, values: dict[str, list[Any]] | None = None) -> Rows:
    """All rows of a statement."""
    return await (await db.execute(statement, values)).fetchall()


def listed(what: str, things: Rows) -> list[str]:
    """One failure that counts the things and names the first few; none when there are none."""
    if not things:
        return []
    named = ", ".join("/".join(str(part) for part in thing) for thing in things[:MAX_NAMED])
    return [f"{len(things)} {what}: {named}{', ...' if len(things) > MAX_NAMED else ''}"]
