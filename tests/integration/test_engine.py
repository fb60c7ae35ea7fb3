"""The engine over a real SQLite store and real artifacts; the models draw at once."""

import asyncio
import hashlib

import pytest

from pipelines.brief import Brief
from pipelines.coherence import CoherenceSettings
from pipelines.errors import StepFailed
from pipelines.media import decode_clip
from pipelines.recipe import Recipe
from pipelines.runtime.engine import Engine
from pipelines.screenplay import Scene, SceneDraft, ScenesResult
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.database import Database, sqlite_url
from pipelines.store.generations import GenerationStore
from tests.support.drawing_models import DrawingModels

FPS = 24
STAGES = ("storyboard", "video", "stitch", "quality")


def scenes(count=3, seconds=3):
    draft = SceneDraft(setting="beach", action="it stands", camera="static", entities=())
    made = tuple(
        Scene(
            scene_number=number,
            purpose="Attention",
            frames=seconds * FPS,
            draft=draft,
            image_prompt=f"a red bottle, scene {number}",
            video_prompt=f"a red bottle, scene {number}, static",
            content="it stands",
            iterations=1,
            approved=True,
            critique=None,
        )
        for number in range(1, count + 1)
    )
    return ScenesResult(scenes=made, cohesion=None, cohesion_rounds=0)


class World:
    """One store with its artifacts and models."""

    def __init__(self, folder, database):
        self.store = GenerationStore(database)
        self.artifacts = LocalArtifacts(folder / "artifacts")
        self.models = DrawingModels()

    async def create(self, stages=STAGES, **coherence):
        brief = Brief(
            prompt="an ad for a steel water bottle", duration=9, seed=1, coherence=CoherenceSettings(**coherence)
        )
        recipe = Recipe(name="test", description="", stages=stages)
        return await self.store.create("anna", brief, recipe, {"scenes": scenes().model_dump(mode="json")}, {})

    def engine(self):
        return Engine(
            self.store,
            self.artifacts,
            self.models,
            {"chat": "c", "image": "i", "video": "v"},
            FPS,
            {"9:16": (90, 160)},
            "worker",
        )

    async def kinds(self, generation_id):
        return [event.kind for event in await self.store.events(generation_id)]


@pytest.fixture
async def world(tmp_path):
    database = Database(sqlite_url(tmp_path / "store.sqlite"))
    await database.migrate()
    yield World(tmp_path, database)
    await database.close()


async def test_a_generation_runs_to_a_finished_video_of_exactly_its_duration(world):
    generation_id = await world.create()
    state = await world.engine().run("anna", generation_id)
    assert (state.video.frames, state.video.seconds) == (9 * FPS, 9.0)
    assert decode_clip(world.artifacts.read(state.video.artifact)).shape == (9 * FPS, 160, 90, 3)
    generation = await world.store.get("anna", generation_id)
    assert (generation.status, generation.progress) == ("completed", 100)


async def test_every_scene_leaves_a_keyframe_and_a_clip_take_with_provenance(world):
    generation_id = await world.create()
    await world.engine().run("anna", generation_id)
    takes = await world.store.takes(generation_id)
    assert sorted((take.kind, take.scene_number) for take in takes if take.kind in ("keyframe", "clip")) == [
        (kind, number) for kind in ("clip", "keyframe") for number in (1, 2, 3)
    ]
    for take in takes:
        assert hashlib.sha256(world.artifacts.read(take.artifact)).hexdigest() == take.artifact
        assert take.provenance
    assert all(take.current for take in takes)


async def test_a_second_run_runs_no_finished_step_again_and_gives_the_same_video(world):
    generation_id = await world.create()
    first = await world.engine().run("anna", generation_id)
    calls = len(world.models.images), len(world.models.videos)
    again = await world.engine().run("anna", generation_id)
    assert (len(world.models.images), len(world.models.videos)) == calls == (3, 3)
    assert again == first
    assert "step_reused" in await world.kinds(generation_id)


