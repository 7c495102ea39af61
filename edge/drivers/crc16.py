"""CRC-16 of lines that send the low bit first: Modbus and the Chafon readers differ only in their polynomial."""

from typing import Final

PRESET: Final = 0xFFFF


def table(polynomial: int) -> tuple[int, ...]:
    """What each byte does to the CRC, for a reflected polynomial."""
    entries: list[int] = []
    for entry in range(256):
        value = entry
        for _ in range(8):
            value = (value >> 1) ^ polynomial if value & 1 else value >> 1
        entries.append(value)
    return tuple(entries)


MODBUS: Final = table(0xA001)
"""CRC-16/MODBUS: check value of "123456789" 4B37."""
MCRF4XX: Final = table(0x8408)
"""CRC-16/MCRF4XX: check value of "123456789" 6F91."""


def crc16(data: bytes, entries: tuple[int, ...]) -> bytes:
    """The CRC over the data, preset FFFF and not inverted, low byte first."""
    value = PRESET
    for byte in data:
        value = (value >> 8) ^ entries[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")
