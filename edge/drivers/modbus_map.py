"""A Modbus device's register map written as data: which register holds what, and how the registers are asked for."""

import math
import struct
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from core.errors import CodeError
from core.messages import Input, Quantity
from edge.drivers.modbus_frame import MAX_BITS, MAX_WORDS, READ_COILS, READ_INPUT, READ_INPUTS, Framing

Kind = Literal["i16", "u16", "i32", "u32", "f32"]
WIDE: Final = frozenset({"i32", "u32", "f32"})
BITS: Final = frozenset({READ_COILS, READ_INPUTS})
MAX_RAW: Final = 0xFFFF_FFFF


class Register(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value of the device: `quantity` (value = raw * scale + offset, in the quantity's unit) or `input` of two states.

    `function` 1 reads coils, 2 discrete inputs, 3 holding and 4 input registers; `address` is the one on the wire, from 0 (manuals
    that say 30001 or 40001 mean 0). `words` is the order of the two registers of 32 bits. `faults` are raw values, unsigned, that
    mean "no measurement"; so does a value beyond `min` and `max`, inclusive. An `input` in a register is its bit `bit` (0 is the
    lowest), or "not zero" when no bit is named.
    """

    quantity: Quantity | None = None
    input: Input | None = None
    function: Annotated[int, Meta(ge=1, le=4)] = READ_INPUT
    address: Annotated[int, Meta(ge=0, le=0xFFFF)]
    type: Kind = "i16"
    words: Literal["high_first", "low_first"] = "high_first"
    scale: float = 1.0
    offset: float = 0.0
    faults: tuple[Annotated[int, Meta(ge=0, le=MAX_RAW)], ...] = ()
    min: float | None = None
    max: float | None = None
    bit: Annotated[int, Meta(ge=0, le=15)] | None = None
    invert: bool = False

    def __post_init__(self) -> None:
        if (self.quantity is None) == (self.input is None):
            raise ValueError(f"register {self.address}: give either a quantity or an input")
        if self.quantity is not None and (self.function in BITS or self.bit is not None or self.invert):
            raise ValueError(f"register {self.address}: a quantity stands in a register (function 3 or 4), whole and not inverted")
        if self.function in BITS and self.bit is not None:
            raise ValueError(f"register {self.address}: function {self.function} reads one bit; leave `bit` out")
        if self.input is not None and self.type in WIDE:
            raise ValueError(f"register {self.address}: an input stands in one register")
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)) or self.scale == 0:
            raise ValueError(f"register {self.address}: scale and offset must be numbers, and scale not zero")
        if self.address + self.size > 0x1_0000:
            raise ValueError(f"register {self.address}: its second register would be 65536")

    @property
    def size(self) -> int:
        """Registers, or coils, that it takes."""
        return 2 if self.type in WIDE else 1

    @property
    def name(self) -> str:
        """What it tells."""
        return self.quantity or self.input or ""

    def raw(self, data: bytes) -> int:
        """The unsigned number its registers hold. `data` is 2 bytes a register, as on the wire."""
        ordered = data[2:4] + data[:2] if self.type in WIDE and self.words == "low_first" else data
        return int.from_bytes(ordered, "big")

    def value(self, raw: int) -> float | None:
        """The measured value; None for a fault value, one out of range, or what is no number."""
        if raw in self.faults:
            return None
        if self.type == "f32":
            number = float(struct.unpack(">f", raw.to_bytes(4, "big"))[0])
            number = float(f"{number:.7g}") if math.isfinite(number) else number  # what 32 bits can tell, not their tail in 64
        else:
            bits = 16 * self.size
            number = raw - (1 << bits) if self.type.startswith("i") and raw >> (bits - 1) else raw
        value = round(_scaled(number, self.scale) + self.offset, 9)
        in_range = (self.min is None or value >= self.min) and (self.max is None or value <= self.max)
        return value if math.isfinite(value) and in_range else None

    def data(self, value: float) -> bytes:
        """Its registers when the device measures this value. Raises CodeError for what does not fit."""
        number = (value - self.offset) / self.scale
        try:
            if self.type == "f32":
                packed = struct.pack(">f", number)
            else:
                packed = round(number).to_bytes(2 * self.size, "big", signed=self.type.startswith("i"))
        except (OverflowError, ValueError) as error:
            raise CodeError(f"{self.name} {value} does not fit register {self.address} of type {self.type}") from error
        return packed[2:] + packed[:2] if self.type in WIDE and self.words == "low_first" else packed


def _scaled(number: float, scale: float) -> float:
    """The product without the tail of decimal scales: 305 * 0.1 is 30.5."""
    inverse = 1 / scale
    return number / round(inverse) if abs(inverse - round(inverse)) < 1e-9 and abs(inverse) >= 1 else number * scale


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbours that one request reads."""

    function: int
    address: int
    count: int


XY_MD02: Final = (
    Register(quantity="celsius", address=1, scale=0.1, faults=(0x7FFF, 0x8000, 0xFE70), min=-39.9, max=125.0),
    Register(quantity="humidity_percent", address=2, type="u16", scale=0.1, min=0.0, max=100.0),
)
"""The most common probe: see `edge.drivers.xymd02`."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`registers` of the device; an XY-MD02's when none are given. `framing` is `tcp` for Modbus TCP, `rtu` on any other line.

    Neighbours are read at once, also over `max_gap` registers that nobody wants (0: a strict device refuses those it does not
    have), at most `max_registers` of them.
    """

    framing: Framing = "rtu"
    registers: Annotated[tuple[Register, ...], Meta(min_length=1, max_length=64)] = XY_MD02
    max_gap: Annotated[int, Meta(ge=0, le=64)] = 0
    max_registers: Annotated[int, Meta(ge=2, le=MAX_WORDS)] = 64

    def __post_init__(self) -> None:
        names = [register.name for register in self.registers]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise ValueError(
                f"registers: {doubles[0]} stands twice; a device has one of each, so describe the second as another device"
            )


def groups(options: Options) -> tuple[Group, ...]:
    """The requests that read every register once, neighbours together, in order of function and address."""
    found: list[Group] = []
    for register in sorted(options.registers, key=lambda each: (each.function, each.address)):
        end = register.address + register.size
        last = found[-1] if found else None
        limit = MAX_BITS if register.function in BITS else options.max_registers
        if (
            last is not None
            and last.function == register.function
            and register.address <= last.address + last.count + options.max_gap
            and end - last.address <= limit
        ):
            found[-1] = Group(last.function, last.address, max(last.count, end - last.address))
        else:
            found.append(Group(register.function, register.address, register.size))
    return tuple(found)
