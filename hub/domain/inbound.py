"""One message as it came off the wire, before anyone has looked at what it says."""

from typing import NamedTuple


class Inbound(NamedTuple):
    """Topic and payload; `problem` says why it could not even be taken whole (then `payload` is its beginning)."""

    topic: str
    payload: bytes
    problem: str | None = None
