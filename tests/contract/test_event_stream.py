"""Following an event log over a real store: whatever is cut and whenever it comes back, each event once, in order."""

import asyncio
import random
import shutil
from contextlib import aclosing

import pytest
from sqlalchemy.exc import DatabaseError

from pipelines.brief import Brief
from pipelines.errors import NotFound, StorageFailed
from pipelines.recipe import Recipe
from pipelines.records import NewEvent, NewGeneration
from pipelines.store.database import Database, sqlite_url
from pipelines.store.generation_index import GenerationIndex
from pipelines.store.generations import GenerationStore
from pipelines.store.intake import Intake
from pipelines.store.sweep import Disposal
from serving.gateway import events as event_stream
from serving.gateway.events import EventStreams
from tests.support.waiting import within

RECIPE = Recipe(name="express", description="", stages=("story", "scenes"))
BRIEF = Brief(prompt="an ad for a bottle", duration=9, seed=0)


class World:
    def __init__(self, database):
        self.database = database
        self.store = GenerationStore(database)
        self.streams = EventStreams(self.store, GenerationIndex(database))

    async def running(self):
        """A lease on a new generation of anna's."""
        made = await Intake(self.database).generation("anna", NewGeneration(BRIEF, RECIPE, {}, {}))
        return await self.store.claim(made.id, "worker")

    async def write(self, lease, count):
        for number in range(count):
            await self.store.append(lease, NewEvent(kind="notice", message=str(number)))

    async def end(self, lease):
        await self.store.end(lease, "completed", NewEvent(kind="generation_completed", message="done"))

    async def hear(self, lease, after=0, at_most=None):
        seqs = []
        async with aclosing(self.streams.follow("anna", lease.generation_id, after)) as events:
            async for event in events:
                if event is not None:
                    seqs.append(event.seq)
                if at_most is not None and len(seqs) >= at_most:
                    break
        return seqs


@pytest.fixture
async def world(tmp_path, migrated, monkeypatch):
    monkeypatch.setattr(event_stream, "POLL_SECONDS", 0.005)
    shutil.copy(migrated, tmp_path / "store.sqlite")
    database = Database(sqlite_url(tmp_path / "store.sqlite"))
    world = World(database)
    yield world
    await world.streams.close()
    await database.close()


@pytest.mark.parametrize("seed", range(3))
async def test_a_listener_that_is_cut_again_and_again_misses_and_repeats_nothing(world, seed):
    lease, chance = await world.running(), random.Random(seed)  # noqa: S311

    async def restless():
        heard: list[int] = []
        while not heard or heard[-1] < 41:
            heard += await world.hear(lease, heard[-1] if heard else 0, chance.randint(1, 9))
        return heard

    async def produce():
        await world.write(lease, 40)
        await world.end(lease)

    all_of_them = asyncio.gather(*(restless() for _ in range(3)), world.hear(lease), produce())
    *heard, _ = await within(all_of_them, "four listeners to hear a log to its end")
    assert heard == [list(range(1, 42))] * 4


async def test_a_backlog_longer_than_one_batch_comes_whole(world, monkeypatch):
    monkeypatch.setattr(event_stream, "BATCH", 4)
    lease = await world.running()
    await world.write(lease, 11)
    await world.end(lease)
    assert await world.hear(lease) == list(range(1, 13))
    assert await world.hear(lease, after=12) == []


async def test_one_that_waits_for_approval_is_followed_on(world):
    lease = await world.running()
    await world.store.end(lease, "awaiting_approval", NewEvent(kind="approval_needed", message="look"))
    heard = asyncio.create_task(world.hear(lease))
    lease = await world.store.claim(lease.generation_id, "worker")
    await world.write(lease, 2)
    await world.end(lease)
    assert await heard == [1, 2, 3, 4]


async def test_silence_is_broken_by_heartbeats(world, monkeypatch):
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.01)
    lease = await world.running()
    async with aclosing(world.streams.follow("anna", lease.generation_id)) as events:
        assert [await anext(events) for _ in range(3)] == [None] * 3


async def test_deletion_ends_the_stream(world):
    lease = await world.running()
    await world.write(lease, 1)
    async with aclosing(world.streams.follow("anna", lease.generation_id)) as events:
        assert (await anext(events)).seq == 1
        await Disposal(world.database).forget("anna", lease.generation_id)
        assert [event async for event in events] == []


async def test_someone_elses_log_cannot_be_followed(world):
    lease = await world.running()
    with pytest.raises(NotFound):
        await anext(world.streams.follow("bruno", lease.generation_id))


async def test_nobody_is_asked_when_nobody_listens(world):
    lease = await world.running()
    await world.write(lease, 1)
    await world.hear(lease, at_most=1)
    poll = world.streams._poll
    await within(poll, "the end of a poll without a listener")


@pytest.mark.parametrize("failure", [StorageFailed("refused"), DatabaseError("", {}, Exception()), KeyError("a bug")])
async def test_a_store_that_fails_for_a_while_costs_no_listener_its_stream(world, monkeypatch, failure):
    lease, failures = await world.running(), 3
    index = world.streams._log
    heads = index.heads

    async def shaky(ids):
        nonlocal failures
        if failures:
            failures -= 1
            raise failure
        return await heads(ids)

    monkeypatch.setattr(index, "heads", shaky)
    heard = asyncio.create_task(world.hear(lease))
    await world.write(lease, 3)
    await world.end(lease)
    assert await heard == [1, 2, 3, 4]
