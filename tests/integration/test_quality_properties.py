"""Every dimension that is registered, by tiny networks: what its score never depends on, and what it never is.

A new dimension is covered by itself; one that asks for something that `equipped` does not give fails here.
"""

from __future__ import annotations

import math
import tracemalloc
from functools import cache
from typing import Any

import numpy as np
import pytest

from models.interfaces import Audio, Unwatched
from pipelines.errors import BadInput
from pipelines.media import encode_clip
from pipelines.scoring import ScoreRequest, score_file
from pipelines.uploaded_videos import check_video
from quality.asked import Asked, Fact, Overlay, Sound
from quality.engine import Clip, measure, measure_clips
from quality.readers import Line
from quality.registry import DIMENSIONS, of_name
from quality.score import Score
from quality.stream import Reference, Shot
from tests.security.test_uploaded_videos import pictures, turned, written
from tests.support.random_scorers import NETWORKS, scorers

ALL = tuple(name for name, dimension in DIMENSIONS.items() if dimension.media != ("scenes",))
"""Those of one file; `tests/unit/test_quality_story.py` has those of an ad's scenes together."""
NEEDED = {stream.backbone for name in ALL for stream in of_name(name).NEEDS}
SIZE = (128, 144)
"""Height and width from which every network takes a frame."""


class Told:
    """A reader and an answerer whose words depend on the pixels alone, and DOVER's place: its own takes ten seconds."""

    weights_sha256, licence, dtype, device, name = "0" * 64, "none", "float32", "cpu", "told"
    fidelity = "published"
    window = batch = min_side = 1

    def lines(self, frame: Any) -> tuple[Line, ...]:
        return (Line("half price" if frame.mean() > 90 else "hlf prc", (0.2, 0.2, 0.4, 0.3), 0.9),)

    def yes(self, frames: Any, question: str) -> float:
        return float(np.mean([frame.mean() for frame in frames])) / 256 + len(question) / 1000

    def first_of(self, frames: Any, question: str, answers: Any) -> float:
        return self.yes(frames[:1], question)

    def features(self, views: Any) -> Any:
        return np.array([[float(view.float().mean()) / 1000 for view in views]], np.float32)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    known = NEEDED & {*NETWORKS, "dinov2_base"}
    assert NEEDED - known == {"ocr", "chat", "dover"}, "tests.support.random_scorers knows no such network"
    return {**scorers(sorted(known), tmp_path_factory.mktemp("weights")), **dict.fromkeys(NEEDED - known, Told())}


