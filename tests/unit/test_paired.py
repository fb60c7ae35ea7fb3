"""Paired comparisons of arms: intervals that cover the truth, guards that a gain may not cross."""

from __future__ import annotations

from statistics import NormalDist, fmean, stdev

import numpy as np
import pytest

from quality.paired import (
    Guard,
    Measurement,
    Outcome,
    UnusableComparison,
    compare,
    estimate,
    holm,
    interactions,
    intervals,
    marginals,
    pareto,
)

STORIES, TRIALS = 24, 2_000


def outcome(name="similarity", better="higher", stories=STORIES, seeds=(1, 2), spread=0.05, **means):
    """Arms with these means; a story has an effect of its own that every arm shares, and a pair some noise."""
    rng = np.random.default_rng(len(name))
    level = rng.normal(0, 1, stories)
    return Outcome(
        name,
        [
            Measurement(arm, f"story-{story}", seed, mean + level[story] + rng.normal(0, spread))
            for arm, mean in means.items()
            for story in range(stories)
            for seed in seeds
        ],
        better,
    )


def values(arm, of, story=str):
    return [Measurement(arm, story(number), 1, value) for number, value in enumerate(of)]


# --- the statistics ---


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng, shape: rng.normal(0.02, 0.05, shape), 0.02),
        (lambda rng, shape: rng.exponential(1.0, shape), 1.0),
        (lambda rng, shape: (rng.binomial(4, 0.8, shape) - rng.binomial(4, 0.7, shape)) / 4, 0.1),
    ],
    ids=["normal", "skewed", "right or wrong in four scenes"],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(draw, truth):
    found = intervals(draw(np.random.default_rng(5), (TRIALS, STORIES)), np.ones(STORIES))
    covered = np.mean((found.low <= truth) & (truth <= found.high))
    assert 0.93 <= covered <= 0.97


def test_the_interval_covers_the_truth_where_seeds_of_a_story_resemble_one_another():
    rng = np.random.default_rng(6)
    stories = rng.normal(0.0, 1.0, (TRIALS, STORIES, 1)) + rng.normal(0.0, 0.3, (TRIALS, STORIES, 4))
    found = intervals(stories.sum(axis=2), np.full(STORIES, 4.0))
    assert 0.93 <= np.mean((found.low <= 0) & (found.high >= 0)) <= 0.97
    assert 0.93 <= np.mean(found.p >= 0.05) <= 0.97


def test_on_even_data_the_interval_is_that_of_students_t():
    pairs = np.random.default_rng(7).normal(0.1, 1.0, 24)
    half = 2.0687 * stdev(pairs) / 24**0.5
    found = intervals(pairs[None], np.ones(24))
    assert found.low[0] == pytest.approx(fmean(pairs) - half, abs=0.15 * half)
    assert found.high[0] == pytest.approx(fmean(pairs) + half, abs=0.15 * half)


def test_the_interval_is_efrons_formula_written_out():
    pairs = np.random.default_rng(9).exponential(1.0, 24)
    normal, draws = NormalDist(), np.random.default_rng(10)
    means = np.sort([draws.choice(pairs, 24).mean() for _ in range(20_000)])
    bias = normal.inv_cdf(float(np.mean(means < pairs.mean())))
    without = np.array([np.delete(pairs, place).mean() for place in range(24)])
    pull = without.mean() - without
    a = (pull**3).sum() / (6 * ((pull**2).sum()) ** 1.5)
    z = (24 / 23) ** 0.5 * 2.0687
    shares = [normal.cdf(bias + (bias + end) / (1 - a * (bias + end))) for end in (-z, z)]
    found = intervals(pairs[None], np.ones(24))
    assert (found.low[0], found.high[0]) == pytest.approx(np.quantile(means, shares), abs=0.02)


def test_the_order_of_the_rows_changes_nothing():
    draws = np.random.default_rng(4)
    measured = [
        Measurement(arm, f"s{story}", seed, float(draws.random()))
        for arm in ("base", "more", "less")
        for story in range(8)
        for seed in range(3)
    ]
    first = compare(Outcome("x", measured), "base")
    shuffled = [measured[place] for place in draws.permutation(len(measured))]
    assert shuffled != measured and compare(Outcome("x", shuffled), "base") == first


