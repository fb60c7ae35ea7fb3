"""What every database here can hold, checked in one place for all values on their way to any of them.

PostgreSQL refuses NUL characters and halves of surrogate pairs, in texts and in JSON as soon as it looks into it.
SQLite takes them, and makes a silent null of a number that is none. What can be said must not depend on the database,
so both refuse all of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pipelines.errors import DatabaseAway, StorageFailed, Unstorable

_CONNECTION_STATES = ("08", "57P")
"""PostgreSQL's classes of errors: connection exception, and operator intervention (it shuts down, or starts up)."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn errors of SQLAlchemy raised inside into ours. Raises DatabaseAway, StorageFailed, Unstorable."""
    try:
        yield
    except DataError as error:  # PostgreSQL minds the length of a text and the size of an integer, SQLite does not
        raise Unstorable(f"the database cannot hold a value: {_first_line(error)}") from error
    except DBAPIError as error:
        if away(error):
            raise DatabaseAway(f"the database does not answer: {_first_line(error)}") from error
        if isinstance(error, OperationalError | InternalError) or type(error) is DatabaseError:
            # SQLite says of a damaged file that it is no good by the plain DatabaseError.
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


MAX_INTEGER = 2**63 - 1
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SUSPICIOUS = re.compile(r"\\u(?:0000|d[89a-f])")
"""In serialised JSON: an escape that may stand for such a character. Most are half of an emoji's whole pair."""


def checked(engine: Engine) -> None:
    """Let `engine` check every parameter of every statement; its statements then raise Unstorable."""
    event.listen(engine, "before_cursor_execute", _check_statement)


def serialised(value: Any) -> str:
    """JSON text. Raises Unstorable; TypeError for what is not JSON at all."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise Unstorable(f"a number cannot be stored ({error}): leave it out") from None
    if _SUSPICIOUS.search(text):
        _check_json(value)
    return text


def _check_statement(_connection: Any, _cursor: Any, _statement: str, parameters: Any, *_: Any) -> None:
    if isinstance(parameters, Mapping):
        _check(parameters.values())
    elif isinstance(parameters, list):  # several rows
        for row in parameters:
            _check(row.values() if isinstance(row, Mapping) else row)
    else:
        _check(parameters)


def _check(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise Unstorable(f"{value} is no number that can be stored: leave it out")
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise Unstorable(f"the number {value} is too large to be stored: give one below 2**63")


def _check_json(value: Any) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _check_json(key)
            _check_json(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_json(inner)


def _check_text(text: str) -> None:
    found = _UNSTORABLE.search(text)
    if found:
        near = text[max(0, found.start() - 20) : found.start() + 20]
        raise Unstorable(f"the character U+{ord(found[0]):04X} cannot be stored: take it out of {near!r}")
