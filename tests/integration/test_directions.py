"""Directing over a real store and engine: what is asked for is made anew, what follows follows, the rest is reused."""

import numpy as np
import pytest

from pipelines.decisions.service import edit_history
from pipelines.direction import Modifications
from pipelines.errors import BadInput, Busy, NotFound
from pipelines.media import decode_image, encode_png
from tests.support.directed_world import RECIPE

AUTO = RECIPE.model_copy(update={"approvals": ()})


async def last(world, generation_id):
    return (await world.log(generation_id))[-1].seq


async def test_feedback_changes_the_scenes_plan_and_the_other_scenes_are_reused(world):
    generation_id = await world.reach("storyboard")
    first = [await world.take(generation_id, "keyframe", number) for number in (1, 2)]
    drawn, after = len(world.models.images), await last(world, generation_id)
    await world.anna.regenerate("anna", generation_id, "storyboard", 2, "Make it night.")
    generation = await world.run(generation_id)
    assert (generation.status, generation.current_stage) == ("awaiting_approval", "storyboard")
    assert len(world.models.images) == drawn + 1
    assert " at night" in world.models.images[-1].prompt
    assert "Make it" not in world.models.images[-1].prompt
    assert await world.steps(generation_id, after=after) == ["storyboard/scene-002"]
    now = [await world.take(generation_id, "keyframe", number) for number in (1, 2)]
    assert now[0] == first[0]
    assert now[1].id != first[1].id
    assert now[1].provenance["request"]["noise"] == first[1].provenance["request"]["noise"]
    said = [message for message in await world.store.messages(generation_id) if message.role in ("user", "assistant")]
    assert [message.role for message in said] == ["user", "assistant"]
    assert "Made anew: the picture of scene 2. Scene 1 stays as it is." in said[1].content


async def test_a_finished_ad_gets_one_clip_filmed_anew_and_is_cut_again(world):
    generation_id = await world.reach(None, AUTO)
    filmed, after = len(world.models.videos), await last(world, generation_id)
    before = await world.take(generation_id, "video", None)
    clip = await world.anna.current_take("anna", generation_id, "clip", 1)
    await world.anna.regenerate_take("anna", generation_id, clip, modifications=Modifications(seed=5))
    assert set(await world.store.outputs(generation_id)) == set(RECIPE.stages) - {"stitch", "quality"}
    assert (await world.run(generation_id)).status == "completed"
    assert len(world.models.videos) == filmed + 1
    assert world.models.videos[-1].noise.seed == 5
    assert (await world.take(generation_id, "video", None)).artifact != before.artifact
    started = await world.steps(generation_id, "stage_started", after)
    assert started == ["video", "stitch", "quality"]


async def test_what_cannot_be_made_anew_is_refused_and_changes_nothing(world):
    generation_id = await world.reach("storyboard")
    before = await world.get(generation_id), await world.log(generation_id)
    for stage, scene, modifications, message in (
        ("stitch", None, None, "follows from the others"),
        ("video", None, None, "has not begun"),
        ("storyboard", 3, None, "scenes 1 to 2"),
        ("story", 1, None, "made as a whole"),
        ("storyboard", 1, Modifications(camera="push_in"), "cannot follow the modification 'camera'"),
    ):
        with pytest.raises(BadInput, match=message):
            await world.anna.regenerate("anna", generation_id, stage, scene, None, modifications)
    with pytest.raises(NotFound):
        await world.anna.regenerate("ben", generation_id, "storyboard", 1)
    with pytest.raises(BadInput, match="2000 characters"):
        await world.anna.regenerate("anna", generation_id, "storyboard", 1, "x" * 3000)
    assert (await world.get(generation_id), await world.log(generation_id)) == before


