"""The GS1 keys that name one thing: application identifiers, lengths, check digits, serials (GS1 General Specifications)."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from core.epc_text import PART_CHARACTERS, require_characters, require_check_digit, require_digits
from core.errors import CodeError

_FIRST_DIGITS: Final = 4
"""The shortest company prefix, with which a GIAI, GINC or CPI begins."""


@dataclass(frozen=True, slots=True)
class KeyRule:
    """What a key of one kind is made of.

    `digits` are those of its fixed part, 0 where there is none. The serial stands behind the fixed part, or under `serial_ai`.
    """

    ai: str
    what: str
    digits: int
    serial: Literal["text", "digits"] | None = None
    longest: int = 0
    serial_ai: str | None = None


KEYS: Final = {
    "sgtin": KeyRule("01", "GTIN", 14, "text", 20, "21"),
    "sscc": KeyRule("00", "SSCC", 18),
    "sgln": KeyRule("414", "GLN", 13, "text", 20, "254"),
    "grai": KeyRule("8003", "asset type", 14, "text", 16),
    "giai": KeyRule("8004", "asset", 0, "text", 30),
    "gsrn": KeyRule("8018", "GSRN", 18),
    "gsrnp": KeyRule("8017", "GSRN", 18),
    "gdti": KeyRule("253", "document type", 13, "text", 17),
    "cpi": KeyRule("8010", "part", 0, "digits", 12, "8011"),
    "sgcn": KeyRule("255", "coupon", 13, "digits", 12),
    "itip": KeyRule("8006", "ITIP", 18, "text", 20, "21"),
    "gsin": KeyRule("402", "GSIN", 17),
    "pgln": KeyRule("417", "GLN", 13),
    "ginc": KeyRule("401", "consignment", 0, "text", 30),
    "upui": KeyRule("01", "GTIN", 14, "text", 28, "235"),
}
LONGEST_PART: Final = 30
"""Characters of a CPI."""


def require_key(kind: str, key: str) -> str:
    """The key's fixed part, when it has its digits and its check digit; a CPI, when it begins with a prefix. Raises CodeError."""
    rule = KEYS[kind]
    if kind == "cpi":
        return require_prefixed(key, LONGEST_PART, rule.what, PART_CHARACTERS)
    require_digits(key, rule.digits, rule.what)
    if kind == "itip":
        require_check_digit(key[:14], "GTIN")
        return key
    require_check_digit(key, rule.what)
    if kind == "grai" and key[0] != "0":
        raise CodeError(f"asset type {key} must begin with 0")
    return key


def require_serial(kind: str, serial: str) -> str:
    """The serial, when a key of that kind may have it; of a GIAI or GINC the whole value. Raises CodeError."""
    rule = KEYS[kind]
    if rule.serial == "digits":
        return require_digit_text(serial, rule.longest, "serial")
    if rule.digits == 0:
        return require_prefixed(serial, rule.longest, rule.what)
    return require_characters(serial, rule.longest, "extension" if kind == "sgln" else "serial")


def require_digit_text(text: str, longest: int, what: str) -> str:
    """The text, when it is 1 to `longest` ASCII digits. Raises CodeError."""
    if not re.fullmatch("[0-9]+", text) or len(text) > longest:
        raise CodeError(f"{what} {text!r} must be 1 to {longest} digits")
    return text


def require_prefixed(text: str, longest: int, what: str, allowed: frozenset[str] | None = None) -> str:
    """The text, when it begins with the digits of a company prefix and goes on after it. Raises CodeError."""
    require_characters(text, longest, what, allowed)
    if not re.match(f"[0-9]{{{_FIRST_DIGITS}}}.", text):
        raise CodeError(f"{what} {text!r} must begin with a company prefix")
    return text
