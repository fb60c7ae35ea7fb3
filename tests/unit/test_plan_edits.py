"""Edits of the plan: the product's words, a scene's place and time, the order; and nothing else."""

import pytest

from pipelines.direction import Changes, DirectionEdit, ProductChanges
from pipelines.plan_edits import edited_drafts, edited_entities, edited_story, overlay, with_setting
from pipelines.screenplay import Beat, Entity, SceneDraft, Story

MUG = Entity(handle="product", role="product", name="blue steel mug", description="blue steel mug with a handle")
STORY = Story(
    title="The blue steel mug at home",
    beats=(
        Beat(
            purpose="Attention", setting="in the kitchen in the morning", event="A blue steel mug drops into the frame"
        ),
        Beat(
            purpose="Interest", setting="in the forest at noon", event="The mug is blue under a blue sky in the forest"
        ),
        Beat(
            purpose="Action", setting="on the beach", event="The view closes in on the blue mug: Get the blue mug today"
        ),
    ),
    call_to_action="Get the blue mug today",
)
DRAFTS = tuple(
    SceneDraft(setting=beat.setting, action=beat.event, camera="static", entities=("product",)) for beat in STORY.beats
)


def edit(*scenes, **changes):
    return DirectionEdit(intent="change", stage="storyboard", scenes=scenes, changes=Changes(**changes))


def test_the_colour_changes_wherever_the_product_is_named_and_nowhere_else():
    red = edit(product=ProductChanges(colour="red"))
    story = edited_story(STORY, (MUG,), (red,))
    assert story.title == "The red steel mug at home"
    assert [beat.event for beat in story.beats] == [
        "A red steel mug drops into the frame",
        "The mug is red under a blue sky in the forest",
        "The view closes in on the red mug: Get the red mug today",
    ]
    assert story.call_to_action == "Get the red mug today"
    assert [beat.setting for beat in story.beats] == [beat.setting for beat in STORY.beats]
    (product,) = edited_entities((MUG,), (red,))
    assert (product.name, product.description) == ("red steel mug", "red steel mug with a handle")
    assert edited_story(story, (product,), (red,)) == story


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"material": "matte"}, "blue matte mug"),
        ({"colour": "orange", "material": "glossy"}, "orange glossy mug"),
        ({"name": "lamp"}, "blue steel lamp"),
        ({"name": "Dew"}, "Dew blue steel mug"),
    ],
)
def test_material_and_name_change_the_product(changes, name):
    assert edited_entities((MUG,), (edit(product=ProductChanges(**changes)),))[0].name == name


def test_an_article_fits_the_new_word():
    story = edited_story(STORY, (MUG,), (edit(product=ProductChanges(colour="orange")),))
    assert story.beats[0].event == "An orange steel mug drops into the frame"


def test_a_product_without_a_colour_gets_one():
    plain = MUG.model_copy(update={"name": "steel mug", "description": "shiny thing with a handle"})
    (product,) = edited_entities((plain,), (edit(product=ProductChanges(colour="red")),))
    assert (product.name, product.description) == ("red steel mug", "red shiny thing with a handle")


@pytest.mark.parametrize(
    ("setting", "place", "time", "then"),
    [
        ("in the kitchen in the morning", None, "at night", "in the kitchen at night"),
        ("in the kitchen in the morning", "on the beach", None, "on the beach in the morning"),
        ("in the kitchen", "on the beach", "at sunset", "on the beach at sunset"),
        ("in the city at night", "in the city by day", None, "in the city by day"),
        ("on the beach", None, "at dawn", "on the beach at dawn"),
    ],
)
def test_place_and_time_change_apart(setting, place, time, then):
    assert with_setting(setting, place, time) == then


def test_one_scene_changes_and_the_others_are_equal():
    drafts = edited_drafts(DRAFTS, (MUG,), (edit(2, time="at night", look="warm light"),))
    assert [one == other for one, other in zip(drafts, DRAFTS, strict=True)] == [True, False, True]
    assert (drafts[1].setting, drafts[1].look) == ("in the forest at night", "warm light")


def test_an_event_that_says_its_place_goes_along():
    story = edited_story(STORY, (MUG,), (edit(2, setting="in the snow"),))
    assert story.beats[1].event == "The mug is blue under a blue sky in the snow"


def test_a_new_order_takes_the_scenes_and_leaves_the_call_to_action_last():
    story = edited_story(STORY, (MUG,), (edit(1, 3, order=(3, 2, 1)),))
    assert [beat.purpose for beat in story.beats] == ["Attention", "Interest", "Action"]
    assert [beat.setting for beat in story.beats] == [STORY.beats[number].setting for number in (2, 1, 0)]
    assert story.beats[0].event == "The view closes in on the blue mug"
    assert story.beats[2].event.endswith(": Get the blue mug today")


def test_a_new_call_to_action_stands_in_the_last_beat():
    story = edited_story(STORY, (MUG,), (edit(text="Order now"),))
    assert (story.call_to_action, story.beats[2].event) == (
        "Order now",
        "The view closes in on the blue mug: Order now",
    )


def test_what_was_said_of_a_scene_of_the_story_moves_with_it():
    said = (edit(2, camera="push_in"), edit(2, 3, order=(1, 3, 2)))
    assert [(one.scenes, one.changes.camera) for one in overlay(said, 3)] == [((3,), "push_in")]
