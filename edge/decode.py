"""A capture of a device's bytes told as JSON lines of observations: a maintainer's first tool when a device misbehaves."""

import json
import sys
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, BinaryIO, Final, TextIO

from core import barcode
from core.errors import ConfigurationError
from edge.drivers import load_driver
from edge.drivers.observations import Fault, Fix, Measured, Observation, Scan, TagRead
from edge.drivers.protocol import DeviceOptions

ALIASES: Final = {"modbus": "xymd02"}
CHUNK_BYTES: Final = 65_536
_HARMLESS: Final = frozenset({"echo"})


def run_decode(driver: str, stream: BinaryIO, out: TextIO, *, unit_id: int = 1, as_hex: bool = False) -> int:
    """Writes one JSON object a line for what the bytes say, and a summary of faults to stderr.

    With `as_hex`, and of a stream whose name ends in `.hex`, the stream is text: lines of hex, `#` begins a comment. A receiver's
    date is taken as it is: a capture may be old. Returns 0 when anything was decoded or nothing was wrong, else 1, also when there
    were no bytes. Raises ConfigurationError for an unknown driver and for hex that is not hex.
    """
    device = load_driver(ALIASES.get(driver, driver))(DeviceOptions(unit_id=unit_id, believable_age_s=None))
    moment = datetime.now(UTC)
    is_hex = as_hex or PurePath(str(getattr(stream, "name", ""))).suffix == ".hex"
    chunks = [hex_bytes(stream.read())] if is_hex else iter(lambda: stream.read(CHUNK_BYTES), b"")
    lines = taken = 0
    pending: dict[str, Any] = {}
    for chunk in chunks:
        taken += len(chunk)
        lines += _tell(device.feed(chunk, moment), pending, out)
    lines += _tell(device.flush(moment), pending, out)
    if not taken:
        sys.stderr.write(f"{driver}: no bytes: the capture is empty\n")
        return 1
    faults = {name: count for name, count in sorted(device.counts.items()) if count}
    summary = ", ".join(f"{name} {count}" for name, count in faults.items()) or "no faults"
    sys.stderr.write(f"{driver}: {lines} observations; {summary}\n")
    return 0 if lines or not set(faults) - _HARMLESS else 1


def hex_bytes(text: bytes) -> bytes:
    """The bytes a `.hex` capture holds. Raises ConfigurationError naming the line that is not hex."""
    found = bytearray()
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
        try:
            found += bytes.fromhex(line.partition("#")[0])
        except ValueError as error:
            raise ConfigurationError(f"line {number} of the capture is not hex: {line[:80]!r}") from error
    return bytes(found)


def _tell(observations: list[Observation], pending: dict[str, Any], out: TextIO) -> int:
    """Writes the observations; both quantities of one reply stand on one line. Returns the number of lines."""
    lines = 0
    for place, observation in enumerate(observations):
        if isinstance(observation, Fault):
            sys.stderr.write(f"fault {observation.code}: {observation.detail}\n")
        elif isinstance(observation, Measured):
            pending[observation.quantity] = observation.value
            following = observations[place + 1] if place + 1 < len(observations) else None
            if not isinstance(following, Measured) or following.quantity in pending:
                lines += _write({"celsius": None, "humidity_percent": None, **pending}, out)
                pending.clear()
        else:
            lines += _write(as_line(observation), out)
    return lines


def as_line(observation: TagRead | Scan | Fix) -> dict[str, Any]:
    """The fields of one line: an EPC as read, a barcode as parsed, a fix in degrees and metres a second."""
    if isinstance(observation, TagRead):
        return {"epc": observation.epc, "antenna": observation.antenna, "rssi_dbm": observation.rssi_dbm}
    if isinstance(observation, Fix):
        return {
            "time": observation.at.isoformat().replace("+00:00", "Z"),
            "latitude": round(observation.latitude, 7),
            "longitude": round(observation.longitude, 7),
            "speed_mps": None if observation.speed_mps is None else round(observation.speed_mps, 4),
            "course_deg": observation.course_deg,
            "fix": True,
            "satellites": observation.satellites,
            "hdop": observation.hdop,
        }
    code = barcode.parse(observation.text)
    return {
        "text": observation.text,
        "symbology": code.symbology,
        "gtin": code.gtin,
        "lot": code.lot,
        "expiry": None if code.expiry is None else code.expiry.isoformat(),
        "serial": code.serial,
        "sscc": code.sscc,
        "ais": code.ais,
        "opaque": code.opaque,
        "suspect": code.suspect,
        "error": code.error,
    }


def _write(line: dict[str, Any], out: TextIO) -> int:
    out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return 1
