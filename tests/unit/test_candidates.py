"""How the scores of several stills become one order."""

import pytest

from pipelines.stages.candidates import copeland, rank
from quality.score import Score


def still(**values):
    """Scores of one still by dimension; a text in place of a value is the reason why there is none."""
    return {
        name: Score(metric_id=f"admint.{name}", impl_id=f"{name}@1", backbone="clip", reason=value)
        if isinstance(value, str)
        else Score(metric_id=f"admint.{name}", impl_id=f"{name}@1", backbone="clip", raw=value)
        for name, value in values.items()
    }


def test_a_dimension_counts_in_standard_deviations_whatever_its_scale():
    stills = [still(a=0.30, b=10.0), still(a=0.32, b=40.0), still(a=0.34, b=30.0)]
    both = rank({"a": 1, "b": 1}, stills).totals
    scaled = [still(a=of["a"].raw * 100, b=of["b"].raw / 7 + 3) for of in stills]
    assert rank({"a": 1, "b": 1}, scaled).totals == pytest.approx(both)
    assert sum(both) == pytest.approx(0)
    assert max(range(3), key=both.__getitem__) == 2  # second best in one and best in the other


def test_a_weight_says_how_much_a_dimension_counts_and_below_zero_that_less_is_better():
    stills = [still(a=0.1, b=1.0), still(a=0.2, b=5.0)]
    assert rank({"a": 1, "b": -0.5}, stills).totals == pytest.approx((-0.5, 0.5))
    assert rank({"a": 1, "b": -2}, stills).totals == pytest.approx((1.0, -1.0))


def test_stills_that_are_alike_are_equal_and_rounding_is_no_difference():
    stills = [still(a=0.5, b=1.0), still(a=0.5 + 1e-12, b=2.0)]
    assert rank({"a": 10, "b": 1}, stills).totals == pytest.approx((-1.0, 1.0))
    assert rank({"a": 1}, stills).totals == (0.0, 0.0)


def test_a_dimension_that_one_still_lacks_tells_nothing_of_the_others():
    stills = [still(a=0.1, b=9.0), still(a=0.2, b="needs a reference"), still(a=0.3, b=1.0)]
    ranking = rank({"a": 1, "b": 5}, stills)
    assert ranking.totals == rank({"a": 1}, stills).totals
    assert ranking.abstained == {"b": "still 2: needs a reference"}


def test_values_of_two_models_are_not_compared():
    other = {name: score.model_copy(update={"backbone": "another"}) for name, score in still(a=0.9).items()}
    ranking = rank({"a": 1}, [still(a=0.1), other])
    assert ranking.totals == (0.0, 0.0)
    assert "measured in different ways (weights)" in ranking.abstained["a"]


def verdict(raw):
    return still(preference=raw)["preference"]


def test_each_still_has_its_share_of_the_pairs_that_it_wins_and_a_tie_is_half_of_one():
    found = copeland(3, {(0, 1): verdict(0.0), (0, 2): verdict(0.5), (1, 2): verdict(1.0)})
    assert [score.raw for score in found] == [0.25, 1.0, 0.25]
    circle = copeland(3, {(0, 1): verdict(1.0), (1, 2): verdict(1.0), (0, 2): verdict(0.0)})
    ranking = rank({"preference": 1}, [{"preference": score} for score in circle])
    assert (ranking.totals, ranking.abstained) == ((0.0, 0.0, 0.0), {})  # equal: the first of them stays


def test_one_pair_without_a_verdict_leaves_no_still_with_any():
    found = copeland(3, {(0, 1): verdict(1.0), (0, 2): verdict("no A and no B"), (1, 2): verdict(1.0)})
    ranking = rank({"preference": 1}, [{"preference": score} for score in found])
    assert (ranking.totals, ranking.abstained) == ((0.0, 0.0, 0.0), {"preference": "still 1: no A and no B"})


def test_the_name_for_clips_means_the_same_measure_of_a_still():
    stills = [still(keyframe_alignment=0.1), still(keyframe_alignment=0.2)]
    assert rank({"text_alignment": 1}, stills).totals == rank({"keyframe_alignment": 1}, stills).totals
    own = [still(keyframe_product_similarity=value) for value in (0.1, 0.2)]
    assert rank({"product_similarity": 1}, own).totals == pytest.approx((-1.0, 1.0))