async def test_nothing_is_directed_while_a_worker_has_the_generation(world):
    generation_id = await world.reach("storyboard")
    take = await world.take(generation_id, "keyframe", 1)
    await world.store.claim(generation_id, "somebody")
    with pytest.raises(Busy, match="at work"):
        await world.anna.regenerate("anna", generation_id, "storyboard", 1)
    with pytest.raises(Busy, match="at work"):
        await world.anna.select("anna", generation_id, take.id)


async def test_an_undone_keyframe_is_current_at_once_and_is_what_gets_filmed(world):
    generation_id = await world.reach("storyboard")
    old = await world.take(generation_id, "keyframe", 2)
    await world.anna.regenerate("anna", generation_id, "storyboard", 2, "snow")
    await world.run(generation_id)
    generation = await world.anna.select("anna", generation_id, old.id)
    assert (generation.status, generation.current_stage) == ("awaiting_approval", "storyboard")
    assert (await world.take(generation_id, "keyframe", 2)).id == old.id
    outputs = await world.store.outputs(generation_id)
    assert [one["artifact"] for one in outputs["storyboard"]][1] == old.artifact
    await world.anna.approve("anna", generation_id, "storyboard")
    await world.run(generation_id)
    filmed = {request.first_frame.sha256 for request in world.models.videos}
    assert old.artifact in filmed
    assert (await world.take(generation_id, "keyframe", 2)).id == old.id


async def test_an_undo_after_the_end_films_only_that_scene_again_and_a_redo_films_nothing(world):
    generation_id = await world.reach(None, AUTO)
    old = await world.take(generation_id, "keyframe", 2)
    await world.anna.regenerate("anna", generation_id, "storyboard", 2)
    await world.run(generation_id)
    new, filmed = await world.take(generation_id, "keyframe", 2), len(world.models.videos)
    assert filmed == 3
    for take in (old, new):
        generation = await world.anna.select("anna", generation_id, take.id)
        assert (generation.status, generation.current_stage) == ("pending", "video")
        assert (await world.run(generation_id)).status == "completed"
        clip = await world.take(generation_id, "clip", 2)
        assert clip.provenance["first_frame"] == take.artifact
    assert len(world.models.videos) == filmed


async def test_wishes_add_up_in_the_plan_and_a_new_one_takes_the_place_of_its_like(world):
    generation_id = await world.reach("storyboard")
    for wish in ("brighter", "in the snow", "darker"):
        await world.anna.regenerate("anna", generation_id, "storyboard", 1, wish)
        await world.run(generation_id)
    assert world.models.images[-1].prompt.endswith(", moody light")
    assert "in the snow" in world.models.images[-1].prompt
    assert "bright light" not in world.models.images[-1].prompt


async def test_feedback_that_is_not_understood_makes_another_take_and_says_so(world):
    generation_id = await world.reach("storyboard")
    before = world.models.images[-1]
    await world.anna.regenerate("anna", generation_id, "storyboard", 2, "more oomph")
    await world.run(generation_id)
    assert world.models.images[-1].prompt == before.prompt
    assert world.models.images[-1].noise.seed != before.noise.seed
    answer = [message.content for message in await world.store.messages(generation_id) if message.role == "assistant"]
    assert "Made anew: the picture of scene 2." in answer[-1]


async def test_an_edit_repaints_only_under_the_mask_and_is_the_next_version(world):
    generation_id = await world.reach("storyboard")
    original = await world.take(generation_id, "keyframe", 2)
    white = np.zeros((80, 48), np.uint8)
    white[:40] = 255
    mask = world.artifacts.put(encode_png(white), "image/png")
    order = await world.anna.inpaint("anna", generation_id, original.id, mask, "a red hat", "hair")
    assert (order.version, order.parent.id, order.generation.status) == (2, original.id, "pending")
    generation = await world.run(generation_id)
    assert (generation.status, generation.current_stage) == ("awaiting_approval", "storyboard")
    assert order.step in await world.steps(generation_id)
    edited = await world.take(generation_id, "keyframe", 2)
    old, new = (decode_image(world.artifacts.read(take.artifact)) for take in (original, edited))
    assert (old[40:] == new[40:]).all()
    assert (old[:40] != new[:40]).any()
    assert (world.models.images[-1].prompt, world.models.images[-1].negative_prompt) == ("a red hat", "hair")

    again = await world.anna.inpaint("anna", generation_id, edited.id, mask, "a blue hat")
    assert again.version == 3
    await world.run(generation_id)
    takes = await world.store.takes(generation_id)
    newest = await world.take(generation_id, "keyframe", 2)
    assert [take.id for take in edit_history(takes, newest.id)] == [original.id, edited.id, newest.id]

    await world.anna.approve("anna", generation_id, "storyboard")
    await world.run(generation_id)
    assert newest.artifact in {request.first_frame.sha256 for request in world.models.videos}


