"""SQL as text: migrations, named queries, and the one loader that makes text into trusted SQL.

A file under `queries/` holds blocks that begin with `-- name: <name>`; everything else in the house asks for a block by its
name and passes values as parameters. No other module builds SQL from text.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, LiteralString, cast

_BLOCK: Final = re.compile(r"^-- name: *([a-z0-9_]+) *$", re.MULTILINE)


@cache
def named(noun: str) -> Mapping[str, LiteralString]:
    """The queries of `queries/<noun>.sql`, by name.

    Raises ValueError when a name stands twice or text stands before the first name.
    """
    text = files(__package__).joinpath("queries", f"{noun}.sql").read_text(encoding="utf-8")
    head, *rest = _BLOCK.split(text)
    if any(line.strip() and not line.startswith("--") for line in head.splitlines()):
        raise ValueError(f"queries/{noun}.sql: text before the first '-- name:'")
    blocks: dict[str, LiteralString] = {}
    for name, body in zip(rest[::2], rest[1::2], strict=True):
        if name in blocks:
            raise ValueError(f"queries/{noun}.sql: {name!r} stands twice")
        # The files ship with the program and hold no input of anyone's: this is where text becomes trusted.
        blocks[name] = cast("LiteralString", body.strip().rstrip(";"))
    return MappingProxyType(blocks)


def nouns() -> list[str]:
    """Every file of named queries, without its ending."""
    return sorted(entry.name[:-4] for entry in files(__package__).joinpath("queries").iterdir() if entry.name.endswith(".sql"))
