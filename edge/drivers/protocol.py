"""What every driver promises: bytes in, observations out, and back; no I/O, no clock, no threads."""

from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

from msgspec import Struct

from edge.drivers.observations import Observation


class NoOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """A driver with nothing of its own to set."""


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """What a driver may need to know of its device.

    `unit_id` is the address on a shared bus (1 to 247). `antenna` is given to the reads of a reader that cannot tell.
    A receiver's own date is believed when it lies within `believable_age_s` of the reading; None believes any (a capture's).
    `capture` is True when the bytes come from a file: what stands around them on the line may be missing, and nobody is answered.
    `topic` is where a device that speaks MQTT speaks. `own` holds the driver's own options, of its `Options` type; None stands
    for their defaults.
    """

    unit_id: int = 1
    antenna: int | None = None
    believable_age_s: float | None = 86_400.0
    topic: str = ""
    capture: bool = False
    own: Struct | None = None


@dataclass(frozen=True, slots=True)
class WebAccess:
    """How a stream that a device serves over HTTP is asked for.

    `username` and the password in `password_file` log in (basic authentication), `ca_file` holds the certificate authority of an
    https address. `posts` are paths that are sent a POST without content before, in this order.
    """

    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    posts: tuple[str, ...] = ()


class ReaderDriver(Protocol):
    """One device's dialect. An instance lives as long as one open line, in its thread, and keeps only a bounded partial frame.

    `counts` holds totals of named faults since the instance was made; a caller may read it at any time.
    """

    default_baud: ClassVar[int] = 9600
    """Bits a second when the settings name none (8 data bits, no parity, 1 stop bit)."""
    polled: ClassVar[bool] = False
    """True when the device speaks only when asked: send `poll()` each interval."""
    reply_timeout_s: ClassVar[float] = 1.0
    """Real seconds to wait for the answer to a poll, and again for the answer to each of `replies`."""
    default_interval_s: ClassVar[float] = 60.0
    """Scenario seconds between polls when the settings name none."""
    restart_after_s: ClassVar[float | None] = None
    """Send `start_commands()` again when no byte came for so many real seconds; None when the device needs no command."""

    hang_up_after_s: ClassVar[float | None] = None
    """Close the line and open it again when no byte came for so many real seconds; None when silence is nothing unusual."""
    topics: ClassVar[tuple[str, ...]] = ()
    """What a device that speaks MQTT is listened to on, `{topic}` standing for the one in the settings; empty for others."""
    Options: ClassVar[type[Struct]] = NoOptions
    """Options of this driver alone, `[devices.options]` in the settings: a frozen Struct that forbids unknown fields."""

    options: DeviceOptions
    counts: Counter[str]

    def __init__(self, options: DeviceOptions) -> None:
        self.options = options
        self.counts = Counter()

    @abstractmethod
    def feed(self, data: bytes, read_at: datetime) -> list[Observation]:
        """Observations that these bytes complete. Never raises, whatever the bytes; bad frames are counted."""

    @abstractmethod
    def encode(self, observation: Observation) -> bytes:
        """What the real device sends for this observation. Raises CodeError for what the device cannot say."""

    def flush(self, read_at: datetime) -> list[Observation]:  # noqa: ARG002
        """Observations complete because the line fell silent (call after 100 ms without a byte)."""
        return []

    def message(self, topic: str, payload: bytes, read_at: datetime) -> list[Observation]:  # noqa: ARG002
        """Observations of one whole MQTT message on one of `topics`. Never raises."""
        return [*self.feed(payload, read_at), *self.flush(read_at)]

    def replies(self) -> list[bytes]:
        """What must be sent now, in answer to what was fed, in this order; asked after every `feed` and `flush`, told once."""
        return []

    def is_answered(self, *, observed: bool) -> bool:
        """True when the answer to the last poll is whole; `observed` says that something was observed since the poll.

        Default: the first observation ends it. A driver whose answers may say nothing, or come in several frames, knows better.
        """
        return observed

    def web_access(self) -> WebAccess | None:
        """How the device's stream is asked for over HTTP; None when it serves none."""
        return None

    def start_commands(self) -> list[bytes]:
        """What to send after opening the port, in this order; empty when the device speaks by itself."""
        return []

    def stop_commands(self) -> list[bytes]:
        """What to send before a line is closed because the agent stops, in this order; no answer is waited for."""
        return []

    def silence_limit_s(self) -> float | None:
        """`hang_up_after_s` of this instance now, which may follow from its options or from what the device said."""
        return self.hang_up_after_s

    def pending_bytes(self) -> int:
        """Bytes held of a frame that is not finished; at the end of a line or capture they are lost."""
        return 0

    def poll(self) -> bytes:
        """The request of a polled device; empty for others."""
        return b""
