"""Transactions: each is one visit to a thread that does the whole of it. Knows no table.

A transaction locks before it reads (SQLite: BEGIN IMMEDIATE; PostgreSQL: row locks by the queries).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Transaction
from sqlalchemy.exc import DBAPIError

from pipelines.store.commits import transaction_number, was_committed
from pipelines.store.engines import writers, writing_engine
from pipelines.store.fault_points import reach
from pipelines.store.storage_errors import storage_errors

Result = TypeVar("Result")


class Writer:
    """As many transactions at once as the database takes: one on SQLite, where others would only wait for its lock."""

    def __init__(self, url: str) -> None:
        self._engine = writing_engine(url)
        self._threads = ThreadPoolExecutor(writers(url), thread_name_prefix="write")

    async def run(self, write: Callable[[Connection], Result]) -> Result:
        """What `write` returns, once it is committed; what it raises undoes it.

        A caller that is cancelled hears of it only when its transaction has ended: whether something was written is
        never left open. Raises StorageFailed; after DatabaseAway nothing was written, unless the server did not come
        back in time to say so.
        """
        done = asyncio.get_running_loop().run_in_executor(self._threads, self._transaction, write)
        try:
            with storage_errors():
                return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not done.done():
                await asyncio.wait({done})
            if not done.cancelled():
                done.exception()  # looked at, so that it is not reported as lost
            raise

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    def _transaction(self, write: Callable[[Connection], Result]) -> Result:
        with self._engine.connect() as connection, connection.begin() as begun:
            result = write(connection)
            reach("before_commit")
            self._commit(connection, begun)
        reach("after_commit")
        return result

    def _commit(self, connection: Connection, begun: Transaction) -> None:
        """Raises what the commit raises, unless the server, asked afterwards, says that it was made."""
        number = transaction_number(connection)
        try:
            begun.commit()
        except DBAPIError as error:
            if number is None or not error.connection_invalidated or not was_committed(self._engine, number):
                raise