async def test_a_failed_scene_stops_the_generation_there_and_a_resume_makes_only_what_is_missing(world):
    generation_id = await world.create()
    world.models.fail_video_calls = {2}
    with pytest.raises(StepFailed, match=r"step 'video/scene-00.' failed: out of memory"):
        await world.engine().run("anna", generation_id)
    failed = await world.store.get("anna", generation_id)
    assert failed.status == "failed"
    assert "out of memory" in failed.error_message
    assert not [take for take in await world.store.takes(generation_id) if take.kind == "video"]
    finished = {step.step for step in await world.store.checkpoints(generation_id)}
    world.models.fail_video_calls = set()
    state = await world.engine().run("anna", generation_id)
    assert state.video.frames == 9 * FPS
    assert len(world.models.images) == 3
    steps = [step.step for step in await world.store.checkpoints(generation_id)]
    assert len(steps) == len(set(steps))
    assert finished < set(steps)


async def test_an_interrupted_run_goes_back_to_pending_and_resumes(world):
    generation_id = await world.create()
    world.models.wait_in_video_call = 3
    run = asyncio.create_task(world.engine().run("anna", generation_id))
    await world.models.waiting.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await world.store.get("anna", generation_id)).status == "pending"
    assert (await world.kinds(generation_id))[-1] == "generation_interrupted"
    world.models.wait_in_video_call = None
    await world.engine().run("anna", generation_id)
    assert (await world.store.get("anna", generation_id)).status == "completed"


async def test_a_cancel_request_ends_a_running_generation_as_cancelled(world):
    world.store.lease_seconds = 0.75
    generation_id = await world.create()
    world.models.wait_in_video_call = 1
    run = asyncio.create_task(world.engine().run("anna", generation_id))
    await world.models.waiting.wait()
    await world.store.cancel("anna", generation_id)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await world.store.get("anna", generation_id)).status == "cancelled"


async def test_stages_that_only_serve_what_is_given_do_not_run(world):
    generation_id = await world.create(stages=("story", "scenes", *STAGES))
    await world.engine().run("anna", generation_id)
    events = await world.store.events(generation_id)
    assert [event.step for event in events if event.kind == "stage_started"] == list(STAGES)


async def test_a_recipe_made_longer_later_keeps_the_keyframes(world):
    generation_id = await world.create(stages=("storyboard",))
    state = await world.engine().run("anna", generation_id)
    assert state.clips is None
    longer = Recipe(name="test", description="", stages=STAGES)
    await world.store.replace_recipe("anna", generation_id, longer)
    state = await world.engine().run("anna", generation_id)
    assert state.video is not None
    assert len(world.models.images) == 3


async def test_latent_reuse_redraws_each_keyframe_from_the_last_frame_before_it(world):
    generation_id = await world.create(use_latent_reuse=True, latent_strength=0.7)
    state = await world.engine().run("anna", generation_id)
    starts = [image.start for image in world.models.images]
    assert [start is not None for start in starts] == [False, False, False, True, True]
    assert {start.strength for start in starts[3:]} == {0.7}
    assert len({clip.artifact for clip in state.clips}) == 3


async def test_chaining_starts_each_clip_with_the_last_frame_of_the_clip_before(world):
    generation_id = await world.create(chain_last_frame=True)
    await world.engine().run("anna", generation_id)
    values = {step.step: step.value for step in await world.store.checkpoints(generation_id)}
    for number in (2, 3):
        before = values[f"video/scene-00{number - 1}"]["last_frame"]
        assert world.models.videos[number - 1].first_frame.sha256 == before


async def test_the_event_log_has_no_gap(world):
    generation_id = await world.create()
    await world.engine().run("anna", generation_id)
    events = await world.store.events(generation_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_a_bug_in_a_stage_ends_the_generation_as_failed_and_keeps_its_traceback(world, monkeypatch):
    generation_id = await world.create()

    async def broken(request, watcher):
        raise KeyError("a bug")

    monkeypatch.setattr(world.models, "image", broken)
    with pytest.raises(KeyError, match="a bug"):
        await world.engine().run("anna", generation_id)
    assert (await world.store.get("anna", generation_id)).status == "failed"
