"""The ways by which an alert reaches people who look at no screen. So far the log of the hub, which every site has."""

import logging
from typing import Final

from hub.domain.notice import Notice, in_words

_log = logging.getLogger(__name__)

LOG: Final = "log"
_LOUD: Final = frozenset({"major", "critical"})


async def to_log(notice: Notice) -> None:
    """Writes one line; a new grave alert as an error, every other new one as a warning, what became of it as information."""
    if notice.change == "opened":
        _log.log(logging.ERROR if notice.severity in _LOUD else logging.WARNING, in_words(notice))
    else:
        _log.info(in_words(notice))
