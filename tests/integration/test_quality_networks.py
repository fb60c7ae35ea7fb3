"""Dimensions behind RAFT, MUSIQ, TransNetV2 and DOVER, with tiny networks and with ones whose answer is known."""

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch

from quality import engine
from quality.dimensions.dover import PIECES, calibrated, drawn_frames, drawn_places, enlarged, fragments
from quality.dimensions.unwanted_cuts import MARGIN, STEP, WINDOW, shots
from quality.stream import Shot
from tests.support.random_scorers import scorers

NAMES = (
    "dynamic_degree", "raft_dynamics", "imaging_quality", "musiq.spaq", "musiq.koniq", "unwanted_cuts.transnetv2",
    "dover.technical", "dover.aesthetic", "dover.fused",
)  # fmt: skip


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    names = ("raft", "musiq_spaq", "musiq_koniq", "transnetv2", "dover")
    return scorers(names, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def quick(backbones):
    """As `backbones`, but for DOVER's ten seconds a clip: the mean of each view in its place."""
    return {**backbones, "dover": Known(lambda views: [[float(view.float().mean()) / 1000 for view in views]])}


def noise(count, height=128, width=144, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def measured(names, frames, backbones, block=16, **fields):
    shot = Shot(backbones=backbones, frame_count=len(frames), **fields)
    return dict(zip(names, engine.measure(list(names), frames, shot, block), strict=True))


class Known:
    """A backbone whose features are given."""

    weights_sha256, licence, dtype, device, name = "0" * 64, "none", "float32", "cpu", "known"
    fidelity: Literal["published", "proxy", "toy"] = "published"
    batch, min_side = 4, 1

    def __init__(self, answer, window=1):
        self.answer = answer
        self.window = window

    def features(self, batch: Any) -> Any:
        return np.asarray(self.answer(batch), np.float32)


def flows(*magnitudes):
    """A network that finds these flows, one pair after the other: all pixels move to the right."""
    left = list(magnitudes)

    def answer(batch):
        height, width = batch.shape[-2:]
        found = np.zeros((len(batch), 2, height, width), np.float32)
        for item in found:
            item[0] = left.pop(0)
        return found

    return {"raft": Known(answer, window=2)}


def test_each_dimension_has_a_value_of_its_own_label_and_says_by_what(backbones):
    scores = measured(NAMES, noise(10), backbones, fps=8)
    for name, score in scores.items():
        assert score.reason is None, (name, score.reason)
        assert math.isfinite(score.raw)
        assert score.backbone.startswith("random-")
        assert score.metric_id.endswith(name)
        low, high = score.range
        assert score.raw >= low or name.startswith(("musiq", "imaging"))  # untrained ratings lie anywhere
        assert high is None or score.raw <= high or name.startswith(("musiq", "imaging"))
    labels = {name: score.fidelity for name, score in scores.items()}
    assert labels.pop("imaging_quality") == "like"
    assert {labels.pop(name) for name in ("raft_dynamics", "unwanted_cuts.transnetv2")} == {"proxy"}
    assert set(labels.values()) == {"equal"}
    assert scores["imaging_quality"].preproc == "musiq.vbench"
    assert scores["musiq.spaq"].preproc == "musiq.google"


def test_blocks_and_companions_change_nothing(quick):
    frames = noise(6)
    together = measured(NAMES, frames, quick, fps=8)
    for block in (1, 4):
        for name in NAMES:
            alone = measured((name,), frames, quick, block, fps=8)[name]
            assert alone.raw == pytest.approx(together[name].raw, abs=1e-6, rel=1e-6), (name, block)


@pytest.mark.parametrize("size", [(4, 4), (33, 57), (127, 144), (64, 200)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_and_short_clips_have_a_value_or_a_reason(quick, size, count):
    scores = measured(NAMES, noise(count, *size), quick, fps=8)
    for name, score in scores.items():
        assert (score.raw is None) == (score.reason is not None), name
        assert score.raw is None or math.isfinite(score.raw)
    moving = scores["dynamic_degree"]
    if count > 1 and (size[0] + 7) // 8 * 8 < 128:
        assert moving.raw is None
        assert "at least 128 pixels" in moving.reason
    if count == 1:
        assert "at least" in moving.reason
    assert (scores["dover.fused"].raw is None) == (min(size) < 32)


@pytest.mark.parametrize("name", NAMES)
def test_without_its_network_a_dimension_says_which_one_the_profile_must_name(name):
    score = measured((name,), noise(2), {})[name]
    assert score.raw is None
    assert "name one under `scorers`" in score.reason


# --- RAFT ---


@pytest.mark.parametrize(
    ("magnitudes", "moves"),
    [
        ((0.0,), 1.0),  # round(4 * 2 / 16) is 0: two frames always move, as published
        ((0.0, 0.0), 0.0),  # round(4 * 3 / 16) is 1
        ((6.1, 0.0), 1.0),
        ((6.0, 6.0), 0.0),  # more than 6 is asked for
        ((7.0,) + (0.0,) * 8, 0.0),  # of 10 frames round(2.5) = 2 pairs must move
        ((7.0, 7.0) + (0.0,) * 7, 1.0),
    ],
)
def test_a_clip_is_dynamic_when_enough_pairs_move_by_six_pixels_of_256(magnitudes, moves):
    frames = noise(len(magnitudes) + 1, 256, 264)
    score = measured(("dynamic_degree",), frames, flows(*magnitudes), fps=8)["dynamic_degree"]
    assert score.raw == moves


def test_the_threshold_and_the_mean_are_relative_to_the_shorter_side_before_padding():
    frames = noise(3, 130, 200)  # padded to 136
    assert measured(("dynamic_degree",), frames, flows(3.0, 3.0), fps=8)["dynamic_degree"].raw == 0.0
    assert measured(("dynamic_degree",), frames, flows(3.1, 0.0), fps=8)["dynamic_degree"].raw == 1.0
    score = measured(("raft_dynamics",), frames, flows(3.0, 5.0), fps=8)["raft_dynamics"]
    assert score.raw == pytest.approx(4.0 * 256 / 130)
    assert score.frames_used == 3


def test_only_the_twentieth_that_moves_most_counts():
    def moved(rows):
        def answer(batch):
            found = np.zeros((1, 2, 160, 160), np.float32)
            found[0, 0, :rows], found[0, 1, :rows] = 3.0, 4.0  # by 5 pixels
            return found

        score = measured(("raft_dynamics",), noise(2, 160, 160), {"raft": Known(answer, 2)}, fps=8)
        return score["raft_dynamics"].raw

    assert moved(8) == pytest.approx(5 * 256 / 160)
    assert moved(4) == pytest.approx(5 / 2 * 256 / 160)
    assert moved(80) == pytest.approx(5 * 256 / 160)


@pytest.mark.parametrize(("fps", "pairs"), [(8, 12), (24, 4), (12, 12), (30, 3), (60, 1)])
def test_frames_are_taken_as_the_published_code_takes_them(fps, pairs):
    """interval = max(1, round(fps / 8)), and Python rounds half to even: 1.5 is 2 and 12 fps has 6 pairs a second."""
    interval = max(1, round(fps / 8))
    score = measured(("raft_dynamics",), noise(13, 128, 128), flows(*[1.0] * 13), fps=fps)["raft_dynamics"]
    assert score.frames_used - 1 == 12 // interval


def test_a_flow_that_is_not_finite_is_no_static_clip():
    for name in ("dynamic_degree", "raft_dynamics"):
        score = measured((name,), noise(3), flows(math.nan, 1.0), fps=8)[name]
        assert score.reason == "not finite: 1 of 2 values"
    score = measured((STATIC,), noise(3), flows(math.nan, 0.0, 0.0, 0.0), fps=8)[STATIC]
    assert score.reason == "not finite: 1 of 4 flows"


STATIC = "temporal_flickering.static_filtered"


@pytest.mark.parametrize(
    ("between", "ends", "static"),
    [
        ((0.0,) * 7, (0.0, 0.0), True),
        ((3.1,) + (0.0,) * 6, (6.0, 6.0), True),  # round(2 * 8 / 16) = 1 pair may move, and the ends twice as far
        ((3.1, 3.1) + (0.0,) * 5, (0.0, 0.0), False),
        ((0.0,) * 7, (6.1, 0.0), False),
        ((0.0,) * 7, (0.0, 6.1), False),
    ],
)
def test_flickering_is_that_of_static_clips_or_has_a_reason(between, ends, static):
    frames = noise(8, 256, 264)
    score = measured((STATIC,), frames, flows(*between, *ends), fps=24)[STATIC]
    plain = measured(("temporal_flickering",), frames, {})["temporal_flickering"]
    assert score.metric_id == plain.metric_id == "vbench.temporal_flickering"
    assert score.protocol == "static_filtered"
    if static:
        assert (score.raw, score.fidelity, score.backbone) == (plain.raw, "equal", "known")
    else:
        assert "the clip moves" in score.reason


def test_the_static_filter_compares_the_ends_in_both_orders():
    frames = [np.full((128, 128, 3), level, np.uint8) for level in (10, 20, 30)]
    seen = []

    def answer(batch):
        seen.append(batch[:, :, 0, 0, 0].tolist())
        return np.zeros((len(batch), 2, 128, 128))

    assert measured((STATIC,), frames, {"raft": Known(answer, 2)})[STATIC].raw is not None
    assert seen == [[[10, 20], [20, 30]], [[10, 30], [30, 10]]]


# --- MUSIQ ---


def test_a_rating_is_the_mean_over_all_frames():
    ratings = iter([60.0, 50.0, 10.0])

    def answer(pyramid):
        assert [level.shape[-2:] for level in pyramid] == [(199, 224), (341, 384), (128, 144)]
        return [next(ratings) for _ in pyramid[0]]

    score = measured(("musiq.spaq",), noise(3), {"musiq_spaq": Known(answer)})["musiq.spaq"]
    assert score.raw == pytest.approx(40.0)
    ratings = iter([60.0, 50.0, 10.0])
    score = measured(("imaging_quality",), noise(3), {"musiq_spaq": Known(answer)})["imaging_quality"]
    assert score.raw == pytest.approx(0.4)


# --- TransNetV2 ---


@pytest.mark.parametrize(
    ("above", "begin"),
    [("0000", ()), ("0100", (2,)), ("0110", (3,)), ("0101", (2,)), ("1000", (1,)), ("1111", ()), ("01010", (2, 4))],
)
def test_a_shot_begins_after_each_run_of_likely_frames(above, begin):
    assert shots([0.9 if each == "1" else 0.1 for each in above]) == begin


@pytest.mark.parametrize("count", [2, 49, 50, 51, 130])
@pytest.mark.parametrize("block", [16, 7])
def test_windows_overlap_and_the_clip_stands_still_beyond_its_ends(count, block):
    """Each frame has its number as its grey; a frame is likely when a window's own place for it is asked."""
    seen = []

    def answer(window):
        assert window.shape == (1, WINDOW, 3, 27, 48)
        seen.append(window[0, :, 0, 0, 0].tolist())
        return np.zeros((1, WINDOW))

    frames = [np.full((27, 48, 3), number, np.uint8) for number in range(count)]
    measured(("unwanted_cuts.transnetv2",), frames, {"transnetv2": Known(answer)}, block)
    assert len(seen) == -(-count // STEP)
    for number, window in enumerate(seen):
        start = number * STEP - MARGIN
        assert window == [min(max(each, 0), count - 1) for each in range(start, start + WINDOW)]


def test_cuts_are_counted_and_named():
    def answer(window):
        level = window[:, :, 0, 0, 0].int().numpy()
        return np.pad(np.abs(np.diff(level)) > 50, ((0, 0), (0, 1)))  # likely: the last frame of a shot

    frames = [np.full((40, 60, 3), 200 if 60 <= number < 90 else 20, np.uint8) for number in range(120)]
    score = measured(("unwanted_cuts.transnetv2",), frames, {"transnetv2": Known(answer)})["unwanted_cuts.transnetv2"]
    assert score.raw == 2.0
    assert score.note == "a new shot begins at frame 61, 91, counted from 1"


# --- DOVER ---


@pytest.mark.parametrize("frames", [1, 16, 95, 96, 250, 1000])
def test_pieces_lie_in_their_part_and_begin_again_over_the_end(frames):
    draw = np.random.default_rng(0)
    pieces = drawn_frames(frames, 3, 32, 2, draw).reshape(3, 32)
    assert ((pieces >= 0) & (pieces < frames)).all()
    for number, piece in enumerate(pieces):
        assert (np.diff(piece) % frames == 2 % frames).all()
        if frames // 3 > 64:
            assert frames // 3 * number <= piece[0] < frames // 3 * (number + 1) - 64
        else:
            assert piece[0] == frames // 3 * number % frames


def test_cut_outs_lie_in_their_cell_at_full_resolution():
    height, width = 480, 833
    places = drawn_places((height, width), np.random.default_rng(0))
    assert len(places) == PIECES * 49
    frame = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    together = fragments(frame, places[:49])
    for number, (top, left) in enumerate(places[:49]):
        row, column = divmod(number, 7)
        assert height // 7 * row <= top < height // 7 * (row + 1) - 32
        assert width // 7 * column <= left < width // 7 * (column + 1) - 32
        own = together[:, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        assert own.equal(frame[:, top : top + 32, left : left + 32])


def test_a_small_picture_is_enlarged_to_the_side_of_the_view():
    assert enlarged(torch.zeros(3, 224, 300, dtype=torch.uint8)).shape == (3, 224, 300)
    large = enlarged(torch.full((3, 112, 160), 77, dtype=torch.uint8))
    assert large.shape == (3, 224, 320)
    assert set(large.unique().tolist()) <= {76, 77}  # rounded down, as published


def test_calibration_is_a_logistic_of_standard_scores():
    assert calibrated(0.1107, -0.08285) == pytest.approx((0.5, 0.5, 0.5), abs=1e-12)
    technical, aesthetic, fused = calibrated(0.1107 + 0.07355, -0.08285 - 0.03774)
    assert technical == pytest.approx(1 / (1 + math.exp(-1)))
    assert aesthetic == pytest.approx(1 / (1 + math.exp(1)))
    assert fused == pytest.approx(1 / (1 + math.exp(-(0.6104 - 0.3896))))
    assert calibrated(-1e6, 1e6)[0] == 0.0


def test_a_clip_is_rated_the_same_each_time_and_its_three_scores_go_together_by_one_rating(backbones, monkeypatch):
    frames = noise(40, 96, 160)
    names = ("dover.technical", "dover.aesthetic", "dover.fused")
    rated: list[Any] = []
    rate = backbones["dover"].features

    def counted(views: Any) -> Any:
        rated.append(views)
        return rate(views)

    monkeypatch.setattr(backbones["dover"], "features", counted)
    first = measured(names, frames, backbones)
    assert len(rated) == 1
    assert measured(names[:1], frames, backbones)[names[0]].raw == first[names[0]].raw
    assert len(rated) == 2
    logits = [math.log(first[name].raw / (1 - first[name].raw)) for name in names]
    assert logits[2] == pytest.approx(0.6104 * logits[0] + 0.3896 * logits[1], rel=1e-4)


def test_a_clip_whose_length_was_announced_wrong_has_a_reason(quick):
    shot = Shot(backbones=quick, frame_count=9)
    (score,) = engine.measure(["dover.fused"], noise(8, 64, 64), shot)
    assert score.reason == "8 frames were decoded and 9 were announced"
