"""Which tags and labels the goods of a scenario carry."""

from random import Random
from typing import Any, Final

from core.epc import sgtin96
from core.errors import CodeError
from simulators.scenario import DeliveryPasses, Scenario

SERIAL_LIMIT: Final = 2**38
"""Serial numbers of SGTIN-96 have 38 bits."""
GROUP_SEPARATOR: Final = "\x1d"
DATA_MATRIX: Final = "]d2"
FOREIGN_TAG_BYTES: Final = 12


class Goods:
    """Draws serial numbers and writes tags; the same seed writes the same tags in the same order."""

    def __init__(self, scenario: Scenario) -> None:
        self._random = Random(f"{scenario.scenario.seed}:goods")  # noqa: S311  a simulation, not a secret
        self._prefix_digits = scenario.scenario.company_prefix_digits
        self._lines: dict[str, list[dict[str, Any]]] = {
            shipment["shipment"]: shipment["lines"] for shipment in scenario.master.get("shipments", [])
        }

    def carton(self, gtin: str) -> str:
        """A new carton's SGTIN-96 in hexadecimal."""
        tag = sgtin96(gtin, self._prefix_digits, self._random.randrange(1, SERIAL_LIMIT))
        if tag.hex is None:
            raise CodeError(f"{gtin} has no tag")
        return tag.hex

    def foreign(self) -> str:
        """A tag that is not GS1's: its header says 'unprogrammed', as a supplier's own numbering often does."""
        return "00" + self._random.randbytes(FOREIGN_TAG_BYTES - 1).hex().upper()

    def pallet(self, event: DeliveryPasses) -> list[str]:
        """The tags that really come with a shipment."""
        wanted = [(line["gtin"], line["quantity"]) for line in self._lines[event.shipment]]
        wanted[0] = (wanted[0][0], max(0, wanted[0][1] - event.missing))
        cartons = [self.carton(gtin) for gtin, quantity in wanted for _ in range(quantity)]
        return [*cartons, *(self.carton(gtin) for gtin in event.wrong), *(self.foreign() for _ in range(event.foreign_tags))]


def data_matrix(gtin: str, *, expiry: str, lot: str, serial: str | None) -> str:
    """What a scanner sends for a GS1 DataMatrix with (01), (17) as YYMMDD, (10) and perhaps (21)."""
    end = "" if serial is None else f"{GROUP_SEPARATOR}21{serial}"
    return f"{DATA_MATRIX}01{gtin}17{expiry}10{lot}{end}"
