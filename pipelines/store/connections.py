"""The three ways to a database, each with threads of its own: transactions, reads, and a counter of all commits.

A commit whose answer was lost is looked up afterwards, so that no caller is left in doubt. Reads that wait together
share one visit to a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Executable, Row, Transaction, text
from sqlalchemy.exc import DBAPIError

from pipelines.store.engines import readers, reading_engine, writers, writing_engine
from pipelines.store.fault_points import fault_point
from pipelines.store.values import away, storage_errors

Result = TypeVar("Result")


class Writer:
    """Runs transactions, as many at once as the database takes: on SQLite one, others would only wait for its lock."""

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
            fault_point("before_commit")
            self._commit(connection, begun)
        fault_point("after_commit")
        return result

    def _commit(self, connection: Connection, begun: Transaction) -> None:
        """Commit. Raises what the commit raises, unless the server, asked afterwards, says that it was made."""
        number = transaction_number(connection)
        try:
            begun.commit()
        except DBAPIError as error:
            if number is None or not error.connection_invalidated or not was_committed(self._engine, number):
                raise


ANSWER_SECONDS = 30.0
"""How long a server may take to come back and say what became of a commit."""
PAUSE_SECONDS = 0.2
NUMBER_IN_THE_FUTURE = "22023"
"""SQLSTATE of `pg_xact_status` for a number that the server has not given out yet."""
_NUMBER = text("select cast(pg_current_xact_id_if_assigned() as text)")
_STATUS = text("select pg_xact_status(cast(cast(:number as text) as xid8))")


def transaction_number(connection: Connection) -> str | None:
    """The number by which PostgreSQL knows the transaction; None when it has written nothing, and on SQLite."""
    if connection.dialect.name != "postgresql":
        return None
    number: str | None = connection.scalar(_NUMBER)
    return number


def was_committed(engine: Engine, number: str) -> bool:
    """Whether the transaction was committed. Waits for a server that restarts; False when it stays away."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        status = _status(engine, number)
        if status != "in progress":
            return status == "committed"
        time.sleep(PAUSE_SECONDS)
    return False


def _status(engine: Engine, number: str) -> str | None:
    """What PostgreSQL says of the transaction; `in progress` while the server is away."""
    try:
        with engine.connect() as connection:
            status: str | None = connection.scalar(_STATUS, {"number": number})
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == NUMBER_IN_THE_FUTURE:
            return "aborted"  # a crash forgot the number, and with it everything that the transaction wrote
        if not away(error):
            raise
        return "in progress"
    return status


TOGETHER = 32
"""Reads of one visit at most: no caller waits for a whole crowd, and a distant server works on several visits."""
Rows = Sequence[Row[Any]]
Query = tuple[Executable, Mapping[str, Any]]
"""A statement and the values of its parameters."""


@dataclass(frozen=True)
class _Read:
    queries: Sequence[Query]
    found: asyncio.Future[list[Rows]]


class Reader:
    """Reads rows. Reads that are asked for while all threads are busy wait together, and share the next visit.

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
        except RuntimeError as closed:  # by `close`: callers that still wait must hear of it
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


_QUERIES = {"sqlite": "PRAGMA data_version", "postgresql": "select pg_current_snapshot()::text"}


class ChangeCounter:
    """A counter that changes with every commit, of whatever process; cheap enough to look at 50 times a second.

    It has a connection of its own, in a thread of its own: SQLite's count means nothing on another one.
    """

    def __init__(self, url: str) -> None:
        self._engine = reading_engine(url)
        self._query = text(_QUERIES[self._engine.dialect.name])
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="change-counter")
        self._connection: Connection | None = None
        self._connected = 0

    async def value(self) -> str:
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
