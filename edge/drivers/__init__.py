"""The device families this edge can read: one module each, found by name."""

import importlib
import pkgutil
from typing import Final

from core.errors import ConfigurationError
from edge.drivers.protocol import ReaderDriver

_NOT_DRIVERS: Final = frozenset(
    {
        "crc16",
        "json_stream",
        "llrp_frames",
        "llrp_reports",
        "llrp_setup",
        "llrp_status",
        "modbus_frame",
        "modbus_map",
        "mqtt_payload",
        "nmea_sentences",
        "observations",
        "protocol",
        "reader_json",
    }
)


def driver_names() -> list[str]:
    """Names that `load_driver` takes, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_DRIVERS)


def load_driver(name: str) -> type[ReaderDriver]:
    """The Driver class of the module of that name; no other driver is imported. Raises ConfigurationError naming the choices."""
    names = driver_names()
    if name not in names:
        raise ConfigurationError(f"driver {name!r} is not known here; use one of {', '.join(names)}")
    driver: type[ReaderDriver] = importlib.import_module(f"{__name__}.{name}").Driver
    return driver
