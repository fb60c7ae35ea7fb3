"""What an owner says, as structured edits: the right scenes and the right change, and nothing else."""

import pytest

from benchmarks.direction.cases import CASES, PRODUCT, SETTINGS, Case
from benchmarks.direction.measure import asked, judge, scope_of
from pipelines.agents.direction_changes import Scope
from pipelines.agents.direction_model import is_unclear
from pipelines.agents.direction_reader import read_direction


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}-{case.text[:50]}" for case in CASES])
def test_a_message_changes_what_it_says_and_nothing_else(case):
    right, other = judge(case)
    read = [edit.model_dump(exclude_defaults=True) for edit in read_direction(case.text, scope_of(case))]
    assert (right, other) == (True, False), read


def scope(**changes):
    return Scope(**({"stage": "storyboard", "settings": SETTINGS, "product": PRODUCT} | changes))


def test_a_selected_scene_stands_in_for_one_that_is_not_named():
    (edit,) = read_direction("make it night", scope(focus=3))
    assert (edit.scenes, edit.changes.time, edit.question) == ((3,), "at night", None)
    (edit,) = read_direction("make it night", scope(focus=9))
    assert edit.question is not None


def test_without_a_scene_nothing_is_made_anew_but_the_story_as_a_whole():
    (edit,) = read_direction("make it night", scope())
    assert "Which scene" in (edit.question or "")
    (edit,) = read_direction("put it in a forest", scope(stage="story"))
    assert (edit.scenes, edit.changes.setting) == ((1, 2, 3, 4), "in a forest")


def test_an_open_family_is_given_what_a_small_one_cannot_draw():
    (edit,) = read_direction("can you add a dog to scene 2?", scope())
    assert (edit.scenes, edit.changes.add, edit.question) == ((2,), "a dog", None)
    (edit,) = read_direction("put scene 2 on the moon", scope())
    assert (edit.changes.setting, edit.question) == ("on the moon", None)


def test_a_closed_family_says_what_it_can_draw_instead():
    case = Case("unclear", "")
    said = (("add a dog to scene 2", "'a dog'"), ("scene 2 on the moon", "on the beach"), ("gold mug", "teal"))
    for text, named in said:
        (edit,) = read_direction(text, scope_of(case))
        assert named in (edit.question or ""), text
    assert asked(read_direction("add a dog to scene 2", scope_of(case))) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("make it 60 seconds long", "length"), ("could it be half a minute?", "length"),
        ("cut it to ten seconds", "length"),
        ("make it twice as long", "length"), ("scene 2 should last 4 s", "length"), ("make it 2x longer", "length"),
        ("16:9 please", "shape"), ("make it vertical", "shape"), ("the ad should be square", "shape"),
        ("add another scene", "number of"), ("remove scene 2", "number of"), ("only 2 scenes", "number of"),
        ("in 4k please", "Size"), ("make it 60 fps", "frame rate"), ("use another video model", "models"),
        ("use seed 5", "seed"), ("change the framework to PAS", "framework"), ("change the title to Sun", "title"),
        ("change the brand to Nike", "brand"), ("translate it to French", "language"), ("in German", "language"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stage", ["story", "reference_image", "storyboard"])
def test_what_is_fixed_since_the_order_is_answered_and_nothing_else_is_done(stage, text, named):
    edits = read_direction(text, scope(stage=stage))
    assert all(edit.question for edit in edits), edits
    assert named in (edits[0].question or "")
    assert not is_unclear(edits, text) or text == "remove scene 2"


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("make the mug as red as a tomato at night", "time"), ("scene 1 at 9:30 in the morning", "time"),
        ("scene 2 in the town square", "setting"), ("make two scenes darker", "look"), ("make it shorter", "length"),
    ],
)  # fmt: skip
def test_words_that_only_look_like_something_fixed_are_read_as_they_are_meant(text, changed):
    assert changed in {name for edit in read_direction(text, scope(stage="story")) for name in edit.changes.named}


def test_a_question_back_says_what_can_be_changed():
    (edit,) = read_direction("asdf qwer", scope())
    assert edit.intent == "other"
    assert "time of day" in (edit.question or "")
    assert "say 'approve'" in (edit.question or "")


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "🙂", "0", "-1", "[1, 2]", '{"type": "ping"}', "NaN", "<b></b>", "a" * 2000]
)
def test_whatever_is_no_wish_changes_nothing(text):
    assert asked(read_direction(text, scope())) == []
    assert {edit.intent for edit in read_direction(text, scope())} & {"approve", "reject"} == set()
