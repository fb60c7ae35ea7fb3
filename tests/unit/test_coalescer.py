"""Keyed coalescing, with a lane that the test holds: what shares a batch, in which order, and who is stopped."""

import asyncio

import pytest

from models.errors import Cancelled, InferenceFailed
from models.interfaces import Unwatched
from serving.deployments.batching import Coalescer
from tests.support.waiting import within


class HeldLane:
    """Runs batches when told to; a result is its request in capitals."""

    def __init__(self):
        self.batches = []
        self.free = asyncio.Event()
        self.started = asyncio.Event()
        self.watchers = []
        self.fail = None

    async def run(self, requests, watchers):
        self.batches.append(list(requests))
        self.watchers = watchers
        self.started.set()
        await within(self.free.wait(), "the lane to be freed")
        if self.fail is not None:
            raise self.fail
        return [self._outcome(request, watcher) for request, watcher in zip(requests, watchers, strict=True)]

    def _outcome(self, request, watcher):
        try:
            watcher.step(1, 1)
        except Cancelled as error:
            return error
        return request.upper()


@pytest.fixture
async def lane():
    return HeldLane()


async def submitted(lane, *requests, limit=100):
    """Tasks of requests `key:text`; a lane that is busy with a first one, so that they gather."""
    coalescer = Coalescer(lane.run)
    first = asyncio.create_task(coalescer.submit(None, 1, 0, "first", Unwatched()))
    await within(lane.started.wait(), "the first call to run")
    tasks = []
    for request in requests:
        key = request.partition(":")[0] or None
        tasks.append(asyncio.create_task(coalescer.submit(key, 10, limit, request, Unwatched())))
    await asyncio.sleep(0)  # each task runs up to its place in the queue
    return [first, *tasks]


async def test_calls_of_one_key_that_wait_together_share_a_batch(lane):
    tasks = await submitted(lane, "a:1", "a:2", "a:3")
    lane.free.set()
    assert await asyncio.gather(*tasks) == ["FIRST", "A:1", "A:2", "A:3"]
    assert lane.batches == [["first"], ["a:1", "a:2", "a:3"]]


async def test_other_keys_and_calls_without_one_wait_for_their_own_turn_in_order_of_arrival(lane):
    tasks = await submitted(lane, "a:1", "b:1", ":alone", "a:2", "b:2")
    lane.free.set()
    await asyncio.gather(*tasks)
    assert lane.batches == [["first"], ["a:1", "a:2"], ["b:1", "b:2"], [":alone"]]


async def test_a_batch_costs_no_more_than_the_limit(lane):
    tasks = await submitted(lane, "a:1", "a:2", "a:3", limit=20)
    lane.free.set()
    await asyncio.gather(*tasks)
    assert lane.batches == [["first"], ["a:1", "a:2"], ["a:3"]]


async def test_a_cancelled_call_that_still_waits_never_runs(lane):
    first, one, two = await submitted(lane, "a:1", "a:2")
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    lane.free.set()
    assert list(await asyncio.gather(first, two)) == ["FIRST", "A:2"]
    assert lane.batches == [["first"], ["a:2"]]


async def test_a_cancelled_call_in_a_running_batch_stops_alone_and_its_caller_waits_until_it_has(lane):
    coalescer = Coalescer(lane.run)
    one, two = (asyncio.create_task(coalescer.submit("a", 1, 10, name, Unwatched())) for name in ("one", "two"))
    await within(lane.started.wait(), "the first call to run")
    one.cancel()
    await asyncio.sleep(0)
    assert not one.done()
    lane.free.set()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert await two == "TWO"


async def test_a_failed_batch_fails_each_of_its_callers_and_the_next_one_runs(lane):
    coalescer = Coalescer(lane.run)
    lane.fail = InferenceFailed("no")
    lane.free.set()
    with pytest.raises(InferenceFailed):
        await coalescer.submit("a", 1, 10, "one", Unwatched())
    lane.fail = None
    assert await coalescer.submit("a", 1, 10, "two", Unwatched()) == "TWO"


async def test_a_burst_that_still_arrives_shares_one_batch(lane):
    coalescer = Coalescer(lane.run)
    lane.free.set()
    tasks = []
    for number in range(4):
        tasks.append(asyncio.create_task(coalescer.submit("a", 10, 100, f"a:{number}", Unwatched())))
        for _ in range(3):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert lane.batches == [["a:0", "a:1", "a:2", "a:3"]]
