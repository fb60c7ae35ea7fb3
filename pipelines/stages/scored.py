"""Scoring what a scene's stages made, one step each: for the quality stage, and before it for the gate, which share it.

Asks the scorer for numbers and keeps them as they come. Knows no threshold.
"""

from __future__ import annotations

from models.errors import Cancelled, ModelError
from models.interfaces import Plain
from pipelines.agents.scene_prompts import directed_image_prompt, directed_video_prompt
from pipelines.media import DECODER
from pipelines.scoring import ScoreRequest
from pipelines.stages.context import StageContext
from pipelines.stages.directed import directed_prompt
from pipelines.steps import Desk, Json, Step, StepOutput
from pipelines.story import Scene
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
