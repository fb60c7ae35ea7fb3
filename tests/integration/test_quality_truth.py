"""Truth from the renderer, seen by real networks: a product that drifts into another, frames that stand still, and
pairs of which one shows another product (`benchmarks/quality/truth.py` has 200 of them), and films into which it comes
(`benchmarks/quality/entrances.py` has 800)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import entrances, truth
from configs.settings import load_model
from models.registry import load
from models.sketch.training.world import render_array, sample_spec
from models.spec import ScorerModelSpec
from models.weights import Library
from quality.engine import measure
from quality.stream import Shot

FRAMES = 8
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far the last frame has gone over to the other product."""


class Summary:
    """The shipped observer by the vector of each picture alone, as DINO gives it to VBench's subject consistency."""

    def __init__(self, observer: Any) -> None:
        self._observer = observer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observer, name)

    def features(self, batch):
        return self._observer.features(batch)[:, 0]


@pytest.fixture(scope="module")
def shipped():
    return truth.backbones()


@pytest.fixture(scope="module")
def backbones(shipped, tmp_path_factory):
    spec = load_model("efficientnet-lite0", ScorerModelSpec)
    lite = load(spec, Library(tmp_path_factory.mktemp("models")).folders(spec), "cpu")
    return {"dino_vitb16": Summary(shipped["dinov2_base"]), "efficientnet_lite0": lite}


SEEN_BY = ("subject_consistency", "imagenet_consistency")


def measured(names, frames, backbones):
    scores = measure(names, frames, Shot(fps=8.0, frame_count=len(frames), backbones=backbones))
    assert [score.reason for score in scores] == [None] * len(names)
    return [score.raw for score in scores]


def drifting(start, end, share):
    """A clip from `start` towards `end`, `share` of the way."""
    shares = np.linspace(0, share, FRAMES)
    return [np.rint((1 - at) * start + at * end).astype(np.uint8) for at in shares]


@pytest.mark.parametrize("change", [{"shape": "lamp"}, {"colour": "blue"}], ids=["another shape", "another hue"])
def test_a_product_that_drifts_into_another_lowers_the_consistency_of_real_networks_at_every_step(change, backbones):
    drawn = sample_spec(np.random.default_rng(3), "heldout", "1:1")
    spec = replace(drawn, shape="bottle", colour="red", setting="studio", time="noon", moment=0.0)
    start, end = (render_array(each).astype(np.float64) for each in (spec, replace(spec, **change)))
    found = np.array([measured(SEEN_BY, drifting(start, end, share), backbones) for share in STEPS])
    assert found[0] == pytest.approx([1, 1], abs=1e-5)
    for number, name in enumerate(SEEN_BY):
        falls = [before - after for before, after in pairwise(found[:, number])]
        assert min(falls) > 1e-4, (name, found[:, number])


def test_frames_that_are_duplicates_have_subject_and_flickering_one(backbones):
    picture = render_array(sample_spec(np.random.default_rng(4), "heldout", "16:9"))
    values = measured((*SEEN_BY, "temporal_flickering"), [picture] * 5, backbones)
    assert values == pytest.approx([1, 1, 1], abs=1e-5)


def test_another_shape_lowers_the_similarity_of_the_product_and_another_colour_raises_that_of_colours(shipped):
    found = truth.told(truth.pairs(12), shipped)
    rows = {check: truth.row(check, found[check]) for check in truth.CHECKS}
    assert min(row["told"] for row in rows.values()) >= 11, rows
    of = rows["product_similarity"]
    assert of["median_right"] - of["median_wrong"] > 0.2


def test_the_second_at_which_the_product_comes_into_a_film_is_known_and_none_is_told_of_a_film_without_it(shipped):
    found = {row["before"]: row for row in entrances.rows(entrances.films(8), shipped)}
    for kind in ("empty place", "another product"):
        assert found[kind]["films"] == found[kind]["films_without_it"] == 8
        assert found[kind]["right"][0] >= 7 / 8 and found[kind]["median_error"] < 0.5, found[kind]
        assert found[kind]["too_early"][0] == found[kind]["false_second"][0] == 0, found[kind]
    assert all(row["right"][0] >= 6 / 8 for row in found.values()), found


def test_a_scene_that_was_not_changed_is_not_told(shipped):
    same = [replace(pair, shape=pair.right, colour=pair.right) for pair in truth.pairs(1)]
    found = truth.told(same, shipped)
    assert [one.told for told in found.values() for one in told] == [False, False]


def test_the_interval_of_a_share_is_wilsons():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert truth.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert truth.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert truth.wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)
