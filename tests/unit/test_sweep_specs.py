"""A sweep as data: which arms a spec has, how outcomes are reduced, and what an estimate follows from."""

from datetime import UTC, datetime

import numpy as np
import pytest

from pipelines.errors import BadInput
from pipelines.lab.arms import changed, fixed_arms, latin_hypercube
from pipelines.lab.cache import StepRecord, cost_class
from pipelines.lab.estimate import Estimate, StepTimes, count
from pipelines.lab.outcomes import outcome_scores
from pipelines.lab.spec import Outcome, Range, parse_spec
from pipelines.lab.suite import Story, Suite, SuiteScene, read_suite
from pipelines.steps import Step
from quality.score import Score


def spec(**fields):
    return parse_spec({"until": "stills", **fields}, "small.yaml")


def test_a_grid_is_every_combination_and_the_base_comes_first():
    grid = {"coherence.adapter_scale": [0.3, 1], "image.guidance_scale": [2.0, 4.0]}
    arms = fixed_arms(spec(arms={"grid": grid, "list": {"plain": {}}}))
    assert [arm.name for arm in arms] == [
        "base",
        "plain",
        "adapter_scale=0.3, guidance_scale=2",
        "adapter_scale=0.3, guidance_scale=4",
        "adapter_scale=1, guidance_scale=2",
        "adapter_scale=1, guidance_scale=4",
    ]
    assert changed({"image.size": None, "video.size": "x"}).name == "image.size=none, video.size=x"


def test_two_arms_of_one_name_are_refused():
    arms = {"list": {"adapter_scale=0.3": {"image.guidance_scale": 2}}, "grid": {"coherence.adapter_scale": [0.3]}}
    with pytest.raises(BadInput, match=r"two arms are called 'adapter_scale=0\.3'"):
        fixed_arms(spec(arms=arms))


def test_a_latin_hypercube_has_one_value_in_each_equal_part_of_every_range():
    shares = latin_hypercube(16, 3, seed=5)
    assert np.array_equal(np.sort((shares * 16).astype(int), axis=0), np.tile(np.arange(16)[:, None], 3))
    knobs = {"coherence.adapter_scale": {"low": 0.2, "high": 1.0}, "image.num_inference_steps": [4, 8]}
    drawn = [arm.changes for arm in fixed_arms(spec(arms={"latin_hypercube": {"samples": 8, "knobs": knobs}}))[1:]]
    assert len(drawn) == 8 and sorted(one["image.num_inference_steps"] for one in drawn) == [4] * 4 + [8] * 4
    again = fixed_arms(spec(arms={"latin_hypercube": {"samples": 8, "knobs": knobs}}))[1:]
    assert [arm.changes for arm in again] == drawn


@pytest.mark.parametrize(
    ("knob", "shares", "values"),
    [
        (Range(low=0, high=1), (0, 0.5, 1), (0, 0.5, 1)),
        (Range(low=0.01, high=1, log=True), (0, 0.5, 1), (0.01, 0.1, 1)),
        (Range(low=1, high=3, integer=True), (0, 0.34, 0.99, 1), (1, 2, 3, 3)),
    ],
)
def test_a_range_is_met_at_both_ends(knob, shares, values):
    assert tuple(knob.at(share) for share in shares) == pytest.approx(values)


def keyframe_score(number, raw, impl="x@1", sha="k"):
    return Score(metric_id="admint.technical.noise", impl_id=impl, scene_number=number, raw=raw, fidelity="classical",
                 source_sha256=f"{sha}{number}")  # fmt: skip


TAKES = {"scene-1/keyframe": "k1", "scene-2/keyframe": "k2", "scene-1/clip": "c1", "scene-2/clip": "c2"}


def test_an_outcome_is_the_mean_of_the_scenes_and_the_worst_of_them_on_the_last_medium():
    stills = [keyframe_score(1, 1.0), keyframe_score(2, 3.0)]
    clips = [keyframe_score(1, 5.0, sha="c"), keyframe_score(2, 9.0, sha="c")]
    found = outcome_scores([Outcome(name="technical.noise", better="lower")], [*stills, *clips], TAKES)
    assert (found["technical.noise"].value, found["technical.noise.worst"].value) == (7.0, 9.0)
    on_stills = Outcome(name="technical.noise", medium="keyframe")
    found = outcome_scores([on_stills], [*stills, *clips], TAKES)
    assert (found["technical.noise"].value, found["technical.noise.worst"].value) == (2.0, 1.0)


