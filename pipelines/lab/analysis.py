"""What a sweep found: every arm against its base in every outcome, in words that a plan has fixed before.

The statistics are `quality.paired`'s; here are the questions, and what follows for each: a *gain*, a gain that is
*bought* with something that a guard protects, a *loss*, nothing that the runs can tell (*null*), or the *contrary* of
what was expected. Pure: rows in, findings out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from models.interfaces import Plain
from pipelines.errors import BadInput
from pipelines.lab.runs import Run, Runs
from quality.paired import (
    LEVEL,
    Better,
    Comparison,
    Effect,
    Guard,
    GuardCheck,
    Measurement,
    Outcome,
    Setting,
    UnusableComparison,
    compare,
    interactions,
    marginals,
    pareto,
)

Sign = Literal["+", "-", "0"]
Word = Literal["gain", "bought", "loss", "null", "contrary"]
SECONDS = "seconds"
"""The outcome that every run has: how long its steps took, without the measuring."""
MEASURING = "quality"
LOWER_IS_BETTER = frozenset(
    {
        "seconds", "product_colour", "copy_paste", "gibberish", "unwanted_cuts", "unwanted_cuts.transnetv2",
        "freeze_loop.frozen", "freeze_loop.repeat", "technical.noise", "technical.blockiness", "technical.clipping",
        "ad.duration", "ad.ratio", "ad.black_frames", "ad.luminance_clipping", "ad.safe_zones", "ad.first_product",
    }
)  # fmt: skip
"""Outcomes of which less is better; of all others more is."""


class Question(Plain):
    """What is asked of some arms, written down before they are run."""

    name: str
    """The knob, or what else the arms differ in."""
    asks: str = ""
    """The question in words."""
    base: str
    """Name of the arm that the others are compared with."""
    arms: dict[str, Sign | None]
    """The other arms in their order, and what was expected of the primary outcome: `+` better, `-` worse, `0` or null
    nothing."""
    primary: str
    """The outcome that decides."""
    guards: dict[str, float | str] = Field(default_factory=dict)
    """By outcome, how far it may move: -0.02, or `-10 %` of the base's mean. Below 0 it may fall, above 0 rise."""

    def guard(self, outcome: str) -> tuple[float, bool]:
        """The bound, and whether it is relative. Raises BadInput for a text that is no share."""
        told = self.guards[outcome]
        if not isinstance(told, str):
            return told, False
        try:
            return float(told.removesuffix("absolute").removesuffix("%").strip()) / (
                100 if "%" in told else 1
            ), "%" in told
        except ValueError:
            raise BadInput(
                f"guard {outcome!r} of {self.name!r} is {told!r}: write how far it may move, as -0.02 or '-10 %'"
            ) from None


@dataclass(frozen=True)
class Finding:
    """One arm against the base in one outcome."""

    outcome: str
    compared: Comparison
    """Corrected after Holm over the arms of the question; with the question's guards, once per arm."""
    word: Word

    @property
    def arm(self) -> str:
        """Name of the arm."""
        return self.compared.arm


@dataclass(frozen=True)
class Answer:
    """What the runs say to one question."""

    question: Question
    means: Mapping[str, Mapping[str, float]]
    """By outcome and arm; arms without a value are left out."""
    findings: tuple[Finding, ...]
    """In the order of the outcomes, then of the question's arms."""
    marginals: Mapping[str, Mapping[str, tuple[Effect, ...]]]
    """By outcome, and the path of each setting that the arms differ in."""
    interactions: tuple[Effect, ...]
    """Of the primary outcome, where the arms cross two settings."""
    dominated: Mapping[str, tuple[str, ...]]
    """By arm: the arms that are better in the primary outcome or in seconds and worse in neither."""
    disagreements: tuple[tuple[str, str, str], ...]
    """Arm, outcome and the other observer's outcome, where the two differ in sign."""

    def finding(self, arm: str, outcome: str | None = None) -> Finding | None:
        """Of the primary outcome unless one is named; None where it was not measured."""
        wanted = outcome or self.question.primary
        return next((one for one in self.findings if one.arm == arm and one.outcome == wanted), None)


