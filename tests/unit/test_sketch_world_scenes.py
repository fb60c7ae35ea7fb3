"""The redrawn world keeps its promises: the same bytes for a spec, sizes, moves without borders, exact flow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from models.sketch.training.world import (
    ASPECTS,
    CAMERAS,
    SETTINGS,
    SHAPES,
    TIMES,
    SceneSpec,
    clip_flow,
    frame_size,
    product_mask,
    reference_array,
    render,
    render_array,
    render_clip,
    render_layers,
    sample_spec,
)
from models.sketch.training.world.moves import BENCHMARK_MOVES, recovered_move
from models.video.camera import followed, move_window


def spec(seed: int = 0, **changes: Any) -> SceneSpec:
    return replace(sample_spec(np.random.default_rng(seed)), **{"moment": 0.0, "turn": 0.0, **changes})


@pytest.mark.parametrize("aspect", ASPECTS)
def test_a_picture_has_the_size_of_its_aspect_and_depends_on_the_spec_alone(aspect):
    scene = spec(3, aspect=aspect)
    first = render_array(scene)
    assert render(scene).size == frame_size(aspect)[::-1]
    render_array(spec(4))
    assert np.array_equal(render_array(scene), first)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_drawn_at_every_time_in_every_aspect(setting, time):
    for k, aspect in enumerate(ASPECTS):
        picture = render_array(spec(k, setting=setting, time=time, aspect=aspect, shape="can"))
        assert picture.shape == (*frame_size(aspect), 3)
        assert picture.std() > 8


def test_times_of_day_differ_in_their_light():
    levels = {t: [render_array(spec(5, setting=s, time=t, shape="can")).mean() for s in SETTINGS] for t in TIMES}
    for k in range(len(SETTINGS)):
        assert levels["night"][k] < 0.65 * levels["noon"][k]
        assert levels["evening"][k] < levels["noon"][k]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mask_covers_a_product_that_is_large_in_the_frame(shape):
    scene = spec(9, shape=shape, aspect="1:1", x=0.0, scale=0.6)
    picture, cover = render_layers(scene)
    whole, body = cover[..., 0], cover[..., 1]
    rows, columns = np.nonzero(whole.max(1) > 0.5)[0], np.nonzero(whole.max(0) > 0.5)[0]
    assert 0.43 * 128 <= max(np.ptp(rows), np.ptp(columns)) <= 0.7 * 128
    assert (body <= whole + 1e-3).all()
    assert body.sum() > 0.25 * whole.sum()
    assert np.array_equal(picture, render_array(scene))
    assert np.array_equal(product_mask(scene, body=True), body)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_touches_the_ground_where_the_spec_says(shape):
    scene = spec(9, shape=shape, aspect="1:1", x=0.0, ground=0.6, scale=0.6)
    lowest = np.nonzero(product_mask(scene).max(1) > 0.5)[0].max()
    assert abs(lowest - (64 + 0.6 * 64)) < 0.14 * 0.6 * 128


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_clip_begins_with_the_still_picture_and_passes_through_its_moments(camera):
    scene = spec(4, camera=camera)
    clip = render_clip(scene, 5)
    assert np.abs(clip[0].astype(int) - render_array(scene)).max() <= 2
    middle = render_array(replace(scene, moment=0.5)).astype(int)
    assert np.abs(clip[2].astype(int) - middle).mean() < 0.5


@pytest.mark.parametrize("camera", [c for c in CAMERAS if c != "static"])
@pytest.mark.parametrize("setting", ["beach", "city", "snow", "kitchen"])
def test_what_comes_into_view_is_drawn_and_not_an_edge_drawn_out(camera, setting):
    last = render_clip(spec(6, camera=camera, setting=setting, aspect="1:1", time="noon"), 3)[-1].astype(int)
    for side in (last, last[:, ::-1], last.transpose(1, 0, 2), last.transpose(1, 0, 2)[::-1]):
        border = side[:, :6]
        assert np.abs(np.diff(border, axis=1)).max() > 2
        assert border.max() > 20


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_product_follows_the_window_that_the_video_model_is_told(camera):
    scene = spec(2, camera=camera, aspect="1:1", setting="desert", time="noon", x=0.0)
    clip = render_clip(scene, 5)
    frames, known = followed(clip[0], camera, 5)
    assert np.array_equal(frames[0], clip[0])
    inside = product_mask(replace(scene, moment=1.0)) > 0.95
    sure = inside & (known[-1] > 0.99)
    assert np.abs(frames[-1].astype(int) - clip[-1])[sure].mean() < 7
    assert known.mean() > 0.6


def test_windows_at_rest_are_the_identity():
    for camera in CAMERAS:
        assert np.allclose(move_window(camera, 96, 160, 0.0), np.eye(3))


@pytest.mark.parametrize("camera", ["push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "orbit"])
def test_the_flow_carries_each_frame_to_the_next(camera):
    scene = spec(5, camera=camera, aspect="1:1", setting="beach", time="noon")
    frames, flow = render_clip(scene, 6).astype(np.float32), clip_flow(scene, 6)
    ys, xs = np.mgrid[0:128, 0:128].astype(np.float32)
    moved = still = 0.0
    for k in range(5):
        back = cv2.remap(frames[k + 1], xs + flow[k, ..., 0], ys + flow[k, ..., 1], cv2.INTER_LINEAR)
        inner = np.s_[20:-20, 20:-20]
        moved += float(np.abs(back - frames[k])[inner].mean())
        still += float(np.abs(frames[k + 1] - frames[k])[inner].mean())
    assert moved < 0.45 * still


def test_a_static_camera_has_no_flow():
    assert not clip_flow(spec(6, camera="static"), 4).any()
    assert clip_flow(spec(6), 1).shape[0] == 0


@pytest.mark.parametrize("camera", BENCHMARK_MOVES)
def test_the_camera_move_is_recovered_from_pixels(camera):
    assert recovered_move(render_clip(spec(13, camera=camera, setting="table"), 16)) == camera


def test_a_reference_shows_the_product_alone_on_light_ground():
    for k, shape in enumerate(SHAPES):
        photograph = reference_array((shape, "blue", "glossy"), np.random.default_rng(k))
        assert photograph.shape == (128, 128, 3)
        assert photograph[:6].mean() > 170
    first, second = (reference_array(spec(1), np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
