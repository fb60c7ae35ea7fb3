"""Motion by optical flow: right whatever the rate, the size and the share of the picture that is flat."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest

from models.sketch.training.world import CAMERAS, clip_flow, render_clip, sample_spec
from quality.engine import measure
from quality.stream import Shot

MOVES = [move for move in CAMERAS if move != "static"]
FRAMES = 9
"""A move of one second: nine pictures, eight pairs of an eighth of a second."""


def dynamics(frames: Any, **fields: Any) -> Any:
    return measure(["flow_dynamics"], frames, Shot(**fields))[0]


@cache
def photograph() -> Any:
    """A picture with detail of every size, 300 x 900."""
    rng = np.random.default_rng(2)
    layers = [cv2.resize(rng.random((300 // k + 1, 900 // k + 1, 3)), (900, 300)) * k for k in (2, 4, 8, 16)]
    return cv2.normalize(sum(layers), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def pan(speed: float, fps: float, seconds: float = 1.0) -> list[Any]:
    """The photograph moving by `speed` pixels a second through a window of 240 x 416."""
    frames = []
    for number in range(int(seconds * fps) + 1):
        shift = np.array([[1, 0, -speed * number / fps], [0, 1, 0]], np.float32)
        moved = cv2.warpAffine(photograph(), shift, (900, 300), flags=cv2.INTER_CUBIC)
        frames.append(np.ascontiguousarray(moved[30:270, :416]))
    return frames


def test_the_same_motion_has_the_same_value_at_every_frame_rate():
    found = {fps: dynamics(pan(96, fps), fps=fps).raw for fps in (8, 10, 12, 16, 20, 24, 30, 60)}
    true = 96 / 8 * 256 / 240
    assert max(found.values()) < min(found.values()) * 1.02, found
    assert np.mean(list(found.values())) == pytest.approx(true, rel=0.05)


def test_frames_at_uneven_times_count_by_their_own_intervals():
    even = pan(96, 48)
    kept = [number for number in range(49) if number % 5 in (0, 1, 3)]
    uneven = dynamics([even[number] for number in kept], times=tuple(number / 48 for number in kept))
    assert uneven.raw == pytest.approx(dynamics(even, fps=48).raw, rel=0.03)


@cache
def world() -> dict[str, list[tuple[Any, float]]]:
    """Clips of each camera move over three scenes, and the true 95th percentile of their motion."""
    rng = np.random.default_rng(3)
    scenes = [sample_spec(rng, "train") for _ in range(3)]
    made: dict[str, list[tuple[Any, float]]] = {}
    for move in MOVES:
        for scene in scenes:
            spec = replace(scene, camera=move)
            lengths = np.linalg.norm(clip_flow(spec, FRAMES), axis=-1).reshape(FRAMES - 1, -1)
            frames = render_clip(spec, FRAMES)
            true = np.percentile(lengths, 95, axis=1).mean() * 256 / min(frames.shape[1:3])
            made.setdefault(move, []).append((frames, float(true)))
    return made


@pytest.mark.parametrize("move", MOVES)
def test_every_camera_move_of_the_world_is_measured_right_as_it_is_and_four_times_larger(move):
    native, enlarged = [], []
    for frames, true in world()[move]:
        larger = [cv2.resize(frame, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) for frame in frames]
        one, four = dynamics(frames, fps=8).raw, dynamics(larger, fps=8).raw
        assert four == pytest.approx(one, rel=0.15)
        native.append(one / true)
        enlarged.append(four / true)
    assert 0.75 < np.mean(native) < 1.25, native
    assert 0.75 < np.mean(enlarged) < 1.25, enlarged


def test_where_nothing_has_texture_there_is_no_value():
    frames = [np.full((64, 96, 3), level, np.uint8) for level in (90, 91, 92)]
    score = dynamics(frames, fps=8)
    assert score.raw is None and "no motion can be seen" in score.reason


def test_noise_on_a_still_picture_hardly_moves():
    rng = np.random.default_rng(4)
    still = pan(0, 8)
    noisy = [np.clip(frame + rng.normal(0, 3, frame.shape), 0, 255).astype(np.uint8) for frame in still]
    assert dynamics(noisy, fps=8).raw < 0.3


def test_motion_at_constant_speed_is_smooth():
    (score,) = measure(["flow_smoothness"], pan(96, 24), Shot(fps=24))
    assert score.raw is not None and score.raw > 0.98
