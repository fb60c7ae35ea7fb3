"""Learned dimensions with tiny stand-in backbones: the published formulas, in numbers that a script wrote without
them."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch

from quality import engine
from quality.asked import Asked
from quality.cross_scene import (
    Boundary,
    SceneLook,
    boundary_similarity,
    entity_similarity,
    gap_decay,
    style_similarity,
)
from quality.dimensions.clip_consistency import MAPPED
from quality.dimensions.long_horizon import area
from quality.dimensions.product_keypoints import inliers, matches
from quality.preprocessing import CLIP, IMAGENET, LITE
from quality.protocols import measure_in_pieces
from quality.registry import measured_on
from quality.stream import Reference, Shot
from tests.support import quality_goldens as goldens

GOLDENS = json.loads(goldens.FILE.read_text())
SLOW_FAST = "vbench_long.subject_slow_fast"


class Listed:
    """A backbone whose features are listed: a frame's grey level is its number."""

    weights_sha256, licence, dtype, device = "0" * 64, "none", "float32", "cpu"
    batch, min_side = 4, 1

    def __init__(self, name, rows, text=None, window=1, fidelity="published"):
        self.name, self.window, self.fidelity = name, window, fidelity
        self._rows, self._text = np.asarray(rows, np.float32), text
        self.asked = []

    def features(self, batch):
        if isinstance(batch, np.ndarray):
            return (batch @ self._rows[0]).astype(np.float32)
        if self.window > 1:
            return np.stack([self._rows[0]] * len(batch))
        return self._rows[[self._number(frame) for frame in batch]]

    def text(self, text):
        self.asked.append(text)
        return np.asarray(self._text, np.float32), False

    def _number(self, frame):
        """Undoes what the preprocessing did to a grey frame."""
        value = frame.float().mean(dim=(1, 2))[0].item()
        if frame.dtype == torch.uint8:
            return round(value)
        by = LITE if self.name.startswith("eff") else CLIP if self.name.startswith("clip") else IMAGENET
        return round((value * by[1][0] + by[0][0]) * 255)


def numbered(count, size=(20, 30)):
    return [np.full((*size, 3), number, np.uint8) for number in range(count)]


def score(name, frames, **fields):
    return engine.measure([name], frames, Shot(frame_count=len(frames), **fields))[0]


def backbones():
    case = goldens.case()
    return {
        "dino_vitb16": Listed("dino-vitb16", case["frames"]),
        "dinov2_base": Tokens(np.tile(case["frames"], 4)),
        "clip_b32": Listed("clip-b32", case["frames"], case["text"]),
        "clip_l14": Listed("clip-l14", case["frames"]),
        "laion_v1": Listed("laion-v1", [case["text"]]),
        "efficientnet_lite0": Listed("efficientnet-lite0", case["frames"]),
        "viclip_l14": Listed("viclip-l14", [case["frames"][4]], case["text"], window=8),
    }


FIELDS: dict[str, Any] = {
    "prompt": "a red cup",
    "asked": Asked(style="oil painting"),
    "start": np.full((20, 30, 3), 3, np.uint8),
}


def test_the_goldens_are_what_their_script_writes():
    assert goldens.computed() == GOLDENS


@pytest.mark.parametrize("name", sorted(GOLDENS))
@pytest.mark.parametrize("block_frames", [1, 5, 16])
def test_a_dimension_is_its_published_formula(name, block_frames):
    frames = numbered(goldens.FRAMES)
    shot = Shot(fps=5.0, frame_count=len(frames), backbones=backbones(), **FIELDS)
    (found,) = engine.measure([name], frames, shot, block_frames)
    assert found.raw == pytest.approx(GOLDENS[name], abs=1e-6), found.reason
    other = {"long_horizon": "proxy", "imagenet_consistency": "proxy", SLOW_FAST: "like"}
    assert found.fidelity == other.get(name, "equal")
    assert found.preproc is not None and found.licence == "none"


