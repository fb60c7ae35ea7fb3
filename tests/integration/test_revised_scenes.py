"""Revisions in the agents' stages: the owner's words reach the agent, and only what was asked for is written anew."""

import json
from typing import Any

import pytest

from pipelines.direction import ChosenTake, Direction, Modifications, Revision
from pipelines.recipe import Recipe, SceneAgents, StoryAgents
from pipelines.stages.pictures import apply_revision, revision_inputs
from pipelines.stages.scenes import write_scenes
from pipelines.stages.story import tell_story
from tests.integration.test_scenes_stage import BRIEF
from tests.support.scripted_desk import ScriptedDesk, agent_of, context_for

RECIPE = Recipe(
    facts=(),
    name="test",
    description="",
    stages=("story", "scenes"),
    story=StoryAgents(critic=False),
    scenes=SceneAgents(critic=False, cohesor=True, cohesion_rounds=1),
)


def revision(stage, count=1, scene_number=None, *feedback, **modifications):
    return Revision(
        stage=stage,
        scene_number=scene_number,
        count=count,
        feedback=feedback,
        modifications=Modifications(**modifications),
    )


async def write(desk, *revisions):
    context = context_for(desk, BRIEF, RECIPE, direction=Direction(revisions=revisions))
    return await write_scenes(context, await tell_story(context))


def asked(desk, agent):
    return [request.messages[1].content for request in desk.requests if agent_of(request) == agent]


async def test_only_the_revised_scene_is_written_anew_and_only_its_transitions_are_judged_anew():
    desk = ScriptedDesk()
    before = await write(desk)
    known = set(desk.steps())
    written, judged = len(asked(desk, "writer")), len(asked(desk, "pair"))
    after = await write(desk, revision("scenes", 1, 2, "put it on a boat"))
    assert set(desk.steps()) - known == {"scenes/scene-002/revision-1"}
    assert len(asked(desk, "writer")) == written + 1
    assert asked(desk, "writer")[-1].endswith("Feedback: put it on a boat")
    assert "Earlier draft:" in asked(desk, "writer")[-1]
    assert len(asked(desk, "pair")) == judged + 2
    changed = [old.draft != new.draft for old, new in zip(before.scenes, after.scenes, strict=True)]
    assert changed == [number == 2 for number in range(1, len(changed) + 1)]
    assert len(after.cohesion.pair_wise_analysis) == len(after.scenes) - 1


async def test_without_words_the_writer_begins_from_another_seed_and_not_from_the_old_draft():
    desk = ScriptedDesk()
    await write(desk)
    await write(desk, revision("scenes", 1, 1))
    request = [request for request in desk.requests if agent_of(request) == "writer"][-1]
    assert "Earlier draft:" not in request.messages[1].content
    assert request.seed not in {one.seed for one in desk.requests[:-1] if agent_of(one) == "writer" and one != request}


async def test_each_revision_of_the_story_starts_from_the_one_before():
    desk = ScriptedDesk()
    context = context_for(
        desk,
        BRIEF,
        RECIPE,
        direction=Direction(revisions=(revision("story", 1, None, "funnier"), revision("story", 2, None, "shorter"))),
    )
    story = await tell_story(context)
    assert [one.iteration for one in story.rounds] == [1, 2, 3]
    assert story.story == story.rounds[2].draft
    third = asked(desk, "director")[-1]
    assert story.rounds[1].draft.title in third
    assert third.endswith("Feedback: shorter")


async def test_the_critics_words_join_the_owners_in_later_rounds():
    def script(request):
        if agent_of(request) != "critic":
            return None
        verdict = {"strengths": [], "improvements": [], "priority_fixes": ["Name the bottle."], "critique": "no"}
        return json.dumps({**verdict, "overall_score": 10})

    desk = ScriptedDesk(script)
    recipe = RECIPE.model_copy(update={"story": StoryAgents(critic=True, max_rounds=2)})
    wish = Direction(revisions=(revision("story", 1, None, "funnier"),))
    await tell_story(context_for(desk, BRIEF, recipe, direction=wish))
    assert asked(desk, "director")[-1].endswith("Feedback: funnier Name the bottle.")


ASKED: dict[str, Any] = {
    "prompt": "a",
    "negative_prompt": "",
    "noise": {"seed": 1, "shared_seed": 2, "shared_strength": 0.5},
}


def test_without_a_revision_a_request_and_its_key_stay_as_they_are():
    assert apply_revision(ASKED, None, "{} {}".format) == ASKED
    assert revision_inputs(None) == {}


def test_a_revision_moves_the_scenes_own_seed_and_keeps_the_shared_noise():
    first, second = (apply_revision(ASKED, revision("storyboard", count), "{} {}".format) for count in (1, 2))
    assert len({one["noise"]["seed"] for one in (ASKED, first, second)}) == 3
    assert {one["noise"]["shared_seed"] for one in (first, second)} == {2}


def test_modifications_are_taken_as_they_are():
    changed = apply_revision(
        ASKED, revision("storyboard", 1, 1, "snow", prompt="b", seed=9, negative_prompt="text"), "{}, {}".format
    )
    assert (changed["prompt"], changed["negative_prompt"], changed["noise"]["seed"]) == ("b, snow", "text", 9)


def test_a_direction_reads_back_from_its_json_as_it_was():
    chosen = ChosenTake(kind="clip", scene_number=1, take_id="t", value={"clip": {}, "last_frame": "x"})
    direction = Direction(revisions=(revision("video", 1, 1, "slow", camera="push_in"),), choices=(chosen,))
    assert Direction.model_validate(direction.model_dump(mode="json")) == direction


@pytest.mark.parametrize("scenes", [None, frozenset({1})])
def test_choices_of_the_whole_generation_fall_with_those_of_any_scene(scenes):
    clip = ChosenTake(kind="clip", scene_number=1, take_id="c", value={})
    video = ChosenTake(kind="video", scene_number=None, take_id="v", value={})
    other = clip.model_copy(update={"scene_number": 2})
    left = Direction(choices=(clip, video, other)).without_choices(("video", "stitch"), scenes)
    assert left.choices == (() if scenes is None else (other,))
