"""What the judge reads back from renders of the redrawn world, sharp and as blurred as a decoder leaves them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from models.sketch.training.world import render_array, sample_spec
from models.sketch.training.world.judge import Judge


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(bank=500)


@pytest.mark.parametrize("blur", [0.0, 0.7])
def test_the_judge_reads_held_out_scenes_right(judge, blur):
    scenes = [replace(sample_spec(np.random.default_rng(k), "heldout"), moment=0.0) for k in range(40)]
    pictures = [render_array(s) for s in scenes]
    if blur:
        pictures = [np.asarray(cv2.GaussianBlur(p, (0, 0), blur), np.uint8) for p in pictures]
    verdicts = [judge.judge(p) for p in pictures]
    for name, least in (("setting", 0.95), ("time", 0.95), ("colour", 0.9), ("shape", 0.9)):
        assert np.mean([getattr(v, name) == getattr(s, name) for v, s in zip(verdicts, scenes, strict=True)]) >= least
    off = [abs(v.centre[0] - s.x) for v, s in zip(verdicts, scenes, strict=True)]
    assert np.median(off) < 0.12
