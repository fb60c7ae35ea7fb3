"""The facts of a scene: read off its fields by rule, each with a decoy that differs in one thing and cannot be true."""

from __future__ import annotations

import pytest

from pipelines.reading.scene_facts import LOOKS_LIKE, OTHER_COLOURS, scene_facts
from pipelines.reading.vocabulary import COLOURS
from pipelines.screenplay import Entity, SceneDraft

BOTTLE = Entity(handle="product", role="product", name="a teal steel bottle", description="steel")
LOOK = Entity(handle="style", role="style", name="a watercolour", description="soft")


def draft(**changes):
    given = {"setting": "on the beach", "action": "it stands", "camera": "static", "entities": ("product", "style")}
    return SceneDraft(**given | changes)


def facts(kind, *asked, **changes):
    return [
        (fact.text, fact.decoy) for fact in scene_facts(draft(**changes), (BOTTLE, LOOK), *asked) if fact.kind == kind
    ]


def test_every_thing_that_is_shown_is_a_fact_and_a_style_is_none():
    shown = facts("object", extras=("two seagulls",))
    assert [text for text, _ in shown] == ["there is a teal steel bottle", "there is two seagulls"]
    assert all(text != decoy for text, decoy in shown)
    assert facts("object", entities=()) == []


def test_a_colours_decoy_is_another_colour_that_does_not_look_like_it():
    ((text, decoy),) = facts("color")
    assert text == "this shows a teal steel bottle" and decoy.startswith("this shows a ")
    other = decoy.removeprefix("this shows a ").removesuffix(" steel bottle")
    assert other in OTHER_COLOURS and other not in ("green", "blue")


@pytest.mark.parametrize("colour", sorted(COLOURS))
def test_every_colour_has_a_decoy(colour):
    entity = Entity(handle="product", role="product", name=f"{colour} shoe", description="")
    (fact,) = [fact for fact in scene_facts(draft(), (entity,)) if fact.kind == "color"]
    other = fact.decoy.removeprefix("this shows ").removesuffix(" shoe")
    assert other in OTHER_COLOURS and other != colour
    assert other not in LOOKS_LIKE.get(colour, ()) and colour not in LOOKS_LIKE.get(other, ())


def test_a_number_is_a_fact_with_another_number_beside_it():
    assert facts("count", extras=("two seagulls", "nine candles", "sand")) == [
        ("there are two seagulls", "there are four seagulls"),
        ("there are nine candles", "there are seven candles"),
    ]


def test_a_place_has_another_place_as_its_decoy():
    ((text, decoy),) = facts("scene", setting="in a library")
    assert text == "this is in a library" and "library" not in decoy


def test_a_relation_is_turned_round():
    assert facts("spatial", action="the bottle stands in front of a wall") == [
        ("the bottle stands in front of a wall", "the bottle stands behind a wall")
    ]
    assert facts("spatial", action="the bottle stands") == []


def test_an_actions_decoy_is_another_scenes_action_or_stillness():
    others = (draft(action="a hand opens it"), draft())
    assert facts("action", others) == [("it stands", "a hand opens it")]
    assert facts("action") == [("it stands", "nothing moves and nobody does anything")]


def test_the_same_scene_has_the_same_facts():
    assert scene_facts(draft(), (BOTTLE,)) == scene_facts(draft(), (BOTTLE,))
