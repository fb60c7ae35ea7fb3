"""Reading rows: each read is one visit to a thread that does the whole of it. Knows no table."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Executable, Row
from sqlalchemy.exc import DBAPIError

from pipelines.store.engines import READERS, reading_engine
from pipelines.store.storage_errors import storage_errors

Rows = Sequence[Row[Any]]


class Reader:
    """A caller that is cancelled leaves its read to end by itself: it holds nobody up."""

    def __init__(self, url: str) -> None:
        self._engine = reading_engine(url)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="read")

    async def rows(self, *queries: Executable) -> list[Rows]:
        """The rows of each query, in order. Between two of them others may write."""
        with storage_errors():
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, queries)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    def _read(self, queries: Sequence[Executable]) -> list[Rows]:
        try:
            return self._read_once(queries)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # The server restarted since the connection was used last, and the pool has forgotten all its connections
            # now. Reading again is cheaper than asking before every read whether the connection still lives.
            return self._read_once(queries)

    def _read_once(self, queries: Sequence[Executable]) -> list[Rows]:
        with self._engine.connect() as connection:
            return [connection.execute(query).all() for query in queries]
