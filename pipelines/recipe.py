"""A recipe: which stages run, with which agents, thresholds, transitions and coherence. Data only.

Read from `configs/recipes/*.yaml`; an unknown key is an error. Knows no model and no brief.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.interfaces import Plain
from pipelines.brief import Framework
from pipelines.coherence import CoherenceSettings

StageName = Literal["story", "scenes", "reference_image", "storyboard", "video", "stitch", "quality"]
STAGE_ORDER: tuple[StageName, ...] = (
    "story",
    "scenes",
    "reference_image",
    "storyboard",
    "video",
    "stitch",
    "quality",
)
Score = Annotated[float, Field(ge=0.0, le=100.0)]
Rounds = Annotated[int, Field(ge=1, le=10)]
Transition = Literal["crossfade", "cut", "fade"]


class StoryAgents(Plain):
    critic: bool = True
    max_rounds: Rounds = 3
    approve_at: Score = 85.0


class SceneAgents(Plain):
    critic: bool = True
    max_rounds: Rounds = 2
    approve_at: Score = 85.0
    cohesor: bool = True
    cohesion_rounds: Rounds = 2
    cohesion_at: Score = 80.0
    """Below it, only the scenes that the cohesor flags are rewritten."""
    enhance_image_prompt: bool = False
    enhance_video_prompt: bool = False


class Transitions(Plain):
    """Chosen from the cohesor's transition score; `unscored` when there is no cohesor."""

    crossfade_at: Score = 85.0
    cut_at: Score = 70.0
    crossfade_seconds: Annotated[float, Field(gt=0.0, le=1.5)] = 0.5
    fade_seconds: Annotated[float, Field(gt=0.0, le=1.5)] = 0.8
    unscored: Transition = "cut"


class Recipe(Plain):
    name: str
    description: str
    stages: tuple[StageName, ...]
    framework: Framework = "AIDA"
    """Used when the brief names none."""
    story: StoryAgents = StoryAgents()
    scenes: SceneAgents = SceneAgents()
    transitions: Transitions = Transitions()
    coherence: CoherenceSettings = CoherenceSettings()
    """Used for every coherence field that the brief leaves unset."""
    scene_concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    quality_dimensions: tuple[str, ...] = ("temporal_flickering",)

    @model_validator(mode="after")
    def _stages_in_order(self) -> Recipe:
        if list(self.stages) != [stage for stage in STAGE_ORDER if stage in self.stages]:
            raise ValueError(f"stages {self.stages!r} must be a part of {STAGE_ORDER!r}, in that order")
        return self
