"""The worker over a real SQLite store: it claims, runs several at once, stops on request, takes over what was left."""

import asyncio

import pytest

from pipelines.errors import BadInput
from pipelines.runtime.worker import Worker
from tests.integration.test_engine import World, world  # noqa: F401, a fixture


@pytest.fixture
async def start(world):  # noqa: F811
    tasks = []

    def started(concurrency=1, engine_for=None):
        worker = Worker(world.store, engine_for or (lambda generation: world.engine()), "worker", concurrency)
        tasks.append(asyncio.create_task(worker.run()))
        return worker

    yield started
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def ended(world: World, generation_id: str) -> str:  # noqa: F811
    async with asyncio.timeout(60):
        while True:
            generation = await world.store.get("anna", generation_id)
            if generation.status not in ("pending", "processing"):
                return generation.status
            await asyncio.sleep(0.02)


async def test_a_waiting_generation_is_run_to_its_end(world, start):  # noqa: F811
    generation_id = await world.create(stages=("storyboard",))
    start()
    assert await ended(world, generation_id) == "completed"


async def test_a_wake_starts_a_new_row_without_waiting_for_the_next_look(world, start, monkeypatch):  # noqa: F811
    monkeypatch.setattr("pipelines.runtime.worker.POLL_SECONDS", 3600.0)
    worker = start()
    await asyncio.sleep(0)
    generation_id = await world.create(stages=("storyboard",))
    worker.wake()
    assert await ended(world, generation_id) == "completed"


async def test_a_cancel_ends_the_generation_as_cancelled_and_the_next_one_runs(world, start):  # noqa: F811
    first = await world.create()
    second = await world.create(stages=("storyboard",))
    world.models.wait_in_video_call = 1
    worker = start()
    await world.models.waiting.wait()
    assert worker.cancel(first)
    assert await ended(world, first) == "cancelled"
    assert await ended(world, second) == "completed"
    assert not worker.cancel(second)


async def test_a_cancel_that_only_the_row_knows_of_is_heeded_too(world, start, monkeypatch):  # noqa: F811
    monkeypatch.setattr("pipelines.runtime.worker.POLL_SECONDS", 0.05)
    generation_id = await world.create()
    world.models.wait_in_video_call = 1
    start()
    await world.models.waiting.wait()
    await world.store.cancel("anna", generation_id)
    assert await ended(world, generation_id) == "cancelled"


async def test_a_stopped_worker_leaves_its_generations_waiting_for_another(world, start):  # noqa: F811
    generation_id = await world.create()
    world.models.wait_in_video_call = 2
    worker = Worker(world.store, lambda generation: world.engine(), "first", 1)
    run = asyncio.create_task(worker.run())
    await world.models.waiting.wait()
    run.cancel()
    await asyncio.wait({run})
    assert (await world.store.get("anna", generation_id)).status == "pending"
    world.models.wait_in_video_call = None
    finished = {step.step for step in await world.store.checkpoints(generation_id)}
    start()
    assert await ended(world, generation_id) == "completed"
    reused = {event.step for event in await world.store.events(generation_id) if event.kind == "step_reused"}
    assert reused == finished


async def test_one_failed_generation_does_not_stop_the_others(world, start):  # noqa: F811
    world.models.fail_video_calls = {1}
    first, second = await world.create(), await world.create(stages=("storyboard",))
    start()
    assert (await ended(world, first), await ended(world, second)) == ("failed", "completed")


async def test_a_generation_that_this_worker_cannot_run_fails_with_the_reason(world, start):  # noqa: F811
    generation_id = await world.create()

    def refuse(generation):
        raise BadInput("no image model 'gone'")

    start(engine_for=refuse)
    assert await ended(world, generation_id) == "failed"
    assert (await world.store.get("anna", generation_id)).error_message == "no image model 'gone'"
