"""How the machine does: temperature, disk, memory. What cannot be known here is None."""

import shutil
from pathlib import Path
from typing import Final

THERMAL: Final = Path("/sys/class/thermal")
STATM: Final = Path("/proc/self/statm")
PAGE_BYTES: Final = 4096


def cpu_celsius(folder: Path = THERMAL) -> float | None:
    """The warmest of the machine's own thermal zones, in degrees Celsius."""
    found: list[float] = []
    for zone in sorted(folder.glob("thermal_zone*/temp")):
        try:
            found.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue  # a zone whose sensor is switched off answers with an error
    return max(found, default=None)


def disk_free_bytes(folder: Path) -> int | None:
    """What is left on the disk of a folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def memory_bytes(statm: Path = STATM) -> int | None:
    """Resident memory of this process."""
    try:
        return int(statm.read_text().split()[1]) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None