def test_scores_by_weights_of_a_toy_world_have_another_name():
    toy = Listed("toy", goldens.case()["frames"], fidelity="toy")
    found = score("subject_consistency", numbered(4), backbones={"dino_vitb16": toy})
    assert (found.metric_id, found.fidelity) == ("toy.subject_consistency", "toy")


def test_the_text_is_what_each_metric_compares_with():
    own = backbones()
    for name in ("clipscore.text", "appearance_style"):
        score(name, numbered(2), backbones=own, **FIELDS)
    assert own["clip_b32"].asked == ["A photo depicts a red cup", "oil painting"]


@pytest.mark.parametrize(
    ("name", "count", "fields", "reason"),
    [
        ("subject_consistency", 1, {}, "needs at least 2 frames"),
        ("vbench_i2v.subject", 1, {"start": FIELDS["start"]}, "needs at least 2 frames"),
        ("vbench_i2v.subject", 3, {}, "the picture that the clip was made from"),
        ("long_horizon", 2, {}, "needs at least 3 frames"),
        (SLOW_FAST, 1, {}, "needs at least 2 frames in each piece: number 1 of 1"),
        (SLOW_FAST, 3, {"fps": 0.5}, "number 1 of 3"),
        (SLOW_FAST, 3, {"fps": 0.0}, "the frame rate is 0"),
        ("freeze_loop.repeat", 9, {}, "needs at least half a second"),
        ("appearance_style", 3, {}, "needs the style"),
        ("overall_consistency", 3, {}, "needs the prompt"),
    ],
)
def test_what_cannot_be_measured_has_a_reason(name, count, fields, reason):
    found = score(name, numbered(count), backbones=backbones(), **fields)
    assert found.raw is None and reason in str(found.reason)


def test_a_head_for_another_clip_is_a_reason_and_no_number():
    class Head(Listed):
        def features(self, batch):
            raise ValueError("the aesthetic head reads vectors of 768 numbers")

    found = score("aesthetic_quality", numbered(2), backbones=backbones() | {"laion_v1": Head("laion-v1", [[0]])})
    assert found.raw is None and "768 numbers" in str(found.reason)


def test_a_backbone_that_the_profile_does_not_name_is_the_reason():
    assert "'dino_vitb16'" in str(score("subject_consistency", numbered(3)).reason)


def test_similarities_bring_alignment_and_dynamics_with_them():
    for name in ("subject_consistency", "background_consistency", "vbench_i2v.subject", "long_horizon", SLOW_FAST):
        assert {"text_alignment", "flow_dynamics"} < {*measured_on("clip", [name])}


def test_a_drift_lowers_consistency_and_horizon_at_every_step_and_a_frozen_clip_has_one():
    def drifting(step):
        angles = step * np.arange(12)
        rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        own = {"dino_vitb16": Listed("d", rows)}
        return [score(name, numbered(12), backbones=own).raw for name in ("subject_consistency", "long_horizon")]

    found = [drifting(step) for step in (0.0, 0.02, 0.05, 0.1)]
    assert found[0] == pytest.approx([1, 1])
    assert all(before[0] > after[0] and before[1] > after[1] for before, after in pairwise(found))


def slow_fast(rows, fps, fidelity="published"):
    """Of a clip that both networks see as `rows`."""
    second = Tokens(np.tile(rows, 4))
    second.fidelity = fidelity
    own = {"dino_vitb16": Listed("dino-vitb16", rows), "dinov2_base": second}
    return score(SLOW_FAST, numbered(len(rows)), fps=fps, backbones=own)


def test_the_table_of_vbench_long_rises_from_none_to_one():
    assert len(MAPPED) == 101 and (MAPPED[0], MAPPED[-1]) == (0, 10**6)
    assert all(before < after for before, after in pairwise(MAPPED))
    assert sum(MAPPED) / 1e6 == pytest.approx(91.31783512317779, abs=1e-6)  # of the published digits


