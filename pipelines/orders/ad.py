"""An order for an ad as plain data, and what becomes of it on one server: brief, recipe and given stages, all checked.

Pure: the recipe, the image model and the frame rate are handed in. Knows no HTTP and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from models.interfaces import Plain
from models.spec import ImageModelSpec
from pipelines.brief import Brief, BriefReference
from pipelines.errors import BadInput, first_problem
from pipelines.recipe import STAGE_ORDER, Recipe, StageName
from pipelines.records import ComparisonType
from pipelines.stages.registry import check_recipe, wanted_stages
from pipelines.steps import Json, StoredArtifact
from pipelines.store.intake import Order
from pipelines.storyboard_file import Storyboard, StoryboardScene, storyboard_scenes
from pipelines.timing import plan_slots

MIN_VARIATIONS, MAX_VARIATIONS = 2, 10


class Variation(Plain):
    """What one generation of a group has of its own."""

    prompt: str | None = None
    """Only of a comparison of prompts, and then needed."""
    coherence: Json | None = None
    """The coherence fields that differ from the base; only of a comparison of settings."""


def vary(base: Brief, comparison_type: ComparisonType, variations: tuple[Variation, ...]) -> tuple[Brief, ...]:
    """One brief per variation, in order. Raises BadInput, also when two would be the same."""
    if not MIN_VARIATIONS <= len(variations) <= MAX_VARIATIONS:
        raise BadInput(f"variations: {len(variations)} given, {MIN_VARIATIONS} to {MAX_VARIATIONS} can be compared")
    briefs = tuple(
        _varied(base, comparison_type, number, variation) for number, variation in enumerate(variations, start=1)
    )
    for number, brief in enumerate(briefs, start=1):
        if brief in briefs[: number - 1]:
            raise BadInput(f"variation {number} is the same as variation {briefs.index(brief) + 1}: nothing to compare")
    return briefs


def _varied(base: Brief, comparison_type: ComparisonType, number: int, variation: Variation) -> Brief:
    if comparison_type == "prompt" and (variation.prompt is None or variation.coherence is not None):
        raise BadInput(f"variation {number}: a comparison of prompts needs a prompt each, and nothing else")
    if comparison_type == "settings" and (variation.coherence is None or variation.prompt is not None):
        raise BadInput(f"variation {number}: a comparison of settings needs coherence settings each, and nothing else")
    changes: Json = {"prompt": variation.prompt}
    if variation.coherence is not None:
        changes = {"coherence": {**base.coherence.model_dump(), **variation.coherence}}
    try:
        return Brief.model_validate({**base.model_dump(), **changes})
    except ValidationError as error:
        raise BadInput(f"variation {number}: {first_problem(error)}") from None


@dataclass(frozen=True)
class AdOrder:
    """What is asked for. None: as the recipe has it."""

    recipe: str
    brief: Mapping[str, Any]
    """Fields of `Brief`, as far as given, without references and coherence."""
    references: tuple[BriefReference, ...] = ()
    artifacts: tuple[StoredArtifact, ...] = ()
    """Those of the references."""
    coherence: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[StageName, ...] | None = None
    """Those of the recipe that run."""
    approvals: tuple[StageName, ...] | None = None
    """Stages after which the generation waits for its owner; () runs to the end."""
    quality_dimensions: tuple[str, ...] | None = None
    quality_gate: Mapping[str, Any] | None = None
    """Fields of `QualityGate`."""
    max_story_rounds: int | None = None
    storyboard: Storyboard | None = None
    """Scenes that are given: no agent writes them."""
    use_llm: bool = True
    """False: no agent is asked; every scene shows the prompt itself."""
    parent_generation_id: str | None = None


@dataclass(frozen=True)
class AdPlanner:
    """Turns orders into generations for the models of one server."""

    recipe: Callable[[str], Recipe]
    """By name; raises BadInput for an unknown one."""
    image_model: ImageModelSpec
    fps: int
    manifest: Callable[[], Json]
    """Of the server's models; may read files, raises WeightsError."""

    def plan(self, order: AdOrder) -> Order:
        """Raises BadInput. May read files: call it in a thread."""
        recipe = self._recipe(order)
        brief = _brief(order, recipe)
        given = self._given(order, brief, recipe)
        self._check(brief, recipe, given)
        return Order(brief, recipe, given, self.manifest(), order.artifacts, order.parent_generation_id)

    def compare(
        self, order: AdOrder, comparison_type: ComparisonType, variations: tuple[Variation, ...]
    ) -> tuple[Order, ...]:
        """One generation per variation of `order`. Raises BadInput."""
        recipe = self._recipe(order)
        briefs = vary(_brief(order, recipe), comparison_type, variations)
        manifest = self.manifest()
        orders = []
        for number, brief in enumerate(briefs, start=1):
            given = self._given(order, brief, recipe)
            try:
                self._check(brief, recipe, given)
            except BadInput as error:
                raise BadInput(f"variation {number}: {error}") from None
            orders.append(Order(brief, recipe, given, manifest, order.artifacts))
        return tuple(orders)

    def _recipe(self, order: AdOrder) -> Recipe:
        recipe = self.recipe(order.recipe)
        changes: Json = {}
        if order.stages is not None:
            changes["stages"] = [stage for stage in recipe.stages if stage in order.stages]
        stages = changes.get("stages", recipe.stages)
        approvals = recipe.approvals if order.approvals is None else order.approvals
        strangers = [stage for stage in order.approvals or () if stage not in stages]
        if strangers:
            raise BadInput(f"approvals: stage {strangers[0]!r} does not run; its stages are {', '.join(stages)}")
        changes["approvals"] = [stage for stage in STAGE_ORDER if stage in approvals and stage in stages]
        if order.quality_dimensions is not None:
            changes["quality_dimensions"] = order.quality_dimensions
        if order.quality_gate is not None:
            changes["quality_gate"] = order.quality_gate
        if order.max_story_rounds is not None:
            changes["story"] = {**recipe.story.model_dump(), "max_rounds": order.max_story_rounds}
        try:
            return Recipe.model_validate({**recipe.model_dump(), **changes})
        except ValidationError as error:
            raise BadInput(first_problem(error)) from None

    def _given(self, order: AdOrder, brief: Brief, recipe: Recipe) -> Json:
        if problem := recipe.problem_with(brief):
            raise BadInput(problem)
        board = order.storyboard
        if board is None and not order.use_llm:
            board = _without_agents(brief, recipe, self.fps)
        if board is None:
            return {}
        numbers = [scene.scene_number for scene in board.scenes]
        if numbers != list(range(1, len(numbers) + 1)):
            raise BadInput(f"storyboard: scene_number must count from 1 without a gap (got {numbers})")
        if not order.use_llm and any(stage.name == "story" for stage in wanted_stages(recipe, frozenset({"scenes"}))):
            raise BadInput(f"use_llm: recipe {recipe.name!r} draws its references from a story: choose another recipe")
        return {"scenes": storyboard_scenes(board, self.fps, "storyboard").model_dump(mode="json")}

    def _check(self, brief: Brief, recipe: Recipe, given: Json) -> None:
        if problem := check_recipe(recipe, frozenset(given)):
            raise BadInput(problem)
        if not given:
            plan_slots(brief.framework or recipe.framework, brief.duration, self.fps, brief.num_scenes)
        if brief.coherence.use_ip_adapter and len(brief.references) > self.image_model.references:
            raise BadInput(
                f"references: image model {self.image_model.name!r} takes {self.image_model.references}, not "
                f"{len(brief.references)}: leave some out, or set use_ip_adapter to false"
            )


