"""A chat model as the reader of directions: believed only where the message says it and the rules agree."""

import json

import pytest

from models.spec import ChatModelSpec, WeightSource
from pipelines.agents.direction_changes import Scope
from pipelines.agents.direction_model import checked_reading, direction_request, is_unclear, reads_directions
from pipelines.agents.direction_reader import read_direction

SCOPE = Scope(stage="storyboard", settings=("in the kitchen", "in the forest", "on the beach"), product="blue mug")
EMPTY = {
    "scenes": [], "setting": "", "time": "", "action": "", "camera": "", "product_colour": "", "product_material": "",
    "look": "", "mood": "", "length": "", "call_to_action": "", "add": "", "remove": "",
}  # fmt: skip
MODEL = ChatModelSpec(name="m", kind="chat", family="openai", licence="l", vram_gb=0, vision=False)


def reading(text, *edits):
    rules = read_direction(text, SCOPE)
    return checked_reading(json.dumps({"edits": [{**EMPTY, **edit} for edit in edits]}), text, SCOPE, rules)


def test_what_the_message_says_is_believed():
    text = "give the second shot the mood of an old castle"
    (edit,) = reading(text, {"scenes": [2], "setting": "in an old castle"})
    assert (edit.scenes, edit.changes.setting, edit.question) == ((2,), "in an old castle", None)


@pytest.mark.parametrize(
    "edit",
    [
        {"scenes": [2], "setting": "on the moon"},
        {"scenes": [1], "setting": "in an old castle"},
        {"scenes": [9], "setting": "in an old castle"},
        {"scenes": [2], "setting": "in an old castle", "time": "at night"},
        {"scenes": [2], "product_colour": "castle"},
        {"scenes": [2], "camera": "orbit"},
        {},
    ],
    ids=["made up", "another scene", "no such scene", "one field too many", "no colour", "no such move", "nothing"],
)
def test_what_it_makes_up_does_not_count(edit):
    assert reading("give the second shot the mood of an old castle", edit) is None


@pytest.mark.parametrize(
    "said", ["", "no json", "{}", '{"edits": 3}', "<think>hm</think>", '```json\n{"edits": []}\n```']
)
def test_an_answer_that_is_none_leaves_the_rules_reading(said):
    text = "give the second shot the mood of an old castle"
    assert checked_reading(said, text, SCOPE, read_direction(text, SCOPE)) is None


def test_a_wish_without_a_scene_stays_a_question():
    (edit,) = reading("I imagined an old castle", {"setting": "an old castle"})
    assert "Which scene" in (edit.question or "")


@pytest.mark.parametrize(
    ("text", "unclear"),
    [("scene 2 at night", False), ("approved", False), ("ping", False), ("give it some edge", True)],
)
def test_it_is_asked_only_for_what_the_rules_leave_open(text, unclear):
    assert is_unclear(read_direction(text, SCOPE), text) == unclear


def test_the_embedded_models_are_not_asked():
    embedded = {"main": WeightSource(repository="embedded:sketch/llm", revision="1")}
    assert reads_directions(MODEL)
    assert not reads_directions(MODEL.model_copy(update={"weights": embedded}))


def test_the_question_holds_the_plan_and_the_message():
    asked = direction_request(MODEL, "darker", SCOPE)
    assert asked.messages[1].content.endswith("3 on the beach\nMessage: darker")
    assert asked.temperature == 0.0
