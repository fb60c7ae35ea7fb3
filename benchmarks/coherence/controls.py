"""Controls of the coherence table: what must come out if its outcomes measure what they say.

The base again is made anew in a folder of its own. The others are made of the base's finished takes: each is scored as
if it were the answer to the story's own prompts, by the same functions as the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.coherence.outcomes import GATE, alignments, extra_outcomes, shown
from pipelines.lab.analysis import SECONDS, analyse, columns
from pipelines.lab.analysis import Question as Asked
from pipelines.lab.cache import ARTIFACTS
from pipelines.lab.outcomes import ExtraOutcome, TakenRun, extra_scores
from pipelines.lab.runs import Run, Runs
from pipelines.lab.spec import BASE
from pipelines.lab.suite import Suite
from pipelines.store.artifacts import LocalArtifacts
from quality.paired import MIN_STORIES

LIKENESS = "sketch.product_similarity"
ALIGNMENT = "sketch.alignment"
UNGATED = "sketch.likeness"
ALIGNMENT_GUARD = -0.02


@dataclass(frozen=True)
class Control:
    """One of them, and whether it came out as it must."""

    name: str
    must: str
    found: str
    passed: bool | None
    """None: too few stories to tell."""


def base_again(first: Runs, again: Runs) -> Control:
    """Every take bit-equal, every difference exactly 0; of seconds nothing is said."""
    before = {(run.story, run.seed): run for run in first if run.arm == BASE}
    pairs = [(before[run.story, run.seed], run) for run in again if run.arm == BASE]
    takes = sum(len(one.takes) for one, _ in pairs)
    equal = sum(one.takes[name] == other.takes.get(name) for one, other in pairs for name in one.takes)
    differences = [
        abs((score.value or 0.0) - (other.scores[name].value or 0.0))
        for one, other in pairs
        for name, score in one.scores.items()
        if name in other.scores
    ]
    largest = max(differences, default=float("nan"))
    return Control(
        "base again",
        "every take bit-equal, every difference exactly 0",
        f"{equal} of {takes} takes bit-equal; the largest of {len(differences)} differences is {largest:g}",
        bool(pairs) and equal == takes and largest == 0.0,
    )


def made_of_takes(runs: Runs, suite: Suite, folder: Path) -> tuple[Control, ...]:
    """Frozen, wrong product and shuffled, from the base's takes of stills in the sweep's `folder`."""
    read = LocalArtifacts(folder / ARTIFACTS).read
    bases = {run.story: run for run in runs if run.arm == BASE}
    stories = [story for story in suite.stories if story.id in bases]
    own = [TakenRun(BASE, story, bases[story.id].seed, _stills(bases[story.id]), read) for story in stories]
    numbers = range(1, 1 + min(len(story.scenes) for story in stories))
    half = max(1, len(own) // 2)
    arms: dict[str, Callable[[int], dict[str, str]]] = {
        BASE: lambda at: dict(own[at].takes),
        "frozen": lambda at: {_name(n): own[at].takes[_name(1)] for n in numbers},
        "wrong product": lambda at: dict(own[_other(own, at, half)].takes),
        "shuffled": lambda at: {_name(n): own[(at + n - 1) % len(own)].takes[_name(n)] for n in numbers},
    }
    measures = _measures()
    rows = [
        Run(
            run_id=f"{arm} {one.story.id}", arm=arm, story=one.story.id, seed=one.seed,
            scores=extra_scores(measures, TakenRun(arm, one.story, one.seed, takes(at), read)),
        )
        for arm, takes in arms.items()
        for at, one in enumerate(own)
    ]  # fmt: skip
    return _found(Runs(rows), len(own))


def _found(rows: Runs, stories: int) -> tuple[Control, ...]:
    means = {name: outcome for name, outcome in columns(rows).items() if name != SECONDS}
    question = Asked(
        name="controls", base=BASE, arms={"frozen": "+", "shuffled": "-"}, primary=UNGATED,
        guards={ALIGNMENT: ALIGNMENT_GUARD},
    )  # fmt: skip
    (answer,) = analyse(rows, (question,))
    told = []
    enough = stories >= MIN_STORIES
    for arm, must in (
        ("frozen", "scenes more alike than the base's, and the alignment guard crossed"),
        ("shuffled", "the product less alike than the base's"),
    ):
        likeness = answer.finding(arm, UNGATED)
        guard = likeness.compared.guards[0] if likeness else None
        if likeness is None or guard is None:
            told.append(Control(arm, must, "not measured", False))
            continue
        mean = likeness.compared.difference.mean
        if arm == "frozen":
            passed = mean > 0 and (not guard.holds if enough else guard.difference.mean < ALIGNMENT_GUARD)
            words = f"likeness {mean:+.3f}, alignment {guard.difference.mean:+.3f}: {likeness.word}"
        else:
            passed = mean < 0 and (likeness.word == "loss" if enough else True)
            words = f"likeness {mean:+.3f}: {likeness.word}"
        told.append(Control(arm, must, words, passed))
    thrown = [run for run in rows if run.arm == "wrong product" and run.scores[LIKENESS].value is None]
    kept = [run for run in rows if run.arm == BASE and run.scores[LIKENESS].value is not None]
    wrong = means[ALIGNMENT]
    told.append(
        Control(
            "wrong product",
            "most stories thrown out by the fidelity gate, most of the base's kept",
            f"{len(thrown)} of {stories} stories thrown out, {len(kept)} of the base's {stories} kept (least alignment "
            f"{GATE:g}); alignment {wrong.mean('wrong product') - wrong.mean(BASE):+.3f}",
            len(thrown) > stories / 2 and len(kept) > stories / 2,
        )
    )
    return tuple(told)


def _measures() -> dict[str, ExtraOutcome]:
    return {
        LIKENESS: extra_outcomes("stills")[LIKENESS],
        ALIGNMENT: ExtraOutcome("sketch.alignment@1", "toy", _alignment),
        UNGATED: ExtraOutcome("sketch.likeness@1", "toy", _likeness),
    }


def _alignment(run: TakenRun) -> float:
    return float(np.mean(alignments(run, shown(run))))


def _likeness(run: TakenRun) -> float:
    """The likeness of the first scene's product to the later ones', without the fidelity gate and the references."""
    from benchmarks.coherence.outcomes import crop, vectors

    scenes = vectors("sketch", [crop(picture) for picture in shown(run)])
    return float(np.mean([scenes[0] @ later for later in scenes[1:]]))


def _stills(run: Run) -> dict[str, str]:
    return {name: sha256 for name, sha256 in run.takes.items() if name.endswith("/keyframe")}


def _name(number: int) -> str:
    return f"scene-{number}/keyframe"


def _other(own: Sequence[TakenRun], at: int, start: int) -> int:
    """The next story, from half the set on, whose product has another shape and another colour."""
    known: Any = own[at].story.known
    for step in range(len(own)):
        place = (at + start + step) % len(own)
        other: Any = own[place].story.known
        if other["shape"] != known["shape"] and other["colour"] != known["colour"]:
            return place
    return (at + start) % len(own)