def test_another_seed_resamples_anew_and_the_same_one_does_not():
    table = outcome(base=0.0, more=0.02)
    first, again, other = (estimate(table, {"more": 1, "base": -1}, seed=seed) for seed in (1, 1, 2))
    assert first == again and (first.low, first.high) != (other.low, other.high)


def test_the_base_against_itself_is_exactly_nothing():
    draws = np.random.default_rng(8)
    rows = [(f"s{story}", seed, float(draws.random())) for story in range(8) for seed in range(3)]
    twice = Outcome("x", [Measurement(arm, *row) for arm in ("base", "again") for row in rows])
    (found,) = compare(twice, "base")
    of = found.difference
    assert (of.mean, of.low, of.high, of.p, of.d_z, of.improved) == (0.0, 0.0, 0.0, 1.0, None, 0.5)
    assert found.verdict == "undecided"


def test_the_same_gain_everywhere_is_sure():
    of = estimate(Outcome("x", [*values("base", [0.2] * 9), *values("more", [0.3] * 9)]), {"more": 1, "base": -1})
    assert of.mean == pytest.approx(0.1) and of.low == pytest.approx(0.1) and of.high == pytest.approx(0.1)
    assert of.p is not None and of.p < 0.01 and of.d_z is None and of.improved == 1.0


def test_the_figures_of_a_comparison_are_those_of_its_pairs():
    more = [1.0, 2.0, 3.0, 4.0, 5.0, 2.0, None]
    of = estimate(Outcome("x", [*values("base", [1.0] * 7), *values("more", more)]), {"more": 1, "base": -1})
    differences = [value - 1.0 for value in more if value is not None]
    assert of.mean == pytest.approx(fmean(differences))
    assert of.d_z == pytest.approx(fmean(differences) / stdev(differences))
    assert of.improved == pytest.approx(5.5 / 6)
    assert (of.pairs, of.stories, of.left_out) == (6, 6, 1)


def test_five_stories_have_a_mean_and_no_interval():
    (found,) = compare(outcome(base=0.0, more=1.0, stories=5), "base")
    assert found.difference.mean > 0.9 and found.difference.low is None and found.holm is None
    assert found.verdict == "undecided"


def test_holm_corrects_step_by_step_and_never_falls():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}


# --- verdicts and guards ---


def test_a_gain_whose_guard_holds_is_a_gain_and_a_fall_is_a_loss():
    similarity = outcome(base=0.5, more=0.6, less=0.4)
    text = outcome("text_alignment", base=0.3, more=0.3, less=0.3)
    verdicts = {one.arm: one.verdict for one in compare(similarity, "base", [Guard(text, -0.05)])}
    assert verdicts == {"more": "gain", "less": "loss"}


def test_where_lower_is_better_a_fall_is_the_gain():
    (found,) = compare(outcome("colour", better="lower", base=9.0, more=6.0), "base")
    assert (found.verdict, found.difference.improved) == ("gain", 1.0)


def test_a_gain_whose_interval_crosses_a_guard_is_bought_though_its_mean_does_not():
    similarity = outcome(base=0.5, more=0.6)
    text = Outcome("text_alignment", [*values("base", [0.3] * 8), *values("more", [0.26, 0.28, 0.30, 0.31] * 2)])
    (found,) = compare(similarity, "base", [Guard(text, -0.02)])
    (check,) = found.guards
    assert check.difference.mean > -0.02 > (check.difference.low or 0.0)
    assert check.holds is False and found.verdict == "bought"


@pytest.mark.parametrize(("mean", "holds"), [(9.5, True), (8.8, False)])
def test_a_relative_guard_is_a_share_of_the_bases_mean(mean, holds):
    dynamics = Outcome("flow_dynamics", [*values("base", [9.9, 10.1] * 6), *values("more", [mean] * 12)])
    assert Guard(dynamics, -0.10, relative=True).check("more", "base").holds is holds


def test_a_guard_with_a_bound_above_zero_limits_a_rise():
    seconds = Outcome("seconds", [*values("base", [10.0] * 8), *values("more", [14.0, 14.1] * 4)], "lower")
    assert Guard(seconds, 5.0).check("more", "base").holds is True
    assert Guard(seconds, 3.0).check("more", "base").holds is False


