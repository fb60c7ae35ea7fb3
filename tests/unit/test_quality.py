from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.clips import Clip, FinalVideo
from pipelines.media import encode_clip
from pipelines.stages.quality import score_video
from pipelines.steps import Step
from pipelines.store.artifacts import LocalArtifacts
from quality.errors import UnknownDimension
from quality.registry import DIMENSIONS, UNAVAILABLE, check_dimension, measure
from quality.score import Score


def grey(*levels):
    return [np.full((8, 12, 3), level, np.uint8) for level in levels]


def flickering(frames):
    return measure("temporal_flickering", frames, "none")


def test_a_still_picture_does_not_flicker():
    score = flickering(grey(90, 90, 90))
    assert (score.raw, score.frames_used, score.reason) == (1.0, 3, None)


@pytest.mark.parametrize(("levels", "expected"), [((0, 255, 0), 0.0), ((100, 151), 0.8), ((0, 51, 51), 0.9)])
def test_known_changes_give_the_exact_value(levels, expected):
    assert flickering(grey(*levels)).raw == pytest.approx(expected, abs=1e-7)


@given(st.lists(st.integers(0, 255), min_size=2, max_size=12))
def test_the_score_is_the_published_formula(levels):
    mean_change = np.mean([abs(a - b) for a, b in pairwise(levels)])
    assert flickering(grey(*levels)).raw == pytest.approx((255 - mean_change) / 255, abs=1e-6)


@pytest.mark.parametrize("frames", [[], grey(7)])
def test_fewer_than_two_frames_have_no_value_but_a_reason(frames):
    score = flickering(frames)
    assert (score.raw, score.reason, score.fidelity) == (None, "needs at least 2 frames", None)


def test_a_score_says_that_no_static_filter_was_applied():
    score = flickering(grey(1, 2))
    assert score.fidelity == "vbench_like" and "static filter" in score.note


def test_sixteen_vbench_dimensions_are_known_and_each_is_measured_or_explained():
    assert len(DIMENSIONS) + len(UNAVAILABLE) == 16
    for name in UNAVAILABLE:
        score = measure(name, grey(1, 2), "none")
        assert score.raw is None and "needs weights that are not installed" in str(score.reason)


def test_an_unknown_dimension_is_refused_with_the_known_names():
    with pytest.raises(UnknownDimension, match=r"'sharpness' is unknown: choose from .*temporal_flickering"):
        check_dimension("sharpness")


@pytest.mark.parametrize("fields", [{}, {"raw": 0.5, "reason": "both"}])
def test_a_score_has_a_value_or_a_reason(fields):
    with pytest.raises(ValidationError, match="either a value or a reason"):
        Score(metric_id="vbench.color", impl_id="color@1", **fields)


@pytest.fixture
def artifacts(tmp_path):
    return LocalArtifacts(tmp_path)


def context_for(artifacts, dimensions, finished):
    async def finish(step):
        finished.append(step)
        return (await step.work(SimpleNamespace(artifacts=artifacts))).value

    return SimpleNamespace(recipe=SimpleNamespace(quality_dimensions=dimensions), finish=finish)


def stored(artifacts, *levels):
    frames = np.stack([np.full((32, 32, 3), level, np.uint8) for level in levels])
    return artifacts.put(encode_clip(frames, 8), "video/mp4").sha256


async def test_every_clip_and_the_finished_video_are_scored_in_a_step_each(artifacts):
    clips = (
        Clip(scene_number=1, artifact=stored(artifacts, 80, 80), num_frames=2, native_fps=8),
        Clip(scene_number=2, artifact=stored(artifacts, 0, 255, 0), num_frames=3, native_fps=8),
    )
    video = FinalVideo(
        artifact=stored(artifacts, 80, 80), thumbnail="", frames=2, fps=8, width=32, height=32, seconds=0.25
    )
    steps: list[Step] = []
    scores = await score_video(context_for(artifacts, ("temporal_flickering",), steps), clips, video)
    assert [step.name for step in steps] == ["quality/scene-001", "quality/scene-002", "quality/final"]
    measured = [(score.scene_number, score.raw) for score in scores if score.raw is not None]
    assert measured == [(1, 1.0), (2, pytest.approx(0.0, abs=0.02)), (None, 1.0)]
    missing = {score.metric_id for score in scores if score.reason}
    assert missing == {f"vbench.{name}" for name in UNAVAILABLE}


async def test_a_recipe_that_asks_for_a_dimension_without_weights_gets_a_reason_per_scene(artifacts):
    clip = Clip(scene_number=1, artifact=stored(artifacts, 1, 2), num_frames=2, native_fps=8)
    video = FinalVideo(artifact=clip.artifact, thumbnail="", frames=2, fps=8, width=32, height=32, seconds=0.25)
    scores = await score_video(context_for(artifacts, ("dynamic_degree",), []), (clip,), video)
    dynamic = [score for score in scores if score.metric_id == "vbench.dynamic_degree"]
    assert [score.scene_number for score in dynamic] == [1, None]
    assert all(score.raw is None and "RAFT" in str(score.reason) for score in dynamic)
