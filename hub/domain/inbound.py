"""One message as it came off the wire, before anyone has looked at what it says."""

from typing import NamedTuple


class Inbound(NamedTuple):
    """Topic and payload; `problem` says why it could not even be taken whole.

    Then `payload` is its beginning, and `size` how many bytes the whole payload has.
    """

    topic: str
    payload: bytes
    problem: str | None = None
    size: int | None = None
