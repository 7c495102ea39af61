"""Scanners that send Chinese in another character set than UTF-8."""

from datetime import UTC, datetime

import pytest

from core.errors import CodeError
from edge.drivers.barcode import Driver, Options
from edge.drivers.observations import Fault, Scan
from edge.drivers.protocol import DeviceOptions

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
GBK = bytes.fromhex("BFDAD5D6")
"""口罩, masks, as a scanner in GBK mode sends it."""


def scanner(character_set: str | None = None) -> Driver:
    return Driver(DeviceOptions(own=None if character_set is None else Options(character_set=character_set)))  # type: ignore[arg-type]


def test_gbk_is_read_where_it_is_set() -> None:
    assert scanner("gb18030").feed(GBK + b"\r", NOW) == [Scan("口罩", NOW)]
    assert scanner("gb18030").encode(Scan("口罩", NOW)) == GBK + b"\r"
    assert scanner("latin-1").feed(b"caf\xe9\r", NOW) == [Scan("café", NOW)]


def test_gbk_is_never_guessed_and_the_fault_says_what_to_set() -> None:
    (fault,) = scanner().feed(GBK + b"\r", NOW)
    assert isinstance(fault, Fault)
    assert "bfdad5d6" in fault.detail
    assert "character_set" in fault.detail


def test_a_code_is_the_same_in_every_character_set() -> None:
    code = b"]d20106901234567892\x1d10LOT7\r\n"
    assert {scanner(name).feed(code, NOW)[0] for name in ("utf-8", "gb18030", "latin-1")} == {Scan(code[:-2].decode(), NOW)}


def test_what_the_set_cannot_say_is_refused() -> None:
    with pytest.raises(CodeError, match="latin-1"):
        scanner("latin-1").encode(Scan("口罩", NOW))
