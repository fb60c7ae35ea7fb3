"""Whether anything was committed since one looked last, for the price of a look: so that a poll may be quick.

SQLite counts, for each connection, what others commit (`PRAGMA data_version`); PostgreSQL's snapshot names the
transactions that it sees. Both change with every commit of any process, whatever its tables. Measured: see
`benchmarks/gateway.py`. Knows no table.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from pipelines.store.engines import reading_engine
from pipelines.store.storage_errors import storage_errors

_QUERIES = {"sqlite": "PRAGMA data_version", "postgresql": "select pg_current_snapshot()::text"}


class Pulse:
    """Has a connection of its own, in a thread of its own: SQLite's count means nothing on another one."""

    def __init__(self, url: str) -> None:
        self._engine = reading_engine(url)
        self._query = text(_QUERIES[self._engine.dialect.name])
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pulse")
        self._connection: Connection | None = None
        self._connected = 0

    async def beat(self) -> str:
        """Another value than the last one when something may have been committed in between. Raises StorageFailed."""
        with storage_errors():
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._look)

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()

    def _look(self) -> str:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._connected += 1
        try:
            return f"{self._connected} {self._connection.scalar(self._query)}"
        except DBAPIError:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None  # the next look has a new one, and so another value
            raise
