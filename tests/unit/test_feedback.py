"""The feedback reader: what a chat message asks for, and what it must never be taken for."""

import pytest

from pipelines.agents.feedback import read_feedback


def read(text, scenes=4, focus=None):
    reading = read_feedback(text, scenes, focus)
    return reading.intent, reading.scene_numbers


@pytest.mark.parametrize(
    "text", ["Approve", "looks good!", "OK, go ahead please", "I love it, thanks", "yes, next stage"]
)
def test_plain_agreement_approves(text):
    assert read(text)[0] == "approve"


@pytest.mark.parametrize(
    "text", ["brighter, good otherwise", "good but darker", "not good", "looks good, make the sky red", "is it good?"]
)
def test_agreement_that_holds_something_back_is_no_approval(text):
    assert read(text)[0] != "approve"


@pytest.mark.parametrize(
    ("text", "scenes"),
    [
        ("make scene 2 brighter", (2,)),
        ("scenes 1 and 3: closer", (1, 3)),
        ("Scene 2, 3 & 4 need more light", (2, 3, 4)),
        ("frames 2-4 are too dark", (2, 3, 4)),
        ("the second shot is blurry", (2,)),
        ("more smile in the last scene", (4,)),
        ("can you make clip two slower?", (2,)),
        ("the 3rd one should be at night", (3,)),
    ],
)
def test_scenes_are_named_by_number_list_range_or_rank(text, scenes):
    assert read(text) == ("regenerate", scenes)


def test_a_wish_that_names_no_scene_asks_back_instead_of_redrawing_all():
    assert read("make it brighter") == ("which_scene", ())
    assert read("make it brighter", focus=3) == ("regenerate", (3,))
    assert read("make it brighter", focus=9) == ("which_scene", ())


def test_all_scenes_are_redrawn_only_when_all_are_named():
    assert read("make all scenes brighter") == ("regenerate", ())
    assert read("everything should be at night") == ("regenerate", ())


def test_a_scene_that_does_not_exist_is_asked_about():
    reading = read_feedback("make scene 7 brighter", 4, None)
    assert (reading.intent, reading.unknown_scene) == ("which_scene", 7)


@pytest.mark.parametrize("text", ["what happens next?", "why is the bottle red?", "thanks", "hello"])
def test_questions_and_courtesies_change_nothing(text):
    assert read(text)[0] == "question"
    assert read(text, scenes=None)[0] == "question"


def test_what_is_made_as_a_whole_needs_no_scene():
    assert read("more humour please", scenes=None) == ("regenerate", ())
