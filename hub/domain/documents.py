"""Tables of an outside document: how each column is read, and every fault named by its path."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Reader = Callable[[object], object]
"""Turns a given value into the one kept; raises ValueError that says what is wrong."""
Row = dict[str, Any]
Check = Callable[[Row], Iterable[tuple[str, str]]]
"""Names (column, fault) pairs of a row that was read."""

LONGEST_TEXT: Final = 200
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
_CODE: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,63}")


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `refers` names the table whose key its value must be; an optional one that is absent gets `default`."""

    name: str
    read: Reader
    refers: str | None = None
    required: bool = True
    default: object = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a document. `lines` are the columns of its `lines`, if rows have some."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[Column, ...] = ()
    check: Check | None = None


def text(value: object) -> str:
    """Any text of 1 to LONGEST_TEXT characters."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text is needed")
    if len(value) > LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"at most {LONGEST_TEXT} characters, none of them a control character")
    return value.strip()


def name(value: object) -> str:
    """A name as places and devices bear it."""
    if not isinstance(value, str) or not _NAME.fullmatch(value) or len(value) > 64:
        raise ValueError(
            f"{value!r} must be small letters, digits, - and _, at most 64, beginning and ending with a letter or digit"
        )
    return value


def code(value: object) -> str:
    """A lot or document number: up to 64 printable ASCII characters."""
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise ValueError(f"{value!r} must be 1 to 64 printable ASCII characters")
    return value


def gtin(value: object) -> str:
    """A GTIN-14 with a right check digit (GS1 General Specifications 7.9: weights 3 and 1 from the right)."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{14}", value):
        raise ValueError(f"{value!r} must be a text of 14 digits (fill a shorter GTIN with zeros in front)")
    digit = -sum(int(each) * (3, 1)[place % 2] for place, each in enumerate(value[:13])) % 10
    if int(value[13]) != digit:
        raise ValueError(f"check digit is {value[13]}, should be {digit}")
    return value


def one_of(*words: str) -> Reader:
    """One of some words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}")
        return value

    return read


def whole(least: int, most: int = 2_147_483_647) -> Reader:
    """A whole number within bounds."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"{value!r} must be a whole number from {least} to {most}")
        return value

    return read


def number(least: float = -1e9, most: float = 1e9, *, above: float | None = None) -> Reader:
    """A finite number within bounds, the least one included; or above a bound."""

    def read(value: object) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not isfinite(value) or not least <= value <= most:
            raise ValueError(f"{value!r} must be a number from {least:g} to {most:g}")
        if above is not None and value <= above:
            raise ValueError(f"{value!r} must be above {above:g}")
        return float(value)

    return read


def yes_or_no(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} must be true or false")  # noqa: TRY004 - readers raise one kind of error
    return value


def moment(value: object) -> datetime:
    """A time with its zone, as a TOML date-time or an RFC 3339 text; kept in UTC."""
    given = value
    if isinstance(value, str):
        try:
            given = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is not an RFC 3339 time such as 2026-11-21T08:00:00+08:00") from None
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise ValueError(f"{value!r} must be a time with its zone, such as 2026-11-21T08:00:00+08:00")
    return given.astimezone(UTC)


def day(value: object) -> date:
    """A calendar day, as a TOML date or an ISO text."""
    given = value
    if isinstance(value, str):
        try:
            given = date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a day such as 2027-06-30") from None
    if not isinstance(given, date) or isinstance(given, datetime):
        raise ValueError(f"{value!r} must be a day such as 2027-06-30")  # noqa: TRY004 - readers raise one kind of error
    return given


def time_zone(value: object) -> str:
    """A zone of the IANA database."""
    try:
        return ZoneInfo(text(value)).key
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{value!r} is not a time zone such as Asia/Shanghai") from error


def nearest(given: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?` when something known is near, else nothing."""
    near = difflib.get_close_matches(given, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def read_row(table: Table, given: object, path: str) -> tuple[Row, list[str]]:
    """One row as it is kept, and its faults with their paths; with faults the row is not whole."""
    row, problems = _read_columns(table.columns, given, path, also=("lines",) if table.lines else ())
    dot = f"{path}." if path else ""
    if table.lines and isinstance(given, Mapping):
        lines = given.get("lines")
        if not isinstance(lines, Sequence) or isinstance(lines, str) or not lines:
            problems.append(f"{dot}lines: at least one line is needed")
            lines = []
        row["lines"] = []
        for index, line in enumerate(lines):
            read, wrong = _read_columns(table.lines, line, f"{dot}lines[{index}]")
            row["lines"].append(read)
            problems += wrong
    if not problems and table.check is not None:
        problems += [f"{dot}{column}: {fault}" for column, fault in table.check(row)]
    return row, problems


def read_table(table: Table, given: object) -> tuple[list[Row], list[str]]:
    """The rows of a table, and every fault; a key that stands twice is one."""
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        return [], [f"{table.name}: a list of rows is needed"]
    rows: list[Row] = []
    problems: list[str] = []
    seen: dict[tuple[Any, ...], int] = {}
    for index, each in enumerate(given):
        row, wrong = read_row(table, each, f"{table.name}[{index}]")
        rows.append(row)
        problems += wrong
        key = tuple(row.get(column) for column in table.key)
        if None not in key and seen.setdefault(key, index) != index:
            problems.append(f"{table.name}[{index}].{table.key[-1]}: stands in {table.name}[{seen[key]}] too")
    return rows, problems


def unknown_references(table: Table, row: Row, path: str, known: Mapping[str, Collection[str]]) -> list[str]:
    """Values of a row, and of its lines, that name nothing known; `known` has the keys of each table."""
    dot = f"{path}." if path else ""
    problems = []
    places = [(dot, table.columns, row)]
    places += [(f"{dot}lines[{index}].", table.lines, line) for index, line in enumerate(row.get("lines", ()))]
    for prefix, columns, values in places:
        for column in columns:
            value = values.get(column.name)
            if column.refers is not None and value is not None and value not in known[column.refers]:
                noun = column.refers.removesuffix("s")
                # Another product's number is no help to somebody who mistyped one.
                hint = "" if column.read is gtin else nearest(value, known[column.refers])
                problems.append(f"{prefix}{column.name}: there is no {noun} {value!r}{hint}")
    return problems


def _read_columns(columns: Sequence[Column], given: object, path: str, *, also: tuple[str, ...] = ()) -> tuple[Row, list[str]]:
    if not isinstance(given, Mapping):
        return {}, [f"{path or 'document'}: a table of columns is needed"]
    dot = f"{path}." if path else ""
    known = [*(column.name for column in columns), *also]
    problems = [f"{dot}{key}: unknown column{nearest(str(key), known)}" for key in given if key not in known]
    row: Row = {}
    for column in columns:
        value = given.get(column.name)
        if value is None:
            row[column.name] = column.default
            if column.required:
                problems.append(f"{dot}{column.name}: is missing")
            continue
        try:
            row[column.name] = column.read(value)
        except ValueError as error:
            row[column.name] = None
            problems.append(f"{dot}{column.name}: {error}")
    return row, problems
