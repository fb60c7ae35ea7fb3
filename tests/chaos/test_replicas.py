"""Replicas are killed while a generation runs on them: it ends as if nothing had happened, with all finished scenes."""

import httpx
import pytest

from configs.settings import load_profile
from pipelines.brief import Brief
from pipelines.coherence import CoherenceSettings
from pipelines.recipe import Recipe
from serving.profile_models import model_set
from serving.server.store import open_server_store
from tests.support.engine_world import scenes
from tests.support.waiting import until_async

STAGES = ("storyboard", "video", "stitch")


@pytest.fixture(scope="module")
def application(ray_session):
    """The application with drawing replicas; this process reads the same store."""
    from ray import serve

    from tests.support.drawing_replicas import drawing_application

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMINT_HOME", str(ray_session.home))
        serve.run(drawing_application(), name="admint", route_prefix="/")
        yield ray_session
        serve.delete("admint")


@pytest.fixture
def slow(application):
    file = application.home / "slow"
    file.touch()
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
async def server_store(application):
    opened = await open_server_store()
    yield opened
    await opened.close()


async def ordered(opened):
    """A generation of three given scenes that waits for a worker."""
    brief = Brief(prompt="an ad for a steel water bottle", duration=9, coherence=CoherenceSettings(), seed=0)
    recipe = Recipe(name="test", description="", stages=STAGES)
    manifest = model_set(load_profile("sketch")).manifest
    return await opened.store.create("local", brief, recipe, {"scenes": scenes().model_dump(mode="json")}, manifest)


async def until(opened, generation_id, done):
    """The generation once `done(generation, events)` holds."""
    seen: list[str] = []

    async def reached():
        generation, events = await opened.store.get("local", generation_id), await opened.store.events(generation_id)
        seen[:] = [generation.status, *(event.message for event in events[-5:])]
        return (generation, events) if done(generation, events) else None

    return await until_async(reached, lambda: f"{done.__name__} of a generation that is {seen}", pause=0.1)


def a_clip_is_finished(generation, events):
    finished = {event.step for event in events if event.kind == "step_completed"}
    return any(step.startswith("video/") for step in finished)


def ended(generation, events):
    return generation.status not in ("pending", "processing")


async def check(opened, generation_id, kept):
    """It completed, every step was finished once, and what was finished before the kill is what it was."""
    generation, events = await until(opened, generation_id, ended)
    assert generation.status == "completed", generation.error_message
    completed = [event.step for event in events if event.kind == "step_completed"]
    assert len(completed) == len(set(completed))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    takes = {take.id: take.artifact for take in await opened.store.takes(generation_id)}
    assert kept.items() <= takes.items()


@pytest.mark.parametrize("deployment", ["Video", "Pipeline", "Gateway"])
async def test_a_killed_replica_loses_no_finished_scene(server_store, slow, deployment):
    from tests.support.drawing_replicas import kill_replica, replicas

    generation_id = await ordered(server_store)
    await until(server_store, generation_id, a_clip_is_finished)
    kept = {take.id: take.artifact for take in await server_store.store.takes(generation_id)}
    for name in replicas(deployment):
        kill_replica(name)
    slow.unlink()
    await check(server_store, generation_id, kept)


async def test_a_killed_image_replica_is_replaced_and_the_keyframe_drawn_there(server_store, slow):
    from tests.support.drawing_replicas import kill_replica, replicas

    generation_id = await ordered(server_store)
    await until(server_store, generation_id, lambda _, events: any(event.kind == "step_progress" for event in events))
    for name in replicas("Image"):
        kill_replica(name)
    slow.unlink()
    await check(server_store, generation_id, {})


async def test_the_server_answers_again_after_its_gateway_was_killed(application):
    from tests.support.drawing_replicas import kill_replica, replicas

    for name in replicas("Gateway"):
        kill_replica(name)
    async with httpx.AsyncClient(base_url=application.url, timeout=60) as client:

        async def healthy():
            return (await client.get("/healthz")).status_code == 200

        await until_async(healthy, "the server to be healthy again", pause=0.2)