async def test_a_mask_of_another_shape_and_an_edit_of_a_clip_are_refused(world):
    generation_id = await world.reach("video")
    mask = world.picture(255)
    keyframe = await world.anna.current_take("anna", generation_id, "keyframe", 1)
    with pytest.raises(BadInput, match="the mask is 32x32 and the picture 48x80"):
        await world.anna.inpaint("anna", generation_id, keyframe, mask, "a hat")
    clip = await world.anna.current_take("anna", generation_id, "clip", 1)
    with pytest.raises(BadInput, match="is a clip: only a keyframe or a reference"):
        await world.anna.inpaint("anna", generation_id, clip, mask, "a hat")
    with pytest.raises(NotFound):
        await world.anna.inpaint("ben", generation_id, keyframe, mask, "a hat")


async def test_the_drawn_reference_can_be_edited_and_then_conditions_the_pictures(world):
    generation_id = await world.reach("reference_image")
    drawn = await world.anna.current_take("anna", generation_id, "reference", None)
    await world.anna.inpaint("anna", generation_id, drawn, world.picture(255), "a blue bottle")
    await world.run(generation_id)
    edited = await world.take(generation_id, "reference", None)
    assert edited.provenance["parent"] == drawn
    await world.anna.approve("anna", generation_id, "reference_image")
    await world.run(generation_id)
    assert [one.image.sha256 for one in world.models.images[-1].references] == [edited.artifact]


async def test_a_story_told_anew_hears_the_feedback_and_its_old_directions_are_forgotten(world):
    generation_id = await world.reach("storyboard")
    await world.anna.regenerate("anna", generation_id, "storyboard", 1, "snow")
    await world.run(generation_id)
    await world.anna.regenerate("anna", generation_id, "story", feedback="Put it in a forest.")
    generation = await world.run(generation_id)
    assert (generation.status, generation.current_stage) == ("awaiting_approval", "story")
    first, second = world.models.asked("director")
    assert "Feedback" not in first
    assert "Earlier draft:" in second
    assert second.endswith("Feedback: Put it in a forest.")
    assert [one.stage for one in generation.direction.revisions] == ["story"]
    assert generation.direction.approvals == ()
    while (generation := await world.get(generation_id)).current_stage != "storyboard":
        await world.anna.approve("anna", generation_id, generation.current_stage)
        await world.run(generation_id)
    assert "revision" not in (await world.take(generation_id, "keyframe", 1)).provenance


async def test_a_failed_step_is_tried_again_on_request_and_nothing_finished_runs_twice(world):
    generation_id = await world.create(AUTO)
    world.models.fail_video_calls = {2}
    with pytest.raises(Exception, match="out of memory"):
        await world.run(generation_id)
    failure = (await world.log(generation_id))[-1]
    assert failure.data["stage"] == "video"
    assert 0 < failure.data["progress"] < 100
    generation = await world.anna.resume("anna", generation_id)
    assert (generation.status, generation.current_stage, generation.error_message) == ("pending", "video", None)
    assert (await world.run(generation_id)).status == "completed"
    finished = await world.steps(generation_id)
    assert len(finished) == len(set(finished))
