"""Quality dimensions: published formulas on pictures whose answer is known, and a reason where there is no number."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.direction import Direction
from pipelines.media import encode_clip, encode_png
from pipelines.recipe import Recipe
from pipelines.scoring import score_file
from pipelines.screenplay import Clip, Entity, FinalVideo, SceneDraft
from pipelines.stages.quality import score_video
from pipelines.stages.scorable import Subjects
from pipelines.stages.storyboard import Keyframe
from pipelines.steps import Step
from pipelines.store.artifacts import LocalArtifacts
from quality import engine
from quality.dimensions.text_alignment import named_colours
from quality.registry import COMPANIONS, DIMENSIONS, UNAVAILABLE, check_dimension, measured_on, not_available
from quality.score import Score, UnknownDimension
from quality.stream import Shot
from quality.summaries import summary_scores


def grey(*levels):
    return [np.full((8, 12, 3), level, np.uint8) for level in levels]


def measure(name: str, frames: Any, **fields: Any) -> Score:
    """The score of `frames` in one dimension; `fields` are those of its Shot."""
    return engine.measure([name], frames, Shot(**{"fps": 8.0} | fields))[0]


def value(name: str, frames: Any, **fields: Any) -> Any:
    return measure(name, frames, **fields).raw


def flickering(frames):
    return measure("temporal_flickering", frames)


class Colours:
    """An encoder in which a picture is its mean colour, and a text the colour that it names."""

    name, weights_sha256, licence, dtype, device = "colours", "0" * 64, "none", "float32", "cpu"
    fidelity: Literal["published", "proxy", "toy"] = "proxy"
    window, batch, min_side = 1, 4, 1

    def features(self, batch):
        means = batch.numpy().mean(axis=(2, 3), dtype=np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def text(self, text):
        return np.array([text == name for name in ("red", "green", "blue")], np.float32), len(text) > 20


SEEN = {"clip": Colours(), "clip_b32": Colours()}


def coloured(*colours):
    return [np.full((8, 8, 3), colour, np.uint8) for colour in colours]


RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def square_at(*lefts, size=64):
    """A bright textured square on grey, at each of `lefts`."""
    texture = np.random.default_rng(1).integers(120, 256, (24, 24, 3), dtype=np.uint8)
    frames = []
    for left in lefts:
        frame = np.full((size, size, 3), 60, np.uint8)
        frame[20:44, left : left + 24] = texture
        frames.append(frame)
    return frames


# --- temporal flickering ---


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
    assert score.fidelity == "equal" and "static filter" in score.note


# --- by flow ---


def test_even_motion_is_smoother_than_a_jump():
    even = measure("flow_smoothness", square_at(4, 8, 12, 16, 20))
    jumping = value("flow_smoothness", square_at(4, 30, 12, 34, 20))
    assert even.raw is not None and even.raw > max(0.97, jumping + 0.01)
    assert (even.fidelity, even.backbone) == ("classical", None)


def test_a_still_clip_is_perfectly_smooth_and_does_not_move():
    still = square_at(8, 8, 8)
    assert measure("flow_smoothness", still).raw == pytest.approx(1.0, abs=1e-4)
    assert measure("flow_dynamics", still, fps=8).raw == pytest.approx(0.0, abs=1e-3)


def test_faster_motion_is_more_dynamic_and_counts_in_pixels_of_a_256_picture():
    slow, fast = (value("flow_dynamics", square_at(*lefts), fps=8) for lefts in ((4, 6, 8), (4, 9, 14)))
    assert slow == pytest.approx(2 * 256 / 64, rel=0.35)
    assert fast > 1.5 * slow


@pytest.mark.parametrize("name", ["flow_smoothness", "flow_dynamics"])
def test_pictures_too_small_or_too_few_have_a_reason(name):
    for frames in (grey(1, 2, 3), square_at(4)):
        score = measure(name, frames)
        assert score.raw is None and "needs at least" in str(score.reason)


# --- by an encoder ---


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(coloured(RED, RED, RED), 1.0), (coloured(RED, GREEN, BLUE), 0.0), (coloured(RED, GREEN, RED), 0.25)],
)
def test_consistency_is_half_to_the_frame_before_and_half_to_the_first(frames, expected):
    score = measure("clip_consistency", frames, backbones=SEEN)
    assert score.raw == pytest.approx(expected)
    assert (score.backbone, score.weights_sha256, score.frames_used) == ("colours", "0" * 64, 3)


def test_alignment_is_the_mean_cosine_to_the_prompt_and_of_a_keyframe_to_the_first_frame():
    frames = coloured(RED, GREEN)
    asked = {"backbones": SEEN, "prompt": "red"}
    assert value("text_alignment", frames, **asked) == pytest.approx(0.5)
    still = measure("keyframe_alignment", frames, **asked)
    assert still.raw == pytest.approx(1.0)
    assert still.frames_used == 1


def test_a_prompt_that_was_cut_is_told():
    score = measure("text_alignment", coloured(RED), backbones=SEEN, prompt="red " * 10)
    assert "its end was left out" in str(score.note)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({}, "no CLIP model"), ({"backbones": SEEN}, "needs the prompt")],
)
def test_alignment_without_an_encoder_or_a_prompt_has_no_value_but_a_reason(fields, reason):
    for name in ("text_alignment", "keyframe_alignment"):
        score = measure(name, coloured(RED), **fields)
        assert score.raw is None and reason in str(score.reason)


class Worded(Colours):
    """As `Colours`, for texts of several words."""

    def text(self, text):
        return np.array([name in text.split() for name in ("red", "green", "blue")], np.float32), False


def test_the_margin_of_a_colour_is_above_0_where_no_other_one_fits_better():
    seen = {"backbones": SEEN, "prompt": "red"}
    assert value("colour_margin", coloured(RED, RED), **seen) == pytest.approx(1.0)
    wrong = measure("colour_margin", coloured(GREEN, GREEN), **seen)
    assert wrong.raw == pytest.approx(-1.0) and wrong.note == "green fits better than red"
    turned = measure("colour_margin", coloured(RED, GREEN), **seen)
    assert turned.raw == pytest.approx(0.0) and turned.series is not None
    assert turned.series.values == pytest.approx((1.0, -1.0))
    assert value("keyframe_colour_margin", coloured(RED, GREEN), **seen) == pytest.approx(1.0)


def test_of_several_colours_the_margin_is_that_of_the_one_that_is_seen_least():
    seen = {"backbones": {"clip": Worded()}, "prompt": "a red cup on blue wool"}
    assert value("colour_margin", coloured((200, 0, 200)), **seen) == pytest.approx(1 / np.sqrt(2))
    assert value("colour_margin", coloured(RED), **seen) == pytest.approx(0.0)  # of red alone it would be 1


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (None, "needs a prompt that names a colour: red, orange"),
        ("a cup, rendered", "needs a prompt that names a colour"),
        ("a teal cup", "reads no difference between 'teal' and other colours"),
    ],
)
def test_the_margin_of_a_colour_that_is_not_named_or_not_read_has_no_value(prompt, reason):
    score = measure("colour_margin", coloured(RED), backbones=SEEN, prompt=prompt)
    assert score.raw is None and reason in str(score.reason)


def test_colours_are_found_as_words_in_either_spelling():
    assert named_colours("A Grey cup beside a GRAY one, teal and red; redness, greyhound") == ("gray", "teal", "red")


def test_scores_of_a_toy_world_have_a_name_of_their_own():
    toy = Colours()
    toy.fidelity = "toy"
    score = measure("clip_consistency", coloured(RED, RED), backbones={"clip": toy})
    assert (score.metric_id, score.fidelity) == ("toy.clip_consistency", "toy")


# --- the registry ---


def test_the_vbench_dimensions_without_an_implementation_each_have_a_reason():
    assert len(UNAVAILABLE) == 9
    for name in UNAVAILABLE:
        score = measure(name, grey(1, 2))
        assert score.raw is None and UNAVAILABLE[name] in str(score.reason)
        assert (substitute := re.search(r"see `([\w.]+)`$", UNAVAILABLE[name])) and substitute[1] in DIMENSIONS


def test_an_unknown_dimension_is_refused_with_the_known_names():
    with pytest.raises(UnknownDimension, match=r"'sharpness' is unknown: choose from .*temporal_flickering"):
        check_dimension("sharpness")
    with pytest.raises(UnknownDimension, match=r"it is called 'temporal_flickering' here"):
        check_dimension("vbench.temporal_flickering")


@pytest.mark.parametrize("name", sorted(COMPANIONS))
def test_similarity_is_never_measured_without_alignment_and_dynamics_beside_it(name):
    if DIMENSIONS[name].media == ("keyframe",):  # nothing moves in a still
        assert set(measured_on("keyframe", [name])) == {name, "keyframe_alignment"}
        return
    on_clip = {name} if "clip" in DIMENSIONS[name].media else set()
    assert set(measured_on("clip", [name])) == on_clip | {"text_alignment", "flow_dynamics"}


@pytest.mark.parametrize("fields", [{}, {"raw": 0.5, "reason": "both"}])
def test_a_score_has_a_value_or_a_reason(fields):
    with pytest.raises(ValidationError, match="either a value or a reason"):
        Score(metric_id="vbench.color", impl_id="color@1", **fields)


# --- the stage ---


@pytest.fixture
def artifacts(tmp_path):
    return LocalArtifacts(tmp_path)


def context_for(artifacts, dimensions, finished):
    async def score(request):
        return score_file(request, SEEN, SimpleNamespace(step=lambda done, total: None))

    async def finish(step):
        finished.append(step)
        return (await step.work(SimpleNamespace(artifacts=artifacts, score=score))).value

    recipe = Recipe(name="measured", description="", stages=("quality",), quality_dimensions=dimensions)
    return SimpleNamespace(recipe=recipe, finish=finish, direction=Direction(), fingerprints={})


def scene(number):
    return SimpleNamespace(scene_number=number, image_prompt="red", video_prompt="green")


def stored(artifacts, *levels):
    frames = np.stack([np.full((32, 32, 3), level, np.uint8) for level in levels])
    return artifacts.put(encode_clip(frames, 8), "video/mp4").sha256


def finished_video(artifact):
    return FinalVideo(artifact=artifact, thumbnail="", frames=2, fps=8, width=32, height=32, seconds=0.25)


async def test_every_still_and_clip_and_the_finished_video_are_scored_in_a_step_each(artifacts):
    clips = (
        Clip(scene_number=1, artifact=stored(artifacts, 80, 80), num_frames=2, native_fps=8),
        Clip(scene_number=2, artifact=stored(artifacts, 0, 255, 0), num_frames=3, native_fps=8),
    )
    still = artifacts.put(encode_png(coloured(RED)[0]), "image/png").sha256
    keyframes = (Keyframe(scene_number=1, artifact=still, noise_sha256=None),)
    steps: list[Step] = []
    context = context_for(artifacts, ("temporal_flickering", "keyframe_alignment"), steps)
    scores = await score_video(
        context, (scene(1), scene(2)), keyframes, clips, finished_video(stored(artifacts, 80, 80))
    )
    assert [step.name for step in steps] == [
        "quality/keyframe-001", "quality/scene-001", "quality/scene-002", "quality/final", "quality/summary",
    ]  # fmt: skip
    measured = [(score.scene_number, score.raw) for score in scores if score.raw is not None]
    assert measured == [(1, pytest.approx(1.0)), (1, 1.0), (2, pytest.approx(0.0, abs=0.02)), (None, 1.0)]
    missing = {score.metric_id for score in scores if score.reason}
    assert missing == {not_available(name).metric_id for name in UNAVAILABLE}
    assert {step.name for step in steps if "temporal_flickering@2" in step.inputs.get("dimensions", ())} == {
        "quality/scene-001", "quality/scene-002", "quality/final",
    }  # fmt: skip


async def test_a_recipe_that_asks_for_a_dimension_without_weights_gets_a_reason_per_scene(artifacts):
    clip = Clip(scene_number=1, artifact=stored(artifacts, 1, 2), num_frames=2, native_fps=8)
    context = context_for(artifacts, ("motion_smoothness",), [])
    scores = await score_video(context, (scene(1),), (), (clip,), finished_video(clip.artifact))
    dynamic = [score for score in scores if score.metric_id == "vbench.motion_smoothness"]
    assert [score.scene_number for score in dynamic] == [1, None]
    assert all(score.raw is None and "AMT-S" in str(score.reason) for score in dynamic)


async def test_the_style_of_a_scene_is_what_its_clip_is_compared_with_and_a_scene_without_one_has_a_reason(artifacts):
    style = Entity(handle="style-1", role="style", name="style", description="red")
    other = style.model_copy(update={"handle": "style-2", "description": "blue"})
    red = artifacts.put(encode_clip(np.full((2, 32, 32, 3), RED, np.uint8), 8), "video/mp4").sha256
    clips = tuple(Clip(scene_number=number, artifact=red, num_frames=2, native_fps=8) for number in (1, 2, 3))
    scenes: Any = []
    for number, handles in ((1, ("style-1",)), (2, ("style-2",)), (3, ("product",))):
        draft = SceneDraft(setting="", action="", camera="static", entities=handles)
        scenes.append(SimpleNamespace(**vars(scene(number)), draft=draft))
    context = context_for(artifacts, ("appearance_style",), [])
    found = await score_video(context, tuple(scenes), (), clips, None, Subjects((style, other), ()))
    like, unlike, without = (one for one in found if one.metric_id == "vbench.appearance_style")
    assert like.raw is not None and unlike.raw is not None
    assert like.raw > 0.2 > 0 > unlike.raw
    assert (without.raw, without.reason) == (None, "needs the style that was asked for, in words")


def test_a_summary_is_the_mean_of_its_parts_or_says_which_of_them_is_missing():
    def one(name, scene, value):
        known = {"metric_id": f"admint.{name}", "impl_id": f"{name}@1", "scene_number": scene}
        return Score(**known, reason="no CLIP") if value is None else Score(**known, raw=value, fidelity="classical")

    scores = [one("temporal_flickering", 1, 0.9), one("flow_smoothness", 1, 0.7), one("clip_consistency", 1, None)]
    made = {score.metric_id: score for score in summary_scores([*scores, one("keyframe_alignment", 1, -0.2)])}
    assert (made["admint.temporal_consistency"].scene_number, made["admint.temporal_consistency"].raw) == (1, 80.0)
    assert made["admint.image_quality"].raw == made["admint.image_quality_score"].raw == 0.0
    assert made["admint.video_quality_score"].reason == "clip_consistency of scene 1: no CLIP"
    assert all(score.raw is None for score in summary_scores([]))


def test_every_dimension_says_what_it_is_measured_on():
    assert {medium for dimension in DIMENSIONS.values() for medium in dimension.media} == {
        "keyframe",
        "clip",
        "video",
        "scenes",
        "pair",
    }
