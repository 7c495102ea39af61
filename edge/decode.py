"""A capture of a device's bytes told as JSON lines of observations: a maintainer's first tool when a device misbehaves."""

import json
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final, TextIO

import msgspec
from msgspec import Struct

from core import barcode
from core.errors import ConfigurationError
from edge.drivers import load_driver
from edge.drivers.observations import (
    Fault,
    Fix,
    Identity,
    Measured,
    NoFix,
    Observation,
    Online,
    PortChanged,
    Scan,
    Setting,
    Switched,
    TagRead,
)
from edge.drivers.protocol import DeviceOptions, ReaderDriver

CHUNK_BYTES: Final = 65_536
_HARMLESS: Final = frozenset({"echo"})


def run_decode(
    driver: str, stream: BinaryIO, out: TextIO, *, unit_id: int = 1, as_hex: bool = False, options: Path | None = None
) -> int:
    """Writes one JSON object a line for what the bytes say, and a summary of faults to stderr.

    With `as_hex`, and of a stream whose name ends in `.hex`, the stream is text: lines of hex, `#` begins a comment. A receiver's
    date is taken as it is: a capture may be old. Returns 0 when anything was decoded or nothing was wrong, else 1, also when there
    were no bytes. `options` is a TOML file with the driver's own, as in `[devices.options]`, under `[options]`: a register map.
    Raises ConfigurationError for an unknown driver, for options it does not know and for hex that is not hex.
    """
    kind = load_driver(driver)
    own = None if options is None else read_options(options, kind)
    device = kind(DeviceOptions(unit_id=unit_id, believable_age_s=None, capture=True, own=own))
    moment = datetime.now(UTC)
    is_hex = as_hex or PurePath(str(getattr(stream, "name", ""))).suffix == ".hex"
    chunks = [hex_bytes(stream.read())] if is_hex else iter(lambda: stream.read(CHUNK_BYTES), b"")
    lines = taken = 0
    pending: dict[str, Any] = {}
    for chunk in chunks:
        taken += len(chunk)
        lines += _tell(device.feed(chunk, moment), pending, out)
    lines += _tell(device.flush(moment), pending, out)
    if held := device.pending_bytes():
        device.counts["unfinished_frame"] += 1
        sys.stderr.write(f"unfinished_frame: the capture ends inside a frame, of which {held} bytes are there\n")
    if not taken:
        sys.stderr.write(f"{driver}: no bytes: the capture is empty\n")
        return 1
    faults = {name: count for name, count in sorted(device.counts.items()) if count}
    summary = ", ".join(f"{name} {count}" for name, count in faults.items()) or "no faults"
    sys.stderr.write(f"{driver}: {lines} observations; {summary}\n")
    return 0 if lines or not set(faults) - _HARMLESS else 1


def read_options(path: Path, driver: type[ReaderDriver]) -> Struct:
    """The driver's own options in the `[options]` of a TOML file. Raises ConfigurationError naming the file."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as TOML: {error}") from error
    try:
        return msgspec.convert(table.get("options", {}), driver.Options)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: options: {error}") from error


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


Told = TagRead | Scan | Fix | NoFix | Switched | PortChanged | Setting | Identity | Online


def as_line(observation: Told) -> dict[str, Any]:
    """The fields of one line: an EPC as read, a barcode as parsed, a fix in degrees and metres a second."""
    match observation:
        case TagRead():
            return _tag_line(observation)
        case Fix():
            return _fix_line(observation)
        case NoFix(at):
            return _no_fix_line(at)
        case Scan(text):
            return _scan_line(text)
        case Switched(name, on):
            return {"input": name, "on": on}
        case PortChanged(port, on):
            return {"port": port, "on": on}
        case Setting(name, value):
            return {"setting": name, "value": value}
        case Identity(model, firmware):
            return {"model": model, "firmware": firmware}
        case Online():
            return {"online": True}


def _tag_line(read: TagRead) -> dict[str, Any]:
    line: dict[str, Any] = {"epc": read.epc, "antenna": read.antenna, "rssi_dbm": read.rssi_dbm}
    if read.first_seen is not None:
        line["first_seen"] = _utc(read.first_seen)
    if read.phase_deg is not None:
        line["phase_deg"] = read.phase_deg
    return line


def _fix_line(fix: Fix) -> dict[str, Any]:
    line: dict[str, Any] = {
        "time": _utc(fix.at),
        "latitude": round(fix.latitude, 7),
        "longitude": round(fix.longitude, 7),
        "speed_mps": None if fix.speed_mps is None else round(fix.speed_mps, 4),
        "course_deg": fix.course_deg,
        "fix": True,
        "satellites": fix.satellites,
        "hdop": fix.hdop,
    }
    if fix.accuracy_m is not None:
        line["accuracy_m"] = fix.accuracy_m
    if fix.coordinate_system != "wgs84":
        line["coordinate_system"] = fix.coordinate_system
    return line


def _no_fix_line(at: datetime | None) -> dict[str, Any]:
    nothing = dict.fromkeys(("latitude", "longitude", "speed_mps", "course_deg"))
    return {"time": None if at is None else _utc(at), **nothing, "fix": False, "satellites": None, "hdop": None}


def _utc(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _scan_line(text: str) -> dict[str, Any]:
    code = barcode.parse(text)
    return {
        "text": text,
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
