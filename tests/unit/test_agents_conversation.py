import json

import pytest

from models.errors import BrokenAnswer, BudgetExceeded
from pipelines.agents.brief_reader import product_question
from pipelines.agents.cohesor import OverviewAnswer, PairAnswer
from pipelines.agents.conversation import CritiqueAnswer, Question, ask, schema_of
from pipelines.agents.enhancers import PromptAnswer
from pipelines.agents.entities import Seen
from pipelines.agents.scene import scene_question
from pipelines.agents.story import story_question
from pipelines.brief import Brief
from pipelines.errors import AgentFailed
from pipelines.facts import BriefFacts
from pipelines.reading.brief_rules import read_brief
from pipelines.screenplay import Beat, Entity, Premise, Story
from pipelines.timing import plan_slots
from tests.support.scripted_desk import ScriptedDesk

BRIEF = Brief(prompt="an ad for a steel water bottle on the beach", seed=0)
BOTTLE = Entity(handle="product", role="product", name="steel water bottle", description="red steel bottle")


def question(**changes):
    given = {"agent": "image_enhancer", "system": "s", "user": "u", "json_schema": schema_of(PromptAnswer), "seed": 5}
    return Question(**(given | changes))


def desk_saying(*texts):
    waiting = list(texts)
    return ScriptedDesk(lambda request: waiting.pop(0))


async def test_a_valid_answer_is_taken_at_once():
    desk = desk_saying('{"prompt": "a red bottle"}')
    assert (await ask(desk, question(), PromptAnswer)).prompt == "a red bottle"
    assert len(desk.requests) == 1
    assert desk.requests[0].seed == 5
    assert not desk.notices


@pytest.mark.parametrize("invalid", ["not json", '{"prompt": ""}', '{"prompt": 3}', '{"wrong": "x"}', "[]"])
async def test_an_invalid_answer_is_shown_to_the_model_with_its_error(invalid):
    desk = desk_saying(invalid, '{"prompt": "better"}')
    assert (await ask(desk, question(), PromptAnswer)).prompt == "better"
    first, second = desk.requests
    assert second.messages[:2] == first.messages
    assert second.messages[2].content == invalid
    assert second.messages[3].role == "user"
    assert "invalid" in second.messages[3].content
    assert second.seed != first.seed
    assert desk.notices[0][0] == "agent_retry"


async def test_an_answer_that_fails_its_check_is_asked_again_with_the_reason():
    def check(answer):
        if "bottle" not in answer.prompt:
            raise ValueError("the bottle is missing")

    desk = desk_saying('{"prompt": "a mug"}', '{"prompt": "a bottle"}')
    assert (await ask(desk, question(), PromptAnswer, check)).prompt == "a bottle"
    assert "the bottle is missing" in desk.requests[1].messages[-1].content


async def test_an_agent_that_never_answers_well_fails_by_name_after_three_attempts():
    desk = desk_saying("no", "no", "no")
    with pytest.raises(AgentFailed, match="image_enhancer gave no valid answer in 3 attempts"):
        await ask(desk, question(), PromptAnswer)
    assert len(desk.requests) == 3


async def test_an_answer_that_ran_out_of_tokens_is_asked_again_shorter():
    answers = [BudgetExceeded("max_tokens=512"), '{"prompt": "short"}']

    def script(request):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    desk = ScriptedDesk(script)
    assert (await ask(desk, question(), PromptAnswer)).prompt == "short"
    assert "shorter" in desk.requests[1].messages[-1].content


async def test_judgements_are_greedy_and_creative_answers_are_sampled():
    desk = desk_saying('{"prompt": "x"}', '{"prompt": "x"}')
    await ask(desk, question(), PromptAnswer)
    await ask(desk, question(creative=True), PromptAnswer)
    assert [request.temperature for request in desk.requests] == [0.0, desk.chat_model.temperature]


def unbounded(node, path=""):
    """Places in a schema where a model could go on for ever."""
    if isinstance(node, list):
        return [found for item in node for found in unbounded(item, path)]
    if not isinstance(node, dict):
        return []
    kind = node.get("type")
    found = []
    if kind == "string" and not {"enum", "const"} & set(node) and "maxLength" not in node:
        found.append(path)
    if kind == "array" and "maxItems" not in node:
        found.append(path)
    if kind == "integer" and not {"minimum", "maximum"} <= set(node):
        found.append(path)
    if kind == "object" and node.get("additionalProperties") is not False:
        found.append(path)
    return found + [deep for key, value in node.items() for deep in unbounded(value, f"{path}/{key}")]


