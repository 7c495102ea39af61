"""A tag as an LLRP reader reports it, both ways."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from core.errors import CodeError
from edge.drivers import llrp_frames as llrp
from edge.drivers.llrp_frames import Parameter, Rest, custom, message, number, parameter
from edge.drivers.observations import TagRead

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_EPC_BITS: Final = 496
"""31 words, the longest a Gen2 tag can announce."""
PHASE_STEPS: Final = 4096
"""Impinj tells the phase of a whole turn in so many steps."""


@dataclass(frozen=True, slots=True)
class TagReport:
    """One TagReportData. `seen_count` reads of the tag were merged into it."""

    epc: str
    antenna: int | None = None
    rssi_dbm: float | None = None
    phase_deg: float | None = None
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    seen_count: int = 1


def read_report(found: Sequence[Parameter], rest: Rest, counts: Counter[str]) -> TagReport | None:
    """What the parameters of a TagReportData say; None, counted, when there is no EPC or they do not fit together."""
    if rest == "broken":
        counts["broken_tag_report"] += 1
        return None
    if rest == "unknown":
        counts["unknown_parameter"] += 1  # what stands behind it in this report cannot be told apart
    told = {each.kind: each.body for each in found}
    epc = told[llrp.EPC_96] if llrp.EPC_96 in told else _epc_of_bits(told.get(llrp.EPC_DATA, bytes(2)))
    if not epc:
        counts["no_epc"] += 1
        return None
    rssi = float(int.from_bytes(told[llrp.PEAK_RSSI], "big", signed=True)) if llrp.PEAK_RSSI in told else None
    phase: float | None = None
    for each in found:
        if each.kind == llrp.CUSTOM and number(each.body, 0, 4) == llrp.IMPINJ and len(each.body) >= 10:
            subtype = number(each.body, 4, 4)
            if subtype == llrp.IMPINJ_RSSI:
                rssi = int.from_bytes(each.body[8:10], "big", signed=True) / 100
            elif subtype == llrp.IMPINJ_PHASE:
                phase = number(each.body, 8) % PHASE_STEPS * 360 / PHASE_STEPS
    return TagReport(
        epc=epc.hex().upper(),
        antenna=number(told[llrp.ANTENNA_ID], 0) if llrp.ANTENNA_ID in told else None,
        rssi_dbm=rssi,
        phase_deg=phase,
        first_seen=_moment(told.get(llrp.FIRST_SEEN_UTC)),
        last_seen=_moment(told.get(llrp.LAST_SEEN_UTC)),
        seen_count=number(told[llrp.TAG_SEEN_COUNT], 0) if llrp.TAG_SEEN_COUNT in told else 1,
    )


def _epc_of_bits(body: bytes) -> bytes | None:
    """The EPC of an EPCData, filled with zero bits to whole words as the tag's memory is; None when its bits are not there."""
    bits = number(body, 0)
    size = (bits + 7) // 8
    data = body[2 : 2 + size]
    if not 0 < bits <= MAX_EPC_BITS or len(data) < size:
        return None
    spare = size * 8 - bits
    clean = (int.from_bytes(data, "big") >> spare << spare).to_bytes(size, "big")
    return clean + bytes(size % 2)


def _moment(body: bytes | None) -> datetime | None:
    """Microseconds since 1970 as a time; None for none and for one past the year 9999."""
    if body is None:
        return None
    try:
        return EPOCH + timedelta(microseconds=number(body, 0, 8))
    except OverflowError:
        return None


def report_of(read: TagRead) -> bytes:
    """A whole RO_ACCESS_REPORT of one tag. Raises CodeError when a field does not fit."""
    try:
        epc = bytes.fromhex(read.epc)
    except ValueError as error:
        raise CodeError(f"EPC {read.epc!r} is not hex") from error
    rssi = None if read.rssi_dbm is None else round(read.rssi_dbm)
    if len(epc) % 2 or not 2 <= len(epc) * 8 <= MAX_EPC_BITS or (rssi is not None and not -128 <= rssi <= 127):
        raise CodeError(f"EPC {read.epc!r} at {rssi} dBm does not fit a report: 1 to 31 words, -128 to 127 dBm")
    told = [
        parameter(llrp.EPC_96, epc) if len(epc) == 12 else parameter(llrp.EPC_DATA, (len(epc) * 8).to_bytes(2, "big") + epc),
        b"" if read.antenna is None else parameter(llrp.ANTENNA_ID, read.antenna.to_bytes(2, "big")),
        b"" if rssi is None else parameter(llrp.PEAK_RSSI, rssi.to_bytes(1, "big", signed=True)),
    ]
    if read.first_seen is not None:
        told.append(parameter(llrp.FIRST_SEEN_UTC, ((read.first_seen - EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big")))
    if read.rssi_dbm is not None and read.rssi_dbm != rssi:
        hundredths = round(read.rssi_dbm * 100).to_bytes(2, "big", signed=True)
        told.append(custom(llrp.IMPINJ, llrp.IMPINJ_RSSI, hundredths))
    if read.phase_deg is not None:
        steps = round(read.phase_deg / 360 * PHASE_STEPS) % PHASE_STEPS
        told.append(custom(llrp.IMPINJ, llrp.IMPINJ_PHASE, steps.to_bytes(2, "big")))
    return message(llrp.RO_ACCESS_REPORT, 0, parameter(llrp.TAG_REPORT_DATA, b"".join(told)))
