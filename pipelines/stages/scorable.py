"""What of an ad can be scored, and the step that scores it.

The gate, the ranking of candidates and the quality stage ask for the same scores of one file: whoever comes first has
them measured, in all the dimensions of the recipe for its medium, and the others find the step finished.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

from models.errors import Cancelled, ModelError
from models.interfaces import EncodedImage, Plain
from pipelines.agents.prompting import revised_image_prompt, revised_video_prompt, style_words
from pipelines.brief import BriefReference
from pipelines.media import DECODER
from pipelines.reading.scene_facts import scene_facts
from pipelines.scoring import ScoreRequest
from pipelines.screenplay import Clip, Entity, Scene
from pipelines.stages.context import StageContext
from pipelines.stages.pictures import read_references, revised_prompt
from pipelines.steps import Json, Step, StepContext, StepOutput
from quality.asked import NOTHING, Asked
from quality.registry import DIMENSIONS, OF_A_PRODUCT, measured_on
from quality.score import Medium, Score, thinned


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
    start: str | None = None
    """Artifact hash of the picture that a clip started from, where a dimension of the recipe measures that."""

    @property
    def step(self) -> str:
        """Name of the step that scores it."""
        if self.scene_number is None:
            return "quality/final"
        return f"quality/{'keyframe' if self.medium == 'keyframe' else 'scene'}-{self.scene_number:03d}"


def scorable_keyframe(context: StageContext, scene: Scene, artifact: str, subjects: Subjects = NO_SUBJECTS) -> Scorable:
    revision = context.direction.revision("storyboard", scene.scene_number)
    prompt = revised_prompt(scene.image_prompt, revision, revised_image_prompt)
    return _of_scene("keyframe", context, scene, artifact, prompt, subjects)


def scorable_clip(context: StageContext, scene: Scene, clip: Clip, subjects: Subjects = NO_SUBJECTS) -> Scorable:
    revision = context.direction.revision("video", scene.scene_number)
    prompt = revised_prompt(scene.video_prompt, revision, revised_video_prompt)
    start = clip.first_frame if "vbench_i2v.subject" in context.recipe.measured else None
    return _of_scene("clip", context, scene, clip.artifact, prompt, subjects, start)


def _of_scene(
    medium: Medium,
    context: StageContext,
    scene: Scene,
    artifact: str,
    prompt: str,
    subjects: Subjects,
    start: str | None = None,
) -> Scorable:
    """Facts, style and references only where the recipe measures them: they are part of the step's key."""
    facts = scene_facts(scene.draft, subjects.entities) if _measures(context, "asks.") else ()
    styled = medium == "clip" and "appearance_style" in context.recipe.measured
    return Scorable(
        medium=medium,
        scene_number=scene.scene_number,
        artifact=artifact,
        prompt=prompt,
        asked=Asked(facts=facts, style=style_words(scene.draft, subjects.entities) if styled else None),
        references=_shown(medium, context, subjects),
        start=start,
    )


def scorable_video(context: StageContext, artifact: str, subjects: Subjects = NO_SUBJECTS) -> Scorable:
    """The finished video; with what the brief asks of its length and shape, and the ad's references, where the recipe
    measures that."""
    asked = NOTHING
    if _measures(context, "ad."):
        wide, high = (int(side) for side in context.brief.aspect_ratio.split(":"))
        asked = Asked(seconds=float(context.brief.duration), ratio=(wide, high))
    references = _shown("video", context, subjects)
    return Scorable(
        medium="video", scene_number=None, artifact=artifact, prompt=None, asked=asked, references=references
    )


def _shown(medium: Medium, context: StageContext, subjects: Subjects) -> tuple[BriefReference, ...]:
    """The references, where a dimension that the recipe has measured on this medium looks at them."""
    return () if OF_A_PRODUCT.isdisjoint(measured_on(medium, context.recipe.measured)) else subjects.references


def _measures(context: StageContext, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in context.recipe.measured)


def scorer_fingerprints(context: StageContext) -> Json:
    """Of every scorer of the deployment: what is measured depends on them."""
    return {kind: each for kind, each in context.fingerprints.items() if kind.startswith("scorer")}


async def scores_of(context: StageContext, scorable: Scorable) -> tuple[Score, ...]:
    """Scores in the recipe's dimensions for this medium. Raises UnknownDimension for one that does not exist."""
    dimensions = measured_on(scorable.medium, context.recipe.measured)
    if not dimensions:
        return ()
    value = await context.finish(_score_step(context, scorable, dimensions))
    return tuple(Score.model_validate(score) for score in value["scores"])


async def scores_or_reasons(step: StepContext, request: ScoreRequest, what: str) -> tuple[Score, ...]:
    """Scores of `what`; where the scorer fails, no value in any dimension, with the reason, and a notice.

    An ad is not lost for want of a number, and no number is invented. Raises Cancelled.
    """
    try:
        return await step.score(request)
    except Cancelled:
        raise
    except ModelError as error:
        await step.notice("not_scored", f"{what} could not be measured: {error}", "warning")
        return tuple(
            Score(metric_id=f"admint.{name}", impl_id=f"{name}@none", reason=f"the scorer failed: {error}")
            for name in request.dimensions
        )


def _score_step(context: StageContext, scorable: Scorable, dimensions: tuple[str, ...]) -> Step:
    inputs: Json = {
        "artifact": scorable.artifact,
        "dimensions": [f"{name}@{DIMENSIONS[name].version if name in DIMENSIONS else 0}" for name in dimensions],
        "decoder": DECODER,
        "prompt": scorable.prompt,
        "scorers": scorer_fingerprints(context),
    }

    if scorable.asked != NOTHING:
        inputs["asked"] = asdict(scorable.asked)

    if scorable.references:
        inputs["references"] = [(one.artifact, one.role) for one in scorable.references]

    if scorable.start is not None:
        inputs["start"] = scorable.start

    async def work(step: StepContext) -> StepOutput:
        start = None if scorable.start is None else EncodedImage(data=step.artifacts.read(scorable.start))
        request = ScoreRequest(
            data=step.artifacts.read(scorable.artifact),
            media="image" if scorable.medium == "keyframe" else "video",
            dimensions=dimensions,
            prompt=scorable.prompt,
            asked=scorable.asked,
            references=read_references(step.artifacts, scorable.references),
            start=start,
            series=scorable.medium != "keyframe",
        )
        measured = await scores_or_reasons(step, request, scorable.step)
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
