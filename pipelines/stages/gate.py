"""The quality gate: a scene below a minimum is made again with another seed, within a budget; the best take stays.

It judges what its stage has just made, before anything follows from it, so that a retake costs one scene and nothing
else. Every judgement is a step and an event. A score that could not be computed is no verdict: it neither costs a
retake nor passes, and its event is a warning. What an owner chose or edited is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Literal, NamedTuple

from models.errors import Cancelled, ModelError
from models.interfaces import Plain
from pipelines.agents.prompting import revised_image_prompt, revised_video_prompt
from pipelines.brief import BriefReference
from pipelines.media import DECODER
from pipelines.reading.scene_facts import scene_facts
from pipelines.scoring import ScoreRequest
from pipelines.screenplay import Entity, Scene
from pipelines.stages.context import StageContext
from pipelines.stages.pictures import read_references, revised_prompt
from pipelines.steps import Json, Step, StepContext, StepOutput
from quality.asked import NOTHING, Asked
from quality.registry import DIMENSIONS, measured_on
from quality.score import Medium, Score, thinned
from quality.summaries import dimension


class Subjects(NamedTuple):
    """Who and what an ad's scenes show."""

    entities: tuple[Entity, ...]
    references: tuple[BriefReference, ...]
    """They hold artifact hashes."""


NO_SUBJECTS = Subjects((), ())


class Scorable(Plain):
    """Something to be scored."""

    medium: Medium
    scene_number: int | None
    """None: the finished video."""
    artifact: str
    prompt: str | None
    """What it was asked to show, the owner's words included."""
    asked: Asked = NOTHING
    """What else, where a dimension of the recipe measures that."""
    references: tuple[BriefReference, ...] = ()
    """What it was to look like, where a dimension of the recipe measures that."""

    @property
    def step(self) -> str:
        """Name of the step that scores it."""
        if self.scene_number is None:
            return "quality/final"
        return f"quality/{'keyframe' if self.medium == 'keyframe' else 'scene'}-{self.scene_number:03d}"


def scorable_keyframe(context: StageContext, scene: Scene, artifact: str, subjects: Subjects = NO_SUBJECTS) -> Scorable:
    revision = context.direction.revision("storyboard", scene.scene_number)
    prompt = revised_prompt(scene.image_prompt, revision, revised_image_prompt)
    asked = _facts(context, scene, subjects.entities)
    return Scorable(
        medium="keyframe",
        scene_number=scene.scene_number,
        artifact=artifact,
        prompt=prompt,
        asked=asked,
        references=_pictures(context, subjects),
    )


def scorable_clip(context: StageContext, scene: Scene, artifact: str, subjects: Subjects = NO_SUBJECTS) -> Scorable:
    revision = context.direction.revision("video", scene.scene_number)
    prompt = revised_prompt(scene.video_prompt, revision, revised_video_prompt)
    asked = _facts(context, scene, subjects.entities)
    return Scorable(
        medium="clip",
        scene_number=scene.scene_number,
        artifact=artifact,
        prompt=prompt,
        asked=asked,
        references=_pictures(context, subjects),
    )


def scorable_video(context: StageContext, artifact: str) -> Scorable:
    """The finished video; with what the brief asks of its length and shape where the recipe measures that."""
    asked = NOTHING
    if _measures(context, "ad."):
        wide, high = (int(side) for side in context.brief.aspect_ratio.split(":"))
        asked = Asked(seconds=float(context.brief.duration), ratio=(wide, high))
    return Scorable(medium="video", scene_number=None, artifact=artifact, prompt=None, asked=asked)


def _facts(context: StageContext, scene: Scene, entities: Sequence[Entity]) -> Asked:
    """The facts of a scene where the recipe asks about them: they are part of the step's key."""
    return Asked(facts=scene_facts(scene.draft, entities)) if _measures(context, "asks.") else NOTHING


def _pictures(context: StageContext, subjects: Subjects) -> tuple[BriefReference, ...]:
    return subjects.references if _measures(context, "product_") else ()


def _measures(context: StageContext, prefix: str) -> bool:
    recipe = context.recipe
    return any(name.startswith(prefix) for name in (*recipe.quality_dimensions, *recipe.quality_gate.minimums))


async def scores_of(context: StageContext, scorable: Scorable) -> tuple[Score, ...]:
    """Scores in the recipe's dimensions for this medium. Raises UnknownDimension for one that does not exist."""
    recipe = context.recipe
    dimensions = measured_on(scorable.medium, {*recipe.quality_dimensions, *recipe.quality_gate.minimums})
    if not dimensions:
        return ()
    value = await context.finish(_score_step(context, scorable, dimensions))
    return tuple(Score.model_validate(score) for score in value["scores"])


