"""What a database that is away, or that cannot be read or written, becomes: StorageFailed, once for all queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pipelines.errors import DatabaseAway, StorageFailed, Unstorable

_CONNECTION_STATES = ("08", "57P")
"""PostgreSQL's classes of errors: connection exception, and operator intervention (it shuts down, or starts up)."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raises DatabaseAway, StorageFailed, Unstorable."""
    try:
        yield
    except DataError as error:  # PostgreSQL minds the length of a text and the size of an integer, SQLite does not
        raise Unstorable(f"the database cannot hold a value: {_first_line(error)}") from error
    except DBAPIError as error:
        if away(error):
            raise DatabaseAway(f"the database does not answer: {_first_line(error)}") from error
        if isinstance(error, OperationalError):
            failure = f"the database refused: {_first_line(error)}. Free disk space or repair it, then resume"
            raise StorageFailed(failure) from error
        raise
    except PoolTimeout as error:
        raise StorageFailed(f"no connection to the database became free in time: {error}") from error
    except UnicodeEncodeError as error:
        raise Unstorable(f"a text cannot be stored: {error}") from None
    except StatementError as error:  # wraps what was raised while a value was made ready
        if isinstance(error.orig, Unstorable):
            raise error.orig from None
        raise


def away(error: DBAPIError) -> bool:
    """Whether it is the connection that failed, and not the query: a server that restarts, or that was never there."""
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state: str | None = getattr(error.orig, "sqlstate", "")  # SQLite's have none: its file is there or it is broken
    return state is None or state.startswith(_CONNECTION_STATES)


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]