def columns(runs: Runs, better: Mapping[str, Better] | None = None) -> dict[str, Outcome]:
    """Every outcome as a table of arms by story and seed, SECONDS last.

    One that several implementations measured is a table for each, named `OUTCOME [IMPL_ID]`: they never meet.
    """
    found: dict[str, Outcome] = {}
    for name in runs.outcomes:
        implementations = runs.implementations(name)
        for impl_id in implementations:
            column = name if len(implementations) == 1 else f"{name} [{impl_id}]"
            measured = [
                Measurement(arm, story, seed, value) for (arm, story, seed), value in runs.values(name, impl_id).items()
            ]
            found[column] = Outcome(column, measured, direction(name, better))
    times = [Measurement(run.arm, run.story, run.seed, _seconds(run)) for run in runs]
    if any(one.value is not None for one in times):
        found[SECONDS] = Outcome(SECONDS, times, "lower")
    return found


def direction(outcome: str, better: Mapping[str, Better] | None = None) -> Better:
    """Whether more of an outcome is better, or less; `.worst` is as the outcome itself."""
    known = (better or {}).get(outcome)
    return known or ("lower" if outcome.removesuffix(".worst") in LOWER_IS_BETTER else "higher")


def _seconds(run: Run) -> float | None:
    if run.failed is not None or not run.seconds:
        return None
    return sum(seconds for stage, seconds in run.seconds.items() if stage != MEASURING)


def questions_of(
    runs: Runs, base: str, primary: str, guards: Mapping[str, float | str] | None = None
) -> tuple[Question, ...]:
    """The questions that a sweep asks by its arms alone: one per setting that an arm changes without any other, and
    one for the arms that change several. Raises BadInput when there is no arm of the name `base`."""
    settings = settings_of(runs)
    if base not in settings:
        raise BadInput(f"the sweep has no finished run of the arm {base!r}: it has {', '.join(runs.arms)}")
    start = settings[base]
    groups: dict[str, dict[str, Sign | None]] = {}
    for arm, own in settings.items():
        changed = [path for path in own if own[path] != start.get(path)]
        if arm != base:
            groups.setdefault(changed[0] if len(changed) == 1 else "several settings", {})[arm] = None
    return tuple(
        Question(name=name, base=base, arms=arms, primary=primary, guards=dict(guards or {}))
        for name, arms in groups.items()
    )


def settings_of(runs: Iterable[Run]) -> dict[str, dict[str, Setting]]:
    """The settings of each arm by path, in the order of the arms; a list or mapping as its JSON."""
    return {
        run.arm: {
            path: json.dumps(value, sort_keys=True) if isinstance(value, list | tuple | dict) else value
            for path, value in run.settings.items()
        }
        for run in runs
    }


def analyse(
    runs: Runs,
    questions: Sequence[Question],
    better: Mapping[str, Better] | None = None,
    observers: Mapping[str, str] | None = None,
    seed: int = 0,
) -> tuple[Answer, ...]:
    """An answer to each question. The order of the rows changes nothing; `seed` is of the resampling.

    `better` says of outcomes of one's own which way is better; `observers` names, for an outcome, the same measured by
    another observer. Raises BadInput when a question's base or primary outcome was not measured.
    """
    found = columns(runs, better)
    settings = settings_of(runs)
    return tuple(_answer(question, found, settings, observers or {}, seed) for question in questions)


def _answer(
    question: Question,
    found: Mapping[str, Outcome],
    settings: Mapping[str, Mapping[str, Setting]],
    observers: Mapping[str, str],
    seed: int,
) -> Answer:
    if question.primary not in found:
        raise BadInput(
            f"{question.name}: the primary outcome {question.primary!r} was not measured: {', '.join(found)} were"
        )
    arms = (question.base, *question.arms)
    missing = [arm for arm in arms if arm not in settings]
    if missing:
        raise BadInput(f"{question.name}: the sweep has no finished run of {', '.join(missing)}")
    own = {name: outcome.only(arms) for name, outcome in found.items()}
    unknown = [name for name in question.guards if name not in own]
    if unknown:
        raise BadInput(f"{question.name}: guard {unknown[0]!r} was not measured: {', '.join(found)} were")
    guards = [Guard(own[name], *question.guard(name)) for name in question.guards]
    checks = {arm: tuple(guard.check(arm, question.base, seed) for guard in guards) for arm in question.arms}
    findings = tuple(
        finding for name, outcome in own.items() for finding in _findings(name, outcome, question, checks, seed)
    )
    primary = own[question.primary]
    differing = _differing({arm: settings[arm] for arm in arms})
    chosen = {arm: {path: settings[arm].get(path) for path in differing} for arm in arms}
    return Answer(
        question=question,
        means={name: _means(outcome, arms) for name, outcome in own.items()},
        findings=findings,
        marginals={
            name: {path: marginals(outcome, chosen, question.base, path, seed) for path in differing}
            for name, outcome in own.items()
            if any(one.outcome == name for one in findings)
        },
        interactions=interactions(primary, chosen, question.base, (differing[0], differing[1]), seed)
        if len(differing) == 2
        else (),
        dominated=pareto(primary, own[SECONDS]) if SECONDS in own else {},
        disagreements=_disagreements(findings, observers),
    )


