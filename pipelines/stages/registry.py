"""The stages as data: what each needs, what it makes, its share of the progress bar, and the function that runs it.

A new stage is one file beside this one and one entry here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pipelines.errors import PipelineError
from pipelines.recipe import Recipe, StageName
from pipelines.stages.context import StageContext
from pipelines.stages.owner_edits import directed_story
from pipelines.stages.quality import score_video
from pipelines.stages.reference_image import draw_references
from pipelines.stages.scenes import write_scenes
from pipelines.stages.scorable import Subjects
from pipelines.stages.state import RunState, coherence_plans, scene_references, scene_timeline, scene_transitions
from pipelines.stages.stitch import cover_scene, stitch
from pipelines.stages.story import tell_story
from pipelines.stages.storyboard import draw_storyboard
from pipelines.stages.video import make_clips
from quality.registry import DIMENSIONS

Value = TypeVar("Value")


@dataclass(frozen=True)
class Stage:
    """One stage. `needs` and `makes` are fields of RunState; what a stage makes replaces its field."""

    name: StageName
    needs: tuple[str, ...]
    makes: str
    weight: int
    """Share of the progress bar."""
    describe: str
    run: Callable[[StageContext, RunState], Awaitable[Any]]


def _needed(value: Value | None) -> Value:
    if value is None:
        raise PipelineError("a stage ran before what it needs was made: check the recipe with check_recipe")
    return value


async def _story(context: StageContext, state: RunState) -> Any:
    return await tell_story(context)


async def _scenes(context: StageContext, state: RunState) -> Any:
    return await write_scenes(context, _needed(state.story))


async def _reference_image(context: StageContext, state: RunState) -> Any:
    return await draw_references(context, directed_story(context, _needed(state.story)))


async def _storyboard(context: StageContext, state: RunState) -> Any:
    scenes = _needed(state.scenes)
    plans = coherence_plans(context.brief, state, scenes)
    references = scene_references(context.brief, state)
    return await draw_storyboard(context, scenes.scenes, plans, references, _subjects(context, state))


async def _video(context: StageContext, state: RunState) -> Any:
    scenes = _needed(state.scenes)
    return await make_clips(
        context,
        scenes.scenes,
        coherence_plans(context.brief, state, scenes),
        scene_references(context.brief, state),
        _needed(state.keyframes),
        tuple(segment.clip_frames for segment in scene_timeline(context.recipe, scenes, context.fps).segments),
        _subjects(context, state),
    )


async def _stitch(context: StageContext, state: RunState) -> Any:
    scenes = _needed(state.scenes)
    return await stitch(
        context,
        _needed(state.clips),
        scene_transitions(context.recipe, scenes),
        cover_scene(scenes.scenes, _subjects(context, state).entities),
    )


async def _quality(context: StageContext, state: RunState) -> Any:
    scenes = _needed(state.scenes)
    made = state.keyframes or (), state.clips or (), state.video
    plans = coherence_plans(context.brief, state, scenes)
    chained = {plan.scene_number: plan.chain_from_scene or plan.start_from_scene for plan in plans}
    continued = frozenset(number for number, before in chained.items() if before is not None)
    story = state.story.text if state.story else ""
    return await score_video(context, scenes.scenes, *made, _subjects(context, state), continued, story)


def _subjects(context: StageContext, state: RunState) -> Subjects:
    return Subjects(state.story.entities if state.story else (), scene_references(context.brief, state))


STAGES: dict[StageName, Stage] = {
    stage.name: stage
    for stage in (
        Stage("story", (), "story", 10, "writing the story", _story),
        Stage("scenes", ("story",), "scenes", 15, "writing the scenes", _scenes),
        Stage("reference_image", ("story",), "references", 5, "drawing references", _reference_image),
        Stage("storyboard", ("scenes",), "keyframes", 20, "drawing the keyframes", _storyboard),
        Stage("video", ("scenes", "keyframes"), "clips", 45, "filming the clips", _video),
        Stage("stitch", ("scenes", "clips"), "video", 4, "cutting the video", _stitch),
        Stage("quality", ("scenes",), "scores", 1, "scoring", _quality),
    )
}


def wanted_stages(recipe: Recipe, given: frozenset[str]) -> tuple[Stage, ...]:
    """The stages that must run, in order: those whose output is not given and not only needed by what is given."""
    stages = [STAGES[name] for name in recipe.stages]
    wanted: list[Stage] = []
    for stage in reversed(stages):
        consumers = [other for other in stages if stage.makes in other.needs]
        if stage.makes not in given and (not consumers or any(other in wanted for other in consumers)):
            wanted.insert(0, stage)
    return tuple(wanted)


def check_recipe(recipe: Recipe, given: frozenset[str]) -> str | None:
    """What is wrong with a recipe when `given` fields of RunState are supplied; None when it can run."""
    unknown = sorted(name for name in recipe.measured if name not in DIMENSIONS)
    if unknown:
        return (
            f"recipe {recipe.name!r} asks for the quality dimension {unknown[0]!r}: choose from {', '.join(DIMENSIONS)}"
        )
    made = set(given)
    for stage in wanted_stages(recipe, given):
        missing = [need for need in stage.needs if need not in made]
        if missing:
            return (
                f"stage {stage.name!r} of recipe {recipe.name!r} needs {missing[0]!r}, which no stage before it makes"
            )
        made.add(stage.makes)
    return None
