"""What a sweep found: the words for a difference, what is left out, and what never meets in one column."""

import numpy as np
import pytest

from pipelines.errors import BadInput
from pipelines.lab.analysis import Question, analyse, columns, questions_of, sentence
from pipelines.lab.runs import Run, Runs, RunScore

STORIES = 12


def run(arm, story, values, settings=None, impl="@1", seconds=1.0, failed=None):
    scores = {name: RunScore(value=value, impl_id=name + impl, label="toy") for name, value in values.items()}
    return Run(
        run_id=f"{arm} {story}",
        arm=arm,
        story=f"story-{story}",
        seed=1,
        settings=settings or {"knob": arm},
        scores={} if failed else scores,
        seconds={} if failed else {"storyboard": seconds, "quality": 50.0},
        failed=failed,
    )


def drawn(effects, noise=0.02):
    """Runs of the base and of arms that add to its likeness and alignment."""
    rng = np.random.default_rng(0)
    made = []
    for story in range(STORIES):
        level = rng.normal(0.6, 0.1)
        for arm, (likeness, alignment) in {"base": (0.0, 0.0), **effects}.items():
            values = {
                "likeness": level + likeness + rng.normal(0, noise),
                "alignment": 0.3 + alignment + rng.normal(0, 0.002),
            }
            made.append(run(arm, story, values, seconds=1.0 + (arm != "base")))
    return made


EFFECTS = {"good": (0.2, 0.0), "dear": (0.2, -0.1), "none": (0.0, 0.0), "bad": (-0.2, 0.0), "odd": (-0.2, 0.0)}
QUESTION = Question(
    name="knob",
    base="base",
    primary="likeness",
    arms={"good": "+", "dear": "+", "none": "+", "bad": "-", "odd": "+"},
    guards={"alignment": -0.02},
)


@pytest.fixture(scope="module")
def rows():
    return drawn(EFFECTS)


@pytest.fixture(scope="module")
def answer(rows):
    return analyse(Runs(rows), [QUESTION])[0]


def test_each_difference_has_the_word_that_the_plan_gives_it(answer):
    words = {arm: answer.finding(arm).word for arm in QUESTION.arms}
    assert words == {"good": "gain", "dear": "bought", "none": "null", "bad": "loss", "odd": "contrary"}


def test_the_order_of_the_rows_changes_nothing(rows, answer):
    again = analyse(Runs(rows[:1] + rows[:0:-1]), [QUESTION])[0]
    assert [(one.outcome, one.word, one.compared.difference) for one in again.findings] == [
        (one.outcome, one.word, one.compared.difference) for one in answer.findings
    ]


def test_a_sentence_names_difference_interval_guards_and_word(answer):
    said = sentence(answer, "dear")
    assert said.startswith("base → dear: likeness +0.")
    assert "alignment −0.1" in said
    assert said.endswith("(guard crossed): bought")
    assert "(guard" not in sentence(answer, "good")


def test_seconds_are_an_outcome_without_the_measuring(answer):
    assert answer.means["seconds"] == {"base": 1.0, **dict.fromkeys(QUESTION.arms, 2.0)}
    assert "base" in answer.dominated["bad"]
    assert answer.dominated["base"] == ()


def test_a_failed_run_is_left_out_with_its_pair(rows):
    failed = [run("good", 0, {}, failed="out of memory"), *(one for one in rows if one.run_id != "good 0")]
    finding = analyse(Runs(failed), [QUESTION])[0].finding("good")
    assert finding is not None
    assert (finding.compared.difference.pairs, finding.compared.difference.left_out) == (STORIES - 1, 1)


def test_values_of_two_implementations_never_meet():
    rows = [run("base", 0, {"likeness": 0.1}), run("other", 0, {"likeness": 0.9}, impl="@2")]
    found = columns(Runs(rows))
    assert set(found) == {"likeness [likeness@1]", "likeness [likeness@2]", "seconds"}
    with pytest.raises(BadInput, match="primary outcome 'likeness' was not measured"):
        analyse(Runs(rows), [Question(name="k", base="base", primary="likeness", arms={"other": None})])


def test_too_few_stories_have_a_mean_and_no_interval(rows):
    few = [one for one in rows if one.story in ("story-0", "story-1")]
    answer = analyse(Runs(few), [QUESTION])[0]
    finding = answer.finding("good")
    assert finding is not None
    assert finding.word == "null"
    assert "no interval: 2 stories" in sentence(answer, "good")
    assert "crossed" not in sentence(answer, "good")


def test_observers_that_disagree_in_sign_are_named():
    rows = [
        run(arm, story, {"one": story / 100 + change, "other": story / 100 - change})
        for story in range(STORIES)
        for arm, change in (("base", 0.0), ("arm", 0.3 + story / 1000))
    ]
    question = Question(name="knob", base="base", primary="one", arms={"arm": None})
    (answer,) = analyse(Runs(rows), [question], observers={"one": "other"})
    assert answer.disagreements == (("arm", "one", "other"),)
    assert analyse(Runs(rows), [question])[0].disagreements == ()


def test_a_sweep_asks_one_question_per_setting_and_crossed_settings_have_an_interaction():
    rows = [
        run(f"{a} {b}" if (a, b) != (0, 0) else "base", story, {"y": story + a + b + 5 * a * b}, {"a": a, "b": b})
        for story in range(STORIES)
        for a in (0, 1)
        for b in (0, 1)
    ]
    questions = questions_of(Runs(rows), "base", "y")
    assert {one.name: list(one.arms) for one in questions} == {"a": ["1 0"], "b": ["0 1"], "several settings": ["1 1"]}
    whole = Question(name="both", base="base", primary="y", arms={"0 1": None, "1 0": None, "1 1": None})
    (answer,) = analyse(Runs(rows), [whole])
    assert [one.difference.mean for one in answer.interactions] == [pytest.approx(5.0)]
    assert answer.marginals["y"]["a"][0].difference.mean == pytest.approx(1 + 2.5)


@pytest.mark.parametrize(
    ("told", "bound"), [(-0.02, (-0.02, False)), ("-10 %", (-0.1, True)), ("0.05 absolute", (0.05, False))]
)
def test_a_guard_is_a_number_or_a_share(told, bound):
    assert Question(name="k", base="b", primary="y", arms={}, guards={"z": told}).guard("z") == bound


def test_a_guard_that_is_no_number_says_how_to_write_it():
    question = Question(name="k", base="b", primary="y", arms={}, guards={"z": "little"})
    with pytest.raises(BadInput, match="guard 'z' of 'k' is 'little': write how far it may move"):
        question.guard("z")


def test_a_base_that_was_not_run_is_refused(rows):
    with pytest.raises(BadInput, match="no finished run of the arm 'start'"):
        questions_of(Runs(rows), "start", "likeness")