def test_a_cut_between_pieces_is_seen_from_piece_to_piece_alone():
    one, other = goldens.units(2, 6, seed=5)
    assert slow_fast(np.tile(one, (24, 1)), 4).raw == pytest.approx(MAPPED[-1] / 1e6)
    rows = np.concatenate([np.tile(one, (8, 1)), np.tile(other, (16, 1))])
    found = slow_fast(rows, 4)
    alike = max(0.0, float(one @ other))
    mapped = np.interp((alike + (1 + alike) / 2) / 2, np.arange(101) / 100, np.array(MAPPED) / 1e6)
    assert found.raw == pytest.approx(0.5 + 0.5 * mapped, abs=1e-6) and found.raw < 0.99
    assert found.protocol == "slow_fast" and "half 1.0000, mean of 3 pieces" in str(found.note)
    assert "also by dinov2-base, weights 000000000000" in str(found.note)


def test_within_pieces_it_is_the_mean_over_pieces_and_of_a_single_one_that_piece():
    rows = goldens.case()["frames"]
    (pieces,) = measure_in_pieces(
        ["subject_consistency"], numbered(24), Shot(fps=5.0, frame_count=24, backbones=backbones())
    )
    assert f"half {pieces.raw:.4f}" in str(slow_fast(rows, 5.0).note)
    alone = score("subject_consistency", numbered(24), backbones=backbones())
    single = slow_fast(rows, 24.0)
    assert single.raw == pytest.approx(alone.raw, abs=1e-9) and "a single piece" in str(single.note)


def test_either_network_of_a_toy_world_makes_a_score_of_a_toy_world():
    found = slow_fast(goldens.case()["frames"], 5.0, fidelity="toy")
    assert (found.metric_id, found.fidelity) == (f"toy.{SLOW_FAST}", "toy")
    assert found.backbone == "dinov2-base" and "also by dino-vitb16" in str(found.note)


@pytest.mark.parametrize(
    ("turns", "rise", "note"), [(3, 1.5, "1.00 s apart, cosine 1.0000"), (0.2, 0, None), (0, 0, None)]
)
def test_a_loop_is_told_from_a_clip_that_moves_on_and_from_a_frozen_one(turns, rise, note):
    angles = 2 * np.pi * turns * np.arange(72) / 72
    still = np.full(72, np.sqrt(1 / 4))
    rows = np.stack([np.cos(angles) * np.sqrt(3 / 4), np.sin(angles) * np.sqrt(3 / 4), still], axis=1)
    found = score("freeze_loop.repeat", numbered(72), backbones={"dino_vitb16": Listed("d", rows)})
    assert found.raw == pytest.approx(rise, abs=1e-6) and found.frames_used == 24
    assert note is None or note in str(found.note)


def test_the_area_is_that_of_trapezoids_over_the_range():
    assert area([(2, 0.8)]) == 0.8
    assert area([(2, 1.0), (5, 0.8), (10, 0.4)]) == pytest.approx((3 * 0.9 + 5 * 0.6) / 8)


# --- points ---


