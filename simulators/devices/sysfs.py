"""The kernel's files of 1-Wire probes and GPIO pins, as a tree of plain files in any folder."""

from pathlib import Path

from edge.drivers.ds18b20 import file_text

SHORTED = b"00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n"
"""What the kernel shows of a probe whose data wire touches ground: a CRC that holds."""


class FakeSysfs:
    """A tree with the kernel's paths below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def probe(self, serial: str = "00000a1b2c3d") -> Path:
        """The file of a DS18B20 by its serial number; it holds 20 degrees at first."""
        path = self.root / "bus/w1/devices" / f"28-{serial}" / "w1_slave"
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path, file_text(20 * 16))
        return path

    def pin(self, number: int, *, is_high: bool = False) -> Path:
        """The value file of a pin."""
        path = self.root / "class/gpio" / f"gpio{number}" / "value"
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path, b"1\n" if is_high else b"0\n")
        return path

    @staticmethod
    def warm(path: Path, celsius: float, *, is_good: bool = True) -> None:
        """The probe measures so much, rounded to its sixteenths; with `is_good` false its CRC fails."""
        put(path, file_text(round(celsius * 16), is_good=is_good))


def put(path: Path, content: bytes) -> None:
    """Replaces a file at once, so that no reader sees half of it, as the kernel never shows half."""
    draft = path.with_name(f".{path.name}.next")
    draft.write_bytes(content)
    draft.replace(path)
