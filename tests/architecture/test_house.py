"""The shape of the house: every named query exists and runs, every driver has captures, a gateway carries only what it needs."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from edge.drivers import driver_names
from hub.sql import named, nouns

ROOT = Path(__file__).parents[2]
GATEWAY_MAY_CARRY = {"quartermaster", "msgspec", "biip", "paho-mqtt", "pyserial", "prometheus-client"}
NAMED_PARAMETER = re.compile(r"%\((\w+)\)s")


def used_queries() -> list[tuple[str, str, str]]:
    """(file, noun, query) for every `_NAME["query"]` on a module-level `_NAME = named("noun")`."""
    found = []
    for path in sorted((ROOT / "hub").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nouns_of = {
            target.id: call.args[0].value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(call := node.value, ast.Call)
            for target in node.targets
            if isinstance(target, ast.Name) and isinstance(call.func, ast.Name) and call.func.id == "named"
            if isinstance(call.args[0], ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in nouns_of:
                assert isinstance(node.slice, ast.Constant), f"{path}:{node.lineno}: queries are asked for by a literal name"
                found.append((str(path.relative_to(ROOT)), str(nouns_of[node.value.id]), str(node.slice.value)))
    return found


def test_every_query_asked_for_exists_and_every_query_is_asked_for() -> None:
    used = used_queries()
    missing = [(file, noun, query) for file, noun, query in used if query not in named(noun)]
    assert missing == []
    asked = {(noun, query) for _, noun, query in used}
    unused = [(noun, query) for noun in nouns() for query in named(noun) if (noun, query) not in asked]
    assert unused == []


def numbered(text: str) -> str:
    """A query with $1, $2, ... for its named parameters, as the server takes it."""
    places: dict[str, int] = {}
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")).replace("%%", "%")
    return NAMED_PARAMETER.sub(lambda match: f"${places.setdefault(match[1], len(places) + 1)}", body)


@pytest.mark.parametrize("noun", nouns())
async def test_every_query_is_sql_that_this_schema_can_run(db: AsyncConnection, noun: str) -> None:
    for text in named(noun).values():
        if text.startswith("CREATE TEMPORARY"):
            await db.execute(text)
    for name, text in named(noun).items():
        if not text.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
            continue
        try:
            await db.execute(f"PREPARE q AS {numbered(text)}")  # type: ignore[arg-type]
        except Exception as error:
            raise AssertionError(f"queries/{noun}.sql {name}: {error}") from error
        await db.execute("DEALLOCATE q")


@pytest.mark.parametrize("driver", driver_names())
def test_every_driver_has_a_capture_and_what_it_means(driver: str) -> None:
    folder = ROOT / "tests" / "edge" / "captures" / driver
    captures = sorted(path for path in folder.glob("*") if path.suffix in (".hex", ".json"))
    assert captures, f"no capture in {folder.relative_to(ROOT)}"
    for capture in captures:
        assert capture.with_suffix(".jsonl").exists(), f"{capture.relative_to(ROOT)} has no .jsonl that says what it means"


def test_a_gateway_carries_only_what_edge_and_core_need() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    packages = {package["name"]: package for package in lock["package"]}
    own = packages["quartermaster"]
    waiting = [each["name"] for each in [*own["dependencies"], *own["optional-dependencies"]["edge"]]]
    carried = {"quartermaster"}
    while waiting:
        name = waiting.pop()
        if name not in carried:
            carried.add(name)
            waiting += [each["name"] for each in packages[name].get("dependencies", [])]
    assert carried == GATEWAY_MAY_CARRY


def test_the_top_level_is_the_agreed_one() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    assert folders - {"dist", "build"} == {"core", "edge", "hub", "api", "simulators", "firmware-config", "tests", "docs"}
