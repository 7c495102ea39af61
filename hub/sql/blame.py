"""Whose fault an error of the database is, told by its SQLSTATE (PostgreSQL documentation, appendix A)."""

from typing import Final

import psycopg
from psycopg import errors

_STORE_CLASSES: Final = frozenset({"08", "25", "28", "40", "53", "57", "58", "XX"})
"""Connection, transaction state, log-in, rollback, resources, operator, system, internal error."""
_STORE_STATES: Final = frozenset({"3D000", "55006", "55P03"})
"""No such database, object in use, lock not available."""
_NOT_THE_STORES: Final = frozenset({"25P02", "53400"})
"""A statement after a failed one, which is our mistake; and TimescaleDB's limit on what one statement may decompress."""


def store_is_down(error: BaseException) -> bool:
    """True when the database does not answer, broke off, or takes nothing now: the same facts may be taken later."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError)
    if error.sqlstate in _NOT_THE_STORES:
        return False
    return error.sqlstate[:2] in _STORE_CLASSES or error.sqlstate in _STORE_STATES


def store_does_not_fit(error: BaseException) -> bool:
    """True when the database lacks a table, column, function or right: all facts would fail alike until someone mends it."""
    return isinstance(
        error,
        errors.UndefinedTable
        | errors.UndefinedColumn
        | errors.UndefinedFunction
        | errors.InsufficientPrivilege
        | errors.InvalidSchemaName,
    )
