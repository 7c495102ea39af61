"""What a person who looks at no screen is told of an alert, and in which words."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """One change of one alert. `change` is opened, cleared, corrected, acknowledged or resolved; `at` is event time."""

    outgoing: int
    alert: int
    change: str
    kind: str
    severity: str
    source: str
    rule: str
    site: str | None
    location: str | None
    at: datetime


def in_words(notice: Notice) -> str:
    """One line of text: which alert, what became of it, about what, where and since when."""
    place = "/".join(each for each in (notice.site, notice.location) if each) or "no place"
    return (
        f"alert {notice.alert} {notice.change}: {notice.severity} {notice.kind} of {notice.source} at {place}, "
        f"rule {notice.rule}, {notice.at.isoformat(timespec='seconds')}"
    )
