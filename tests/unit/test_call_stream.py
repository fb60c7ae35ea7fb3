"""One model call as a stream: steps, then the result or the error; closing it stops the call."""

import pytest

from models.errors import Cancelled, InvalidRequest
from pipelines.runtime.lanes import Lane
from serving.deployments.calls import Call, Failed, Result, StepDone, call_stream, follow


class Seen:
    def __init__(self):
        self.steps = []

    def step(self, done, total):
        self.steps.append((done, total))


@pytest.fixture
def lane():
    lane = Lane("test")
    yield lane
    lane.close()


def counting(watcher):
    for done in range(3):
        watcher.step(done + 1, 3)
    return "made"


async def test_steps_come_before_the_result_the_first_and_the_last_in_any_case(lane):
    items = [item async for item in call_stream(lambda watcher: lane.run(counting, watcher), Call(watched=True))]
    assert (items[0], items[-2:]) == (StepDone(1, 3), [StepDone(3, 3), Result("made")])


async def test_steps_that_follow_quickly_are_not_all_told(lane):
    def quick(watcher):
        for done in range(10_000):
            watcher.step(done + 1, 10_000)

    items = [item async for item in call_stream(lambda watcher: lane.run(quick, watcher), Call(watched=True))]
    assert 3 <= len(items) < 10_000


async def test_steps_that_nobody_watches_are_not_told(lane):
    assert [item async for item in call_stream(lambda watcher: lane.run(counting, watcher), Call(watched=False))] == [
        Result("made")
    ]


async def test_an_error_of_a_model_is_an_item_and_keeps_its_class(lane):
    def refuse(watcher):
        raise InvalidRequest("too large")

    (item,) = [item async for item in call_stream(lambda watcher: lane.run(refuse, watcher), Call(watched=True))]
    assert isinstance(item, Failed)
    assert isinstance(item.error, InvalidRequest)


async def test_a_bug_is_raised(lane):
    def bug(watcher):
        raise KeyError("x")

    with pytest.raises(KeyError):
        async for _ in call_stream(lambda watcher: lane.run(bug, watcher), Call(watched=True)):
            pass


async def test_closing_the_stream_stops_the_call_at_its_next_step_and_frees_the_lane(lane):
    stopped = []

    def endless(watcher):
        try:
            while True:
                watcher.step(1, 2)
        except Cancelled as error:
            stopped.append(error)
            raise

    stream = call_stream(lambda watcher: lane.run(endless, watcher), Call(watched=True))
    assert await anext(stream) == StepDone(1, 2)
    await stream.aclose()
    assert stopped
    assert await lane.run(counting, Seen()) == "made"


async def test_following_a_stream_tells_its_steps_and_gives_its_result(lane):
    seen = Seen()
    assert await follow(call_stream(lambda watcher: lane.run(counting, watcher), Call(watched=True)), seen) == "made"
    assert (seen.steps[0], seen.steps[-1]) == ((1, 3), (3, 3))


async def test_following_a_stream_raises_what_the_call_raised():
    async def failing():
        yield Failed(InvalidRequest("too large"))

    with pytest.raises(InvalidRequest, match="too large"):
        await follow(failing(), Seen())


async def test_a_stream_that_ends_early_is_no_result():
    async def only_a_step():
        yield StepDone(1, 2)

    with pytest.raises(RuntimeError, match="without a result"):
        await follow(only_a_step(), Seen())
