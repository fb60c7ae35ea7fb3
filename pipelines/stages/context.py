"""What every stage is given: the brief, the recipe, the timing, the models as described, and the way to run
a step.

Plain and frozen. Knows no engine and no store: `finish` is all that a stage sees of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.brief import Brief, Framework
from pipelines.direction import Direction
from pipelines.recipe import Recipe
from pipelines.steps import Finish
from pipelines.timing import SceneSlot


@dataclass(frozen=True)
class StageContext:
    """One generation as its stages see it."""

    brief: Brief
    recipe: Recipe
    slots: tuple[SceneSlot, ...]
    """One per scene, in order (`pipelines.timing.plan_slots`)."""
    fps: int
    delivery: tuple[int, int]
    """Width, height of the finished video in pixels."""
    fingerprints: Mapping[str, str]
    """By kind (`chat`, `image`, `video`): a hash of everything in a model that changes what it makes; part
    of step keys.
    """
    chat_model: ChatModelSpec
    image_model: ImageModelSpec
    video_model: VideoModelSpec
    finish: Finish
    direction: Direction = field(default_factory=Direction)
    """What the owner decided since the generation was asked for."""

    @property
    def framework(self) -> Framework:
        return self.brief.framework or self.recipe.framework

    @property
    def seed(self) -> int:
        """Seed of the generation; the coherence settings may override the brief's."""
        override = self.brief.coherence.seed_value
        return self.brief.seed if override is None else override