def _findings(
    name: str, outcome: Outcome, question: Question, checks: Mapping[str, tuple[GuardCheck, ...]], seed: int
) -> Iterable[Finding]:
    try:
        compared = {one.arm: one for one in compare(outcome, question.base, seed=seed)}
    except UnusableComparison:  # measured in no pair, as the motion of a sweep of stills
        return
    for arm, expected in question.arms.items():
        if arm in compared:
            one = Comparison(arm, compared[arm].difference, compared[arm].holm, checks[arm], compared[arm].verdict)
            yield Finding(name, one, _word(one, expected if name == question.primary else None))


def _word(one: Comparison, expected: Sign | None) -> Word:
    if one.verdict == "undecided":
        return "null"
    better = one.verdict != "loss"
    if (expected == "+" and not better) or (expected == "-" and better):
        return "contrary"
    if not better:
        return "loss"
    return "gain" if all(check.holds for check in one.guards) else "bought"


def _means(outcome: Outcome, arms: Sequence[str]) -> dict[str, float]:
    made = {}
    for arm in arms:
        try:
            made[arm] = outcome.mean(arm)
        except UnusableComparison:
            continue
    return made


def _differing(settings: Mapping[str, Mapping[str, Setting]]) -> list[str]:
    paths = dict.fromkeys(path for own in settings.values() for path in own)
    return [path for path in paths if len({repr(own.get(path)) for own in settings.values()}) > 1]


def _disagreements(findings: Sequence[Finding], observers: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    """Where both see a difference and at least one of them is sure of it."""
    by_place = {(one.arm, one.outcome): one.compared for one in findings}
    made = []
    for (arm, outcome), one in by_place.items():
        other = by_place.get((arm, observers.get(outcome, "")))
        if other is None or one.difference.mean * other.difference.mean >= 0:
            continue
        if any(p is not None and p < 1 - LEVEL for p in (one.holm, other.holm)):
            made.append((arm, outcome, observers[outcome]))
    return tuple(made)


# --- in words ---


def sentence(answer: Answer, arm: str, word: bool = True) -> str:
    """What one arm does: `base → adapter_scale=0.8: product_similarity +0.030 [+0.020, +0.050], text_alignment −0.004:
    gain`; the last only with `word`."""
    finding = answer.finding(arm)
    if finding is None:
        return f"{arm}: {answer.question.primary} has no pair with a value"
    parts = [f"{answer.question.primary} {difference_text(finding.compared)}"]
    for check in finding.compared.guards:
        told = f"{check.guard.outcome.name} {signed(check.difference.mean)}"
        parts.append(f"{told} (guard crossed)" if check.holds is False else told)
    said = f"{answer.question.base} → {arm}: {', '.join(parts)}"
    return f"{said}: {finding.word}" if word else said


def difference_text(one: Comparison) -> str:
    """`+0.030 [+0.020, +0.050]`; without the interval where there are too few stories for one."""
    found = one.difference
    if found.low is None or found.high is None:
        count = "1 story" if found.stories == 1 else f"{found.stories} stories"
        return f"{signed(found.mean)} (no interval: {count})"
    return f"{signed(found.mean)} [{signed(found.low)}, {signed(found.high)}]"


def signed(value: float) -> str:
    """Three decimals, a real minus sign, and no sign at what rounds to 0."""
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", "−")
