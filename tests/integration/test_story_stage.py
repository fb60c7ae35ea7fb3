import json

import pytest

from pipelines.agents.conversation import MAX_ATTEMPTS
from pipelines.brief import Brief, BriefReference
from pipelines.errors import AgentFailed
from pipelines.recipe import Recipe, StoryAgents
from pipelines.stages.story import tell_story
from tests.support.scripted_desk import CHAT, ScriptedDesk, agent_of, context_for

BRIEF = Brief(prompt="an ad for a steel water bottle on the beach", seed=7)


def recipe(**story):
    """No fact of the brief matters: the drafts are drawn at random."""
    return Recipe(name="test", description="", stages=("story",), story=StoryAgents(**story), facts=())


def scored(*scores):
    """A script in which the story critic gives these scores, one per round."""
    left = list(scores)

    def script(request):
        if agent_of(request) != "critic":
            return None
        verdict = {"strengths": [], "improvements": ["Say more."], "priority_fixes": ["Name the bottle."]}
        return json.dumps({**verdict, "critique": "could be better", "overall_score": left.pop(0)})

    return script


async def test_an_approved_story_ends_the_rounds_early():
    desk = ScriptedDesk(scored(60, 90))
    result = await tell_story(context_for(desk, BRIEF, recipe(max_rounds=3, approve_at=85)))
    assert [one.critique and one.critique.overall_score for one in result.rounds] == [60, 90]
    assert result.approved
    assert result.chosen_iteration == 2
    assert desk.steps() == [
        "story/facts",
        "story/product-1",
        "story/director-1",
        "story/critic-1",
        "story/director-2",
        "story/critic-2",
    ]


async def test_the_best_scoring_draft_is_told_and_not_the_last():
    desk = ScriptedDesk(scored(60, 80, 70))
    result = await tell_story(context_for(desk, BRIEF, recipe(max_rounds=3, approve_at=85)))
    assert not result.approved
    assert result.chosen_iteration == 2
    assert result.story == result.rounds[1].draft
    assert result.story.title in result.text


async def test_a_revision_sees_the_draft_before_and_what_to_fix_first():
    desk = ScriptedDesk(scored(60, 90))
    result = await tell_story(context_for(desk, BRIEF, recipe()))
    second = [request for request in desk.requests if agent_of(request) == "director"][1]
    assert f"Earlier draft:\nTitle: {result.rounds[0].draft.title}" in second.messages[1].content
    assert "Feedback: Name the bottle. Say more." in second.messages[1].content


async def test_without_a_critic_there_is_one_draft_that_nobody_scored():
    desk = ScriptedDesk()
    result = await tell_story(context_for(desk, BRIEF, recipe(critic=False)))
    assert [one.critique for one in result.rounds] == [None]
    assert result.approved
    assert desk.steps() == ["story/facts", "story/product-1", "story/director-1"]


async def test_every_utterance_is_kept_with_role_iteration_and_score():
    desk = ScriptedDesk(scored(60, 90))
    await tell_story(context_for(desk, BRIEF, recipe()))
    said = [message for _, output in desk.done.values() for message in output.messages]
    assert [(one.role, one.iteration, one.score) for one in said] == [
        ("director", 1, None),
        ("director", 1, None),
        ("critic", 1, 60.0),
        ("director", 2, None),
        ("critic", 2, 90.0),
    ]
    assert "Name the bottle." in said[2].content


REFERENCES = (
    BriefReference(artifact="aa", role="style", filename="s.png"),
    BriefReference(artifact="bb", role="product", filename="p.png"),
    BriefReference(artifact="cc", role="character", filename="c.png"),
)
FILES = {"aa": b"a", "bb": b"b", "cc": b"c"}


async def test_each_reference_is_looked_at_once_and_alone_and_binds_a_handle():
    def script(request):
        if agent_of(request) == "product":
            return '{"name": "steel water bottle", "description": "steel bottle", "places": ["on the beach"]}'
        if agent_of(request) == "vision":
            assert "steel" not in request.messages[1].content
            shown = request.messages[1].images[0].data.decode()
            return json.dumps({"name": f"name {shown}", "description": f"steel bottle {shown}"})
        return None

    desk = ScriptedDesk(script, FILES)
    brief = BRIEF.model_copy(update={"references": REFERENCES})
    result = await tell_story(context_for(desk, brief, recipe(critic=False)))
    assert [(one.handle, one.name, one.description, one.reference_index) for one in result.entities] == [
        ("product", "steel water bottle", "steel bottle b", 1),
        ("style-1", "name a", "steel bottle a", 0),
        ("character-1", "name c", "steel bottle c", 2),
    ]
    assert [len(request.messages[1].images) for request in desk.requests if request.messages[1].images] == [1, 1, 1]


async def test_a_chat_model_without_eyes_takes_the_look_from_the_brief_and_says_so():
    desk = ScriptedDesk(files=FILES)
    brief = BRIEF.model_copy(update={"references": REFERENCES})
    blind = CHAT.model_copy(update={"vision": False})
    result = await tell_story(context_for(desk, brief, recipe(critic=False), chat_model=blind))
    assert not any(request.messages[1].images for request in desk.requests)
    assert [(kind, severity) for kind, _, severity in desk.notices] == [("references_not_read", "warning")]
    assert result.entities[0].reference_index == 1
    assert result.entities[1].description == "the style of reference 1"


async def test_the_same_brief_gives_the_same_questions_and_another_seed_other_ones():
    async def keys(brief):
        desk = ScriptedDesk()
        await tell_story(context_for(desk, brief, recipe()))
        return [step.key for step, _ in desk.done.values()]

    first, again = await keys(BRIEF), await keys(BRIEF)
    assert first == again
    other = await keys(BRIEF.model_copy(update={"seed": 8}))
    assert set(first) & set(other) == {first[0]}  # the facts of the brief


async def test_another_chat_model_makes_other_steps():
    one, two = ScriptedDesk(), ScriptedDesk()
    await tell_story(context_for(one, BRIEF, recipe()))
    await tell_story(context_for(two, BRIEF, recipe(), fingerprints={"chat": "chat-2"}))
    assert one.done["story/director-1"][0].key != two.done["story/director-1"][0].key


async def test_an_agent_that_never_gives_json_fails_by_name():
    desk = ScriptedDesk(lambda request: "I would rather talk." if agent_of(request) == "critic" else None)
    with pytest.raises(AgentFailed, match="the critic gave no valid answer"):
        await tell_story(context_for(desk, BRIEF, recipe()))
    assert len([one for one in desk.requests if agent_of(one) == "critic"]) == MAX_ATTEMPTS
    assert desk.steps() == ["story/facts", "story/product-1", "story/director-1"]
