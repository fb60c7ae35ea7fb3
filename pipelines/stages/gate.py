"""The quality gate: a scene below a minimum is made again with another seed, within a budget; the best take stays.

It judges what its stage has just made, before anything follows from it, so that a retake costs one scene and nothing
else. Every judgement is a step and an event. A score that could not be computed is no verdict: it neither costs a
retake nor passes, and its event is a warning. What an owner chose or edited is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

from models.errors import Cancelled, ModelError
from models.interfaces import Plain
from pipelines.agents.prompting import directed_image_prompt, directed_video_prompt
from pipelines.coherence import derived_seed
from pipelines.media import DECODER
from pipelines.scoring import ScoreRequest
from pipelines.screenplay import Scene
from pipelines.stages.context import StageContext
from pipelines.stages.revisions import directed_prompt
from pipelines.steps import Desk, Json, Step, StepOutput
from quality.registry import DIMENSIONS, Medium, measured_on
from quality.score import Score


class Made(Plain):
    """Something to be scored."""

    medium: Medium
    scene_number: int | None
    """None: the finished video."""
    artifact: str
    prompt: str | None
    """What it was asked to show, the owner's words included."""

    @property
    def step(self) -> str:
        """Name of the step that scores it."""
        if self.scene_number is None:
            return "quality/final"
        return f"quality/{'keyframe' if self.medium == 'keyframe' else 'scene'}-{self.scene_number:03d}"


def made_keyframe(context: StageContext, scene: Scene, artifact: str) -> Made:
    revision = context.direction.revision("storyboard", scene.scene_number)
    prompt = directed_prompt(scene.image_prompt, revision, directed_image_prompt)
    return Made(medium="keyframe", scene_number=scene.scene_number, artifact=artifact, prompt=prompt)


def made_clip(context: StageContext, scene: Scene, artifact: str) -> Made:
    revision = context.direction.revision("video", scene.scene_number)
    prompt = directed_prompt(scene.video_prompt, revision, directed_video_prompt)
    return Made(medium="clip", scene_number=scene.scene_number, artifact=artifact, prompt=prompt)


async def made_scores(context: StageContext, made: Made) -> tuple[Score, ...]:
    """In the recipe's dimensions that are measured on it. Raises UnknownDimension for one that does not exist."""
    recipe = context.recipe
    dimensions = measured_on(made.medium, {*recipe.quality_dimensions, *recipe.quality_gate.minimums})
    if not dimensions:
        return ()
    value = await context.finish(_score_step(context, made, dimensions))
    return tuple(Score.model_validate(score) for score in value["scores"])


def dimension(score: Score) -> str:
    """The name of what was measured."""
    return score.metric_id.rpartition(".")[2]


def _score_step(context: StageContext, made: Made, dimensions: tuple[str, ...]) -> Step:
    inputs: Json = {
        "artifact": made.artifact,
        "dimensions": [f"{name}@{DIMENSIONS[name].version if name in DIMENSIONS else 0}" for name in dimensions],
        "decoder": DECODER,
        "prompt": made.prompt,
        "scorer": context.fingerprints.get("scorer"),
    }

    async def work(desk: Desk) -> StepOutput:
        request = ScoreRequest(
            data=desk.artifacts.read(made.artifact),
            media="image" if made.medium == "keyframe" else "video",
            dimensions=dimensions,
            prompt=made.prompt,
        )
        try:
            measured = await desk.score(request)
        except Cancelled:
            raise
        except ModelError as error:  # an ad is not lost for want of a number, and no number is invented
            await desk.notice("not_scored", f"{made.step} could not be measured: {error}", "warning")
            measured = tuple(
                Score(metric_id=f"admint.{name}", impl_id=f"{name}@none", reason=f"the scorer failed: {error}")
                for name in dimensions
            )
        scores = tuple(score.model_copy(update={"scene_number": made.scene_number}) for score in measured)
        return StepOutput(value={"scores": [score.model_dump(mode="json") for score in scores]}, scores=scores)

    return Step(name=made.step, inputs=inputs, work=work, scene_number=made.scene_number)


Decision = Literal["passed", "retake", "budget_spent", "not_judged"]
NOTICE = "quality_gate"


@dataclass(frozen=True)
class Judged:
    """One take with how far it is above its minimums."""

    attempt: int
    value: Json
    margin: float
    """The least of score minus minimum, over what could be measured; -inf when nothing could."""
    decision: Decision