def scattered(count, seed=0):
    """Rows as XFeat gives them: position, rank, description."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, 67), np.float32)
    rows[:, :2] = rng.uniform(0, 200, (count, 2))
    rows[:, 2] = 1
    described = rng.standard_normal((count, 64))
    rows[:, 3:] = described / np.linalg.norm(described, axis=1, keepdims=True)
    return rows


def moved(rows, by):
    found = rows.copy()
    found[:, :2] = rows[:, :2] @ np.array([[0.9, 0.1], [-0.1, 0.9]], np.float32) + np.float32(by)
    return found


def test_matches_are_mutual_and_inliers_follow_one_homography():
    reference = scattered(60)
    assert np.array_equal(matches(reference, reference[::-1]), np.stack([np.arange(60), 59 - np.arange(60)], axis=1))
    assert len(inliers(reference, moved(reference, (20, 5)))) == 60
    some = moved(reference, (20, 5))
    some[40:, :2] = scattered(20, seed=4)[:, :2]
    assert {*range(40)} <= set(inliers(reference, some)) and len(inliers(reference, some)) < 44
    assert len(inliers(reference, scattered(60, seed=9))) == 0
    assert len(matches(reference, reference[:0])) == 0


def test_no_point_is_found_below_half_of_the_matches_or_below_twelve_of_them():
    reference = scattered(60)
    few = moved(reference, (20, 5))
    few[26:, :2] = scattered(34, seed=4)[:, :2]
    assert len(matches(reference, few)) == 60 and len(inliers(reference, few)) == 0
    assert len(inliers(reference, moved(reference, (20, 5))[:11])) == 0
    assert len(inliers(reference, moved(reference, (20, 5))[:12])) == 12


class Points(Listed):
    """XFeat's interface: the first picture asked for is the reference, then frame by frame."""

    def __init__(self, *pictures):
        self.name, self.window, self.fidelity = "xfeat", 1, "proxy"
        self._pictures = list(pictures)

    def features(self, batch):
        found = np.zeros((len(batch), 1024, 67), np.float32)
        for place in range(len(batch)):
            rows = self._pictures.pop(0)
            found[place, : len(rows)] = rows
        return found


def pasted(name, *pictures):
    references = (Reference(np.zeros((200, 200, 3), np.uint8)),)
    own = {"xfeat": Points(*pictures)}
    return score(name, numbered(len(pictures) - 1), fps=2.0, references=references, backbones=own)


def test_keypoints_count_what_is_found_again_and_copying_what_it_spans():
    reference = scattered(60)
    some = moved(reference, (20, 5))[:30]
    found = pasted("product_keypoints", reference, moved(reference, (20, 5)), some)
    assert found.raw == pytest.approx((1 + 0.5) / 2, abs=0.02) and "least of a frame: 0.5" in str(found.note)
    left = reference[reference[:, 0] < 100]
    whole = pasted("copy_paste", reference, moved(reference, (20, 5)), moved(left, (20, 5)))
    half = pasted("copy_paste", reference, moved(left, (20, 5)))
    assert 0.8 < whole.raw <= 1 and 0.3 < half.raw < 0.5
    assert pasted("copy_paste", reference, scattered(60, seed=9)).raw == 0


def test_both_dimensions_of_points_look_at_a_reference_and_a_frame_once():
    reference = scattered(60)
    own = Points(reference, moved(reference, (20, 5)), moved(reference, (30, 5)))  # one more would find none left
    shot = Shot(fps=2.0, references=(Reference(np.zeros((200, 200, 3), np.uint8)),), backbones={"xfeat": own})
    found = engine.measure(["product_keypoints", "copy_paste"], numbered(2), shot)
    assert [each.raw for each in found] == [pytest.approx(1.0, abs=0.02), pytest.approx(0.9, abs=0.1)]
    assert not shot.shared  # another pass begins anew


def test_of_points_that_tie_the_first_is_matched():
    reference = scattered(20)
    twice = np.concatenate([reference, reference])
    assert matches(twice, reference).tolist() == [[row, row] for row in range(20)]


def test_a_reference_without_texture_or_no_reference_is_a_reason():
    assert "too little texture: 5 points" in str(pasted("product_keypoints", scattered(5), scattered(60)).reason)
    without = score("product_keypoints", numbered(2), backbones={"xfeat": Points()})
    assert "needs a picture of the product" in without.reason


# --- across scenes ---


class Tokens(Listed):
    """DINOv2's interface, with a picture's and three patches' vectors by the grey level."""

    def __init__(self, rows):
        super().__init__("dinov2-base", rows)

    def features(self, batch):
        return super().features(batch).reshape(len(batch), 4, -1)


TOKENS = goldens.units(12 * 4, 5, seed=8).reshape(12, 20)


def grey(number):
    return np.full((20, 30, 3), number, np.uint8)


