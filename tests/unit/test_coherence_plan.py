"""The coherence table against what was decided before it, and the defaults against the table."""

import inspect
import json
from pathlib import Path

import pytest

from benchmarks.coherence import stories
from benchmarks.coherence.controls import Control
from benchmarks.coherence.plan import UNTIL, plan_sha256, read_plan, suite
from benchmarks.coherence.table import DEFAULTS, as_json, as_markdown, choose, problems
from models.sketch.training.world.spec import is_held_out
from pipelines.coherence import CoherenceSettings
from pipelines.lab.analysis import analyse
from pipelines.lab.runs import Run, Runs, RunScore

TABLE = Path(__file__).parents[2] / "benchmarks" / "results" / "coherence.json"


@pytest.fixture(scope="module")
def plan():
    return read_plan()


def drawn_runs(plan, end):
    """What a sweep of the knob `adapter_end` might find: an arm with `end` more of the primary outcome."""
    arms = plan.arms("stills", ("adapter_end",))
    return Runs(
        Run(
            run_id=f"{arm} {story}",
            arm=arm,
            story=f"story-{story}",
            seed=1,
            settings={"coherence.adapter_end": 1, **changes},
            scores={
                name: RunScore(
                    value=story / 100 + (end if arm.endswith("0.8") else 0), impl_id=f"{name}@1", label="toy"
                )
                for name in ("sketch.product_similarity", "keyframe_alignment", "judge.setting", "judge.product")
            },
            seconds={"storyboard": 1.0},
        )
        for story in range(12)
        for arm, changes in {"base": {}, **arms}.items()
    )


def results_of(plan, end, agreed):
    """Results in the committed format."""
    runs = drawn_runs(plan, end)
    answers = analyse(runs, [plan.question("adapter_end")], plan.better(), plan.observers)
    choices = {"adapter_end": choose(runs, answers[0], plan, agreed)}
    about = {
        "command": "a test", "plan_sha256": plan_sha256(), "stories": plan.stories, "date": "today", "device": "none",
        "minutes": 0, "not_measured": {}, "measured_by": {}, "refused": {}, "failed": 0, "seconds": {},
    }  # fmt: skip
    return as_json(plan, answers, agreed, choices, [Control("base again", "0", "0", True)], about)


@pytest.fixture(scope="module")
def table(plan):
    """Drawn results in the committed format, and their page."""
    results = json.loads(json.dumps(results_of(plan, 0.0, {})))
    return results, as_markdown(results, plan)


def test_the_committed_stories_are_those_that_are_drawn():
    assert stories.FILE.read_text() == stories.written(stories.drawn())


def test_every_story_holds_a_combination_that_no_training_saw():
    for name in stories.SETS:
        told = stories.read(name)
        assert len({story.story for story in told}) == stories.STORIES
        for story in told:
            assert len({scene.setting for scene in story.scenes}) == stories.SCENES
            assert any(is_held_out(story.shape, story.colour, scene.setting) for scene in story.scenes)


def test_no_product_is_in_both_sets_in_the_same_material():
    first, second = ({(one.shape, one.colour, one.material) for one in stories.read(name)} for name in stories.SETS)
    assert not first & second


def test_references_are_rendered_the_same_each_time():
    one, other = (suite("first", 1).stories[0].references for _ in range(2))
    assert len(one) == stories.REFERENCES
    assert [a.png for a in one] == [b.png for b in other]
    assert one[0].png != one[1].png


def test_the_code_has_each_knobs_base_or_what_the_committed_table_put_in_its_place(plan):
    wanted = {knob.path: knob.base for knob in plan.knobs.values() if knob.path in DEFAULTS}
    for choice in json.loads(TABLE.read_text())["defaults"].values():
        wanted |= choice["settings"]
    assert {path: DEFAULTS[path]() for path in wanted} == wanted


@pytest.mark.parametrize("until", UNTIL)
def test_the_base_arm_has_the_plans_base_whatever_the_defaults_have_become(plan, until):
    base = plan.sweep(until, {}).base
    planned = {knob.path: knob.base for knob in plan.knobs.values() if knob.path is not None and knob.until == until}
    assert {path: base[path] for path in planned} == planned


def test_every_knob_decides_by_and_guards_an_outcome_that_is_measured_where_it_stops(plan):
    for knob in plan.knobs.values():
        for name in (knob.primary, *knob.guards):
            assert plan.outcomes[name].until in (None, knob.until), name


def test_a_crossed_arm_sets_only_what_is_not_as_in_the_base(plan):
    crossed = plan.knobs["adapter_x_blend"]
    assert crossed.changes("0.6, 0.75") == {"coherence.blend_strength": 0.75}
    assert crossed.changes("1, 0") == {"coherence.adapter_scale": 1, "coherence.blend_strength": 0}


