"""What heads every answer about a generation: whether its texts are approved, and what its owner must know of it.

The same words in all APIs, on the command line, in the report and in the run record.
"""

from __future__ import annotations

from typing import Literal

from pipelines.screenplay import BrokenFact, ScenesResult, StoryResult
from pipelines.steps import Json

ApprovalStatus = Literal["approved", "needs_revision"]
TOY = "sketch models: "
"""Heads the warning of models that draw a toy world: their scores are no measure of real ads."""


def approval_status(story: StoryResult | None, scenes: ScenesResult | None) -> ApprovalStatus | None:
    """`approved` when story and scenes are: their facts hold and their critics agree. None before there are any."""
    if story is None:
        return None
    scenes_hold = scenes is None or all(scene.approved for scene in scenes.scenes)
    return "approved" if story.approved and scenes_hold else "needs_revision"


def warnings(manifest: Json, story: StoryResult | None = None, scenes: ScenesResult | None = None) -> tuple[str, ...]:
    """What is to be known of a generation made by `manifest`'s models, in plain words, each once."""
    told = [f"{TOY}{note}" for note in manifest.get("notes", ())]
    told += manifest.get("warnings", ())
    if story is not None:
        told += story.warnings
        told += _unapproved(story)
    if scenes is not None and story is not None:
        for scene in scenes.scenes:
            if not scene.approved:
                told.append(f"scene {scene.scene_number} is not approved: {_reasons(scene.broken)}")
    return tuple(dict.fromkeys(told))


def _unapproved(story: StoryResult) -> list[str]:
    if story.approved:
        return []
    chosen = next((one for one in story.rounds if one.iteration == story.chosen_iteration), None)
    return [f"the story is not approved: {_reasons(chosen.broken if chosen else ())}"]


def _reasons(broken: tuple[BrokenFact, ...]) -> str:
    return " ".join(one.fix for one in broken) or "its critic asks for changes"
