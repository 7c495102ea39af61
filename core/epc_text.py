"""Characters, bits and check digits that every EPC scheme shares (GS1 EPC Tag Data Standard, sections 6, 7 and 14)."""

import re
from typing import Final

from core.errors import CodeError

GS1_CHARACTERS: Final = frozenset("!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
"""The 82 characters a serial number may hold (GS1 General Specifications, figure 7.11-1)."""
PART_CHARACTERS: Final = frozenset("#-/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""The 39 characters of a CPI (figure 7.11-2), of which six bits each are enough."""
_ESCAPED: Final = frozenset('"%&/<>?#')
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
CODE40: Final = "\0ABCDEFGHIJKLMNOPQRSTUVWXYZ-.:0123456789"
INTEGER, UPPER_HEX, LOWER_HEX, SAFE_BASE64, ASCII, URN_CODE40 = range(6)


def check_digit(digits: str) -> str:
    """The GS1 modulo-10 check digit that follows these digits (weights 3, 1, 3... from the right)."""
    total = sum(int(digit) * (1 if place % 2 else 3) for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def require_digits(text: str, length: int, what: str) -> str:
    """The text, when it is exactly so many ASCII digits. Raises CodeError."""
    if not (text.isascii() and text.isdigit() and len(text) == length) and not (length == 0 and text == ""):
        raise CodeError(f"{what} {text!r} must be {length} digits")
    return text


def require_check_digit(key: str, what: str) -> str:
    """The key, when its last digit is its check digit. Raises CodeError."""
    if key[-1] != (right := check_digit(key[:-1])):
        raise CodeError(f"{what} {key}: check digit is {key[-1]}, should be {right}")
    return key


def require_characters(text: str, longest: int, what: str, allowed: frozenset[str] | None = None) -> str:
    """The text, when it is 1 to `longest` of the allowed characters, those of a GS1 serial by default. Raises CodeError."""
    if not 1 <= len(text) <= longest:
        raise CodeError(f"{what} {text!r} must be 1 to {longest} characters")
    if wrong := set(text) - (allowed or GS1_CHARACTERS):
        raise CodeError(f"{what} {text!r} holds {min(wrong)!r}, which no {'GS1 serial' if allowed is None else what} may")
    return text


def escape(text: str) -> str:
    """As written in an EPC URI: the seven reserved characters as %HH."""
    return "".join(f"%{ord(letter):02X}" if letter in _ESCAPED else letter for letter in text)


def unescape(text: str) -> str:
    """The characters behind an EPC URI's field. Raises CodeError for a reserved character that stands bare."""
    if bare := set(_ESCAPE.sub("", text)) & _ESCAPED:
        raise CodeError(f"{text!r}: {min(bare)!r} must be written as %{ord(min(bare)):02X}")
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


class BitReader:
    """Reads a row of bits from the left. Raises CodeError past the end."""

    def __init__(self, value: int, length: int) -> None:
        self._value = value
        self.left = length

    def take(self, bits: int, what: str) -> int:
        """The next bits as an unsigned integer."""
        if bits > self.left:
            raise CodeError(f"EPC ends within its {what}: {bits} bits wanted, {self.left} left")
        self.left -= bits
        return self._value >> self.left & ((1 << bits) - 1)

    def rest(self) -> int:
        """All bits not yet taken, as an integer; takes none."""
        return self._value & ((1 << self.left) - 1)


class BitWriter:
    """Collects bits from the left."""

    def __init__(self) -> None:
        self._value = 0
        self._length = 0

    def put(self, value: int, bits: int, what: str) -> None:
        """Appends an unsigned integer. Raises CodeError when it needs more bits."""
        if value >> bits:
            raise CodeError(f"{what} {value} is over {(1 << bits) - 1}, the most that {bits} bits hold")
        self._value = self._value << bits | value
        self._length += bits

    def hex(self) -> str:
        """Upper-case hex, filled with zero bits to whole 16-bit words as in a tag's memory."""
        words = -(-self._length // 16)
        return f"{self._value << (words * 16 - self._length):0{words * 4}X}"


def take_ascii(reader: BitReader, bits: int, what: str) -> str:
    """A 7-bit text in a field of fixed width, ended by zeros. Raises CodeError when something follows the end."""
    field = reader.take(bits, what)
    letters = [field >> (bits - 7 * place - 7) & 0x7F for place in range(bits // 7)]
    text = "".join(map(chr, letters)).rstrip("\0")
    if "\0" in text or field & ((1 << bits % 7) - 1):
        raise CodeError(f"{what} goes on after its end")
    return require_characters(text, bits // 7, what)


def put_ascii(writer: BitWriter, text: str, bits: int, what: str) -> None:
    """A 7-bit text, zeros to the end of the field. Raises CodeError when it is too long."""
    if len(text) * 7 > bits:
        raise CodeError(f"{what} {text!r} is over {bits // 7} characters")
    value = 0
    for letter in text:
        value = value << 7 | ord(letter)
    writer.put(value << (bits - 7 * len(text)), bits, what)


def take_digits(reader: BitReader, count: int, what: str) -> str:
    """Decimal digits of four bits each. Raises CodeError for a nibble above 9."""
    digits = f"{reader.take(4 * count, what):0{count}x}"
    if not digits.isdigit():
        raise CodeError(f"{what} {digits.upper()} holds a digit above 9")
    return digits


def take_variable(reader: BitReader, length_bits: int, longest: int, what: str, *, allowed: frozenset[str] | None = None) -> str:
    """A text of variable length and encoding (TDS 2.x, 14.5.6): 3-bit method, length, then the text. Raises CodeError."""
    method = reader.take(3, f"{what} encoding")
    length = reader.take(length_bits, f"{what} length")
    if not 1 <= length <= longest:
        raise CodeError(f"{what} of {length} characters: 1 to {longest} are allowed")
    if method == INTEGER:
        text = str(reader.take(integer_bits(length), what)).rjust(length, "0")
        if len(text) > length:
            raise CodeError(f"{what} {text} is over {length} digits")
    elif method in (UPPER_HEX, LOWER_HEX):
        text = f"{reader.take(4 * length, what):0{length}{'X' if method == UPPER_HEX else 'x'}}"
    elif method == SAFE_BASE64:
        text = "".join(BASE64[reader.take(6, what)] for _ in range(length))
    elif method == ASCII:
        text = "".join(chr(reader.take(7, what)) for _ in range(length))
    elif method == URN_CODE40:
        text = take_code40(reader, length, what)
    else:
        raise CodeError(f"{what} uses encoding {method}, which is reserved")
    return require_characters(text, longest, what, allowed)


def put_variable(writer: BitWriter, text: str, length_bits: int, what: str) -> None:
    """The text in the shortest method that keeps it exactly; `text` has passed `require_characters`."""
    method = shortest_method(text)
    writer.put(method, 3, f"{what} encoding")
    writer.put(len(text), length_bits, f"{what} length")
    if method == INTEGER:
        writer.put(int(text), integer_bits(len(text)), what)
    elif method in (UPPER_HEX, LOWER_HEX):
        writer.put(int(text, 16), 4 * len(text), what)
    elif method == URN_CODE40:
        put_code40(writer, text, what)
    else:
        for letter in text:
            writer.put(BASE64.index(letter) if method == SAFE_BASE64 else ord(letter), 6 if method == SAFE_BASE64 else 7, what)


def shortest_method(text: str) -> int:
    """The encoding of TDS 2.x that needs the fewest bits; the lower number on a tie.

    The length beside an integer keeps its leading zeros.
    """
    if text.isdigit():
        return INTEGER
    costs = {ASCII: 7 * len(text)}
    if set(text) <= set(BASE64):
        costs[SAFE_BASE64] = 6 * len(text)
    if set(text) <= set(CODE40):
        costs[URN_CODE40] = 16 * -(-len(text) // 3)
    if set(text) <= set("0123456789abcdef"):
        costs[LOWER_HEX] = 4 * len(text)
    if set(text) <= set("0123456789ABCDEF"):
        costs[UPPER_HEX] = 4 * len(text)
    return min(costs, key=lambda method: (costs[method], method))


def integer_bits(digits: int) -> int:
    """Bits for any integer of so many digits (TDS 2.x, table B)."""
    return int((10**digits - 1).bit_length())


def put_code40(writer: BitWriter, text: str, what: str) -> None:
    """Three characters in 16 bits each, filled up at the end (URN Code 40)."""
    for start in range(0, len(text), 3):
        first, second, third = (CODE40.index(letter) for letter in text[start : start + 3].ljust(3, "\0"))
        writer.put(1600 * first + 40 * second + third + 1, 16, what)


def take_code40(reader: BitReader, length: int, what: str) -> str:
    """So many characters of URN Code 40. Raises CodeError for a group that is none."""
    text = ""
    for _ in range(-(-length // 3)):
        triple = reader.take(16, what) - 1
        if not 0 <= triple < 64_000:
            raise CodeError(f"{what} holds {triple + 1:04X}, which is no group of URN Code 40")
        text += CODE40[triple // 1600] + CODE40[triple // 40 % 40] + CODE40[triple % 40]
    if text[length:].strip("\0"):
        raise CodeError(f"{what} goes on after its end")
    return text[:length]
