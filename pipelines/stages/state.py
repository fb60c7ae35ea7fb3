"""The state of a run: what the stages have made so far, by name. Plain data; starts from what is given."""

from __future__ import annotations

from models.interfaces import Plain
from pipelines.brief import BriefReference
from pipelines.clips import Clip, FinalVideo
from pipelines.stages.storyboard import Keyframe
from pipelines.story import ScenesResult, StoryResult
from quality.score import Score


class RunState(Plain):
    """None: not made yet."""

    story: StoryResult | None = None
    scenes: ScenesResult | None = None
    references: tuple[BriefReference, ...] | None = None
    """Made by the `reference_image` stage; the brief's own references otherwise."""
    keyframes: tuple[Keyframe, ...] | None = None
    clips: tuple[Clip, ...] | None = None
    video: FinalVideo | None = None
    scores: tuple[Score, ...] | None = None
