"""Captions of the redrawn world say what is there; what is held out never comes up in training."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from models.sketch.training.world import (
    COLOURS,
    SETTINGS,
    SHAPES,
    TIMES,
    SceneSpec,
    caption,
    describe,
    is_held_out,
    plain_caption,
    sample_spec,
)
from models.sketch.training.world.captions import COLOUR_WORDS, SETTING_WORDS, SHAPE_WORDS, TIME_WORDS
from models.sketch.training.world.spec import Split


def spec(seed: int = 0, **changes: Any) -> SceneSpec:
    return replace(sample_spec(np.random.default_rng(seed)), **{"moment": 0.0, **changes})


def test_held_out_combinations_never_come_up_in_training():
    rng = np.random.default_rng(8)
    for split in get_args(Split):
        drawn = [sample_spec(rng, split) for _ in range(300)]
        assert {is_held_out(s.shape, s.colour, s.setting) for s in drawn} == {split == "heldout"}


def test_the_same_combinations_are_held_out_for_ever():
    """Or results of one family could not be compared with those of the next."""
    held = [f"{a} {b} {c}" for a in SHAPES for b in COLOURS for c in SETTINGS if is_held_out(a, b, c)]
    assert len(held) == 60
    assert hashlib.sha256("\n".join(held).encode()).hexdigest().startswith("c5e8c93dd587ead9")


def test_every_product_in_every_colour_is_seen_in_training():
    for shape in SHAPES:
        for colour in COLOURS:
            assert not all(is_held_out(shape, colour, setting) for setting in SETTINGS)


def test_captions_vary_but_name_only_what_is_there():
    scene = spec(10, colour="red", shape="mug", time="night", setting="beach")
    rng = np.random.default_rng(0)
    texts = [caption(scene, rng) for _ in range(300)]
    assert len(set(texts)) > 150
    others = [w for s in SHAPES if s != "mug" for w in SHAPE_WORDS[s]]
    others += [w for c in COLOURS if c != "red" for w in COLOUR_WORDS[c]]
    others += [w for t in TIMES if t != "night" for w in TIME_WORDS[t]]
    others += [w for s in SETTINGS if s != "beach" for w in SETTING_WORDS[s]]
    for text in texts:
        padded = f" {text.replace(',', ' ').replace('.', ' ')} "
        assert not [w for w in others if f" {w} " in padded and w != "pot"]
    assert caption(scene) == caption(scene)


def test_most_captions_say_every_attribute():
    rng = np.random.default_rng(1)
    said = np.zeros(4)
    for k in range(300):
        scene = spec(k)
        text = caption(scene, rng)
        said += [
            any(w in text for w in words)
            for words in (
                SHAPE_WORDS[scene.shape],
                COLOUR_WORDS[scene.colour],
                SETTING_WORDS[scene.setting],
                TIME_WORDS[scene.time],
            )
        ]
    assert (said > 0.8 * 300).all()


def test_captions_can_leave_the_product_unnamed():
    scene = spec(11, colour="teal", shape="lamp")
    rng = np.random.default_rng(0)
    texts = " ".join(caption(scene, rng, named=0.0) for _ in range(50))
    assert not any(w in texts for w in ("teal", "turquoise", "lamp"))


def test_the_plain_caption_says_everything_once():
    scene = spec(1, colour="orange", material="glossy", shape="shoe", setting="snow", time="evening")
    assert plain_caption(scene) == "an orange glossy shoe in the snow, in the evening"


def test_no_time_of_day_is_spoken_by_words_for_a_place():
    hours = {"night", "sunset", "sunrise", "morning", "noon", "evening", "sunny", "bright", "dawn", "dusk"}
    assert not [w for words in SETTING_WORDS.values() for w in words if hours & set(w.split())]


def test_the_description_is_plain_data():
    scene = spec(12)
    assert describe(scene)["time"] == scene.time
    assert all(isinstance(v, str | int | float) for v in describe(scene).values())
