"""Protocols: which dimension has which, and the mean over pieces of two seconds."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np
import pytest

from models.interfaces import Unwatched
from pipelines.media import encode_clip
from pipelines.scoring import ScoreRequest, score_file, score_files
from quality.engine import measure
from quality.protocols import measure_in_pieces, protocol_of
from quality.stream import Shot, pieces, pieces_of

NAMES = ("temporal_flickering", "flow_dynamics")


def noise(frames: int) -> Any:
    return np.random.default_rng(3).integers(0, 256, (frames, 24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "asked", "seconds", "found"),
    [
        ("temporal_flickering", "auto", 4.9, "custom"),
        ("temporal_flickering", "auto", 5.0, "long2s"),
        ("temporal_flickering", "custom", 60.0, "custom"),
        ("temporal_flickering", "standard", 2.0, "standard"),
        ("temporal_flickering", "long2s", 1.0, "long2s"),
        ("aesthetic_quality", "long2s", 0.0, "custom"),  # a still
        ("temporal_flickering.static_filtered", "auto", 9.0, "static_filtered"),
        ("text_alignment", "long2s", 9.0, "custom"),  # not VBench's
        ("color", "auto", 9.0, "custom"),
        ("vbench_long.subject_slow_fast", "auto", 9.0, "slow_fast"),  # it cuts by itself
        ("vbench_long.subject_slow_fast", "long2s", 3.0, "slow_fast"),
    ],
)
def test_a_dimension_has_the_protocol_that_it_and_the_clip_allow(name, asked, seconds, found):
    assert protocol_of(name, asked, seconds) == found


@pytest.mark.parametrize(
    ("frames", "rate", "found"),
    [
        (0, 8, [range(0)]),
        (7, 8, [range(7)]),
        (32, 8, [range(16), range(16, 32)]),
        (33, 8, [range(16), range(16, 32), range(17, 33)]),
        (50, 23.976, [range(46), range(4, 50)]),  # VBench cuts the rate to whole frames
    ],
)
def test_the_last_piece_reaches_back_to_the_length_of_the_others(frames, rate, found):
    assert pieces(frames, rate) == found


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
@pytest.mark.parametrize("digits", [3, 15])
def test_pieces_are_as_long_by_the_times_of_frames_as_by_the_rate_of_the_file(rate, digits):
    for count in range(5 * rate, 10 * rate):
        times = tuple(round(number / rate, digits) for number in range(count))
        assert pieces_of(Shot(times=times, frame_count=count)) == pieces(count, rate)


def test_the_value_in_pieces_is_the_mean_of_each_measured_alone():
    frames = list(noise(41))
    shot = Shot(fps=8.0, frame_count=41)
    (score,) = measure_in_pieces(["temporal_flickering"], iter(frames), shot)
    alone = [
        measure(["temporal_flickering"], [frames[number] for number in piece], Shot(fps=8.0))[0].raw
        for piece in (range(16), range(16, 32), range(25, 41))
    ]
    assert score.raw == pytest.approx(fmean(value for value in alone if value is not None))
    assert (score.protocol, score.fidelity, score.frames_used) == ("long2s", "like", 48)
    assert score.series is not None and score.series.seconds == (0.0, 2.0, 25 / 8)


def test_a_piece_without_a_value_leaves_the_clip_without_one():
    frames = [*noise(16), *np.zeros((1, 12, 32, 3), np.uint8), *noise(15)]
    (score,) = measure_in_pieces(["temporal_flickering"], frames, Shot(fps=8.0, frame_count=32))
    assert score.raw is None and score.reason is not None and score.reason.startswith("piece 2 of 2: frames change")


def test_a_file_has_each_dimension_by_its_own_protocol_and_files_together_are_as_alone():
    long, short = encode_clip(noise(42), 8), encode_clip(noise(20), 8)
    requests = [ScoreRequest(data=data, dimensions=NAMES, protocol="auto") for data in (long, short, long)]
    broken = ScoreRequest(data=b"no video", dimensions=NAMES)
    alone = [score_file(request, {}, Unwatched()) for request in requests]
    assert [[score.protocol for score in scores] for scores in alone[:2]] == [
        ["long2s", "custom"],
        ["custom", "custom"],
    ]
    together = list(score_files([*requests[:1], broken, *requests[1:]], {}, Unwatched()))
    assert isinstance(together.pop(1), Exception)
    assert together == alone
