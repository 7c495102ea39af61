"""What an LLRP reader means by a status: codes and errors in words for people."""

from dataclasses import dataclass
from typing import Final

from edge.drivers import llrp_frames as llrp
from edge.drivers.llrp_frames import Parameter, number, parameters, text_at

CODES: Final = {
    0: "M_Success",
    100: "M_ParameterError",
    101: "M_FieldError",
    102: "M_UnexpectedParameter",
    103: "M_MissingParameter",
    104: "M_DuplicateParameter",
    105: "M_OverflowParameter",
    106: "M_OverflowField",
    107: "M_UnknownParameter",
    108: "M_UnknownField",
    109: "M_UnsupportedMessage",
    110: "M_UnsupportedVersion",
    111: "M_UnsupportedParameter",
    112: "M_UnexpectedMessage",
    200: "P_ParameterError",
    201: "P_FieldError",
    202: "P_UnexpectedParameter",
    203: "P_MissingParameter",
    204: "P_DuplicateParameter",
    205: "P_OverflowParameter",
    206: "P_OverflowField",
    207: "P_UnknownParameter",
    208: "P_UnknownField",
    209: "P_UnsupportedParameter",
    300: "A_Invalid",
    301: "A_OutOfRange",
    401: "R_DeviceError",
}
"""LLRP 1.1, chapter 15."""
PARAMETERS: Final = {
    177: "ROSpec",
    178: "ROBoundarySpec",
    183: "AISpec",
    186: "InventoryParameterSpec",
    220: "KeepaliveSpec",
    222: "AntennaConfiguration",
    224: "RFTransmitter",
    225: "GPIPortCurrentState",
    226: "EventsAndReports",
    237: "ROReportSpec",
    238: "TagReportContentSelector",
    244: "ReaderEventNotificationSpec",
    245: "EventNotificationState",
    330: "C1G2InventoryCommand",
    335: "C1G2RFControl",
    336: "C1G2SingulationControl",
    1023: "Custom",
}
MAX_TEXT: Final = 300
MAX_DEPTH: Final = 12


@dataclass(frozen=True, slots=True)
class Status:
    """An LLRPStatus: code, and what it says in words."""

    code: int
    words: str

    @property
    def is_good(self) -> bool:
        """True when the reader did it."""
        return self.code == 0


def read_status(found: list[Parameter]) -> Status | None:
    """The LLRPStatus among a message's parameters, with the place that it blames; None when there is none."""
    body = next((each.body for each in found if each.kind == llrp.STATUS), None)
    if body is None:
        return None
    said, end = text_at(body, 2)
    code = number(body, 0)
    places = " / ".join(_places(body, end, 0))
    words = "; ".join(part for part in (_code(code), repr(said[:MAX_TEXT]) if said else "", places) if part)
    return Status(code, words)


def _code(code: int) -> str:
    return f"{CODES.get(code, 'status')} {code}"


def _places(body: bytes, at: int, depth: int) -> list[str]:
    """The chain from the outermost parameter to the field that is blamed."""
    for each in parameters(body, at)[0]:
        if each.kind == llrp.FIELD_ERROR:
            return [f"field {number(each.body, 0)}: {_code(number(each.body, 2))}"]
        if each.kind == llrp.PARAMETER_ERROR and depth < MAX_DEPTH:
            kind = number(each.body, 0)
            here = f"{PARAMETERS.get(kind, 'parameter')} {kind}"
            deeper = _places(each.body, 4, depth + 1)
            return [here, *(deeper or [_code(number(each.body, 2))])]
    return []
