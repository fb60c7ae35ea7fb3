"""Approvals over a real store and engine: the generation waits as a row, and goes on exactly when its owner says so."""

import pytest

from pipelines.errors import BadInput, NotFound, StorageFailed
from pipelines.recipe import Recipe
from tests.support.directed_world import APPROVALS, RECIPE, reference


async def test_it_waits_after_each_stage_and_finishes_when_all_are_approved(world):
    generation_id = await world.create()
    waited = []
    while (generation := await world.run(generation_id)).status == "awaiting_approval":
        waited.append(generation.current_stage)
        assert await world.store.claim_next("somebody") is None
        assert set(await world.store.outputs(generation_id)) >= {generation.current_stage}
        following = await world.anna.approve("anna", generation_id, generation.current_stage)
        assert following.status == "pending"
        assert following.current_stage == RECIPE.stages[RECIPE.stages.index(waited[-1]) + 1]
    assert (generation.status, generation.progress, tuple(waited)) == ("completed", 100, APPROVALS)
    events = await world.log(generation_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.step for event in events if event.kind == "stage_started"] == list(RECIPE.stages)
    assert [event.step for event in events if event.kind == "stage_completed"] == list(RECIPE.stages)
    assert [event.data["stage"] for event in events if event.kind == "approval_needed"] == list(APPROVALS)
    progress = [event.data["progress"] for event in events if event.kind in ("stage_started", "approval_needed")]
    assert progress == sorted(progress)
    finished = await world.steps(generation_id)
    assert len(finished) == len(set(finished))


async def test_without_approvals_the_same_recipe_runs_to_its_end(world):
    generation_id = await world.create(RECIPE.model_copy(update={"approvals": ()}))
    assert (await world.run(generation_id)).status == "completed"


async def test_approving_a_stage_that_does_not_wait_is_refused_and_changes_nothing(world):
    generation_id = await world.reach("story")
    before = await world.get(generation_id), await world.log(generation_id)
    with pytest.raises(BadInput, match="stage 'storyboard' does not wait for approval: 'story' does"):
        await world.anna.approve("anna", generation_id, "storyboard")
    with pytest.raises(NotFound):
        await world.anna.approve("ben", generation_id, "story")
    assert (await world.get(generation_id), await world.log(generation_id)) == before


async def test_an_approval_that_is_sent_twice_counts_once(world):
    generation_id = await world.reach("story")
    first = await world.anna.approve("anna", generation_id, "story", notes="like it")
    assert await world.anna.approve("anna", generation_id, "story", notes="like it") == first
    assert [event.kind for event in await world.log(generation_id)][-2:] == ["conversation", "stage_approved"]
    await world.run(generation_id)
    with pytest.raises(BadInput, match="'reference_image' does"):
        await world.anna.approve("anna", generation_id, "story")


async def test_a_worker_that_dies_before_it_could_say_that_it_waits_is_replaced(world, monkeypatch):
    generation_id = await world.create()

    async def dies(*args):
        raise StorageFailed("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "end", dies)
        with pytest.raises(StorageFailed):
            await world.run(generation_id)
    assert (await world.get(generation_id)).status == "processing"
    asked = len(world.models.chats)
    generation = await world.run(generation_id, take_over=True)
    assert (generation.status, generation.current_stage) == ("awaiting_approval", "story")
    assert len(world.models.chats) == asked


async def test_what_waits_for_approval_is_cancelled_at_once_and_can_be_resumed(world):
    generation_id = await world.reach("story")
    with pytest.raises(BadInput, match="only a failed or cancelled one"):
        await world.anna.resume("anna", generation_id)
    assert (await world.store.cancel("anna", generation_id)).status == "cancelled"
    assert (await world.anna.resume("anna", generation_id)).status == "pending"
    assert (await world.run(generation_id)).current_stage == "story"


async def test_only_the_selected_references_condition_the_pictures(world):
    generation_id = await world.reach("story")
    stored = (world.picture(50), world.picture(200))
    await world.anna.upload_references("anna", generation_id, tuple(map(reference, stored)), stored)
    await world.anna.approve("anna", generation_id, "story")
    await world.run(generation_id)
    assert world.models.images == []
    with pytest.raises(BadInput, match="has 2 outputs"):
        await world.anna.approve("anna", generation_id, "reference_image", (2,))
    await world.anna.approve("anna", generation_id, "reference_image", (1,))
    await world.run(generation_id)
    used = [[one.image.sha256 for one in request.references] for request in world.models.images]
    assert used == [[stored[1].sha256]] * 2


async def test_references_come_too_late_once_the_storyboard_is_drawn(world):
    generation_id = await world.reach("storyboard")
    stored = (world.picture(50),)
    with pytest.raises(BadInput, match="waits for your approval of 'storyboard'"):
        await world.anna.upload_references("anna", generation_id, (reference(stored[0]),), stored)


async def test_references_are_brought_by_going_back_to_the_story_once_one_is_drawn(world):
    generation_id = await world.reach("reference_image")
    stored = (world.picture(50),)
    with pytest.raises(BadInput, match="regenerate the story to go back"):
        await world.anna.upload_references("anna", generation_id, (reference(stored[0]),), stored)
    await world.anna.regenerate("anna", generation_id, "story")
    await world.run(generation_id)
    await world.anna.upload_references("anna", generation_id, (reference(stored[0]),), stored)
    await world.anna.approve("anna", generation_id, "story")
    assert (await world.run(generation_id)).current_stage == "reference_image"
    outputs = await world.store.outputs(generation_id)
    assert [one["artifact"] for one in outputs["reference_image"]] == [stored[0].sha256]


async def test_the_drawn_reference_can_be_chosen_again_after_an_upload(world):
    generation_id = await world.reach("reference_image")
    drawn = await world.take(generation_id, "reference", None)
    stored = (world.picture(50),)
    await world.anna.regenerate("anna", generation_id, "story")
    await world.run(generation_id)
    await world.anna.upload_references("anna", generation_id, (reference(stored[0]),), stored)
    await world.anna.approve("anna", generation_id, "story")
    await world.run(generation_id)
    await world.anna.select("anna", generation_id, drawn.id)
    await world.anna.approve("anna", generation_id, "reference_image")
    await world.run(generation_id)
    assert {one.image.sha256 for request in world.models.images for one in request.references} == {drawn.artifact}


async def test_scenes_that_cannot_fill_the_ad_are_not_enough_of_a_storyboard(world):
    generation_id = await world.reach("storyboard")
    with pytest.raises(BadInput, match="1 scenes cannot fill 9 s"):
        await world.anna.approve("anna", generation_id, "storyboard", (0,))
    await world.anna.approve("anna", generation_id, "storyboard", (1, 0))


async def test_an_earlier_draft_of_the_story_can_be_approved(world):
    generation_id = await world.reach("story")
    await world.anna.regenerate("anna", generation_id, "story", feedback="more sea")
    await world.run(generation_id)
    rounds = (await world.store.outputs(generation_id))["story"]["rounds"]
    assert [one["iteration"] for one in rounds] == [1, 2]
    await world.anna.approve("anna", generation_id, "story", (0,))
    await world.run(generation_id)
    assert rounds[0]["draft"]["beats"][0]["event"] in world.models.asked("writer")[0]


def test_a_recipe_asks_for_approval_only_of_stages_that_it_has():
    with pytest.raises(ValueError, match="approvals"):
        Recipe(name="odd", description="", stages=("story",), approvals=("video",))
