"""What an approval selects: one draft of the story, some of the references, the scenes of the storyboard that stay."""

from __future__ import annotations

from typing import Any

from pipelines.direction import Direction
from pipelines.errors import BadInput
from pipelines.facts import Source
from pipelines.plan_edits import edited_result, place_fact
from pipelines.reading.brief_rules import product_named
from pipelines.recipe import StageName
from pipelines.screenplay import StoryResult
from pipelines.stages.state import RunState
from pipelines.stages.story import story_result
from pipelines.timing import retimed


def check_selection(stage: StageName, output: Any, indices: tuple[int, ...]) -> None:
    """Raises BadInput when `indices` cannot be kept of `output`, a stage's output as JSON."""
    count = _count(stage, output)
    given = f"selected_indices {list(indices)}"
    if not indices or len(set(indices)) != len(indices) or not all(0 <= index < count for index in indices):
        raise BadInput(f"{given}: stage {stage!r} has {count} outputs; give different numbers from 0 to {count - 1}")
    if stage == "story" and len(indices) != 1:
        raise BadInput(f"{given}: an ad has one story; give the index of one draft")
    if stage not in ("story", "reference_image", "storyboard") and len(indices) != count:
        missing = min(set(range(count)) - set(indices))
        raise BadInput(
            f"{given} leaves out index {missing}: every scene of the storyboard is filmed; select scenes when you "
            "approve the storyboard"
        )


def _count(stage: StageName, output: Any) -> int:
    if stage == "story":
        return len(output["rounds"])
    if stage == "scenes":
        return len(output["scenes"])
    return len(output) if isinstance(output, list) else 1


def keep_selected_outputs(
    state: RunState, stage: StageName, indices: tuple[int, ...] | None, total_frames: int, fps: int
) -> RunState:
    """The state with what its owner selected of the stage's outputs when they approved it; None: all of them.

    Of a storyboard the other scenes leave the ad, and those that stay fill its whole length.
    """
    if indices is None:
        return state
    if stage == "story" and state.story is not None:
        story = state.story
        return state.model_copy(update={"story": _with_round(story, indices[0])})
    if stage == "reference_image" and state.references is not None:
        return state.model_copy(update={"references": tuple(state.references[index] for index in indices)})
    if stage == "storyboard" and state.keyframes is not None and state.scenes is not None:
        kept = sorted(indices)
        scenes = [state.scenes.scenes[index] for index in kept]
        lengths = retimed(tuple(scene.frames for scene in scenes), total_frames, fps)
        timed = tuple(
            scene.model_copy(update={"frames": frames}) for scene, frames in zip(scenes, lengths, strict=True)
        )
        return state.model_copy(
            update={
                "scenes": state.scenes.model_copy(update={"scenes": timed}),
                "keyframes": tuple(state.keyframes[index] for index in kept),
            }
        )
    return state


def shown_story(stored: StoryResult, direction: Direction) -> StoryResult:
    """The story stage's stored output, in which later edits are made already, as its owner selected it."""
    approval = direction.approval("story")
    if approval is None or approval.selected_indices is None:
        return stored
    return edited_result(_with_round(stored, approval.selected_indices[0]), direction.later_edits)


def _with_round(story: StoryResult, index: int) -> StoryResult:
    """The result whose story is that of another draft, with the product and the places of that draft."""
    chosen = story.rounds[index]
    facts = story.facts
    if chosen.product is not None:
        facts = facts.model_copy(update={"product": product_named(chosen.product.name, Source(origin="owner"))})
    if facts.places and any(place.place.source.origin == "owner" for place in facts.places):
        facts = facts.model_copy(update={"places": tuple(place_fact(beat.setting) for beat in chosen.draft.beats)})
    result = story_result(story.entities, story.rounds, chosen)
    return result.model_copy(update={"facts": facts, "warnings": story.warnings})
