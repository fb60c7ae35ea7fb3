"""The worker over a real SQLite store: it claims, runs several at once, stops on request, takes over what was left."""

import asyncio

import pytest

from pipelines.errors import BadInput
from pipelines.runtime.worker import Worker
from tests.support.engine_world import EngineWorld
from tests.support.waiting import until_async, within


@pytest.fixture
async def start(engine_world):
    tasks = []

    def started(concurrency=1, engine_for=None):
        worker = Worker(
            engine_world.store, engine_for or (lambda generation: engine_world.engine()), "worker", concurrency
        )
        tasks.append(asyncio.create_task(worker.run()))
        return worker

    yield started
    for task in tasks:
        task.cancel()
    await within(asyncio.gather(*tasks, return_exceptions=True), "cancelled workers to end")


async def ended(engine_world: EngineWorld, generation_id: str) -> str:
    async def status() -> str | None:
        now: str = (await engine_world.store.get("anna", generation_id)).status
        return None if now in ("pending", "processing") else now

    return await until_async(status, f"the end of {generation_id}") or ""


async def test_a_waiting_generation_is_run_to_its_end(engine_world, start):
    generation_id = await engine_world.create(stages=("storyboard",))
    start()
    assert await ended(engine_world, generation_id) == "completed"


async def test_a_wake_starts_a_new_row_without_waiting_for_the_next_look(engine_world, start, monkeypatch):
    monkeypatch.setattr("pipelines.runtime.worker.POLL_SECONDS", 3600.0)
    worker = start()
    await asyncio.sleep(0)
    generation_id = await engine_world.create(stages=("storyboard",))
    worker.wake()
    assert await ended(engine_world, generation_id) == "completed"


async def test_a_cancel_ends_the_generation_as_cancelled_and_the_next_one_runs(engine_world, start):
    first = await engine_world.create()
    second = await engine_world.create(stages=("storyboard",))
    engine_world.models.wait_in_video_call = 1
    worker = start()
    await engine_world.models.until_waiting()
    assert worker.cancel(first)
    assert await ended(engine_world, first) == "cancelled"
    assert await ended(engine_world, second) == "completed"
    assert not worker.cancel(second)


async def test_a_cancel_that_only_the_row_knows_of_is_heeded_too(engine_world, start, monkeypatch):
    monkeypatch.setattr("pipelines.runtime.worker.POLL_SECONDS", 0.05)
    generation_id = await engine_world.create()
    engine_world.models.wait_in_video_call = 1
    start()
    await engine_world.models.until_waiting()
    await engine_world.store.cancel("anna", generation_id)
    assert await ended(engine_world, generation_id) == "cancelled"


async def test_a_stopped_worker_leaves_its_generations_waiting_for_another(engine_world, start):
    generation_id = await engine_world.create()
    engine_world.models.wait_in_video_call = 2
    worker = Worker(engine_world.store, lambda generation: engine_world.engine(), "first", 1)
    run = asyncio.create_task(worker.run())
    await engine_world.models.until_waiting()
    run.cancel()
    await within(asyncio.gather(run, return_exceptions=True), "a cancelled worker to end")
    assert (await engine_world.store.get("anna", generation_id)).status == "pending"
    engine_world.models.wait_in_video_call = None
    finished = {step.step for step in await engine_world.store.checkpoints(generation_id)}
    start()
    assert await ended(engine_world, generation_id) == "completed"
    reused = [event for event in await engine_world.store.events(generation_id) if event.kind == "step_reused"]
    assert {name for event in reused for name in event.data["steps"]} == finished
    assert len(reused) <= 3  # one before each stage at most, not one for each step


async def test_one_failed_generation_does_not_stop_the_others(engine_world, start):
    engine_world.models.fail_video_calls = {1}
    first, second = await engine_world.create(), await engine_world.create(stages=("storyboard",))
    start()
    assert (await ended(engine_world, first), await ended(engine_world, second)) == ("failed", "completed")


async def test_a_generation_that_this_worker_cannot_run_fails_with_the_reason(engine_world, start):
    generation_id = await engine_world.create()

    def refuse(generation):
        raise BadInput("no image model 'gone'")

    start(engine_for=refuse)
    assert await ended(engine_world, generation_id) == "failed"
    assert (await engine_world.store.get("anna", generation_id)).error_message == "no image model 'gone'"
