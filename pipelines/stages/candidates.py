"""Candidates: several stills of a scene, drawn at once from derived seeds, of which the best by its scores stays.

The first is the one that would be drawn alone, from the same seed, and the same step. All are takes, so that the owner
can select another one. A still that meets the gate's minimums comes before one that does not; among those the greatest
weighted sum of scores counts.

Scores of different dimensions have no common unit, and most use a small part of their range or have no greatest value:
so each is counted in standard deviations from its mean over the stills of the scene, and a weight says how much one of
these is worth. A dimension that has no value for a still, or other kinds of values, tells nothing of any of them: it is
left out, and the event says so.

By `preference` a vision chat model is shown every pair of stills, in both orders; a still's value is its share of the
pairs that it wins, half of one for a tie (Copeland's count).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, pstdev
from typing import Literal

from models.interfaces import EncodedImage
from pipelines.direction import Revision
from pipelines.scoring import ScoreRequest
from pipelines.stages.context import StageContext, each_scene
from pipelines.stages.gate import judgement, minimums_of
from pipelines.stages.scorable import Scorable, scorer_fingerprints, scores_of, scores_or_reasons
from pipelines.steps import Json, Step, StepContext, StepOutput
from quality.registry import DIMENSIONS, ON_A_STILL, PREFERENCE
from quality.score import Score
from quality.summaries import dimension, mixed_kinds

NOTICE = "candidates"
LEAST_SPREAD = 1e-9
"""Standard deviation from which stills differ in a dimension; below it they are alike but for rounding."""


async def best_candidate(
    context: StageContext,
    draw: Callable[[int], Step],
    scorable: Callable[[Json], Scorable],
    scene_number: int,
    attempt: int,
) -> Json:
    """The value of the best of the recipe's candidates for one attempt. `draw(k)` is the step of still k, from 0."""
    count = _count(context, context.direction.revision("storyboard", scene_number))
    if count == 1:
        return await context.finish(draw(0))
    values = await each_scene(tuple(range(count)), lambda number: context.finish(draw(number)), count)
    scores = []
    for value in values:  # in turn: equal stills have one step of scores
        scores.append({dimension(score): score for score in await scores_of(context, scorable(value))})
    if PREFERENCE in context.recipe.candidates.rank:
        for of_one, score in zip(scores, await _preferences(context, [*map(scorable, values)], attempt), strict=True):
            of_one[PREFERENCE] = score
    ranking = rank(context.recipe.candidates.rank, scores)
    minimums = minimums_of(context.recipe.quality_gate, "keyframe", scorable(values[0]).prompt)
    missed = [bool(judgement(minimums, of_one).missed) for of_one in scores]
    best = max(range(count), key=lambda number: (not missed[number], ranking.totals[number]))  # the first of equals
    await context.finish(draw(best))  # finished before: its take is the current one again,
    await scores_of(context, scorable(values[best]))  # and so are its scores
    details: Json = {
        "decision": "best_candidate",
        "medium": "keyframe",
        "attempt": attempt,
        "candidate": best,
        "artifact": scorable(values[best]).artifact,
        "candidates": [
            {
                "artifact": scorable(value).artifact,
                "scores": {name: score.raw for name, score in of_one.items()},
                "sum": total,
                "missed": below,
            }
            for value, of_one, total, below in zip(values, scores, ranking.totals, missed, strict=True)
        ],
        "weights": context.recipe.candidates.rank,
        "abstained": ranking.abstained,
    }
    await context.finish(_choice_step(details, f"{scorable(values[best]).step}/candidates-{attempt}", scene_number))
    return values[best]


