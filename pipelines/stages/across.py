"""The scenes of an ad against one another: a step of its own, after each was scored by itself.

It compares the clips, or the stills of a recipe that stops there. Which scenes count is decided by their own scores of
alignment (`alignments`): scenes that are wrong in the same way are alike too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipelines.media import DECODER
from pipelines.scoring import AdTogether, Alignments, SceneFile, ScoreRequest, alignments
from pipelines.screenplay import Scene
from pipelines.stages.context import StageContext
from pipelines.stages.pictures import read_references
from pipelines.stages.scorable import Subjects, scorer_fingerprints, scores_or_reasons
from pipelines.steps import Json, Step, StepContext, StepOutput
from quality.registry import DIMENSIONS, measured_on
from quality.score import Score


class ComparedAd(NamedTuple):
    """What of an ad is compared."""

    scenes: tuple[Scene, ...]
    artifacts: Mapping[int, str]
    """The clip of each scene, or its still, by scene number."""
    filmed: bool
    """Whether they are clips."""
    continued: frozenset[int]
    """Scenes that go on from the last frame of the one before."""
    story: str


async def scores_across(
    context: StageContext, ad: ComparedAd, scores: Sequence[Score], subjects: Subjects
) -> tuple[Score, ...]:
    """Scores of all scenes together, by the recipe's dimensions of that kind; `scores` are those of each scene.

    Raises UnknownDimension for a dimension that does not exist.
    """
    dimensions = measured_on("scenes", {*context.recipe.quality_dimensions, *context.recipe.quality_gate.minimums})
    if not dimensions or not ad.artifacts:
        return ()
    shown = alignments(scores, ad.filmed, context.recipe.quality_gate.minimums)
    value = await context.finish(_step(context, ad, dimensions, shown, subjects))
    return tuple(Score.model_validate(score) for score in value["scores"])


def _step(
    context: StageContext, ad: ComparedAd, dimensions: tuple[str, ...], shown: Alignments, subjects: Subjects
) -> Step:
    compared = [scene for scene in ad.scenes if scene.scene_number in ad.artifacts]
    said: list[Json] = [
        {
            "scene_number": scene.scene_number,
            "alignment": shown.values.get(scene.scene_number),
            "continues": scene.scene_number in ad.continued,
            "text": scene.content,
        }
        for scene in compared
    ]
    files = [ad.artifacts[scene.scene_number] for scene in compared]
    inputs: Json = {
        "scenes": [{**each, "artifact": artifact} for each, artifact in zip(said, files, strict=True)],
        "minimum": shown.minimum,
        "brief": context.brief.prompt,
        "story": ad.story,
        "references": [(one.artifact, one.role) for one in subjects.references],
        "dimensions": [f"{name}@{DIMENSIONS[name].version}" for name in dimensions],
        "decoder": DECODER,
        "scorers": scorer_fingerprints(context),
    }

    async def work(step: StepContext) -> StepOutput:
        scenes = tuple(
            SceneFile(data=step.artifacts.read(artifact), media="video" if ad.filmed else "image", **each)
            for each, artifact in zip(said, files, strict=True)
        )
        request = ScoreRequest(
            ad=AdTogether(scenes=scenes, minimum=shown.minimum, brief=context.brief.prompt, story=ad.story),
            dimensions=dimensions,
            references=read_references(step.artifacts, subjects.references),
        )
        measured = await scores_or_reasons(step, request, "the scenes together")
        return StepOutput(value={"scores": [score.model_dump(mode="json") for score in measured]}, scores=measured)

    return Step(name="quality/across", inputs=inputs, work=work)
