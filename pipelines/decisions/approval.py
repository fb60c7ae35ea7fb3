"""Approving the stage that waits."""

from __future__ import annotations

from pipelines.decisions.situation import Decision, Situation
from pipelines.direction import Approval
from pipelines.errors import BadInput
from pipelines.recipe import StageName
from pipelines.stages.selection import check_selection
from pipelines.steps import Message
from pipelines.store.records import NewEvent


def approve(
    situation: Situation, stage: StageName, selected_indices: tuple[int, ...] | None, notes: str | None
) -> Decision:
    """A worker goes on with the stage after `stage`.

    Approving again what was just approved changes nothing and is no error, so that a lost answer may be asked for
    twice. Raises BadInput for a stage that does not wait and for indices that it has no outputs for.
    """
    direction = situation.direction
    if _just_approved(situation, stage):
        return Decision(direction)
    if situation.waiting_stage != stage:
        raise BadInput(f"stage {stage!r} does not wait for approval: {_stand(situation)}")
    if selected_indices is not None:
        check_selection(stage, situation.outputs[stage], selected_indices)
    approval = Approval(stage=stage, selected_indices=selected_indices, notes=notes)
    following = situation.after(stage)
    event = NewEvent(
        kind="stage_approved",
        message=f"{stage} approved",
        step=stage,
        data={
            "stage": stage,
            "next_stage": following,
            "progress": situation.shares[stage][1],
            "selected_indices": None if selected_indices is None else list(selected_indices),
        },
    )
    messages = (Message(role="user", iteration=1, content=notes),) if notes else ()
    return Decision(direction.approved(approval), continues_at=following, events=(event,), messages=messages)


def _just_approved(situation: Situation, stage: StageName) -> bool:
    """Whether `stage` is approved and no later one waits yet."""
    working = situation.generation.status in ("pending", "processing")
    approvals = situation.direction.approvals
    return working and bool(approvals) and approvals[-1].stage == stage


def _stand(situation: Situation) -> str:
    if situation.waiting_stage is not None:
        return f"{situation.waiting_stage!r} does"
    return f"the generation is {situation.generation.status} at {situation.generation.current_stage or 'its start'!r}"
