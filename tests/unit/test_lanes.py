import asyncio
import threading
from contextlib import closing

import pytest

from models.errors import Cancelled
from models.interfaces import Unwatched
from pipelines.runtime.lanes import Lane, Scorers
from pipelines.runtime.questions import AskedChat
from pipelines.scoring import ScoreRequest
from tests.support.tiny_language_models import chat_spec
from tests.support.tiny_models import png
from tests.support.waiting import happened, within


class Call:
    """A model call of many steps that waits at each for permission, and remembers how far it came."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.steps = 0

    def __call__(self, watcher):
        for step in range(1, 1000):
            watcher.step(step, 1000)
            self.steps = step
            self.started.set()
            happened(self.go_on, "permission for the next step")
        raise AssertionError("it was never stopped")


async def turns():
    """Let the event loop deliver what is due."""
    for _ in range(10):
        await asyncio.sleep(0)


async def cancelled(task):
    """Cancel and let the cancellation reach the lane, which then waits for the call's next step."""
    task.cancel()
    await turns()
    assert not task.done()


@pytest.fixture
def lane():
    lane = Lane("test")
    yield lane
    lane.close()


async def test_a_call_returns_its_result(lane):
    assert await lane.run(lambda watcher: 42, Unwatched()) == 42


async def test_a_cancelled_call_stops_at_its_next_step_before_the_caller_goes_on(lane):
    call = Call()
    task = asyncio.create_task(lane.run(call, Unwatched()))
    await asyncio.to_thread(happened, call.started, "the call to begin")
    await cancelled(task)
    call.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.steps == 1


async def test_the_lane_is_free_again_after_a_cancelled_call(lane):
    call = Call()
    task = asyncio.create_task(lane.run(call, Unwatched()))
    await asyncio.to_thread(happened, call.started, "the call to begin")
    await cancelled(task)
    call.go_on.set()
    await within(asyncio.gather(task, return_exceptions=True), "the cancelled call to end")
    assert await lane.run(lambda watcher: "next", Unwatched()) == "next"


async def test_a_call_that_waits_for_its_turn_never_runs_when_it_is_cancelled(lane):
    first, ran = Call(), []
    running = asyncio.create_task(lane.run(first, Unwatched()))
    await asyncio.to_thread(happened, first.started, "the call to begin")
    waiting = asyncio.create_task(lane.run(lambda watcher: ran.append(1), Unwatched()))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await cancelled(running)
    first.go_on.set()
    await within(asyncio.gather(running, return_exceptions=True), "the cancelled call to end")
    assert ran == []


async def test_what_the_watcher_raises_reaches_the_caller(lane):
    class Refusing:
        def step(self, done, total):
            raise Cancelled("no")

    with pytest.raises(Cancelled, match="no"):
        await lane.run(lambda watcher: watcher.step(1, 2), Refusing())


class ForEver:
    """A model call that ends only by its watcher."""

    def __init__(self) -> None:
        self.started, self.ended = threading.Event(), threading.Event()

    def __call__(self, watcher):
        self.started.set()
        try:
            while True:
                watcher.step(1, 2)
        finally:
            self.ended.set()


async def test_a_thread_that_waits_for_another_lane_stops_its_call_there_before_it_goes_on(lane):
    call = ForEver()

    def look():
        if call.started.is_set():
            raise Cancelled("the caller stops")

    with pytest.raises(Cancelled, match="the caller stops"):
        await asyncio.to_thread(lane.call, call, look)
    assert call.ended.is_set()
    call.started.clear()
    assert await asyncio.to_thread(lane.call, lambda watcher: "next", look) == "next"


async def test_a_cancelled_score_stops_the_question_that_it_waits_for(lane):
    call = ForEver()
    chat = AskedChat(chat_spec(vision=True), None, "cpu", lambda request, look: lane.call(call, look))
    request = ScoreRequest(data=png(1).data, media="image", dimensions=("vqascore.text",), prompt="a cup")
    with closing(Scorers(Nothing(), {}, lambda: chat)) as scorers:
        task = asyncio.create_task(scorers.score(request, Unwatched()))
        await asyncio.to_thread(happened, call.started, "the question")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(task, "the score to stop")
    assert call.ended.is_set()


class Nothing:
    """A loader without scorers."""

    def scorer(self, spec):
        raise AssertionError("none is described")
