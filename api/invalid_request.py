"""What is wrong with a request, in the words of this API: every problem with its path, none with the value that was sent."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

MOST_PROBLEMS: Final = 20
LONGEST_PATH: Final = 120
SEND_JSON: Final = "send JSON in UTF-8 with the header Content-Type: application/json"

Context = Mapping[str, Any]

PATTERNS: Final[Mapping[str, str]] = {
    r"^[^\x00]*$": "must not hold the character NUL",
    r"^\s*[^\s\x00][^\x00]*$": "must hold words, without the character NUL",
    r"^[0-9]{14}$": "must be 14 digits",
}
"""What each pattern of a field demands."""

_MOMENT: Final = "must be a moment with its time zone, as 2026-11-20T08:00:00Z"
_DATE: Final = "must be a date, as 2026-11-20"
_WORDS: Final[Mapping[str, str]] = {
    "missing": "missing, must be given",
    "extra_forbidden": "unknown field, not one of those in /api/v1/openapi.json",
    "string_type": "must be text",
    "string_unicode": "must be text that UTF-8 can hold",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
_BOUNDS: Final[Mapping[str, Callable[[Context], str]]] = {
    "string_too_short": lambda ctx: f"must have at least {ctx['min_length']} characters",
    "string_too_long": lambda ctx: f"must have at most {ctx['max_length']} characters",
    "too_short": lambda ctx: f"must have at least {ctx['min_length']} entries",
    "too_long": lambda ctx: f"must have at most {ctx['max_length']} entries",
    "greater_than": lambda ctx: f"must be above {ctx['gt']}",
    "greater_than_equal": lambda ctx: f"must be at least {ctx['ge']}",
    "less_than": lambda ctx: f"must be below {ctx['lt']}",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']}",
    "literal_error": lambda ctx: f"must be {ctx['expected']}",
    "string_pattern_mismatch": lambda ctx: PATTERNS.get(str(ctx["pattern"]), "is not written as this field demands"),
}


def field_path(location: tuple[int | str, ...]) -> str:
    """`("body", "lines", 0, "gtin")` as people write it: `lines[0].gtin`."""
    parts = location[1:] if location and location[0] in ("body", "query", "path", "header", "cookie") else location
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
    return text if len(text) <= LONGEST_PATH else f"{text[:LONGEST_PATH]}..."


def in_words(problems: Iterable[Mapping[str, Any]], body: object) -> tuple[str, str]:
    """The message for people, with every problem up to MOST_PROBLEMS, and the path of the first; `body` is what was sent."""
    told = [_told(problem, body) for problem in problems]
    message = "; ".join(f"{path or 'request'}: {what}" for path, what in told[:MOST_PROBLEMS])
    left = len(told) - MOST_PROBLEMS
    return message + (f"; and {left} more" if left > 0 else ""), told[0][0] if told else ""


def _told(problem: Mapping[str, Any], body: object) -> tuple[str, str]:
    kind, location = str(problem["type"]), tuple(problem["loc"])
    if kind == "json_invalid":
        return "", f"the body is not JSON: {_place(body, location[-1], problem.get('ctx', {}))}; {SEND_JSON}"
    if location == ("body",):
        return "", _whole_body(kind, body)
    return field_path(location), _what(kind, problem.get("ctx", {}))


def _whole_body(kind: str, body: object) -> str:
    if kind == "missing" or body in (None, b"", ""):
        return f"the body is missing; {SEND_JSON}"
    if isinstance(body, bytes):
        return f"the body was not taken for JSON; {SEND_JSON}"
    return f"the body {_what(kind, {})}"


def _what(kind: str, ctx: Context) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _BOUNDS:
        return _BOUNDS[kind](ctx)
    if kind.startswith(("datetime", "timezone")):
        return _MOMENT
    if kind.startswith("date"):
        return _DATE
    if kind == "value_error" and "error" in ctx:
        return str(ctx["error"])
    return "is not what this field takes"


def _place(body: object, position: object, ctx: Context) -> str:
    """Line and column of the first character that cannot stand there."""
    if not isinstance(body, str) or not isinstance(position, int):
        return "it cannot be read"
    where = json.JSONDecodeError("", body, min(position, len(body)))
    return f"line {where.lineno}, column {where.colno}: {str(ctx.get('error', 'cannot be read')).lower()}"