def look(number, alignment, *levels):
    return SceneLook(number, alignment, tuple(grey(level) for level in levels))


def vector(*levels):
    rows = np.float32(TOKENS).astype(np.float64).reshape(12, 4, 5)[list(levels), 0].mean(axis=0)
    return rows / np.linalg.norm(rows)


AD = Shot(medium="video", backbones={"dinov2_base": Tokens(TOKENS)})
SCENES = (look(1, 0.3, 0, 1), look(2, 0.3, 2), look(3, 0.1, 3), look(4, 0.25, 4), look(5, None, 5))


@pytest.mark.parametrize("role", ["product", "character"])
def test_an_entity_is_compared_first_with_later_and_reference_with_each_where_a_scene_shows_it(role):
    found = entity_similarity(role, SCENES, (grey(6),), 0.2, AD)
    first, second, fourth, reference = vector(0, 1), vector(2), vector(4), vector(6)
    pairs = [first @ second, first @ fourth, reference @ first, reference @ second, reference @ fourth]
    assert found.raw == pytest.approx(np.mean(pairs), abs=1e-6)
    assert f"worst {min(pairs):.4f}" in str(
        found.note
    ) and "2 left out, below the least alignment or not judged: 3, 5" in str(found.note)
    assert (found.metric_id, found.fidelity, found.frames_used) == (f"admint.{role}_similarity", "proxy", 3)


def test_scenes_that_are_wrong_in_the_same_way_are_not_consistent():
    wrong = [look(number, 0.1, 0) for number in (1, 2, 3)]
    found = entity_similarity("product", wrong, (), 0.2, AD)
    assert found.raw is None and "none of 3 scenes was seen to show" in str(found.reason)
    one = entity_similarity("product", [*wrong, look(4, 0.4, 1)], (), 0.2, AD)
    assert one.raw is None and "needs two scenes" in str(one.reason) and "3 left out" in str(one.reason)


def test_style_is_the_cosine_of_gram_matrices_of_all_pairs():
    patches = np.float32(TOKENS).astype(np.float64).reshape(12, 4, 5)[:, 1:]
    grams = [sum(patches[level].T @ patches[level] for level in levels) for levels in ((0, 1), (2,), (4,))]
    grams = [gram / np.linalg.norm(gram) for gram in grams]
    expected = np.mean([(a * b).sum() for a, b in combinations(grams, 2)])
    assert style_similarity(SCENES, 0.2, AD).raw == pytest.approx(expected, abs=1e-6)


def test_boundaries_count_only_where_a_scene_goes_on():
    found = boundary_similarity([Boundary(1, grey(1), grey(2)), Boundary(3, grey(4), grey(4))], AD)
    assert found.raw == pytest.approx((vector(1) @ vector(2) + 1) / 2, abs=1e-6)
    assert "the cut after scene 1" in str(found.note)
    assert "no scene goes on" in str(boundary_similarity([], AD).reason)


def test_decay_is_the_slope_over_the_scenes_between():
    angles = {0: 0.0, 1: 0.3, 2: 0.6}
    rows = np.zeros((3, 4, 2))
    for level, angle in angles.items():
        rows[level] = [np.cos(angle), np.sin(angle)]
    ad = Shot(medium="video", backbones={"dinov2_base": Tokens(rows.reshape(3, 8))})
    found = gap_decay([look(1, 1, 0), look(2, 1, 1), look(3, 1, 2)], 0.5, ad)
    assert found.raw == pytest.approx(np.cos(0.6) - np.cos(0.3), abs=1e-6)
    assert "0.9553 at 1, 0.8253 at 2" in str(found.note)
    assert "two distances" in str(gap_decay([look(1, 1, 0), look(2, 1, 1)], 0.5, ad).reason)


def test_without_the_backbone_there_is_a_reason():
    assert "'dinov2_base'" in str(entity_similarity("product", SCENES, (), 0.2, Shot()).reason)
