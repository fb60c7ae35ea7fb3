"""The quality stage: the recipe's dimensions for every clip and for the finished video, one step each.

Asks `quality` for numbers and stores them as they come; sets no threshold. The dimensions that cannot be measured here
are listed once, on the finished video, each without a value and with its reason.
"""

from __future__ import annotations

import asyncio

from pipelines.clips import Clip, FinalVideo
from pipelines.media import DECODER, stream_clip
from pipelines.stages.context import StageContext
from pipelines.steps import Desk, Step, StepOutput
from quality.registry import UNAVAILABLE, measure, not_available
from quality.score import Score


async def score_video(context: StageContext, clips: tuple[Clip, ...], video: FinalVideo) -> tuple[Score, ...]:
    """Scores of every clip in order, then of the finished video (`scene_number` None).

    Raises UnknownDimension when the recipe names a dimension that does not exist.
    """
    dimensions = context.recipe.quality_dimensions
    scores: list[Score] = []
    for clip in clips:
        name = f"quality/scene-{clip.scene_number:03d}"
        value = await context.finish(_score_step(name, clip.artifact, clip.scene_number, dimensions))
        scores += [Score.model_validate(score) for score in value["scores"]]
    value = await context.finish(_score_step("quality/final", video.artifact, None, dimensions))
    scores += [Score.model_validate(score) for score in value["scores"]]
    return (*scores, *(not_available(name) for name in UNAVAILABLE if name not in dimensions))


def _score_step(name: str, artifact: str, scene_number: int | None, dimensions: tuple[str, ...]) -> Step:
    inputs = {"artifact": artifact, "dimensions": list(dimensions), "decoder": DECODER}

    async def work(desk: Desk) -> StepOutput:
        data = desk.artifacts.read(artifact)
        measured = [await asyncio.to_thread(measure, dimension, stream_clip(data), DECODER) for dimension in dimensions]
        scores = tuple(score.model_copy(update={"scene_number": scene_number}) for score in measured)
        return StepOutput(value={"scores": [score.model_dump(mode="json") for score in scores]}, scores=scores)

    return Step(name=name, inputs=inputs, work=work, scene_number=scene_number)
