"""What is read back from pictures of the world, and what training builds on: all without any trained weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.sketch.training import thumbnail
from models.sketch.training.loop import as_pictures, as_tensor
from models.sketch.training.release import distractors, plain_caption
from models.sketch.training.tokenizer import MAX_TOKENS, build_tokenizer, token_ids
from models.sketch.training.world import CAMERAS, SceneSpec, render, render_clip, sample_spec
from models.sketch.training.world.judge import Judge
from models.video.camera import followed


def still(seed: int, **changes: Any) -> SceneSpec:
    return replace(sample_spec(np.random.default_rng(seed), "heldout"), **{"moment": 0.0, **changes})


def test_the_judge_reads_held_out_scenes_right():
    judge = Judge(bank=500)
    scenes = [still(k) for k in range(40)]
    verdicts = [judge.judge(np.asarray(render(s))) for s in scenes]
    for name, least in (("setting", 0.95), ("colour", 0.85), ("shape", 0.8)):
        assert np.mean([getattr(v, name) == getattr(s, name) for v, s in zip(verdicts, scenes, strict=True)]) >= least


def test_the_encoder_is_the_linear_map_that_training_uses():
    vae = thumbnail.network().eval()
    pixels = as_tensor(np.stack([np.asarray(render(still(k, aspect="1:1"))) for k in range(4)]))
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mode()
        drawn = vae.decode(latents).sample
    assert torch.allclose(latents, thumbnail.encode(pixels), atol=1e-3)
    assert float((drawn - pixels).abs().mean()) < 0.12
    assert not any(p.requires_grad for p in vae.encoder.parameters())


def test_pictures_survive_the_way_to_tensors_and_back():
    pictures = np.asarray(render(still(1)))[None]
    assert np.array_equal(as_pictures(as_tensor(pictures)), pictures)


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_followed_keyframe_shows_what_the_clip_shows_where_it_is_known(camera):
    scene = still(2, camera=camera, aspect="1:1", setting="desert")
    clip = render_clip(scene, 5)
    frames, known = followed(clip[0], camera, 5)
    assert np.array_equal(frames[0], clip[0])
    sure = known > 0.99
    error = np.abs(frames.astype(float) - clip)[sure].mean()
    assert error < 6
    assert sure[0].all() and sure.mean() > 0.6


def test_distractors_differ_in_exactly_one_attribute():
    scene = still(3)
    others = distractors(scene, np.random.default_rng(0))
    assert len(others) == 9
    for other in others:
        assert sum(getattr(other, n) != getattr(scene, n) for n in ("shape", "colour", "setting")) == 1
        assert plain_caption(other) != plain_caption(scene)


def test_the_tokenizer_knows_every_byte_and_pools_at_its_end_token():
    tokenizer = build_tokenizer()
    ids = token_ids(tokenizer, ["a red mug on the beach", "Æther™ 漢字 zzqx"], full=True)
    assert ids.shape == (2, MAX_TOKENS)
    assert int(ids.max()) == tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.unk_token_id == tokenizer.eos_token_id
    for row in ids:
        end = int((row == tokenizer.eos_token_id).nonzero()[0])
        assert (row[end:] == tokenizer.eos_token_id).all()
