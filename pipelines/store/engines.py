"""The two engines behind a database: one for transactions, one that only reads. Each is set up once, per connection.

Reading has an engine of its own because a connection that must be switched to autocommit for each read costs more than
the read. Both are plain ones, used in threads (`connections.py`): through an asynchronous driver a read of one row took
four times the CPU time on SQLite, which crosses to its thread for every call.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from pipelines.errors import BadInput
from pipelines.store.values import checked, serialised

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",  # as hosts of databases write it
}


def database_address(text: str) -> URL:
    """The address with the store's own driver, whatever driver it names. Raises BadInput, which repeats no password."""
    try:
        address = make_url(text)
        return address.set(drivername=_DRIVERS[address.drivername.partition("+")[0]])
    except (ArgumentError, ValueError, KeyError):
        scheme = text.partition("://")[0][:20] if "://" in text else ""
        raise BadInput(
            f"the database address that begins with {scheme!r} cannot be read: write sqlite:///FILE or"
            " postgresql://USER:PASSWORD@HOST/NAME"
        ) from None


BUSY_SECONDS = 30.0
"""How long a statement may wait for another one's lock, and on PostgreSQL run at all."""
READERS, WRITERS = 8, 8
"""Of one process at the same time; with the change counter it has 17 connections at most, of PostgreSQL's usual 100."""
SQLITE_READERS, SQLITE_WRITERS = 2, 1
"""One writer is all that SQLite takes. Reading is work for this process, which more threads would only hand around: of
200 reads at once the last came after 280 ms with eight, after 170 ms with two.
"""
_MIGRATING = ("journal_mode=WAL", "synchronous=FULL")
_WRITING = (*_MIGRATING, "foreign_keys=ON")
_READING = ("query_only=ON",)
_TIMEOUTS = {"lock_timeout": BUSY_SECONDS, "statement_timeout": BUSY_SECONDS}
_IDLE = {"idle_in_transaction_session_timeout": 2 * BUSY_SECONDS}
"""A process that stops inside a transaction, with rows locked, loses it."""
_SOCKET = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server whose machine vanished is noticed within a minute instead of hours. Seconds, the last one milliseconds."""


def writers(url: str) -> int:
    """How many transactions of one process may run at once."""
    return SQLITE_WRITERS if _is_sqlite(database_address(url)) else WRITERS


def readers(url: str) -> int:
    """How many visits of one process may read at once."""
    return SQLITE_READERS if _is_sqlite(database_address(url)) else READERS


def writing_engine(url: str) -> Engine:
    """An engine for transactions, which lock before they read."""
    address = database_address(url)
    if _is_sqlite(address):
        arguments = {"timeout": BUSY_SECONDS}
        engine = _locking(create_engine(address, connect_args=arguments, json_serializer=serialised), _WRITING)
    else:
        arguments = _postgres(**_TIMEOUTS, **_IDLE)
        engine = create_engine(
            address,
            connect_args=arguments,
            json_serializer=serialised,
            isolation_level="READ COMMITTED",  # what row locks are made for, whatever the server's default is
            pool_pre_ping=True,
            pool_size=WRITERS,
            max_overflow=0,
        )
    checked(engine)
    return engine


def migrating_engine(url: str) -> Engine:
    """An engine for migrations, which take as long as they take; on SQLite without foreign keys.

    SQLite changes a table by copying it and dropping the old one; with foreign keys on, that drop would delete every
    row that points to it.
    """
    address = database_address(url)
    if _is_sqlite(address):
        return _locking(create_engine(address, connect_args={"timeout": BUSY_SECONDS}), _MIGRATING)
    return create_engine(address, connect_args=_postgres())


def reading_engine(url: str) -> Engine:
    """An engine that sees committed rows, blocks nobody and cannot write."""
    address = database_address(url)
    if _is_sqlite(address):
        engine = _reading(address, {"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", partial(_configure_sqlite, _READING))
        event.listen(engine, "connect", _know_all_letters)
    else:
        engine = _reading(address, _postgres(**_TIMEOUTS, default_transaction_read_only="on"))
    checked(engine)
    return engine


def _is_sqlite(address: URL) -> bool:
    return address.get_backend_name() == "sqlite"


def _reading(address: URL, arguments: dict[str, Any]) -> Engine:
    return create_engine(
        address,
        connect_args=arguments,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_size=READERS,
        max_overflow=0,
    )


def _postgres(**settings: float | str) -> dict[str, Any]:
    """Arguments of a connection: how long to wait for it, and settings of its session (seconds, or words)."""
    words = {name: value if isinstance(value, str) else f"{value:.0f}s" for name, value in settings.items()}
    return {**_SOCKET, "options": " ".join(f"-c {name}={value}" for name, value in words.items())}


def _locking(engine: Engine, pragmas: tuple[str, ...]) -> Engine:
    event.listen(engine, "connect", partial(_configure_sqlite, pragmas))
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _configure_sqlite(pragmas: tuple[str, ...], connection: Any, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor: sqlite3.Cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _know_all_letters(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    """Give SQLite a `lower` for all letters: its own knows the 26 of English only."""
    connection.create_function("lower", 1, lambda text: text and text.lower(), deterministic=True)


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later fails with "database is locked" under WAL.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
