"""Fields of single schemes: digits that keep their zeros, 6-bit texts, and texts that begin with digits (TDS 14.3, 14.4, 14.5)."""

import re
from typing import Final

from core.epc_text import BitReader, BitWriter, integer_bits, put_variable, take_variable
from core.errors import CodeError

_DELIMITER: Final = 0xE
_TERMINATOR: Final = 0xF


def require_integer(text: str, what: str, scheme: str) -> str:
    """The text, when it is a number without leading zeros. Raises CodeError."""
    if not re.fullmatch("0|[1-9][0-9]*", text):
        raise CodeError(f"{what} {text!r} must be digits without leading zeros in {scheme}")
    return text


def take_numeric(reader: BitReader, bits: int, longest: int, what: str) -> str:
    """Digits behind a leading 1 that keeps their zeros (14.4.6). Raises CodeError."""
    number = str(reader.take(bits, what))
    if number[0] != "1" or not 2 <= len(number) <= longest + 1:
        raise CodeError(f"{what} {number} must be 1 to {longest} digits after a leading 1")
    return number[1:]


def put_numeric(writer: BitWriter, digits: str, bits: int, what: str) -> None:
    """Digits behind a leading 1 (14.3.6)."""
    writer.put(int(f"1{digits}"), bits, what)


def six_bits(letter: str) -> int:
    """The 6-bit code of a capital, a digit, a hyphen, a slash or a hash: the low bits of its ASCII code (annex G)."""
    return ord(letter) & 0x3F


def from_six_bits(code: int) -> str:
    """The character behind a 6-bit code; those that no field may hold are for the caller to refuse."""
    return chr(code if code >= 0x20 else code + 0x40)


def take_six_bit_text(reader: BitReader, longest: int, what: str) -> str:
    """Characters of six bits up to their end mark (14.4.8). Raises CodeError when it does not come in time."""
    text = ""
    while code := reader.take(6, what):
        if len(text) == longest:
            raise CodeError(f"{what} {text!r}... is over {longest} characters")
        text += from_six_bits(code)
    return text


def put_six_bit_text(writer: BitWriter, text: str, what: str) -> None:
    """Characters of six bits and their end mark (14.3.8)."""
    for letter in text:
        writer.put(six_bits(letter), 6, what)
    writer.put(0, 6, what)


def take_delimited(reader: BitReader, longest: int, what: str, allowed: frozenset[str] | None) -> str:
    """Leading digits of four bits each, then an end mark, or a delimiter and the rest as text (14.5.5). Raises CodeError."""
    text = ""
    while (nibble := reader.take(4, what)) <= 9:
        if len(text) == longest:
            raise CodeError(f"{what} {text}... is over {longest} characters")
        text += str(nibble)
    if nibble == _TERMINATOR:
        return text
    if nibble != _DELIMITER:
        raise CodeError(f"{what} {text} goes on with {nibble:X}, which is no digit, delimiter or end")
    return text + take_variable(reader, 5, longest - len(text), what, allowed=allowed)


def put_delimited(writer: BitWriter, text: str, what: str) -> None:
    """The text as `take_delimited` reads it."""
    rest = text.lstrip("0123456789")
    for digit in text[: len(text) - len(rest)]:
        writer.put(int(digit), 4, what)
    writer.put(_DELIMITER if rest else _TERMINATOR, 4, what)
    if rest:
        put_variable(writer, rest, 5, what)


def take_counted_digits(reader: BitReader, longest: int, what: str) -> str:
    """Up to 15 digits behind their number (14.5.13). Raises CodeError."""
    length = reader.take(4, f"{what} length")
    if not 1 <= length <= longest:
        raise CodeError(f"{what} of {length} digits: 1 to {longest} are allowed")
    digits = f"{reader.take(integer_bits(length), what):0{length}d}"
    if len(digits) > length:
        raise CodeError(f"{what} {digits} is over {length} digits")
    return digits


def put_counted_digits(writer: BitWriter, digits: str, what: str) -> None:
    """Digits behind their number."""
    writer.put(len(digits), 4, f"{what} length")
    writer.put(int(digits), integer_bits(len(digits)), what)
