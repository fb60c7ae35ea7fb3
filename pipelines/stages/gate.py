"""The quality gate: a scene below a minimum is made again with another seed, within a budget; the best take stays.

It judges what its stage has just made, before anything follows from it, so that a retake costs one scene and nothing
else. Every judgement is a step and an event. A minimum holds for the model that it was set for: a score by another one
abstains. Neither that nor a score that could not be computed is a verdict: it costs no retake and passes nothing, and
its event says why. What an owner chose or edited is not judged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

from pipelines.recipe import Minimum, QualityGate
from pipelines.stages.context import StageContext
from pipelines.stages.scorable import Scorable, scores_of
from pipelines.steps import Json, Step, StepContext, StepOutput
from quality.dimensions.text_alignment import named_colours
from quality.registry import OF_A_COLOUR, measured_on
from quality.score import Medium, Score
from quality.summaries import dimension

Verdict = Literal["passed", "retake", "budget_spent", "not_judged"]
NOTICE = "quality_gate"


@dataclass(frozen=True)
class Judged:
    """One take, and how far it is above its minimums."""

    attempt: int
    value: Json
    margin: float
    """The least of score minus minimum, over what could be measured; -inf when nothing could."""
    decision: Verdict


async def best_take(
    context: StageContext,
    make: Callable[[int], Awaitable[Json]],
    scorable: Callable[[Json], Scorable],
    scene_number: int,
) -> Json:
    """The value of the best of the takes that the recipe's gate lets be made; of the only one without a gate.

    `make(attempt)` makes the first take (0) or a retake, and finds it finished when it is called again; `scorable` says
    what of its value is judged.
    """
    gate = context.recipe.quality_gate
    value = await make(0)
    first = scorable(value)
    if not minimums_of(gate, first.medium, first.prompt):
        return value
    takes = [await _judged(context, first, 0, value, scene_number)]
    while takes[-1].decision == "retake":
        attempt = len(takes)
        value = await make(attempt)
        takes.append(await _judged(context, scorable(value), attempt, value, scene_number))
    best = max(takes, key=lambda take: take.margin)  # the earliest of equals
    if best is not takes[-1]:
        await make(best.attempt)  # made before: its take is the current one again,
        await scores_of(context, scorable(best.value))  # and so are its scores
    if len(takes) > 1:
        await context.finish(_choice_step(takes, best, scorable(best.value), scene_number))
    return best.value


def minimums_of(gate: QualityGate, medium: Medium, prompt: str | None) -> dict[str, Minimum]:
    """The minimums that are judged on `medium`; those of a colour only where the prompt names a single one."""
    unasked = frozenset() if len(named_colours(prompt or "")) == 1 else OF_A_COLOUR
    return {
        name: minimum
        for name, minimum in gate.minimums.items()
        if name in measured_on(medium, [name]) and name not in unasked
    }


@dataclass(frozen=True)
class Judgement:
    """Scores held against their minimums, by dimension."""

    margins: Mapping[str, float]
    """Score minus minimum, of those that have both."""
    minimums: Mapping[str, float]
    """The minimums of those."""
    unmeasured: Mapping[str, str]
    """Why there is no score."""
    abstained: Mapping[str, str]
    """Why the minimum is not for what measures here."""

    @property
    def missed(self) -> list[str]:
        return sorted(name for name, margin in self.margins.items() if margin < 0)

    @property
    def margin(self) -> float:
        """The least one; -inf when nothing could be judged."""
        return min(self.margins.values(), default=-inf)


def judgement(minimums: Mapping[str, Minimum], scores: Mapping[str, Score]) -> Judgement:
    """`scores`, which has every dimension of `minimums`, held against them."""
    held: dict[str, float] = {}
    margins: dict[str, float] = {}
    unmeasured: dict[str, str] = {}
    abstained: dict[str, str] = {}
    for name, minimum in minimums.items():
        score, least = scores[name], _least(minimum, scores[name])
        if isinstance(minimum, dict) and least is None:
            measured = (
                f"it was measured by {score.backbone or score.impl_id}" if score.raw is not None else score.reason
            )
            abstained[name] = f"its minimum is for {', '.join(sorted(minimum))}: {measured}"
        elif score.raw is None:
            unmeasured[name] = score.reason or ""
        elif least is not None:
            held[name], margins[name] = least, score.raw - least
    return Judgement(margins, held, unmeasured, abstained)


def _least(minimum: Minimum, score: Score) -> float | None:
    """The minimum for the implementation behind `score`; None: there is none for it."""
    if not isinstance(minimum, dict):
        return minimum
    return minimum.get(score.backbone or score.impl_id, minimum.get(score.impl_id))


async def _judged(context: StageContext, scorable: Scorable, attempt: int, value: Json, scene_number: int) -> Judged:
    gate = context.recipe.quality_gate
    scores = {dimension(score): score for score in await scores_of(context, scorable)}
    found = judgement(minimums_of(gate, scorable.medium, scorable.prompt), scores)
    decision = _decision(found, attempt < gate.retakes)
    details: Json = {
        "decision": decision,
        "medium": scorable.medium,
        "attempt": attempt,
        "artifact": scorable.artifact,
        "scores": {name: score.raw for name, score in scores.items()},
        "minimums": found.minimums,
        "missed": found.missed,
        "unmeasured": found.unmeasured,
        "abstained": found.abstained,
    }
    await context.finish(_verdict_step(details, scorable.step, scene_number))
    return Judged(attempt, value, found.margin, decision)


def _decision(found: Judgement, may_retake: bool) -> Verdict:
    if found.missed:
        return "retake" if may_retake else "budget_spent"
    return "not_judged" if found.unmeasured or found.abstained else "passed"


def _verdict_step(details: Json, scored: str, scene_number: int) -> Step:
    """Reports a judgement, once however often the generation is resumed. `scored`: the step that measured."""

    async def work(step: StepContext) -> StepOutput:
        # That a minimum is for another model is how recipes are written; that a score is missing is not.
        quiet = not details["missed"] and not details["unmeasured"]
        await step.notice(NOTICE, _sentence(details, scene_number), "info" if quiet else "warning", details)
        return StepOutput(value=details)

    return Step(name=f"{scored}/gate-{details['attempt']}", inputs=details, work=work, scene_number=scene_number)


def _choice_step(takes: list[Judged], best: Judged, scorable: Scorable, scene_number: int) -> Step:
    details: Json = {
        "decision": "best_take",
        "medium": scorable.medium,
        "attempt": best.attempt,
        "artifact": scorable.artifact,
        "attempts": len(takes),
        "margins": [take.margin if isfinite(take.margin) else None for take in takes],
    }

    async def work(step: StepContext) -> StepOutput:
        text = f"scene {scene_number}: take {best.attempt + 1} of {len(takes)} is the best one and stays"
        await step.notice(NOTICE, text, "info", details)
        return StepOutput(value=details)

    return Step(name=f"{scorable.step}/gate-choice", inputs=details, work=work, scene_number=scene_number)


def _sentence(details: Json, scene_number: int) -> str:
    what = f"scene {scene_number}, take {details['attempt'] + 1}"
    if details["decision"] == "passed":
        return f"{what}: every minimum is met"
    if details["decision"] == "not_judged":
        reasons = {**details["unmeasured"], **details["abstained"]}
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        return f"{what}: neither passed nor failed ({why})"
    missed = ", ".join(
        f"{name} {details['scores'][name]:.3f} < {details['minimums'][name]:g}" for name in details["missed"]
    )
    follows = "it is made again" if details["decision"] == "retake" else "no retake is left"
    return f"{what}: {missed}; {follows}"