def test_what_cannot_be_compared_is_refused_by_name():
    with pytest.raises(UnusableComparison, match="no bound"):
        Guard(outcome(base=0.1), 0.0)
    below = Outcome("cosine", [*values("base", [-0.1] * 8), *values("more", [0.1] * 8)])
    with pytest.raises(UnusableComparison, match=r"mean in arm 'base' is -0\.1, not above 0"):
        Guard(below, -0.1, relative=True).check("more", "base")
    with pytest.raises(UnusableComparison, match="arm 'more', story 's', seed 3 is nan"):
        Outcome("x", [Measurement("more", "s", 3, float("nan"))])
    with pytest.raises(UnusableComparison, match="given twice"):
        Outcome("x", [Measurement("a", "s", 3, 1.0), Measurement("a", "s", 3, 1.0)])
    with pytest.raises(UnusableComparison, match="not measured in arm 'other': it has base, more"):
        estimate(below, {"other": 1.0, "base": -1.0})
    apart = Outcome("x", [*values("base", [1.0]), *values("more", [1.0], story=lambda number: "elsewhere")])
    with pytest.raises(UnusableComparison, match="base, more share no story and seed"):
        estimate(apart, {"more": 1.0, "base": -1.0})


# --- fronts, marginals, interactions ---


def test_an_arm_is_off_the_front_when_another_is_better_in_one_and_no_worse_in_the_other():
    consistency = Outcome(
        "c", [Measurement(arm, "s", 1, value) for arm, value in zip("abcd", (3, 2, 1, 2), strict=True)]
    )
    seconds = Outcome(
        "s", [Measurement(arm, "s", 1, value) for arm, value in zip("abcd", (9, 5, 6, 5), strict=True)], "lower"
    )
    assert pareto(consistency, seconds) == {"a": (), "b": (), "c": ("b", "d"), "d": ()}


CROSSED = {f"{a}-{b}": {"adapter": a, "blend": b} for a in (0.3, 0.6, 0.8) for b in (0.1, 0.25, 0.5)}


def crossed(formula):
    level = np.random.default_rng(2).normal(0, 1, 8)
    return Outcome(
        "x",
        [
            Measurement(arm, f"s{story}", 1, formula(knobs["adapter"], knobs["blend"]) + level[story])
            for arm, knobs in CROSSED.items()
            for story in range(8)
        ],
    )


def test_a_marginal_is_a_knobs_effect_over_all_settings_of_the_others():
    found = marginals(crossed(lambda a, b: 2 * a + a * b), CROSSED, "0.6-0.25", "adapter")
    mean_blend = (0.1 + 0.25 + 0.5) / 3
    assert [effect.levels for effect in found] == [(("adapter", 0.3),), (("adapter", 0.8),)]
    assert [effect.difference.mean for effect in found] == pytest.approx(
        [-0.3 * (2 + mean_blend), 0.2 * (2 + mean_blend)]
    )


def test_knobs_that_add_up_do_not_interact_and_others_do_by_their_product():
    knobs = ("adapter", "blend")
    added = interactions(crossed(lambda a, b: 2 * a - b), CROSSED, "0.6-0.25", knobs)
    assert len(added) == 4 and all(effect.difference.mean == pytest.approx(0) for effect in added)
    multiplied = interactions(crossed(lambda a, b: a * b), CROSSED, "0.6-0.25", knobs)
    assert {effect.levels: round(effect.difference.mean, 6) for effect in multiplied} == {
        (("adapter", a), ("blend", b)): round((a - 0.6) * (b - 0.25), 6) for a in (0.3, 0.8) for b in (0.1, 0.5)
    }


def test_a_level_that_shares_no_setting_with_the_bases_level_has_no_marginal():
    settings = {"base": {"adapter": 0.6, "blend": 0.1}, "other": {"adapter": 0.8, "blend": 0.2}}
    table = outcome(base=0.0, other=1.0)
    assert marginals(table, settings, "base", "adapter") == ()
    assert interactions(table, settings, "base", ("adapter", "blend")) == ()