def _brief(order: AdOrder, recipe: Recipe) -> Brief:
    fields = dict(order.brief)
    if order.storyboard is not None:
        told = [name for name in ("duration", "aspect_ratio", "framework", "num_scenes") if name in fields]
        if told:
            raise BadInput(f"{told[0]} and storyboard exclude each other: the storyboard says it")
        board = order.storyboard
        fields |= {name: getattr(board, name) for name in ("duration", "aspect_ratio", "framework")}
        fields = {"prompt": board.prompt, "title": board.title, **fields}
    try:
        coherence = {**recipe.coherence.model_dump(), **order.coherence}
        return Brief.model_validate({**fields, "coherence": coherence, "references": order.references})
    except ValidationError as error:
        raise BadInput(first_problem(error)) from None


def _without_agents(brief: Brief, recipe: Recipe, fps: int) -> Storyboard:
    """The prompt in every scene of the framework."""
    framework = brief.framework or recipe.framework
    slots = plan_slots(framework, brief.duration, fps, brief.num_scenes)
    try:
        return Storyboard(
            prompt=brief.prompt,
            title=brief.title,
            framework=framework,
            aspect_ratio=brief.aspect_ratio,
            duration=brief.duration,
            scenes=tuple(
                StoryboardScene(
                    scene_number=slot.scene_number,
                    purpose=slot.purpose,
                    seconds=slot.frames / fps,
                    setting=slot.purpose,
                    action=brief.prompt,
                    camera="static",
                    image_prompt=brief.prompt,
                    video_prompt=brief.prompt,
                )
                for slot in slots
            ),
        )
    except ValidationError as error:
        raise BadInput(first_problem(error)) from None