async def _preferences(context: StageContext, stills: Sequence[Scorable], attempt: int) -> list[Score]:
    """How many of the others each of `stills` is preferred to, as a share; no value for any where one pair has none."""
    pairs = list(combinations(range(len(stills)), 2))
    artifacts = [still.artifact for still in stills]
    inputs: Json = {
        "stills": artifacts,
        "prompt": stills[0].prompt,
        "dimension": f"{PREFERENCE}@{DIMENSIONS[PREFERENCE].version}",
        "scorers": scorer_fingerprints(context),
    }

    async def work(step: StepContext) -> StepOutput:
        found: list[Score] = []
        for one, other in pairs:
            request = ScoreRequest(
                data=step.artifacts.read(artifacts[one]),
                media="image",
                against=EncodedImage(data=step.artifacts.read(artifacts[other])),
                dimensions=(PREFERENCE,),
                prompt=stills[0].prompt,
            )
            found += await scores_or_reasons(step, request, f"stills {one + 1} and {other + 1}")
        return StepOutput(value={"scores": [score.model_dump(mode="json") for score in found]})

    name = f"{stills[0].step}/pairs-{attempt}"
    value = await context.finish(Step(name=name, inputs=inputs, work=work, scene_number=stills[0].scene_number))
    verdicts = [Score.model_validate(score) for score in value["scores"]]
    return copeland(len(stills), dict(zip(pairs, verdicts, strict=True)))


def copeland(count: int, verdicts: Mapping[tuple[int, int], Score]) -> list[Score]:
    """Of each of `count` stills the share of the others that it is preferred to, a tie counting half.

    `verdicts` by pair are 1 where the first of it is preferred, 0 where the second is. Where one has no value, no
    still has any.
    """
    known = [*verdicts.values()]
    missing = next((score for score in known if score.raw is None), None)
    if missing is not None:
        return [missing] * count
    won = [0.0] * count
    for (one, other), score in verdicts.items():
        won[one] += score.raw or 0.0
        won[other] += 1 - (score.raw or 0.0)
    kind = {"source_sha256": None, "note": None}
    return [known[0].model_copy(update={**kind, "raw": points / (count - 1)}) for points in won]


def _count(context: StageContext, revision: Revision | None) -> int:
    """How many stills; one where the owner named the seed that they want to see."""
    named = revision is not None and revision.modifications.seed is not None
    return 1 if named else context.recipe.candidates.n


@dataclass(frozen=True)
class Ranking:
    """How the candidates of a scene compare."""

    totals: tuple[float, ...]
    """The weighted sum of each, in order; the greatest is the best."""
    abstained: Mapping[str, str]
    """The dimensions that were left out, and why."""


def rank(weights: Mapping[str, float], candidates: Sequence[Mapping[str, Score]]) -> Ranking:
    """`candidates` by their scores, which are by dimension, under `weights`, which are by dimension as well."""
    totals = [0.0] * len(candidates)
    abstained: dict[str, str] = {}
    for name, weight in weights.items():
        values = _values(ON_A_STILL.get(name, name), candidates)
        if isinstance(values, str):
            abstained[name] = values
            continue
        mean, spread = fmean(values), pstdev(values)
        if spread >= LEAST_SPREAD:
            totals = [total + weight * (value - mean) / spread for total, value in zip(totals, values, strict=True)]
    return Ranking(tuple(totals), abstained)


def _values(name: str, candidates: Sequence[Mapping[str, Score]]) -> list[float] | str:
    """The dimension's value for every candidate, or why they cannot be compared by it."""
    scores = [of_one[name] for of_one in candidates]
    for number, score in enumerate(scores, start=1):
        if score.raw is None:
            return f"still {number}: {score.reason}"
    return mixed_kinds(scores) or [score.raw for score in scores if score.raw is not None]


def _choice_step(details: Json, name: str, scene_number: int) -> Step:
    """Reports the choice, once however often the generation is resumed."""

    async def work(step: StepContext) -> StepOutput:
        await step.notice(NOTICE, _sentence(details, scene_number), _severity(details), details)
        return StepOutput(value=details)

    return Step(name=name, inputs=details, work=work, scene_number=scene_number)


def _severity(details: Json) -> Literal["info", "warning"]:
    return "warning" if details["abstained"] else "info"


def _sentence(details: Json, scene_number: int) -> str:
    count = len(details["candidates"])
    left_out = "; ".join(f"{name}: {reason}" for name, reason in details["abstained"].items())
    if len(details["abstained"]) == len(details["weights"]):
        return f"scene {scene_number}: {count} stills could not be ranked ({left_out})"
    told = f"scene {scene_number}: still {details['candidate'] + 1} of {count} is the best one and stays"
    return f"{told}; without {left_out}" if left_out else told