def moving(count: int, height: int = SIZE[0], width: int = SIZE[1], seed: int = 0) -> list[Any]:
    """A pan over blocks of random colours."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (height // 8 + 1, (width + 2 * count) // 8 + 1, 3), dtype=np.uint8)
    wide = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height]
    return [np.ascontiguousarray(wide[:, 2 * number :][:, :width]) for number in range(count)]


def equipped(backbones: dict[str, Any], count: int, **fields: Any) -> Shot:
    """A shot of which everything is known that any dimension asks for."""
    facts = tuple(
        Fact(kind, f"a {kind}", f"no {kind}") for kind in ("object", "count", "color", "spatial", "scene", "action")
    )
    whole = count / 8.0
    known: dict[str, Any] = {
        "fps": 8.0,
        "frame_count": count,
        "prompt": "a red cup",
        "references": (
            Reference(moving(1, 96, 96, 3)[0], "product"),
            Reference(moving(1, 96, 96, 4)[0], "character"),
            Reference(moving(1, 96, 96, 5)[0], "style"),
        ),
        "start": moving(1)[0],
        "against": moving(2)[1],
        "asked": Asked(whole, (9, 8), "oil painting", (Overlay("Half price", 0.0, whole),), facts),
        "product": dict.fromkeys(range(count), (0.2, 0.2, 0.8, 0.8)),
        "sound": Sound(np.sin(np.arange(96000, dtype=np.float32)).reshape(-1, 2), 48_000),
        "voice": lambda: iter(np.random.default_rng(6).uniform(-1, 1, (5, 16_000)).astype(np.float32)),
        "backbones": backbones,
    }
    return Shot(**known | fields)


def values(scores: Any) -> dict[str, float | None]:
    assert isinstance(scores, list), scores
    return {name: score.raw for name, score in zip(ALL, scores, strict=True)}


def differing(found: dict[str, float | None], expected: dict[str, float | None]) -> dict[str, Any]:
    """The dimensions whose values are further apart than rounding."""
    return {
        name: (value, expected[name])
        for name, value in found.items()
        if (value is None) != (expected[name] is None)
        or (value is not None and value != pytest.approx(expected[name], rel=1e-6, abs=1e-6))
    }


@pytest.fixture(scope="module")
def whole(backbones):
    """The scores of a clip by which every dimension but two can be measured."""
    frames = moving(8)
    return frames, measure(ALL, frames, equipped(backbones, len(frames)))


# --- what it does not depend on ---


def test_every_dimension_has_a_value_of_an_equipped_clip(whole):
    _, scores = whole
    without = {name: score.reason for name, score in zip(ALL, scores, strict=True) if score.raw is None}
    assert set(without) <= {"temporal_flickering.static_filtered"}  # of clips in which nothing moves
    for name, score in zip(ALL, scores, strict=True):
        least, greatest = score.range
        assert score.raw is None or least <= score.raw <= (math.inf if greatest is None else greatest), name


@pytest.mark.parametrize("block", [1, 3])
def test_the_size_of_a_block_changes_no_dimension(backbones, whole, block):
    frames, expected = whole
    found = measure(ALL, frames, equipped(backbones, len(frames)), block)
    assert differing(values(found), values(expected)) == {}


@pytest.mark.parametrize("batch", [1, 2])
def test_the_size_of_a_batch_changes_no_dimension(backbones, whole, batch, monkeypatch):
    for backbone in backbones.values():
        monkeypatch.setattr(backbone, "batch", min(batch, backbone.batch))
    frames, expected = whole
    found = measure(ALL, frames, equipped(backbones, len(frames)))
    assert differing(values(found), values(expected)) == {}


def test_neither_the_order_of_clips_nor_what_is_measured_beside_changes_a_dimension(backbones, whole):
    frames, expected = whole
    clips = [
        Clip(ALL, each, equipped(backbones, len(each)))
        for each in (moving(3, 130, 128, seed=1), frames, moving(5, seed=2), moving(1, 40, 30, seed=6))
    ]
    forward = [values(each) for each in measure_clips(clips, 5, 3)]
    backward = [values(each) for each in measure_clips(clips[::-1], 16, 2)][::-1]
    assert differing(forward[1], values(expected)) == {}
    assert [differing(one, other) for one, other in zip(forward, backward, strict=True)] == [{}] * len(clips)


# --- a score, a reason or a typed error ---


def assert_each_is_a_finite_value_or_a_reason(scores: Any) -> None:
    for score in scores:
        assert (score.raw is not None and math.isfinite(score.raw)) or score.reason, score
        assert Score.model_validate_json(score.model_dump_json()) == score


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_clip_of_few_frames_has_a_value_or_a_reason_in_every_dimension(backbones, count):
    assert_each_is_a_finite_value_or_a_reason(measure(ALL, moving(count, 127, 129), equipped(backbones, count)))


@pytest.mark.parametrize("size", [(4, 4), (1, 1), (33, 17), (16, 300)])
def test_a_clip_of_any_size_has_a_value_or_a_reason_in_every_dimension(backbones, size):
    assert_each_is_a_finite_value_or_a_reason(measure(ALL, moving(2, *size), equipped(backbones, 2)))


@pytest.mark.parametrize("level", [0, 255])
def test_a_flat_clip_has_a_value_or_a_reason_in_every_dimension(backbones, level):
    frames = [np.full((*SIZE, 3), level, np.uint8)] * 4
    flat = Reference(frames[0], "product")
    for start, references in ((frames[0], (flat,)), (None, ())):
        shot = equipped(backbones, 4, references=references, start=start)
        assert_each_is_a_finite_value_or_a_reason(measure(ALL, frames, shot))


@pytest.mark.parametrize("fields", [{"fps": 0.0}, {"fps": math.nan}, {"frame_count": None}, {"frame_count": 99}])
def test_what_is_not_known_or_wrong_of_a_clip_is_a_value_or_a_reason_in_every_dimension(backbones, fields):
    assert_each_is_a_finite_value_or_a_reason(measure(ALL, moving(3, 48, 48), equipped(backbones, 3, **fields)))


def test_a_long_clip_has_values_and_none_of_its_frames_is_kept():
    """By dimensions that look at every frame; copies of frames would be counted."""
    names = ["temporal_flickering", "freeze_loop.frozen", "unwanted_cuts", "ad.black_frames", "ad.luminance_clipping"]
    pan = moving(40, 32, 48)

    def peak(count: int) -> int:
        frames = (pan[number % len(pan)].copy() for number in range(count))
        tracemalloc.start()
        scores = measure(names, frames, equipped({}, count))
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert [score.reason for score in scores] == [None] * len(names)
        assert all(score.raw is not None and math.isfinite(score.raw) for score in scores)
        return held

    peak(16)  # what is made once
    assert peak(1000) - peak(200) < 0.25 * 800 * pan[0].nbytes


@cache
def odd_files() -> dict[str, bytes]:
    plain = pictures(9, 64, 48)
    tone = Audio(np.sin(np.arange(54_000, dtype=np.float32) / 20)[None], 48_000)
    whole = written(plain)
    return {
        "silent": whole,
        "with sound": encode_clip(plain, 8, tone),
        "variable rate": written(plain, [0, 0.1, 0.15, 0.5, 0.52, 0.9, 1.4, 1.41, 1.6]),
        "turned": turned(whole, 0, 1, -1, 0),
        "10 bits": written(plain, codec="libx265", layout="yuv420p10le"),
        "alpha": written(plain, codec="libvpx-vp9", layout="yuva420p"),
        "AV1": written(plain, codec="libsvtav1"),
        "cut off": whole[: len(whole) // 2],
        "no video": b"GIF89a" + bytes(400),
        "nothing": b"",
    }


@pytest.mark.parametrize("kind", odd_files())
def test_a_file_of_any_kind_has_values_or_reasons_in_every_dimension_or_is_refused(backbones, kind):
    data = odd_files()[kind]
    try:
        times = check_video(data, kind, Unwatched())
    except BadInput as refused:
        assert kind in ("cut off", "no video", "nothing")
        assert kind in str(refused)
        return
    assert kind not in ("cut off", "no video", "nothing")
    scores = score_file(ScoreRequest(data=data, times=times, dimensions=ALL, prompt="a cup"), backbones, Unwatched())
    assert_each_is_a_finite_value_or_a_reason(scores)
    assert sum(score.raw is not None for score in scores) > 20
