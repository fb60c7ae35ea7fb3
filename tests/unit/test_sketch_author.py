from random import Random

import pytest

from models.sketch.training.dialogues import author
from models.sketch.training.dialogues.dialogues import MAKERS, Ad, as_line
from models.sketch.training.dialogues.words import held_out
from pipelines.agents.conversation import Answer
from pipelines.agents.facts import calls_to_action, names_product

SEEDS = range(40)


def drawn(seed):
    return Random(seed)  # noqa: S311


@pytest.mark.parametrize("maker", [maker for maker, _ in MAKERS], ids=lambda maker: maker.__name__)
def test_every_dialogue_fits_its_agents_schema_and_is_the_same_for_the_same_seed(maker):
    for seed in range(12):
        question, answer = maker(Ad(drawn(seed)))
        assert isinstance(answer, Answer)
        keys = list(question.json_schema["properties"])
        assert list(answer.model_dump(exclude_unset=True)) == keys
        assert as_line((question, answer)) == as_line(maker(Ad(drawn(seed))))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spoiled_story_scores_below_the_story_and_below_approval(seed):
    rng = drawn(seed)
    ad = Ad(rng)
    bad = author.spoiled(ad.world, ad.story, rng)
    good = author.story_critique(ad.world, ad.story)
    assert good.overall_score >= 85
    assert good.priority_fixes == ()
    if bad != ad.story:
        critique = author.story_critique(ad.world, bad)
        assert critique.overall_score < 85
        assert critique.priority_fixes


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spoiled_scene_scores_below_the_scene(seed):
    rng = drawn(seed)
    ad = Ad(rng)
    good = author.scene(ad.world, ad.story, ad.number, rng)
    bad = author.spoiled_scene(ad.world, good, ad.story, ad.number, rng)
    assert author.scene_critique(ad.world, ad.story, ad.number, good).overall_score >= 85
    if bad != good:
        assert author.scene_critique(ad.world, ad.story, ad.number, bad).overall_score < 85


@pytest.mark.parametrize("seed", SEEDS)
def test_the_authors_stories_name_the_product_keep_the_place_and_end_on_a_call(seed):
    ad = Ad(drawn(seed))
    assert all(names_product(beat.event, ad.world.product) for beat in ad.story.beats)
    assert {beat.setting for beat in ad.story.beats} <= set(ad.world.settings)
    assert ad.story.beats[0].setting == ad.world.settings[0]
    assert ad.story.beats[-1].setting == ad.world.settings[-1]
    assert calls_to_action(ad.story.beats[-1].event)


def test_ads_for_the_evaluation_share_no_product_and_place_with_training():
    trained = [Ad(drawn(seed)).world.subject for seed in SEEDS]
    kept = [Ad(drawn(seed), held=True).world.subject for seed in SEEDS]
    assert not any(held_out(one.product, one.places[0]) for one in trained)
    assert all(held_out(one.product, one.places[0]) for one in kept)
