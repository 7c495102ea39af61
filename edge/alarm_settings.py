"""`[[limits]]` and `[[outputs]]` of an agent's file: what is judged on the spot, and what then lights up or sounds."""

from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from core.coldchain import Limit
from core.errors import ConfigurationError
from core.messages import Name, Quantity, Series
from edge.alarms import LocalLimit
from edge.outputs import make_output
from edge.port_url import FILE_SCHEME

Duration = Annotated[float, Meta(ge=0, le=31_536_000)]


class LimitTable(Struct, frozen=True, kw_only=True):
    """One of `[[limits]]`. Bounds are in the unit of the quantity, durations in scenario seconds; see core.coldchain.Limit."""

    name: Name
    device: Name
    quantity: Quantity = "celsius"
    lower: float | None = None
    upper: float | None = None
    inclusive: bool = True
    delay_s: Duration = 0.0
    hysteresis: Annotated[float, Meta(ge=0)] = 0.0
    max_gap_s: Annotated[float, Meta(gt=0)] = 900.0
    outputs: list[Name]


class OutputTable(Struct, frozen=True, kw_only=True):
    """One of `[[outputs]]`: a file of the kernel (`file:///sys/class/gpio/gpio22/value`), or a coil of a Modbus relay on a line.

    `invert` is for a relay that is on when its coil is off. `coil` counts from 0, as on the wire.
    """

    name: Name
    port: Annotated[str, Meta(min_length=1)]
    invert: bool = False
    unit_id: Annotated[int, Meta(ge=1, le=247)] = 1
    coil: Annotated[int, Meta(ge=0, le=65_535)] = 0
    framing: Literal["rtu", "tcp"] = "rtu"
    baud: Annotated[int, Meta(ge=50, le=4_000_000)] = 9600


def local_limits(limits: Sequence[LimitTable], outputs: Sequence[OutputTable], devices: Collection[str]) -> tuple[LocalLimit, ...]:
    """The limits as rules. Raises ConfigurationError with the path of what is wrong."""
    _check_outputs(outputs, devices)
    names = {output.name for output in outputs}
    found = []
    for index, table in enumerate(limits):
        path = f"limits[{index}]"
        if table.device not in devices:
            raise ConfigurationError(
                f"{path}.device: no device is named {table.device!r}; devices are: {', '.join(devices) or 'none'}"
            )
        for place, output in enumerate(table.outputs):
            if output not in names:
                known = ", ".join(sorted(names)) or "none"
                raise ConfigurationError(f"{path}.outputs[{place}]: no output is named {output!r}; outputs are: {known}")
        if not table.outputs:
            raise ConfigurationError(f"{path}.outputs: empty; name what is to light up or sound")
        try:
            limit = Limit(table.lower, table.upper, table.inclusive, table.delay_s, table.hysteresis, table.max_gap_s)
        except ValueError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        found.append(LocalLimit(table.name, Series(table.device, table.quantity), limit, tuple(table.outputs)))
    return tuple(found)


def _check_outputs(outputs: Sequence[OutputTable], devices: Collection[str]) -> None:
    for index, each in enumerate(outputs):
        try:
            make_output(each.name, each.port)
        except ConfigurationError as error:
            raise ConfigurationError(f"outputs[{index}].port: {error}") from error
        if each.name in devices:
            raise ConfigurationError(f"outputs[{index}].name: {each.name!r} is also the name of a device; names must differ")


def bind_address(path: str, text: str) -> tuple[str, int]:
    """Host and port of `<address>:<port>`. Raises ConfigurationError."""
    host, _, number = text.rpartition(":")
    if not 0 <= int(number) <= 65_535:
        raise ConfigurationError(f"{path}: port {number} is not 1 to 65535")
    return host.strip("[]"), int(number)


def describe_alarms(limits: Sequence[LocalLimit], outputs: Sequence[OutputTable]) -> list[str]:
    """One line a limit and an output, for people."""
    lines = []
    for output in outputs:
        coil = "" if output.port.startswith(FILE_SCHEME) else f", unit {output.unit_id}, coil {output.coil}"
        lines.append(f"output {output.name}: {output.port}{coil}")
    for each in limits:
        sides = (("below", each.limit.lower), ("above", each.limit.upper))
        bounds = [f"{word} {bound:g}" for word, bound in sides if bound is not None]
        what = f"{each.series.quantity} of {each.series.device} {' or '.join(bounds)} for {each.limit.delay_s:g} s"
        lines.append(f"limit {each.name}: {what} sounds {', '.join(each.outputs)}")
    return lines
