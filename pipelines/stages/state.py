"""The state of a run: what the stages have made so far, by name. Plain data; starts from what is given."""

from __future__ import annotations

from itertools import pairwise

from models.interfaces import Plain
from pipelines.brief import Brief, BriefReference
from pipelines.coherence import ScenePlan, plan_coherence
from pipelines.recipe import Recipe, Transition
from pipelines.screenplay import Clip, FinalVideo, ScenesResult, StoryResult
from pipelines.stages.storyboard import Keyframe
from pipelines.timeline import Timeline, choose_transition, plan_timeline
from quality.score import Score


class RunState(Plain):
    """Outputs of the stages by name; None: not made yet."""

    story: StoryResult | None = None
    scenes: ScenesResult | None = None
    references: tuple[BriefReference, ...] | None = None
    """Made by the `reference_image` stage; the brief's own references otherwise."""
    keyframes: tuple[Keyframe, ...] | None = None
    clips: tuple[Clip, ...] | None = None
    video: FinalVideo | None = None
    scores: tuple[Score, ...] | None = None


def scene_references(brief: Brief, state: RunState) -> tuple[BriefReference, ...]:
    """The references that bind: what the `reference_image` stage left when it ran, else the brief's own.

    They have the weights that the coherence settings give the first of them, where they give any.
    """
    found = brief.references if state.references is None else state.references
    given = brief.coherence.reference_weights or ()
    weighed = (one.model_copy(update={"weight": weight}) for one, weight in zip(found, given, strict=False))
    return (*weighed, *found[len(given) :])


def coherence_plans(brief: Brief, state: RunState, scenes: ScenesResult) -> tuple[ScenePlan, ...]:
    """One coherence plan per scene, in order."""
    numbers = tuple(scene.scene_number for scene in scenes.scenes)
    return plan_coherence(brief.coherence, brief.seed, numbers, bool(scene_references(brief, state)))


def scene_transitions(recipe: Recipe, scenes: ScenesResult) -> tuple[Transition, ...]:
    """One transition per pair of neighbours, from the cohesor's scores where there are any."""
    analysis = scenes.cohesion.pair_wise_analysis if scenes.cohesion else ()
    scores = {(pair.from_scene, pair.to_scene): pair.transition_score for pair in analysis}
    pairs = pairwise(scene.scene_number for scene in scenes.scenes)
    return tuple(choose_transition(scores.get(pair), recipe.transitions) for pair in pairs)


def scene_timeline(recipe: Recipe, scenes: ScenesResult, fps: int) -> Timeline:
    slots = tuple(scene.frames for scene in scenes.scenes)
    return plan_timeline(slots, scene_transitions(recipe, scenes), recipe.transitions, fps)
