"""The chat of an owner: read, acted upon and answered in one transaction; a vague wish is asked about."""

import pytest

from pipelines.errors import BadInput


async def said(world, generation_id):
    spoken = [message for message in await world.store.messages(generation_id) if message.role in ("user", "assistant")]
    return [(message.role, message.content, message.scene_number) for message in spoken]


async def test_a_wish_without_a_scene_is_asked_about_and_redraws_nothing(world):
    generation_id = await world.reach("storyboard")
    generation = await world.anna.say("anna", generation_id, "make it brighter")
    assert (generation.status, generation.direction.revisions) == ("awaiting_approval", ())
    question = "Which scene do you mean, 1 to 2? Say for example 'scene 2: …', or 'all scenes: …'."
    assert await said(world, generation_id) == [("user", "make it brighter", None), ("assistant", question, None)]
    events = [event for event in await world.log(generation_id) if event.kind == "conversation"]
    assert [(event.data["role"], event.message) for event in events] == [
        ("user", "make it brighter"),
        ("assistant", question),
    ]


async def test_a_named_scene_is_made_anew_with_the_words_of_the_message(world):
    generation_id = await world.reach("storyboard")
    drawn = len(world.models.images)
    generation = await world.anna.say("anna", generation_id, "make scene 2 brighter")
    assert (generation.status, generation.current_stage) == ("pending", "storyboard")
    await world.run(generation_id)
    assert len(world.models.images) == drawn + 1
    assert world.models.images[-1].prompt.endswith(", bright light")


async def test_several_named_scenes_are_made_anew_together(world):
    generation_id = await world.reach("storyboard")
    drawn = len(world.models.images)
    await world.anna.say("anna", generation_id, "scenes 1 and 2: warmer light")
    await world.run(generation_id)
    assert len(world.models.images) == drawn + 2


async def test_agreement_in_the_chat_approves_the_stage_that_waits(world):
    generation_id = await world.reach("story")
    generation = await world.anna.say("anna", generation_id, "Looks good, thanks!")
    assert (generation.status, generation.current_stage) == ("pending", "scenes")
    assert (await said(world, generation_id))[-1][1] == "The story is approved. Next: reference image."
    generation = await world.anna.say("anna", generation_id, "faster please")
    assert (await said(world, generation_id))[-1][1].startswith("At work: reference image.")


async def test_a_message_that_is_sent_again_counts_once(world):
    generation_id = await world.reach("storyboard")
    for _ in range(2):
        generation = await world.anna.say("anna", generation_id, "scene 1 darker", client_id="m-1")
    assert [one.changes.look for one in generation.direction.edits] == ["moody light"]
    assert len(await said(world, generation_id)) == 2


async def test_an_empty_message_is_refused(world):
    generation_id = await world.reach("story")
    with pytest.raises(BadInput, match="message"):
        await world.anna.say("anna", generation_id, "   ")
