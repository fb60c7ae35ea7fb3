"""What training builds on, without any trained weight: the tokenizer, the captions to choose from, rendered rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from models.sketch.training.farm import (
    ATTRIBUTES,
    TINY,
    TOKENIZER,
    Job,
    Kind,
    Writer,
    capacity,
    distractors,
    kinds,
    plan,
)
from models.sketch.training.networks import MAX_TOKENS, SIDE
from models.sketch.training.shelf import as_pictures, as_tensor
from models.sketch.training.towers import squeezed
from models.sketch.training.words import load_tokenizer, token_ids
from models.sketch.training.world import is_held_out, plain_caption, render_array, sample_spec
from models.sketch.training.world.captions import COLOUR_WORDS, SHAPE_WORDS


def still(seed, **changes):
    return replace(sample_spec(np.random.default_rng(seed), "heldout"), **{"moment": 0.0, **changes})


def test_pictures_survive_the_way_to_tensors_and_back():
    pictures = render_array(still(1))[None]
    assert np.array_equal(as_pictures(as_tensor(torch.from_numpy(pictures))), pictures)


def test_a_picture_of_any_aspect_is_squeezed_whole_to_the_square_of_the_towers():
    for aspect in ("1:1", "9:16", "16:9"):
        picture = torch.from_numpy(render_array(still(2, aspect=aspect)))
        picture[:4], picture[-4:] = 255, 0
        seen = squeezed(picture[None])
        assert seen.shape == (1, 3, SIDE, SIDE)
        assert float(seen[0, :, 0].mean()) > 0.9
        assert float(seen[0, :, -1].mean()) < -0.9


def test_distractors_differ_in_exactly_one_attribute():
    scene = still(3)
    names = ("shape", "colour", "time")
    others = distractors(scene, np.random.default_rng(0), names)
    assert len(others) == 9
    for other in others:
        assert sum(getattr(other, n) != getattr(scene, n) for n in (*names, "setting")) == 1
        assert plain_caption(other) != plain_caption(scene)


def test_the_tokenizer_knows_every_byte_and_pools_at_its_end_token():
    tokenizer = load_tokenizer()
    ids = token_ids(tokenizer, ["a red mug on the beach", "Æther™ 漢字 zzqx"])
    assert ids.shape == (2, MAX_TOKENS)
    assert int(ids.max()) == tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.unk_token_id == tokenizer.eos_token_id
    for row in ids:
        end = int((row == tokenizer.eos_token_id).nonzero()[0])
        assert (row[end:] == tokenizer.eos_token_id).all()


def test_every_row_of_a_plan_is_rendered_once():
    rows = [(job.kind, row) for job in plan(TINY) for row in range(job.start, job.start + job.count)]
    assert len(rows) == len(set(rows))
    assert {(kind, row) for kind in kinds() for row in range(capacity(kind, TINY))} == set(rows)


def test_a_rendered_row_has_its_scenes_words_and_none_is_held_out():
    job = Job(Kind("still"), 0, 8, seed=5)
    arrays: dict[str, Any] = {
        name: np.zeros((8, *shape), kind) for name, (shape, kind) in job.kind.fields(TINY.frames).items()
    }
    Writer(TOKENIZER).job(job, arrays, TINY.frames)
    tokenizer = load_tokenizer()
    for row in range(job.count):
        named = {name: values[arrays["attributes"][row, k]] for k, (name, values) in enumerate(ATTRIBUTES.items())}
        assert not is_held_out(named["shape"], named["colour"], named["setting"])
        choices = [tokenizer.decode(ids, skip_special_tokens=True) for ids in arrays["choices"][row]]
        assert len(set(choices)) == len(choices)
        words = [*SHAPE_WORDS[named["shape"]], *COLOUR_WORDS[named["colour"]]]
        assert any(word in choices[0] for word in words)
        assert arrays["cover"][row].max() > 200
        assert arrays["pixels"][row].std() > 8
