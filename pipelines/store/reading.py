"""Reading rows: each read is one visit to a thread that does the whole of it. Knows no table."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, Row
from sqlalchemy.exc import DBAPIError

from pipelines.store.engines import readers, reading_engine
from pipelines.store.storage_errors import storage_errors

TOGETHER = 32
"""Reads of one visit at most: nobody waits for a whole crowd, and a distant server has several visits to work on."""
Rows = Sequence[Row[Any]]
Query = tuple[Executable, Mapping[str, Any]]
"""A statement and the values of its parameters."""


@dataclass(frozen=True)
class _Read:
    queries: Sequence[Query]
    found: asyncio.Future[list[Rows]]


class Reader:
    """Reads that are asked for while as many visits as may be are under way wait together, and go in the next visit.

    So a crowd of callers costs a few visits, not one each: threads that hand the interpreter to each other for every
    row made 200 callers wait five times as long (measured). Each still sees what was committed before it asked. A
    caller that is cancelled leaves its read to end by itself: it holds nobody up.
    """

    def __init__(self, url: str) -> None:
        self._engine = reading_engine(url)
        self._most = readers(url)
        self._threads = ThreadPoolExecutor(self._most, thread_name_prefix="read")
        self._asked: list[_Read] = []
        self._visits: set[asyncio.Task[None]] = set()
        self._visiting = 0
        """Visits that will still look at what is asked: one that has seen nothing more is not counted any longer."""

    async def rows(self, *queries: Query) -> list[Rows]:
        """The rows of each query, in order. Between two of them others may write."""
        read = _Read(queries, asyncio.get_running_loop().create_future())
        self._asked.append(read)
        if self._visiting < self._most:
            self._visiting += 1
            visit = asyncio.create_task(self._visit())
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)
        with storage_errors():
            return await read.found

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    async def _visit(self) -> None:
        while self._asked:
            reads, self._asked = self._asked[:TOGETHER], self._asked[TOGETHER:]
            outcomes = await self._outcomes([read.queries for read in reads])
            for read, outcome in zip(reads, outcomes, strict=True):
                if read.found.cancelled():
                    continue
                if isinstance(outcome, Exception):
                    read.found.set_exception(outcome)
                else:
                    read.found.set_result(outcome)
        self._visiting -= 1

    async def _outcomes(self, asked: Sequence[Sequence[Query]]) -> Sequence[list[Rows] | Exception]:
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: [self._outcome(queries) for queries in asked]
            )
        except RuntimeError as closed:  # by `close`: whoever still waits must hear of it
            return [closed] * len(asked)

    def _outcome(self, queries: Sequence[Query]) -> list[Rows] | Exception:
        try:
            return self._read(queries)
        except Exception as error:  # raised where the rows are waited for
            return error

    def _read(self, queries: Sequence[Query]) -> list[Rows]:
        try:
            return self._read_once(queries)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # The server restarted since the connection was used last, and the pool has forgotten all its connections
            # now. Reading again is cheaper than asking before every read whether the connection still lives.
            return self._read_once(queries)

    def _read_once(self, queries: Sequence[Query]) -> list[Rows]:
        with self._engine.connect() as connection:
            return [connection.execute(statement, values).all() for statement, values in queries]