def test_the_committed_results_are_the_plans_and_the_defaults_are_theirs(plan):
    assert problems(json.loads(TABLE.read_text()), TABLE.with_suffix(".md").read_text(), plan) == []


def test_results_of_this_plan_with_todays_defaults_have_no_problem(table, plan):
    results, page = table
    assert problems(results, page, plan) == []


def test_a_default_that_a_table_backs_says_in_the_code_which_row_it_is(plan):
    code = inspect.getsource(CoherenceSettings).splitlines()
    for name, knob in plan.knobs.items():
        if knob.path is not None and knob.path.startswith("coherence."):
            place = next(n for n, line in enumerate(code) if line.strip().startswith(f"{knob.path[10:]}: "))
            assert code[place - 1].strip().startswith("# benchmarks/results/coherence.md: "), knob.path
            assert name in code[place - 1], knob.path


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"plan_sha256": "0"}, "they were made by another plan: make coherence"),
        ({"stories": 2}, "they are of 2 stories: make coherence"),
        ({"failed": 3}, "3 runs failed"),
        ({"controls": [{"name": "frozen", "must": "", "found": "likeness -0.1", "passed": False}]},
         "control frozen: likeness -0.1"),
        ({"defaults": {"blend": {"arm": "blend 0.5", "best": "", "ties": [], "barred": {},
                                 "settings": {"coherence.blend_strength": 0.5}}}},
         "blend: the table says coherence.blend_strength = 0.5, the code has 0.25"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_results_is_said(table, plan, changed, told):
    results = {**table[0], **changed}
    assert problems(results, as_markdown(results, plan), plan) == [told]


def test_a_page_of_other_results_is_noticed(table, plan):
    assert problems(table[0], table[1] + " ", plan) == ["coherence.md is not the page of coherence.json"]


def test_the_best_arm_that_keeps_its_guards_is_the_default_where_the_second_set_agrees(plan):
    agreed = results_of(plan, 0.2, {"adapter_end 0.8": True})["defaults"]["adapter_end"]
    assert (agreed["arm"], agreed["settings"]) == ("adapter_end 0.8", {"coherence.adapter_end": 0.8})
    alone = results_of(plan, 0.2, {"adapter_end 0.8": False})["defaults"]["adapter_end"]
    assert alone["arm"] == "base"
    assert "second set" in alone["barred"]["adapter_end 0.8"]
    not_again = results_of(plan, 0.2, {})["defaults"]["adapter_end"]
    assert not_again["arm"] == "base" and "was not run on the second set" in not_again["barred"]["adapter_end 0.8"]
    worse = results_of(plan, -0.2, {"adapter_end 0.8": True})["defaults"]["adapter_end"]
    assert worse["arm"] == "base"
    assert worse["barred"]["adapter_end 0.8"].startswith("crosses keyframe_alignment")


def test_an_arm_that_the_model_refuses_is_a_row_with_its_reason(plan):
    """As `first_last` of the family that was measured."""
    results = json.loads(json.dumps(results_of(plan, 0.2, {"adapter_end 0.8": True})))
    del results["knobs"]["adapter_end"]["arms"]["adapter_end 0.5"]
    page = as_markdown({**results, "refused": {"adapter_end 0.5": "the model cannot"}}, plan)
    assert "| 0.5 | − | cannot be made: the model cannot |" in page
    assert "1 refused by the model" in page and "`0.5`: cannot be made" in page


def test_the_page_begins_with_a_sentence_for_each_knob_and_the_default_that_follows(plan):
    page = as_markdown(json.loads(json.dumps(results_of(plan, 0.2, {"adapter_end 0.8": True}))), plan)
    sentence = next(line for line in page.splitlines() if line.startswith("- **adapter_end**"))
    assert "is 0.055 at the base (1)" in sentence
    assert "`0.8` +0.200 [+0.200, +0.200] *contrary*, again in the second set" in sentence
    assert "`0.5`: no difference that these runs can tell" in sentence
    assert sentence.endswith("The default by the rule is `0.8`: the best mean of those that keep every guard.")
    assert page.index("- **adapter_end**") < page.index("## Can it be believed") < page.index("## adapter_end")


def test_observers_that_disagree_are_told_with_both_differences(plan):
    results = json.loads(json.dumps(results_of(plan, 0.2, {"adapter_end 0.8": True})))
    outcomes, knob = results["outcomes"], results["knobs"]["adapter_end"]
    knob["arms"]["adapter_end 0.8"][outcomes.index("judge.setting")] = [0.1, -0.05, -0.08, -0.02, 12, "loss"]
    knob["observers_disagree"] = [["adapter_end 0.8", "sketch.product_similarity", "judge.setting"]]
    page = as_markdown(results, plan)
    assert "and the second observer sees the opposite" in page
    assert "disagree** on 0.8: `sketch.product_similarity` +0.200 [+0.200, +0.200] and `judge.setting` −0.050" in page
