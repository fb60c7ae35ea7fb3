"""What `selected_indices` of an approval mean, stage by stage. Pure functions; indices count from 0.

story            exactly one: the draft of that round is the story, also one from before a revision
reference_image  at least one: these references condition the pictures, the others are left out
other stages     all of them: an ad shows every scene; a scene that is not right is revised before the approval
"""

from __future__ import annotations

from typing import Any

from pipelines.errors import BadInput
from pipelines.recipe import StageName
from pipelines.stages.story import story_result
from pipelines.story import StoryResult


def check_selection(stage: StageName, output: Any, indices: tuple[int, ...]) -> None:
    """Raises BadInput when `indices` cannot be kept of `output`, a stage's output as JSON."""
    count = _count(stage, output)
    given = f"selected_indices {list(indices)}"
    if not indices or len(set(indices)) != len(indices) or not all(0 <= index < count for index in indices):
        raise BadInput(f"{given}: stage {stage!r} has {count} outputs; give different numbers from 0 to {count - 1}")
    if stage == "story" and len(indices) != 1:
        raise BadInput(f"{given}: an ad has one story; give the index of one draft")
    if stage not in ("story", "reference_image") and len(indices) != count:
        missing = min(set(range(count)) - set(indices))
        raise BadInput(
            f"{given} leaves out index {missing}: an ad shows every scene; regenerate the one that is not right, then "
            "approve"
        )


def keep_selected(stage: StageName, made: Any, indices: tuple[int, ...] | None) -> Any:
    """What of a stage's result goes on after the approval."""
    if indices is None:
        return made
    if stage == "story":
        story: StoryResult = made
        return story_result(story.entities, story.rounds, story.rounds[indices[0]])
    if stage == "reference_image":
        return tuple(made[index] for index in indices)
    return made


def _count(stage: StageName, output: Any) -> int:
    if stage == "story":
        return len(output["rounds"])
    if stage == "scenes":
        return len(output["scenes"])
    return len(output) if isinstance(output, list) else 1
