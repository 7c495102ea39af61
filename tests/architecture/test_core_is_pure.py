"""core computes: it imports words and arithmetic only, opens nothing, waits for nothing, and asks nobody the time."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "core").rglob("*.py"))
DRIVERS = sorted((ROOT / "edge" / "drivers").rglob("*.py"))
PURE = {
    *("calendar", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "itertools", "math"),
    *("operator", "re", "string", "typing", "unicodedata", "urllib.parse"),
}
"""Of the standard library."""
LIBRARIES = {"msgspec", "biip"}
REACHING_OUT = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
CLOCK = {"now", "utcnow", "today"}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.lineno, str(node.module)


def within(name: str, allowed: set[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in allowed)


def effects(source: str) -> list[tuple[int, str]]:
    """Calls that reach out of the process, or ask for the time."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in REACHING_OUT:
                found.append((node.lineno, node.func.id))
            if isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK:
                found.append((node.lineno, node.func.attr))
        elif isinstance(node, ast.AsyncFunctionDef):
            found.append((node.lineno, "async"))
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_imports_only_words_arithmetic_and_two_libraries(path: Path) -> None:
    assert [(line, name) for line, name in imports(path) if not within(name, PURE | LIBRARIES | {"core"})] == []


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_opens_nothing_waits_for_nothing_and_is_told_the_time(path: Path) -> None:
    assert effects(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source", ["open('x')", "print(1)", "datetime.now(UTC)", "datetime.datetime.utcnow()", "date.today()", "async def f(): pass"]
)
def test_what_core_must_not_do_is_seen(source: str) -> None:
    assert len(effects(source)) == 1


@pytest.mark.parametrize("path", DRIVERS, ids=lambda path: path.name)
def test_a_driver_knows_core_and_the_other_drivers_words_and_nothing_else_of_ours(path: Path) -> None:
    ours = {"core", "edge", "hub", "api", "simulators"}
    assert [(line, name) for line, name in imports(path) if within(name, ours) and not within(name, {"core", "edge.drivers"})] == []
