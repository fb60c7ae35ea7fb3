"""One database, SQLite or PostgreSQL, with the two kinds of connection the store uses, and its migrations.

`write` is a transaction that locks before it reads (SQLite: BEGIN IMMEDIATE; PostgreSQL: row locks by the queries).
`read` sees committed rows and blocks nobody. Knows no table.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from pipelines.errors import DatabaseAway, StorageFailed
from pipelines.store.fault_points import reach

BUSY_SECONDS = 30.0
_CONNECTION_STATES = ("08", "57P")
"""PostgreSQL's classes of errors: connection exception, and operator intervention (it shuts down, or starts up)."""
_SQLITE_MIGRATING = ("journal_mode=WAL", "synchronous=FULL")
_SQLITE = (*_SQLITE_MIGRATING, "foreign_keys=ON")
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def unbroken(
    method: Callable[Parameters, Coroutine[Any, Any, Result]],
) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """Lets a database call run to its end when its caller is cancelled, and only then passes the cancellation on.

    A transaction that is dropped half way leaves SQLite's write lock held until its thread is done with it: the next
    writer then waits for the whole busy timeout (seen: 30 s and a failed generation that could not be recorded).
    """

    @wraps(method)
    async def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        task = asyncio.ensure_future(method(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # looked at, so that it is not reported as lost
            raise

    return call


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


class Database:
    """An engine and its pool; `close` it in the event loop that used it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = _engine(url, _SQLITE)

    async def migrate(self) -> None:
        """Bring the schema to the newest version. Raises StorageFailed when the database cannot be opened.

        SQLite changes a table by copying it and dropping the old one; with foreign keys on, that drop would delete
        every row that points to it. So migrations run on a connection of their own, without them.
        """
        engine = _engine(self._url, _SQLITE_MIGRATING)
        try:
            with _StorageErrors():
                async with engine.begin() as connection:
                    await connection.run_sync(_upgrade)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        with _StorageErrors():
            async with self._engine.begin() as connection:
                yield connection
                reach("before_commit")
            reach("after_commit")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        with _StorageErrors():
            async with self._engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                yield connection

    async def close(self) -> None:
        await asyncio.shield(self._engine.dispose())


class _StorageErrors:
    """Turns a database that is away, or cannot be read or written, into StorageFailed, once for all queries."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, DBAPIError) and _away(error):
            raise DatabaseAway(f"the database does not answer: {_first_line(error)}") from error
        if isinstance(error, OperationalError):
            raise StorageFailed(f"the database refused: {error.orig}. Free disk space or repair it, then resume")


def _away(error: DBAPIError) -> bool:
    """Whether it is the connection that failed, and not the query: a server that restarts, or that was never there."""
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError | InterfaceError) or not hasattr(error.orig, "sqlstate"):
        return False  # SQLite's have no state: its file is there or it is broken
    state: str | None = error.orig.sqlstate
    return state is None or state.startswith(_CONNECTION_STATES)


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]


def _engine(url: str, pragmas: tuple[str, ...]) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_pre_ping=True)
    engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine.sync_engine, "connect", partial(_configure_sqlite, pragmas))
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _configure_sqlite(pragmas: tuple[str, ...], connection: Any, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor: sqlite3.Cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later fails with "database is locked" under WAL.
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