def test_scenes_measured_in_two_ways_or_not_at_all_have_a_reason_and_no_mean():
    asked = [Outcome(name="technical.noise")]
    mixed = outcome_scores(asked, [keyframe_score(1, 1.0), keyframe_score(2, 3.0, impl="x@2")], TAKES)
    assert mixed["technical.noise"].value is None and "different ways" in str(mixed["technical.noise"].reason)
    lacking = Score(metric_id="admint.technical.noise", impl_id="x@1", scene_number=2, reason="too dark")
    found = outcome_scores(asked, [keyframe_score(1, 1.0), lacking], TAKES)
    assert found["technical.noise.worst"].reason == "scene 2: too dark"


async def nothing(context):
    raise AssertionError("it is only planned")


def still(number, steps):
    request = {"prompt": f"p{number}", "num_inference_steps": steps, "guidance_scale": 3.0, "width": 64, "height": 64}
    return Step(name=f"storyboard/scene-{number:03d}", inputs={"model": "m", "request": request}, work=nothing)


def measured(step, seconds):
    return StepRecord(step=step.name, key=step.key, cost=cost_class(step), value={}, seconds=seconds,
                      created_at=datetime.now(UTC))  # fmt: skip


def true_seconds(steps):
    """Of a model whose decoder takes 0.1 s and whose denoising steps take 0.02 s."""
    return 0.1 + 0.02 * steps


def test_an_estimate_from_measured_steps_is_within_a_quarter_of_what_follows():
    """Also for numbers of denoising steps that were not measured, by the line through those that were."""
    noise = np.random.default_rng(2).uniform(0.9, 1.1, 40)
    known = [measured(still(n, steps), true_seconds(steps) * noise[n]) for n, steps in enumerate([6, 12] * 20)]
    todo = [still(100 + n, steps) for n, steps in enumerate([6, 12, 24, 9] * 5)]
    estimate = Estimate(runs=5, finished=0)
    count(estimate, {step.key: step for step in todo}, [], set(), StepTimes(known))
    follows = sum(true_seconds(step.inputs["request"]["num_inference_steps"]) for step in todo)
    assert estimate.seconds == pytest.approx(follows, rel=0.25)
    unknown = Estimate(runs=1, finished=0)
    other = Step(name="video/scene-001", inputs={"model": "v", "request": {"num_inference_steps": 4}}, work=nothing)
    count(unknown, {other.key: other}, [], set(), StepTimes(known))
    assert unknown.seconds is None and unknown.unknown == 1


def test_an_estimate_follows_steps_that_often_wait_and_not_one_that_was_stopped():
    """Two in five steps take twice as long, as beside another program; one of sixty was stopped for minutes."""
    waits = [measured(still(n, 6), 0.2 if n % 5 < 2 else 0.1) for n in range(60)]
    stopped = measured(still(60, 6), 300.0)
    todo = {step.key: step for step in (still(100 + n, 6) for n in range(50))}
    for known in (waits, [*waits, stopped]):
        estimate = Estimate(runs=1, finished=0)
        count(estimate, todo, [], set(), StepTimes(known))
        assert estimate.seconds == pytest.approx(50 * 0.14, rel=0.05)


def test_a_step_that_runs_share_is_counted_once():
    estimate, seen, times = Estimate(runs=2, finished=0), set[str](), StepTimes([measured(still(1, 6), 0.2)])
    for _ in range(2):
        count(estimate, {still(2, 6).key: still(2, 6)}, [measured(still(1, 6), 0.2)], seen, times)
    assert (estimate.stages["storyboard"].todo, estimate.stages["storyboard"].cached) == (1, 1)
    assert estimate.seconds == pytest.approx(0.2)


def test_a_suite_says_which_story_and_field_is_wrong(tmp_path):
    path = tmp_path / "suite.yaml"
    for text, words in (
        ("stories: [{id: a, scenes: [{prompt: p, lens: 50}]}]", "story 'a': scenes.0.lens"),
        ("stories: [{id: a}]", "it needs scenes, a storyboard or a brief"),
        ("stories: [{id: a, brief: b}, {id: a, brief: b}]", "story 'a' is there twice"),
        ("stories: [{id: a, brief: b, references: [none.png]}]", "references.0: cannot read"),
        ("stories: {}", "must be a list of stories"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput) as refused:
            read_suite(path)
        assert words in str(refused.value)


def test_scenes_without_a_length_make_an_ad_that_may_be():
    for scenes in (1, 2, 3, 4):
        board = Story(id="s", scenes=tuple(SuiteScene(prompt="p") for _ in range(scenes))).board
        assert board is not None and board.duration == max(9, 3 * scenes)
        assert sum(scene.seconds for scene in board.scenes) == pytest.approx(board.duration)
    assert Suite(stories=(Story(id="s", brief="an ad for a mug"),)).stories[0].board is None
