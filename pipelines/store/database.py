"""One database, SQLite or PostgreSQL: transactions, reads, and its migrations.

`write` runs a function in a transaction, `fetch` sees committed rows and blocks nobody. A method that is a transaction
as a whole says so with `@transaction`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Executable, Row, text

from pipelines.store.connections import ChangeCounter, Reader, Rows, Writer
from pipelines.store.engines import migrating_engine
from pipelines.store.values import storage_errors

_MIGRATION_LOCK = 0x61646D696E74
"""The number of the advisory lock: 'admint'."""
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


class Database:
    """The connections to one database; `close` it in the event loop that used it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._writer = Writer(url)
        self._reader = Reader(url)
        self._change_counter = ChangeCounter(url)

    async def migrate(self) -> None:
        """Bring the schema to the newest version; processes that start together do it one after the other.

        Raises StorageFailed when the database cannot be opened.
        """
        with storage_errors():
            await asyncio.to_thread(_migrate, self._url)

    async def write(self, write: Callable[[Connection], Result]) -> Result:
        """Run `write` in a transaction: committed when it returns, undone when it raises, whatever the caller does.

        Raises StorageFailed; after DatabaseAway nothing was written, unless the server did not come back in time to
        say so.
        """
        return await self._writer.run(write)

    async def fetch(self, query: Executable, **values: Any) -> Rows:
        """All rows of a query, with `values` for its parameters. Raises StorageFailed."""
        return (await self._reader.rows((query, values)))[0]

    async def fetch_first(self, query: Executable, **values: Any) -> Row[Any] | None:
        """The first row of a query, None when there is none. Raises StorageFailed."""
        rows = await self.fetch(query, **values)
        return rows[0] if rows else None

    async def fetch_each(self, *queries: Executable) -> list[Rows]:
        """The rows of each query for little more than the price of one. Raises StorageFailed."""
        return await self._reader.rows(*((query, {}) for query in queries))

    async def change_counter(self) -> str:
        """Another value than before when anything was committed since, by any process. Raises StorageFailed."""
        return await self._change_counter.value()

    async def close(self) -> None:
        for part in (self._writer, self._change_counter, self._reader):
            await asyncio.shield(part.close())


class Transacting(Protocol):
    """A class whose methods can be transactions."""

    _database: Database


Store = TypeVar("Store", bound=Transacting)


def transaction(
    method: Callable[Concatenate[Store, Connection, Parameters], Result],
) -> Callable[Concatenate[Store, Parameters], Coroutine[Any, Any, Result]]:
    """Turn a method that works on a connection into one that callers await without it: one transaction per call."""

    @wraps(method)
    async def call(store: Store, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return await store._database.write(lambda connection: method(store, connection, *args, **kwargs))

    return call


def _migrate(url: str) -> None:
    engine = migrating_engine(url)
    try:
        with engine.begin() as connection:
            upgrade(connection)
    finally:
        engine.dispose()


def revision(connection: Connection) -> str | None:
    """The version of the schema; None: there is none."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the schema to the newest version, or to the one named. Raises alembic's CommandError for an unknown one."""
    if connection.dialect.name == "postgresql":  # SQLite's one write lock is held since BEGIN IMMEDIATE
        connection.execute(text("select pg_advisory_xact_lock(:number)"), {"number": _MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