async def best_take(
    context: StageContext, make: Callable[[int], Step], made: Callable[[Json], Made], scene_number: int
) -> Json:
    """The value of the best of the takes that the recipe's gate lets be made; of the only one without a gate.

    `make(attempt)` is the step of the first take (0) or of a retake; `made` says what of its value is judged.
    """
    gate = context.recipe.quality_gate
    value = await context.finish(make(0))
    medium = made(value).medium
    minimums = {name: least for name, least in gate.minimums.items() if name in measured_on(medium, [name])}
    if not minimums:
        return value
    takes = [await _judged(context, made(value), 0, value, minimums, scene_number)]
    while takes[-1].decision == "retake":
        attempt = len(takes)
        value = await context.finish(make(attempt))
        takes.append(await _judged(context, made(value), attempt, value, minimums, scene_number))
    best = max(takes, key=lambda take: take.margin)  # the earliest of equals
    if best is not takes[-1]:
        await context.finish(make(best.attempt))  # finished before: its take is the current one again,
        await made_scores(context, made(best.value))  # and so are its scores
    if len(takes) > 1:
        await context.finish(_choice_step(takes, best, made(best.value), scene_number))
    return best.value


def retaken(settings: Json, attempt: int) -> Json:
    """A request's settings for take `attempt`: another noise seed, derived from its own; all else as it is."""
    if attempt == 0:
        return settings
    noise = settings["noise"]
    return {**settings, "noise": {**noise, "seed": derived_seed(noise["seed"], "retake", attempt)}}


def retake_name(name: str, attempt: int) -> str:
    return name if attempt == 0 else f"{name}/retake-{attempt}"


def retake_inputs(attempt: int) -> Json:
    """What a step's inputs, and so its take's provenance, say of a retake."""
    return {} if attempt == 0 else {"retake": attempt}


async def _judged(
    context: StageContext, made: Made, attempt: int, value: Json, minimums: Mapping[str, float], scene_number: int
) -> Judged:
    scores = {dimension(score): score for score in await made_scores(context, made)}
    measured = {name: scores[name].raw for name in minimums}
    margins = {name: raw - minimums[name] for name, raw in measured.items() if raw is not None}
    unmeasured = {name: scores[name].reason or "" for name, raw in measured.items() if raw is None}
    decision = _decision(margins, unmeasured, attempt < context.recipe.quality_gate.retakes)
    told: Json = {
        "decision": decision,
        "medium": made.medium,
        "attempt": attempt,
        "artifact": made.artifact,
        "scores": {name: score.raw for name, score in scores.items()},
        "minimums": dict(minimums),
        "missed": sorted(name for name, margin in margins.items() if margin < 0),
        "unmeasured": unmeasured,
    }
    await context.finish(_verdict_step(told, made.step, scene_number))
    return Judged(attempt, value, min(margins.values(), default=-inf), decision)


def _decision(margins: Mapping[str, float], unmeasured: Mapping[str, str], may_retake: bool) -> Decision:
    if any(margin < 0 for margin in margins.values()):
        return "retake" if may_retake else "budget_spent"
    return "not_judged" if unmeasured else "passed"


def _verdict_step(told: Json, step: str, scene_number: int) -> Step:
    """A judgement, said once however often the generation is taken up again."""

    async def work(desk: Desk) -> StepOutput:
        quiet = told["decision"] == "passed"
        await desk.notice(NOTICE, _sentence(told, scene_number), "info" if quiet else "warning", told)
        return StepOutput(value=told)

    return Step(name=f"{step}/gate-{told['attempt']}", inputs=told, work=work, scene_number=scene_number)


def _choice_step(takes: list[Judged], best: Judged, made: Made, scene_number: int) -> Step:
    told: Json = {
        "decision": "best_take",
        "medium": made.medium,
        "attempt": best.attempt,
        "artifact": made.artifact,
        "attempts": len(takes),
        "margins": [take.margin if isfinite(take.margin) else None for take in takes],
    }

    async def work(desk: Desk) -> StepOutput:
        text = f"scene {scene_number}: take {best.attempt + 1} of {len(takes)} is the best one and stays"
        await desk.notice(NOTICE, text, "info", told)
        return StepOutput(value=told)

    return Step(name=f"{made.step}/gate-choice", inputs=told, work=work, scene_number=scene_number)


def _sentence(told: Json, scene_number: int) -> str:
    what = f"scene {scene_number}, take {told['attempt'] + 1}"
    if told["decision"] == "passed":
        return f"{what}: every minimum is met"
    if told["decision"] == "not_judged":
        why = "; ".join(f"{name}: {reason}" for name, reason in told["unmeasured"].items())
        return f"{what}: neither passed nor failed, because it could not be measured ({why})"
    missed = ", ".join(f"{name} {told['scores'][name]:.3f} < {told['minimums'][name]:g}" for name in told["missed"])
    follows = "it is made again" if told["decision"] == "retake" else "no retake is left"
    return f"{what}: {missed}; {follows}"
