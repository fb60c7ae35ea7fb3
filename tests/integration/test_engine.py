"""The engine over a real SQLite store and real artifacts; the models draw at once."""

import asyncio
import hashlib

import pytest

from pipelines.errors import StepFailed
from pipelines.media import decode_clip
from pipelines.recipe import Recipe
from tests.support.engine_world import FPS, STAGES


async def test_a_generation_runs_to_a_finished_video_of_exactly_its_duration(engine_world):
    generation_id = await engine_world.create()
    state = await engine_world.engine().run("anna", generation_id)
    assert (state.video.frames, state.video.seconds) == (9 * FPS, 9.0)
    assert decode_clip(engine_world.artifacts.read(state.video.artifact)).shape == (9 * FPS, 160, 90, 3)
    generation = await engine_world.store.get("anna", generation_id)
    assert (generation.status, generation.progress) == ("completed", 100)


async def test_every_scene_leaves_a_keyframe_and_a_clip_take_with_provenance(engine_world):
    generation_id = await engine_world.create()
    await engine_world.engine().run("anna", generation_id)
    takes = await engine_world.store.takes(generation_id)
    assert sorted((take.kind, take.scene_number) for take in takes if take.kind in ("keyframe", "clip")) == [
        (kind, number) for kind in ("clip", "keyframe") for number in (1, 2, 3)
    ]
    for take in takes:
        assert hashlib.sha256(engine_world.artifacts.read(take.artifact)).hexdigest() == take.artifact
        assert take.provenance
    assert all(take.current for take in takes)


async def test_a_second_run_runs_no_finished_step_again_and_gives_the_same_video(engine_world):
    generation_id = await engine_world.create()
    first = await engine_world.engine().run("anna", generation_id)
    calls = len(engine_world.models.images), len(engine_world.models.videos)
    again = await engine_world.engine().run("anna", generation_id)
    assert (len(engine_world.models.images), len(engine_world.models.videos)) == calls == (3, 3)
    assert again == first
    assert "step_reused" in await engine_world.kinds(generation_id)


@pytest.mark.parametrize("damage", ["truncate", "delete"])
async def test_a_resume_makes_again_the_files_that_the_disk_damaged(engine_world, damage):
    generation_id = await engine_world.create()
    first = await engine_world.engine().run("anna", generation_id)
    takes = await engine_world.store.takes(generation_id)
    for kind in ("keyframe", "clip", "video"):
        path = engine_world.artifacts.path(next(take.artifact for take in takes if take.kind == kind))
        path.unlink() if damage == "delete" else path.write_bytes(path.read_bytes()[:10])
    again = await engine_world.engine().run("anna", generation_id)
    assert again == first
    assert (len(engine_world.models.images), len(engine_world.models.videos)) == (3 + 1, 3 + 1)
    after = await engine_world.store.takes(generation_id)
    assert {(take.id, take.artifact, take.current) for take in after} == {
        (take.id, take.artifact, True) for take in takes
    }
    assert all(engine_world.artifacts.is_whole(take.artifact) for take in after)
    notices = [each for each in await engine_world.store.events(generation_id) if each.severity == "warning"]
    assert len([each for each in notices if "made again" in each.message]) == 3


async def test_a_file_that_is_made_again_otherwise_takes_the_place_of_the_lost_one(engine_world):
    """No device promises the same bytes twice."""
    generation_id = await engine_world.create()
    await engine_world.engine().run("anna", generation_id)
    takes = await engine_world.store.takes(generation_id)
    lost = next(take for take in takes if take.kind == "keyframe" and take.scene_number == 2)
    engine_world.artifacts.path(lost.artifact).unlink()
    engine_world.models.another_device = 7
    state = await engine_world.engine().run("anna", generation_id)
    after = await engine_world.store.takes(generation_id)
    (made,) = [take for take in after if take.id == lost.id]
    assert made.artifact != lost.artifact
    assert made.current
    assert engine_world.artifacts.is_whole(made.artifact)
    clips = [take for take in after if take.kind == "clip" and take.scene_number == 2]
    assert [take.current for take in clips] == [False, True]
    assert state.video.frames == 9 * FPS


async def test_a_failed_scene_stops_the_generation_there_and_a_resume_makes_only_what_is_missing(engine_world):
    generation_id = await engine_world.create()
    engine_world.models.fail_video_calls = {2}
    with pytest.raises(StepFailed, match=r"step 'video/scene-00.' failed: out of memory"):
        await engine_world.engine().run("anna", generation_id)
    failed = await engine_world.store.get("anna", generation_id)
    assert failed.status == "failed"
    assert "out of memory" in failed.error_message
    assert not [take for take in await engine_world.store.takes(generation_id) if take.kind == "video"]
    finished = {step.step for step in await engine_world.store.checkpoints(generation_id)}
    engine_world.models.fail_video_calls = set()
    state = await engine_world.engine().run("anna", generation_id)
    assert state.video.frames == 9 * FPS
    assert len(engine_world.models.images) == 3
    steps = [step.step for step in await engine_world.store.checkpoints(generation_id)]
    assert len(steps) == len(set(steps))
    assert finished < set(steps)


async def test_an_interrupted_run_goes_back_to_pending_and_resumes(engine_world):
    generation_id = await engine_world.create()
    engine_world.models.wait_in_video_call = 3
    run = asyncio.create_task(engine_world.engine().run("anna", generation_id))
    await engine_world.models.until_waiting()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await engine_world.store.get("anna", generation_id)).status == "pending"
    assert (await engine_world.kinds(generation_id))[-1] == "generation_interrupted"
    engine_world.models.wait_in_video_call = None
    await engine_world.engine().run("anna", generation_id)
    assert (await engine_world.store.get("anna", generation_id)).status == "completed"


