"""Whose fault an error inside the ingest transaction is: the fact's, or the store's."""

from typing import Final

import psycopg

from core.errors import MessageRejected, RuleViolation
from hub.sql.blame import store_does_not_fit, store_is_down

FAULTS: Final = (
    psycopg.Error,
    MessageRejected,
    RuleViolation,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    AssertionError,
)
"""What a rule or the database may raise over a fact, a mistake in a rule included: one fact must not stop all others."""


def is_the_stores(error: BaseException) -> bool:
    """True when no fact is to blame: wait for the store, refuse and receipt nothing."""
    return store_is_down(error) or store_does_not_fit(error)
