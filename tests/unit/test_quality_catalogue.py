"""The list of dimensions says of each what it needs and costs, from the dimension's own file."""

from __future__ import annotations

import pytest

from quality.catalogue import entries
from quality.registry import DIMENSIONS, UNAVAILABLE


def listed(here=(), licences=()):
    return {entry.name: entry for entry in entries(dict(licences), here)}


def test_every_dimension_is_listed_once_with_a_label_or_a_reason():
    found = entries({}, ())
    assert [entry.name for entry in found] == [*DIMENSIONS, *UNAVAILABLE]
    assert len({(entry.metric_id, entry.models) for entry in found}) == len(found)
    assert all((entry.label is None) == (entry.name in UNAVAILABLE) for entry in found)


@pytest.mark.parametrize(
    ("name", "tflop"),
    [
        ("subject_consistency", 7.42),
        ("background_consistency", 1.06),
        ("vbench_long.subject_slow_fast", 7.55),
        ("aesthetic_quality", 19.44),
        ("dynamic_degree", 37.48),
        ("dover.fused", 0.56),
        ("musiq.koniq", 4.84),
        ("overall_consistency", 1.65),
        ("unwanted_cuts.transnetv2", 0.25),
        ("product_keypoints", 0.03),
    ],
)
def test_the_cost_of_a_network_is_that_of_the_frames_that_it_sees(name, tflop):
    assert listed()[name].tflop == pytest.approx(tflop, abs=0.005)


def test_a_formula_has_its_measured_seconds_and_can_be_measured_everywhere():
    classical = [entry for entry in entries({}, ()) if entry.label == "classical"]
    assert len(classical) >= 15
    assert all(entry.cpu_seconds is not None and not entry.models and entry.missing is None for entry in classical)


def test_a_model_that_is_not_here_is_named_and_one_that_is_has_its_licence():
    absent, present = listed()["text_legibility"], listed(["ocr"], {"ocr": "Apache-2.0"})["text_legibility"]
    assert absent.missing == "name a model for ocr under `scorers` in the profile"
    assert (present.missing, present.licences) == (None, ("Apache-2.0",))
