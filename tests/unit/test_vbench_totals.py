"""VBench's totals: the published vectors, and no number where a member is missing, not equal or measured otherwise."""

from __future__ import annotations

import pytest

from quality.score import Score
from quality.vbench import VBENCH, VBENCH_I2V, totals

RAW = {
    "subject_consistency": 0.95, "background_consistency": 0.96, "temporal_flickering": 0.98,
    "motion_smoothness": 0.985, "dynamic_degree": 0.70, "aesthetic_quality": 0.60, "imaging_quality": 0.65,
    "object_class": 0.85, "multiple_objects": 0.70, "human_action": 0.95, "color": 0.88, "spatial_relationship": 0.75,
    "scene": 0.50, "appearance_style": 0.24, "temporal_style": 0.24, "overall_consistency": 0.265,
}  # fmt: skip
I2V = {"camera_motion": 0.5, "subject": 0.97, "background": 0.98}


def score(metric, value, **changes):
    name = metric.partition(".")[2]
    return Score(**{"metric_id": metric, "impl_id": f"{name}@1", "fidelity": "equal", "raw": value} | changes)


def measured(**changes):
    """One score per member; `changes` are fields of the score of a member, by its name."""
    ids = {f"vbench.{name}": raw for name, raw in RAW.items()} | {
        f"vbench_i2v.{name}": raw for name, raw in I2V.items()
    }
    return [score(metric, raw, **changes.get(metric.partition(".")[2], {})) for metric, raw in ids.items()]


def by_id(scores):
    return {each.metric_id: each for each in scores}


def test_quality_semantic_and_total_are_the_published_vector():
    made = by_id(totals(measured()))
    assert made["vbench.quality"].raw == pytest.approx(0.829299, abs=1e-5)
    assert made["vbench.semantic"].raw == pytest.approx(0.773957, abs=1e-5)
    assert made["vbench.total"].raw == pytest.approx(0.818230, abs=1e-5)


def test_the_totals_of_i2v_are_the_published_vector():
    made = by_id(totals(measured(), VBENCH_I2V))
    assert made["vbench_i2v.i2v"].raw == pytest.approx(0.946562, abs=1e-5)
    assert made["vbench_i2v.quality"].raw == pytest.approx(0.808071, abs=1e-5)
    assert made["vbench_i2v.total"].raw == pytest.approx(0.877317, abs=1e-5)


def test_imaging_quality_of_videos_on_0_to_100_counts_on_0_to_1():
    made = by_id(totals(measured(imaging_quality={"raw": 65.0, "range": (0, 100)})))
    assert made["vbench.quality"].raw == pytest.approx(0.829299, abs=1e-5)


def test_a_set_of_videos_counts_by_its_mean():
    videos = [*measured(color={"raw": 0.80}), score("vbench.color", 0.96)]
    assert by_id(totals(videos))["vbench.semantic"].raw == pytest.approx(0.773957, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fidelity": "like"}, "vbench.color (like, not equal)"),
        ({"raw": None, "fidelity": None, "reason": "GRiT is missing"}, "vbench.color (GRiT is missing)"),
        ({"metric_id": "toy.color"}, "vbench.color (not measured)"),
    ],
)
def test_a_member_that_is_missing_or_not_equal_leaves_no_total_and_is_named(changes, told):
    made = by_id(totals(measured(color=changes)))
    assert made["vbench.quality"].raw is not None, "its own members are all there"
    for name in ("vbench.semantic", "vbench.total"):
        assert made[name].raw is None and made[name].reason == f"missing: {told}"


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ({"impl_id": "color@2"}, "implementations"),
        ({"protocol": "long2s"}, "protocols"),
        ({"preproc": "other"}, "preprocessings"),
        ({"weights_sha256": "1" * 64}, "weights"),
    ],
)
def test_videos_measured_in_different_ways_have_no_total(field, told):
    videos = [*measured(), score("vbench.color", 0.9, **field)]
    made = by_id(totals(videos))
    assert made["vbench.total"].raw is None
    assert (
        f"vbench.color (color was measured in different ways ({told}), which have no mean)"
        in made["vbench.total"].reason
    )


def test_members_of_different_protocols_have_no_total_but_the_static_filter_belongs_to_one():
    assert by_id(totals(measured(temporal_flickering={"protocol": "static_filtered"})))["vbench.total"].raw
    mixed = by_id(totals(measured(color={"protocol": "long2s"})))["vbench.total"]
    assert mixed.raw is None and "the protocols custom, long2s are mixed" in mixed.reason


def test_nothing_measured_names_all_that_is_missing():
    reason = by_id(totals([]))[VBENCH.total].reason
    assert reason.count("not measured") == 16