async def test_a_cancel_request_ends_a_running_generation_as_cancelled(engine_world):
    engine_world.store.lease_seconds = 0.75
    generation_id = await engine_world.create()
    engine_world.models.wait_in_video_call = 1
    run = asyncio.create_task(engine_world.engine().run("anna", generation_id))
    await engine_world.models.until_waiting()
    await engine_world.store.cancel("anna", generation_id)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await engine_world.store.get("anna", generation_id)).status == "cancelled"


async def test_stages_that_only_serve_what_is_given_do_not_run(engine_world):
    generation_id = await engine_world.create(stages=("story", "scenes", *STAGES))
    await engine_world.engine().run("anna", generation_id)
    events = await engine_world.store.events(generation_id)
    assert [event.step for event in events if event.kind == "stage_started"] == list(STAGES)


async def test_a_recipe_made_longer_later_keeps_the_keyframes(engine_world):
    generation_id = await engine_world.create(stages=("storyboard",))
    state = await engine_world.engine().run("anna", generation_id)
    assert state.clips is None
    longer = Recipe(name="test", description="", stages=STAGES)
    await engine_world.store.replace_recipe("anna", generation_id, longer)
    state = await engine_world.engine().run("anna", generation_id)
    assert state.video is not None
    assert len(engine_world.models.images) == 3


async def test_latent_reuse_redraws_each_keyframe_from_the_last_frame_before_it(engine_world):
    generation_id = await engine_world.create(use_latent_reuse=True, latent_strength=0.7)
    state = await engine_world.engine().run("anna", generation_id)
    starts = [image.start for image in engine_world.models.images]
    assert [start is not None for start in starts] == [False, False, False, True, True]
    assert {start.strength for start in starts[3:]} == {0.7}
    assert len({clip.artifact for clip in state.clips}) == 3


async def test_chaining_starts_each_clip_with_the_last_frame_of_the_clip_before(engine_world):
    generation_id = await engine_world.create(chain="last_frame")
    await engine_world.engine().run("anna", generation_id)
    values = {step.step: step.value for step in await engine_world.store.checkpoints(generation_id)}
    for number in (2, 3):
        before = values[f"video/scene-00{number - 1}"]["last_frame"]
        assert engine_world.models.videos[number - 1].first_frame.sha256 == before


async def test_a_chain_of_keyframes_draws_each_from_the_one_before(engine_world):
    generation_id = await engine_world.create(chain="keyframe", latent_strength=0.7)
    state = await engine_world.engine().run("anna", generation_id)
    starts = {image.prompt: image.start for image in engine_world.models.images}
    assert len(starts) == 3
    for scene, before in zip(state.scenes.scenes, (None, *state.keyframes), strict=False):
        start = starts[scene.image_prompt]
        found = start and (start.image.sha256, start.strength)
        assert found == (before and (before.artifact, 0.7))


async def test_a_chain_of_both_ends_makes_each_clip_end_on_the_next_keyframe(engine_world):
    generation_id = await engine_world.create(chain="first_last")
    state = await engine_world.engine().run("anna", generation_id)
    ends = {clip.first_frame.sha256: clip.last_frame and clip.last_frame.sha256 for clip in engine_world.models.videos}
    one, two, three = (keyframe.artifact for keyframe in state.keyframes)
    assert ends == {one: two, two: three, three: None}


async def test_a_knob_that_is_off_is_no_part_of_a_take_s_inputs(engine_world):
    inputs = {}
    for until in (0.0, 0.2):
        generation_id = await engine_world.create(cond_lowpass_until=until)
        await engine_world.engine().run("anna", generation_id)
        takes = await engine_world.store.takes(generation_id)
        clips = {take.scene_number: take for take in takes if take.kind == "clip"}
        inputs[until] = clips[min(clips)].provenance["request"]
    assert inputs[0.2] == {**inputs[0.0], "cond_lowpass_until": 0.2}
    assert "cond_lowpass_until" not in inputs[0.0]
    assert [video.cond_lowpass_until for video in engine_world.models.videos] == [0.0] * 3 + [0.2] * 3


async def test_a_bank_of_attention_is_written_once_and_read_by_every_scene_but_the_first(engine_world):
    generation_id = await engine_world.create(consistent_attention=True)
    state = await engine_world.engine().run("anna", generation_id)
    writer, *keyframes = engine_world.models.images
    first = state.scenes.scenes[0]
    assert (writer.prompt, writer.keep_attention is None) == (first.image_prompt, False)
    bank = f"a bank of {first.image_prompt}".encode()
    read = {image.prompt: image.attention_bank for image in keyframes}
    assert read == {scene.image_prompt: None if scene is first else bank for scene in state.scenes.scenes}
    takes = [take for take in await engine_world.store.takes(generation_id) if take.kind == "keyframe"]
    assert len(takes) == 3, "the picture that the bank is of is no take"
    plain = await engine_world.create()
    await engine_world.engine().run("anna", plain)
    for take in await engine_world.store.takes(plain):
        assert not {"attention_bank", "keep_attention"} & {*take.provenance, *take.provenance.get("request", ())}


async def test_the_event_log_has_no_gap(engine_world):
    generation_id = await engine_world.create()
    await engine_world.engine().run("anna", generation_id)
    events = await engine_world.store.events(generation_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_a_bug_in_a_stage_ends_the_generation_as_failed_and_keeps_its_traceback(engine_world, monkeypatch):
    generation_id = await engine_world.create()

    async def broken(request, watcher):
        raise KeyError("a bug")

    monkeypatch.setattr(engine_world.models, "image", broken)
    with pytest.raises(KeyError, match="a bug"):
        await engine_world.engine().run("anna", generation_id)
    assert (await engine_world.store.get("anna", generation_id)).status == "failed"
