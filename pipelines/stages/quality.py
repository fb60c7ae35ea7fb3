"""The quality stage: the recipe's dimensions for every still, every clip and the finished video, as far as there are.

Sets no threshold: the gate does (`gate.py`), while scenes are made, and its scores are found here as finished steps.
The dimensions that cannot be measured here are listed once, on the finished video, each without a value and with its
reason.
The summaries of an ad's scores are a step of their own: rows beside the others, by the contract's names.
"""

from __future__ import annotations

from pipelines.screenplay import Clip, FinalVideo, Scene
from pipelines.stages.across import ComparedAd, scores_across
from pipelines.stages.context import StageContext
from pipelines.stages.scorable import NO_SUBJECTS, Subjects, scorable_clip, scorable_keyframe, scorable_video, scores_of
from pipelines.stages.storyboard import Keyframe
from pipelines.steps import Json, Step, StepContext, StepOutput
from quality.registry import UNAVAILABLE, not_available
from quality.score import Score
from quality.summaries import SUMMARIES, summary_scores


async def score_video(
    context: StageContext,
    scenes: tuple[Scene, ...],
    keyframes: tuple[Keyframe, ...],
    clips: tuple[Clip, ...],
    video: FinalVideo | None,
    subjects: Subjects = NO_SUBJECTS,
    continued: frozenset[int] = frozenset(),
    story: str = "",
) -> tuple[Score, ...]:
    """Scores scene by scene, of the still and of the clip, then of the finished video and of the scenes against one
    another (`scene_number` None). `continued` are the scenes that go on from the last frame of the one before.

    A recipe that stops at the stills or at the clips has none of what comes after them.

    Raises UnknownDimension when the recipe names a dimension that does not exist.
    """
    stills = {keyframe.scene_number: keyframe.artifact for keyframe in keyframes}
    filmed = {clip.scene_number: clip for clip in clips}
    scores: list[Score] = []
    for scene in scenes:
        if (still := stills.get(scene.scene_number)) is not None:
            scores += await scores_of(context, scorable_keyframe(context, scene, still, subjects))
        if (clip := filmed.get(scene.scene_number)) is not None:
            scores += await scores_of(context, scorable_clip(context, scene, clip, subjects))
    if video is not None:
        scores += await scores_of(context, scorable_video(context, video.artifact, subjects))
    if scores:
        await context.finish(_summary_step(tuple(scores)))
    shown = {number: clip.artifact for number, clip in filmed.items()} or stills
    compared = ComparedAd(scenes, shown, bool(filmed), continued, story)
    scores += await scores_across(context, compared, scores, subjects)
    asked = context.recipe.quality_dimensions
    return (*scores, *(not_available(name) for name in UNAVAILABLE if name not in asked))


def _summary_step(scores: tuple[Score, ...]) -> Step:
    inputs: Json = {
        "scores": [score.model_dump(mode="json") for score in scores],
        "formulas": {name: summary.formula for name, summary in SUMMARIES.items()},
    }

    async def work(step: StepContext) -> StepOutput:
        return StepOutput(value={}, scores=summary_scores(scores))

    return Step(name="quality/summary", inputs=inputs, work=work)
