"""Every MQTT topic. Nobody else in the house writes a "/" into a topic.

qm/v1/<site>/<agent>/up        batches, agent to hub
qm/v1/<site>/<agent>/receipt   committed sequences, hub to agent
qm/v1/<site>/<agent>/status    retained, with the agent's last will
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from core.errors import MessageRejected

ROOT: Final = "qm"
VERSION: Final = "v1"
ANY_UP: Final = f"{ROOT}/+/+/+/up"
ANY_STATUS: Final = f"{ROOT}/+/+/+/status"

Channel = Literal["up", "receipt", "status"]
_CHANNELS: Final[frozenset[str]] = frozenset({"up", "receipt", "status"})
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """One edge agent: the site it stands at and its own name, both as used in topics."""

    site: str
    agent: str

    def __post_init__(self) -> None:
        for label, name in (("site", self.site), ("agent", self.agent)):
            if not is_name(name):
                raise ValueError(
                    f"{label} {name!r}: use 1 to 64 of a-z, 0-9, '-' and '_', starting and ending with a letter or digit"
                )

    @property
    def up(self) -> str:
        """Topic of this agent's batches."""
        return f"{ROOT}/{VERSION}/{self.site}/{self.agent}/up"

    @property
    def receipt(self) -> str:
        """Topic of the hub's receipts to this agent."""
        return f"{ROOT}/{VERSION}/{self.site}/{self.agent}/receipt"

    @property
    def status(self) -> str:
        """Topic of this agent's retained status and last will."""
        return f"{ROOT}/{VERSION}/{self.site}/{self.agent}/status"


def is_name(name: str) -> bool:
    """True when a site, agent, device or location name may stand in a topic."""
    return _NAME.fullmatch(name) is not None


def shared(group: str, topic_filter: str) -> str:
    """A shared subscription, so that several hubs take turns (`$share/<group>/<filter>`)."""
    return f"$share/{group}/{topic_filter}"


def parse(topic: str) -> tuple[AgentAddress, Channel]:
    """Whose topic this is and what it carries.

    Raises MessageRejected for a topic of another shape, version or channel.
    """
    parts = topic.split("/")
    if len(parts) != 5 or parts[0] != ROOT:
        raise MessageRejected(f"topic {topic!r} is not {ROOT}/{VERSION}/<site>/<agent>/<channel>")
    _, version, site, agent, channel = parts
    if version != VERSION:
        raise MessageRejected(f"topic {topic!r}: version {version!r} is not spoken here, only {VERSION!r}")
    if channel not in _CHANNELS:
        raise MessageRejected(f"topic {topic!r}: unknown channel {channel!r}")
    try:
        address = AgentAddress(site, agent)
    except ValueError as error:
        raise MessageRejected(f"topic {topic!r}: {error}") from error
    return address, channel  # type: ignore[return-value]