def _score_step(context: StageContext, scorable: Scorable, dimensions: tuple[str, ...]) -> Step:
    inputs: Json = {
        "artifact": scorable.artifact,
        "dimensions": [f"{name}@{DIMENSIONS[name].version if name in DIMENSIONS else 0}" for name in dimensions],
        "decoder": DECODER,
        "prompt": scorable.prompt,
        "scorers": {kind: each for kind, each in context.fingerprints.items() if kind.startswith("scorer")},
    }

    if scorable.asked != NOTHING:
        inputs["asked"] = asdict(scorable.asked)

    if scorable.references:
        inputs["references"] = [(one.artifact, one.role) for one in scorable.references]

    async def work(step: StepContext) -> StepOutput:
        request = ScoreRequest(
            data=step.artifacts.read(scorable.artifact),
            media="image" if scorable.medium == "keyframe" else "video",
            dimensions=dimensions,
            prompt=scorable.prompt,
            asked=scorable.asked,
            references=read_references(step.artifacts, scorable.references),
            series=scorable.medium != "keyframe",
        )
        try:
            measured = await step.score(request)
        except Cancelled:
            raise
        except ModelError as error:  # an ad is not lost for want of a number, and no number is invented
            await step.notice("not_scored", f"{scorable.step} could not be measured: {error}", "warning")
            measured = tuple(
                Score(metric_id=f"admint.{name}", impl_id=f"{name}@none", reason=f"the scorer failed: {error}")
                for name in dimensions
            )
        scores = tuple(
            score.model_copy(
                update={
                    "scene_number": scorable.scene_number,
                    "series": None if score.series is None else thinned(score.series),
                }
            )
            for score in measured
        )
        return StepOutput(value={"scores": [score.model_dump(mode="json") for score in scores]}, scores=scores)

    return Step(name=scorable.step, inputs=inputs, work=work, scene_number=scorable.scene_number)


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
    context: StageContext, make: Callable[[int], Step], scorable: Callable[[Json], Scorable], scene_number: int
) -> Json:
    """The value of the best of the takes that the recipe's gate lets be made; of the only one without a gate.

    `make(attempt)` is the step of the first take (0) or of a retake; `scorable` says what of its value is judged.
    """
    gate = context.recipe.quality_gate
    value = await context.finish(make(0))
    medium = scorable(value).medium
    minimums = {name: least for name, least in gate.minimums.items() if name in measured_on(medium, [name])}
    if not minimums:
        return value
    takes = [await _judged(context, scorable(value), 0, value, minimums, scene_number)]
    while takes[-1].decision == "retake":
        attempt = len(takes)
        value = await context.finish(make(attempt))
        takes.append(await _judged(context, scorable(value), attempt, value, minimums, scene_number))
    best = max(takes, key=lambda take: take.margin)  # the earliest of equals
    if best is not takes[-1]:
        await context.finish(make(best.attempt))  # finished before: its take is the current one again,
        await scores_of(context, scorable(best.value))  # and so are its scores
    if len(takes) > 1:
        await context.finish(_choice_step(takes, best, scorable(best.value), scene_number))
    return best.value


async def _judged(
    context: StageContext,
    scorable: Scorable,
    attempt: int,
    value: Json,
    minimums: Mapping[str, float],
    scene_number: int,
) -> Judged:
    scores = {dimension(score): score for score in await scores_of(context, scorable)}
    measured = {name: scores[name].raw for name in minimums}
    margins = {name: raw - minimums[name] for name, raw in measured.items() if raw is not None}
    unmeasured = {name: scores[name].reason or "" for name, raw in measured.items() if raw is None}
    decision = _decision(margins, unmeasured, attempt < context.recipe.quality_gate.retakes)
    details: Json = {
        "decision": decision,
        "medium": scorable.medium,
        "attempt": attempt,
        "artifact": scorable.artifact,
        "scores": {name: score.raw for name, score in scores.items()},
        "minimums": dict(minimums),
        "missed": sorted(name for name, margin in margins.items() if margin < 0),
        "unmeasured": unmeasured,
    }
    await context.finish(_verdict_step(details, scorable.step, scene_number))
    return Judged(attempt, value, min(margins.values(), default=-inf), decision)


def _decision(margins: Mapping[str, float], unmeasured: Mapping[str, str], may_retake: bool) -> Verdict:
    if any(margin < 0 for margin in margins.values()):
        return "retake" if may_retake else "budget_spent"
    return "not_judged" if unmeasured else "passed"


def _verdict_step(details: Json, scored: str, scene_number: int) -> Step:
    """Reports a judgement, once however often the generation is resumed. `scored`: the step that measured."""

    async def work(step: StepContext) -> StepOutput:
        quiet = details["decision"] == "passed"
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
        why = "; ".join(f"{name}: {reason}" for name, reason in details["unmeasured"].items())
        return f"{what}: neither passed nor failed, because it could not be measured ({why})"
    missed = ", ".join(
        f"{name} {details['scores'][name]:.3f} < {details['minimums'][name]:g}" for name in details["missed"]
    )
    follows = "it is made again" if details["decision"] == "retake" else "no retake is left"
    return f"{what}: {missed}; {follows}"
