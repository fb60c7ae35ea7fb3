"""The stages of a session as the contract names them, over the stages that really run.

    story │ scenes  reference_image │ storyboard │ video  stitch  quality │ (ended)
    story │ reference_image         │ storyboard │ video                  │ complete, error

`scenes` belongs to what comes after the story's approval; `stitch` and `quality` finish what the video stage filmed.
"""

from __future__ import annotations

from typing import get_args

from pipelines.recipe import STAGE_ORDER, Recipe, StageName
from pipelines.records import Generation
from serving.gateway.generations.views import stages_of
from serving.gateway.interactive.answers import SessionStage, WorkStage

WORK_STAGES: tuple[WorkStage, ...] = get_args(WorkStage)
WORK_STAGE: dict[StageName, WorkStage] = {
    stage: next((own for own in WORK_STAGES if own in STAGE_ORDER[place:]), WORK_STAGES[-1])
    for place, stage in enumerate(STAGE_ORDER)
}
"""What the owner sees while a stage runs: the next stage that is shown, or the last one."""


def work_stage(generation: Generation) -> WorkStage:
    """The stage in which a session works, waits, or stopped."""
    return WORK_STAGE[generation.current_stage or stages_of(generation)[0]]


def session_status(generation: Generation) -> SessionStage:
    """The stage at work, or how the session ended; a cancelled one is an `error` that says so."""
    if generation.status == "completed":
        return "complete"
    return "error" if generation.status in ("failed", "cancelled") else work_stage(generation)


def current_stage(generation: Generation) -> SessionStage:
    """The status of a session; of one in error, the stage in which it stopped."""
    return "complete" if generation.status == "completed" else work_stage(generation)


def is_awaited(generation: Generation) -> bool:
    """Whether the session waits for its owner's approval."""
    return generation.status == "awaiting_approval"


def stage_after(stage: WorkStage) -> SessionStage:
    """The stage that follows, or `complete`."""
    following: tuple[SessionStage, ...] = (*WORK_STAGES[1:], "complete")
    return following[WORK_STAGES.index(stage)]


def finishes(recipe: Recipe, stage: StageName) -> bool:
    """Whether `stage` is the last of its work stage, and nobody is asked to approve it."""
    own = WORK_STAGE[stage]
    together = [one for one in recipe.stages if WORK_STAGE[one] == own]
    return together[-1] == stage and not set(together) & set(recipe.approvals)
