"""The sketch author as a chat model: whoever asks is answered, in the schema that was asked for, in English words."""

import json
import re

import pytest

from configs.settings import load_model
from models.errors import BudgetExceeded, InvalidRequest
from models.interfaces import ChatMessage, ChatRequest, Unwatched
from models.sketch import author_words
from models.sketch.author import SketchAuthor
from models.spec import ChatModelSpec
from pipelines.agents.story import StoryAnswer, story_question
from pipelines.brief import Brief
from pipelines.reading.sanity import unknown_words
from pipelines.screenplay import Beat, Premise, Story
from pipelines.timing import SceneSlot

SPEC = load_model("sketch-author", ChatModelSpec)
AUTHOR = SketchAuthor(SPEC, {}, "cpu")


def ask(text, schema=None, **more):
    request = ChatRequest(messages=(ChatMessage(role="user", content=text),), json_schema=schema, **more)
    return AUTHOR.complete(request, Unwatched())


def sentences(node):
    if isinstance(node, str):
        return [node]
    parts = node.values() if isinstance(node, dict) else node
    return [found for part in parts for found in sentences(part)]


@pytest.mark.parametrize("name", [name for name in dir(author_words) if name.isupper()])
def test_every_sentence_is_made_of_words(name):
    for form in sentences(getattr(author_words, name)):
        for number in (r"\\1", r"\\2"):
            text = re.sub(r"\{([^{}|]*)\|([^{}|]*)\}", number.replace("\\\\", "\\"), form)
            assert unknown_words(re.sub(r"\{\w+\}", " ", text)) == []


def test_a_chat_is_told_what_answers_here():
    assert "grammar, not a language model" in ask("Write a slogan for a coffee shop").text


def test_any_schema_is_filled():
    schema = {
        "type": "object",
        "properties": {
            "slogan": {"type": "string", "maxLength": 40},
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer", "minimum": 3},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "sure": {"type": "boolean"},
            "more": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "part": {"$ref": "#/$defs/Part"},
        },
        "required": ["slogan", "kind", "count", "tags", "sure", "more", "part"],
        "$defs": {"Part": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}},
    }
    answer = json.loads(ask("Write a slogan for a coffee shop", schema).text)
    assert 0 < len(answer["slogan"]) <= 40
    assert (answer["kind"], answer["count"], answer["sure"], answer["more"]) == ("a", 3, False, None)
    assert len(answer["tags"]) == 2
    assert answer["part"] == {"n": 0.0}


def test_the_second_draft_of_a_story_has_as_many_beats_as_were_asked_for():
    brief, premise = Brief(prompt="An ad for a steel water bottle", seed=1), Premise(entities=())
    slots = tuple(SceneSlot(scene_number=n, purpose=p, frames=72) for n, p in enumerate(("Attention", "Action"), 1))
    beats = tuple(Beat(purpose=slot.purpose, setting="in a studio", event="A bottle shines") for slot in slots)
    earlier = Story(title="Dew", beats=beats, call_to_action="Buy it")
    question = story_question(brief, premise, slots, 1, 2, "Shorter, and funnier", earlier)
    answer = StoryAnswer.model_validate_json(ask(question.user, question.json_schema).text)
    assert len(answer.beats) == 2


def test_tokens_and_stops_are_kept():
    assert "grammar" not in ask("hello", stop=("grammar",)).text
    with pytest.raises(BudgetExceeded, match="max_tokens=3"):
        ask("hello", max_tokens=3)
    with pytest.raises(InvalidRequest, match="stop"):
        ask("hello", {"type": "object"}, stop=("x",))


@pytest.mark.parametrize(
    ("product", "verb", "wrong"), [("purple running shoes", "are", "is"), ("water bottle", "is", "are")]
)
def test_a_critic_speaks_of_a_product_in_its_number(product, verb, wrong):
    names = ("strengths", "improvements", "priority_fixes", "critique", "overall_score")
    schema = {"type": "object", "properties": {name: {} for name in names}}
    for seed in range(8):
        answer = ask(f"Brief: an ad\nproduct = {product} (seen in the picture)", schema, seed=seed).text
        assert f"The {product} {verb} clear to see." in answer
        assert f"{product} {wrong}" not in answer
