"""Modbus as it stands on a line: the body `unit | function | data`, sealed by a CRC (RTU) or behind a header (TCP).

After "MODBUS Application Protocol Specification V1.1b3", "MODBUS over Serial Line V1.02" and "MODBUS Messaging on TCP/IP V1.0b".
"""

from typing import Final, Literal

from edge.drivers.crc16 import MODBUS, crc16

Framing = Literal["rtu", "tcp"]

READ_COILS, READ_INPUTS, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL: Final = 5
EXCEPTION: Final = 0x80
COIL_ON: Final = 0xFF00
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
MAX_WORDS: Final = 125
"""Registers one request may ask for."""
MAX_BITS: Final = 2000
TCP_HEAD_BYTES: Final = 7
"""Transaction, protocol (0), length of what follows, unit."""
MAX_BODY_BYTES: Final = 254
EXCEPTIONS: Final = {
    1: "illegal function",
    2: "no such register",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, not done yet",
    6: "device busy",
    8: "memory parity",
    10: "gateway path unavailable",
    11: "gateway: no answer from the unit",
}


def crc(data: bytes) -> bytes:
    """Modbus CRC-16, low byte first."""
    return crc16(data, MODBUS)


def sealed(data: bytes) -> bytes:
    """The data and its CRC."""
    return data + crc(data)


def framed(body: bytes, framing: Framing, transaction: int) -> bytes:
    """A body as it goes on the line. RTU has no place for the transaction number (0 to 65535)."""
    if framing == "rtu":
        return sealed(body)
    return transaction.to_bytes(2, "big") + b"\x00\x00" + len(body).to_bytes(2, "big") + body


def request(unit: int, function: int, address: int, count: int) -> bytes:
    """The body that asks for `count` coils or registers from `address`, or writes the coil when `function` is WRITE_COIL."""
    return bytes((unit, function)) + address.to_bytes(2, "big") + count.to_bytes(2, "big")


def refusal(code: int) -> str:
    """An exception code for people."""
    return f"code {code}, {EXCEPTIONS.get(code, 'not in the specification')}"


def reply_bytes(function: int, count: int) -> int:
    """Bytes of data in the answer to a request for `count` coils or registers."""
    return (count + 7) // 8 if function in (READ_COILS, READ_INPUTS) else 2 * count
