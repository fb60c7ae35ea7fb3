"""The procedural world keeps its promises: determinism, exact flow, held-out combinations, true captions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import cv2
import numpy as np
import pytest

from models.sketch.training.world import (
    CAMERAS,
    COLOURS,
    SETTINGS,
    SHAPES,
    SceneSpec,
    caption,
    clip_flow,
    describe,
    frame_size,
    product_mask,
    render,
    render_clip,
    sample_spec,
)
from models.sketch.training.world.judge import BENCHMARK_MOVES, recovered_move
from models.sketch.training.world.spec import ASPECTS, COLOUR_WORDS, SHAPE_WORDS, Split, is_held_out


def spec(seed: int = 0, **changes: Any) -> SceneSpec:
    return replace(sample_spec(np.random.default_rng(seed)), **{"moment": 0.0, **changes})


@pytest.mark.parametrize("aspect", ASPECTS)
def test_a_picture_has_the_size_of_its_aspect_and_depends_on_the_spec_alone(aspect):
    scene = spec(3, aspect=aspect)
    assert render(scene).size == frame_size(aspect)[::-1]
    assert np.array_equal(np.asarray(render(scene)), np.asarray(render(scene)))


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_clip_begins_with_the_still_picture(camera):
    scene = spec(4, camera=camera)
    assert np.abs(render_clip(scene, 8)[0].astype(int) - np.asarray(render(scene))).max() <= 1


@pytest.mark.parametrize("camera", ["push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "orbit"])
def test_the_flow_carries_each_frame_to_the_next(camera):
    scene = spec(5, camera=camera, aspect="1:1", setting="beach")
    frames, flow = render_clip(scene, 6).astype(np.float32), clip_flow(scene, 6)
    ys, xs = np.mgrid[0:64, 0:64].astype(np.float32)
    moved = still = 0.0
    for k in range(5):
        back = cv2.remap(frames[k + 1], xs + flow[k, ..., 0], ys + flow[k, ..., 1], cv2.INTER_LINEAR)
        inner = np.s_[10:-10, 10:-10]
        moved += float(np.abs(back - frames[k])[inner].mean())
        still += float(np.abs(frames[k + 1] - frames[k])[inner].mean())
    assert moved < 0.45 * still


def test_a_static_camera_has_no_flow():
    assert not clip_flow(spec(6, camera="static"), 4).any()
    assert clip_flow(spec(6), 1).shape[0] == 0


def test_held_out_combinations_never_come_up_in_training():
    rng = np.random.default_rng(8)
    for split in get_args(Split):
        expected = split == "heldout"
        drawn = [sample_spec(rng, split) for _ in range(300)]
        assert {is_held_out(s.shape, s.colour, s.setting) for s in drawn} == {expected}
    share = np.mean([is_held_out(a, b, c) for a in SHAPES for b in COLOURS for c in SETTINGS])
    assert 0.05 < share < 0.15


def test_every_value_of_every_attribute_is_seen_in_training():
    for shape in SHAPES:
        for colour in COLOURS:
            assert not all(is_held_out(shape, colour, setting) for setting in SETTINGS)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mask_covers_a_product_that_is_large_in_the_frame(shape):
    scene = spec(9, shape=shape, aspect="1:1", x=0.0, scale=0.6)
    whole, body = product_mask(scene), product_mask(scene, body=True)
    rows = np.nonzero(whole.max(1) > 0.5)[0]
    columns = np.nonzero(whole.max(0) > 0.5)[0]
    assert 0.43 * 64 <= max(np.ptp(rows), np.ptp(columns)) <= 0.7 * 64
    assert (body <= whole + 1e-3).all()
    assert body.sum() > 0.4 * whole.sum()


def test_captions_vary_but_name_only_what_is_there():
    scene = spec(10, colour="red", shape="mug")
    rng = np.random.default_rng(0)
    texts = [caption(scene, rng) for _ in range(200)]
    assert len(set(texts)) > 100
    other_shapes = [w for s in SHAPES if s != "mug" for w in SHAPE_WORDS[s]]
    other_colours = [w for c in COLOURS if c != "red" for w in COLOUR_WORDS[c]]
    for text in texts:
        words = text.replace(",", " ").replace(".", " ").split()
        assert not set(words) & ({w for w in other_shapes if " " not in w} - {"pot"})
        assert not set(words) & {w for w in other_colours if " " not in w}
    assert caption(scene) == caption(scene)


def test_captions_can_leave_the_product_unnamed():
    scene = spec(11, colour="teal", shape="lamp")
    rng = np.random.default_rng(0)
    texts = " ".join(caption(scene, rng, named=0.0) for _ in range(50))
    assert not any(w in texts for w in ("teal", "turquoise", "lamp"))


def test_the_description_is_plain_data():
    scene = spec(12)
    assert describe(scene)["colour"] == scene.colour
    assert all(isinstance(v, str | int | float) for v in describe(scene).values())


@pytest.mark.parametrize("camera", BENCHMARK_MOVES)
def test_the_camera_move_is_recovered_from_pixels(camera):
    assert recovered_move(render_clip(spec(13, camera=camera, setting="table"), 16)) == camera
