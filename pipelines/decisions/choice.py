"""Making an earlier take current again (undo, redo), and having a picture repainted in part."""

from __future__ import annotations

from typing import Any

from pipelines.decisions.situation import Decision, Pointer, Situation
from pipelines.direction import TAKE_STAGE, ChosenTake, Edit
from pipelines.recipe import StageName
from pipelines.steps import Message, StoredArtifact
from pipelines.store.records import NewEvent


def select(situation: Situation, chosen: ChosenTake) -> Decision:
    """The chosen take stands in for its step; what follows from it runs again.

    When its stage waits for approval, it goes on waiting, with the chosen take in its output. Raises Busy.
    """
    situation.check_at_rest()
    stage = TAKE_STAGE[chosen.kind]
    situation.check_reached(stage)
    dependents = situation.dependents(stage)
    scenes = None if chosen.scene_number is None else frozenset({chosen.scene_number})
    direction = situation.direction.without_choices(dependents, scenes).without_approvals(dependents).chosen(chosen)
    event = NewEvent(
        kind="take_selected",
        message=f"another {chosen.kind} is current",
        step=stage,
        scene_number=chosen.scene_number,
        data={"stage": stage, "progress": situation.shares[stage][1], "take": chosen.take_id},
    )
    output = situation.outputs.get(stage)
    return Decision(
        direction,
        continues_at=_after_choice(situation, stage),
        events=(event,),
        pointer=Pointer(chosen.kind, chosen.scene_number, chosen.take_id),
        forgotten=dependents,
        outputs={} if output is None else {stage: _with_chosen(output, chosen)},
    )


def inpaint(situation: Situation, edit: Edit, mask: StoredArtifact) -> Decision:
    """The picture's stage becomes current again and makes the edited picture. Raises Busy."""
    situation.check_at_rest()
    stage = TAKE_STAGE[edit.kind]
    situation.check_reached(stage)
    dependents = situation.dependents(stage)
    scenes = None if edit.scene_number is None else frozenset({edit.scene_number})
    direction = situation.direction.without_choices(dependents, scenes)
    event = NewEvent(
        kind="edit_asked",
        message=edit.prompt,
        step=stage,
        scene_number=edit.scene_number,
        data={
            "stage": stage,
            "progress": situation.shares[stage][0],
            "version": edit.version,
            "parent": edit.parent_take,
        },
    )
    return Decision(
        direction.without_approvals((stage, *dependents)).chosen(edit),
        continues_at=stage,
        events=(event,),
        messages=(Message(role="user", iteration=1, content=edit.prompt, scene_number=edit.scene_number),),
        artifacts=(mask,),
        forgotten=dependents,
    )


def _after_choice(situation: Situation, stage: StageName) -> StageName | None:
    if situation.waiting_stage == stage:
        return None
    return stage if situation.generation.current_stage == stage else situation.after(stage)


def _with_chosen(output: Any, chosen: ChosenTake) -> Any:
    """A stage's output with the chosen take's value in its place."""
    if chosen.kind == "video":
        return chosen.value
    if chosen.kind == "reference":
        return [chosen.value]
    value = chosen.value["clip"] if chosen.kind == "clip" else chosen.value
    return [value if one["scene_number"] == chosen.scene_number else one for one in output]
