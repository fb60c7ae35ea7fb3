"""A PostgreSQL that restarts, dies or is cut off: the next call works, and a lost answer loses and doubles nothing."""

import asyncio
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from sqlalchemy import make_url, select, text

from pipelines.errors import DatabaseAway, StorageFailed
from pipelines.store.accounts import Accounts
from pipelines.store.connections import was_committed
from pipelines.store.database import Database
from pipelines.store.engines import migrating_engine
from pipelines.store.generations import GenerationStore
from pipelines.store.tables import generations
from tests.support.stored_generations import BRIEF, EVENT, RECIPE
from tests.support.waiting import PATIENCE_SECONDS, happened

SOCKET = ".s.PGSQL.5432"


@pytest.fixture
async def database(postgres_database_url):
    database = Database(postgres_database_url)
    yield database
    await database.close()


@pytest.fixture
def store(database):
    return GenerationStore(database)


@pytest.mark.parametrize("way", ["restart", "kill"])
async def test_a_server_that_came_back_is_used_as_if_nothing_had_been(postgres, store, way):
    generation_id = await store.create("anna", BRIEF, RECIPE, {}, {})
    lease = await store.claim(generation_id, "one")
    await asyncio.gather(*(store.get("anna", generation_id) for _ in range(4)), *(store.renew(lease) for _ in range(4)))
    getattr(postgres, way)()
    if way == "kill":
        with pytest.raises(DatabaseAway):
            await store.get("anna", generation_id)
        with pytest.raises(DatabaseAway):
            await store.append(lease, EVENT)
        postgres.start()
    assert (await store.get("anna", generation_id)).status == "processing"
    await asyncio.gather(*(store.append(lease, EVENT) for _ in range(8)))
    assert [event.seq for event in await store.events(generation_id)] == list(range(1, 9))


def test_a_commit_whose_number_the_server_forgot_in_a_crash_was_not_made(postgres_database_url):
    engine = migrating_engine(postgres_database_url)
    with engine.begin() as connection:
        given_out = int(connection.scalar(text("select cast(pg_current_xact_id() as text)")))
    assert was_committed(engine, str(given_out))
    assert not was_committed(engine, str(given_out + 1000))
    engine.dispose()


async def test_a_lock_that_is_not_given_in_time_is_an_error_and_not_a_server_that_is_away(store, database):
    generation_id = await store.create("anna", BRIEF, RECIPE, {}, {})
    row = select(generations.c.id).where(generations.c.id == generation_id).with_for_update()
    holds, ends = threading.Event(), threading.Event()

    def hold(connection):
        connection.execute(row)
        holds.set()
        happened(ends, "the other one to fail")

    def want(connection):
        happened(holds, "the lock to be held")
        connection.execute(text("set local lock_timeout = '20ms'"))
        connection.execute(row)

    holder = asyncio.create_task(database.write(hold))
    try:
        with pytest.raises(StorageFailed, match="lock timeout") as failed:
            await database.write(want)
    finally:
        ends.set()
        await holder
    assert not isinstance(failed.value, DatabaseAway)


async def test_reading_cannot_write_and_every_connection_has_its_time_limits(database):
    with pytest.raises(Exception, match="read-only transaction"):
        await database.fetch(text("delete from generations"))
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    limits = await database.write(lambda connection: [connection.scalar(text(f"show {name}")) for name in names])
    assert limits == ["30s", "30s", "1min"]


class Cut:
    """A socket in front of the server's, cut at a commit: before the server hears of it, or before it answers."""

    def __init__(self, folder, server):
        self.url = folder
        self._server = server
        self._folder = folder
        self.when = None
        self.cuts = 0

    async def __aenter__(self):
        self._listener = await asyncio.start_unix_server(self._connected, self._folder / SOCKET)
        return self

    async def __aexit__(self, *failure):
        self._listener.close()

    async def _connected(self, reader, writer):
        server_reader, server_writer = await asyncio.open_unix_connection(self._server / SOCKET)
        cut = asyncio.Event()
        ways = [
            asyncio.create_task(self._ask(reader, server_writer, cut)),
            asyncio.create_task(self._answer(server_reader, writer, cut)),
        ]
        await asyncio.wait(ways, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, server_writer):
            end.close()

    async def _ask(self, reader, server, cut):
        while data := await reader.read(65536):
            if b"COMMIT\0" in data and self.when is not None:
                self.cuts += 1
                if self.when == "before":
                    self.when = None
                    return
                cut.set()
            server.write(data)

    async def _answer(self, server, writer, cut):
        while data := await server.read(65536):
            if cut.is_set():
                self.when = None
                return
            writer.write(data)


@pytest.fixture
async def cut(postgres_database_url):
    folder = Path(tempfile.mkdtemp(prefix="admint-cut-", dir="/tmp"))  # short: a socket
    async with Cut(folder, Path(str(make_url(postgres_database_url).query["host"]))) as cut:
        yield cut
    shutil.rmtree(folder)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_is_known_to_be_made_or_not(cut, postgres_database_url, database, when):
    behind = Database(make_url(postgres_database_url).update_query_dict({"host": str(cut.url)}).render_as_string())
    try:
        accounts = Accounts(behind)
        await accounts.add_user("ben", "hash")
        cut.when = when
        if when == "before":
            with pytest.raises(DatabaseAway):
                await accounts.add_user("anna", "hash")
        else:
            assert (await accounts.add_user("anna", "hash")).username == "anna"
        assert cut.cuts == 1
        found = [user.username for user in await Accounts(database).users()]
        assert found == (["ben"] if when == "before" else ["anna", "ben"])
    finally:
        await behind.close()
