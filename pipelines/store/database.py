"""One database, SQLite or PostgreSQL: transactions, reads, and its migrations.

`write` is a transaction that locks before it reads (SQLite: BEGIN IMMEDIATE; PostgreSQL: row locks by the queries).
`fetch` sees committed rows and blocks nobody. Knows no table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Executable, Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction

from pipelines.store.commits import transaction_number, was_committed
from pipelines.store.engines import migrating_engine, writing_engine
from pipelines.store.fault_points import reach
from pipelines.store.pulse import Pulse
from pipelines.store.reading import Reader, Rows
from pipelines.store.storage_errors import storage_errors

_MIGRATION_LOCK = 0x61646D696E74
"""The number of the advisory lock: 'admint'."""
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def unbroken(
    method: Callable[Parameters, Coroutine[Any, Any, Result]],
) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """Lets a transaction run to its end when its caller is cancelled, and only then passes the cancellation on.

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
    """Its engines and their pools; `close` it in the event loop that used it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = writing_engine(url)
        self._reader = Reader(url)
        self._pulse = Pulse(url)

    async def migrate(self) -> None:
        """Bring the schema to the newest version; processes that start together do it one after the other.

        Raises StorageFailed when the database cannot be opened.
        """
        engine = migrating_engine(self._url)
        try:
            with storage_errors():
                async with engine.begin() as connection:
                    await connection.run_sync(_upgrade)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed when the block ends, undone when it raises.

        Raises StorageFailed; after DatabaseAway nothing was written, unless the server did not come back in time to
        say so.
        """
        with storage_errors():
            async with self._engine.connect() as connection:
                transaction = await connection.begin()
                try:
                    yield connection
                    reach("before_commit")
                except BaseException:
                    await transaction.rollback()
                    raise
                await self._commit(connection, transaction)
            reach("after_commit")

    async def _commit(self, connection: AsyncConnection, transaction: AsyncTransaction) -> None:
        """Raises what the commit raises, unless the server, asked afterwards, says that it was made."""
        number = await transaction_number(connection)
        try:
            await transaction.commit()
        except DBAPIError as error:
            if number is None or not error.connection_invalidated or not await was_committed(self._reader, number):
                raise

    async def fetch(self, query: Executable) -> Rows:
        """All rows of a query. Raises StorageFailed."""
        return (await self._reader.rows(query))[0]

    async def fetch_first(self, query: Executable) -> Row[Any] | None:
        """The first row of a query, None when there is none. Raises StorageFailed."""
        rows = await self.fetch(query)
        return rows[0] if rows else None

    async def fetch_each(self, *queries: Executable) -> list[Rows]:
        """The rows of each query for little more than the price of one. Raises StorageFailed."""
        return await self._reader.rows(*queries)

    async def pulse(self) -> str:
        """Another value than before when anything was committed since, by whatever process. Raises StorageFailed."""
        return await self._pulse.beat()

    async def close(self) -> None:
        await asyncio.shield(self._engine.dispose())
        await asyncio.shield(self._pulse.close())
        await asyncio.shield(self._reader.close())


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite's one write lock is held since BEGIN IMMEDIATE
        connection.execute(text("select pg_advisory_xact_lock(:number)"), {"number": _MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