def test_no_schema_lets_a_model_run_away():
    slots = plan_slots("AIDA", 15, 8)
    story = Story(
        title="t",
        beats=tuple(Beat(purpose=s.purpose, setting="on the beach", event="e") for s in slots),
        call_to_action="c",
    )
    schemas = [schema_of(kind) for kind in (CritiqueAnswer, PairAnswer, OverviewAnswer, PromptAnswer, Seen)]
    schemas.append(product_question(BRIEF, BriefFacts(), 0).json_schema)
    schemas.append(product_question(BRIEF, read_brief(BRIEF), 0).json_schema)
    schemas.append(story_question(BRIEF, Premise(entities=(BOTTLE,)), slots, 0).json_schema)
    schemas.append(scene_question(BRIEF, story, (BOTTLE,), 2, ("static",), 0).json_schema)
    assert [place for schema in schemas for place in unbounded(schema)] == []


def test_reasons_come_before_the_score_in_every_judgement():
    assert list(schema_of(CritiqueAnswer)["properties"])[-1] == "overall_score"
    assert list(schema_of(PairAnswer)["properties"])[-1] == "transition_score"


def test_no_schema_asks_for_what_belongs_to_the_generation():
    slots = plan_slots("AIDA", 15, 8)
    text = json.dumps(story_question(BRIEF, Premise(entities=(BOTTLE,)), slots, 0).json_schema)
    assert not any(word in text for word in ("duration", "seconds", "ratio", "fps", "seed", "scene_number"))


@pytest.mark.parametrize(
    "wrapped",
    [
        '```json\n{"prompt": "a red bottle"}\n```',
        '<think>a bottle, red</think>{"prompt": "a red bottle"}',
        'Sure! Here is the JSON:\n{"prompt": "a red bottle"}\nEnjoy.',
        '{"prompt": "a red bottle", "duration": 60}',
        '[{"prompt": "a red bottle"}]',
        '"{\\"prompt\\": \\"a red bottle\\"}"',
    ],
)
async def test_json_is_taken_out_of_what_servers_put_around_it(wrapped):
    desk = desk_saying(wrapped)
    assert (await ask(desk, question(), PromptAnswer)).prompt == "a red bottle"
    assert len(desk.requests) == 1


async def test_a_broken_answer_of_the_server_is_asked_again():
    answers = [BrokenAnswer("it broke off"), '{"prompt": "a red bottle"}']

    def script(request):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    desk = ScriptedDesk(script)
    assert (await ask(desk, question(), PromptAnswer)).prompt == "a red bottle"
    assert "it broke off" in desk.requests[1].messages[-1].content


@pytest.mark.parametrize("broken", ["inerbinerbinerbin", "a\u0000b", "takol nowol topsol", ": ]} into one"])
async def test_what_is_no_text_is_asked_again_and_then_fails_by_name(broken):
    desk = desk_saying(*[json.dumps({"prompt": broken})] * 3)
    with pytest.raises(AgentFailed, match="image_enhancer gave no valid answer"):
        await ask(desk, question(), PromptAnswer)


async def test_a_word_that_no_list_has_is_believed_when_the_model_insists():
    desk = desk_saying(*['{"prompt": "a bottle of the finest lumisol in the evening light"}'] * 3)
    assert "lumisol" in (await ask(desk, question(), PromptAnswer)).prompt
    assert len(desk.requests) == 3


@pytest.mark.parametrize("text", ['{"prompt": "a\\u0000b"}', '{"prompt": "a \\ud83d b"}', "a \ud83d b", "a\x00b", ""])
async def test_what_cannot_be_stored_is_neither_repeated_to_the_model_nor_noted(text):
    desk = desk_saying(text, '{"prompt": "a red bottle"}')
    assert (await ask(desk, question(), PromptAnswer)).prompt == "a red bottle"
    for said in (desk.requests[1].messages[2].content, desk.requests[1].messages[3].content, desk.notices[0][1]):
        said.encode()
        assert "\x00" not in said
