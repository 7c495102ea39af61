"""The exception tree. Each verb of the tree has one reaction, decided at the edge of a process.

QuartermasterError
├── MessageRejected      bad input on the wire: kept whole, counted, receipted, never retried
│   ├── CodeError        an EPC, barcode or frame that does not say what its scheme demands
│   └── ClockError       a time that cannot be true
├── Unavailable          something outside is down: retried with a bounded backoff
├── RuleViolation        a person or program asked for what the rules forbid: HTTP 409 / 422
│   ├── InvalidInput     what was given is wrong: every problem with its path: HTTP 422
│   ├── NotFound         the thing named does not exist: HTTP 404
│   └── NotAllowed       known, but not permitted: HTTP 401 / 403
└── ConfigurationError   a setting is wrong: named with its path, exit status 2
"""

from collections.abc import Sequence


class QuartermasterError(Exception):
    """Something in Quartermaster went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class MessageRejected(QuartermasterError):
    """A message cannot be taken as a fact."""


class CodeError(MessageRejected):
    """A code or frame breaks the rules of its scheme."""


class ClockError(MessageRejected):
    """A time cannot be true."""


class Unavailable(QuartermasterError):
    """Something this process depends on does not answer."""


class RuleViolation(QuartermasterError):
    """The request breaks a rule; nothing was changed."""


class InvalidInput(RuleViolation):
    """What was given is wrong; `problems` names each fault with its path, as `lines[0].gtin: ...`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems) or None)
        self.problems = tuple(problems)


class NotFound(RuleViolation):
    """The thing named does not exist."""


class NotAllowed(RuleViolation):
    """This person or program may not do that."""


class ConfigurationError(QuartermasterError):
    """A setting is wrong."""
