"""Trying again what failed or was cancelled: the finished steps are reused."""

from __future__ import annotations

from pipelines.decisions.situation import Decision, Situation
from pipelines.errors import BadInput
from pipelines.store.records import NewEvent


def resume(situation: Situation) -> Decision:
    """Raises BadInput for a generation that neither failed nor was cancelled."""
    generation = situation.generation
    if generation.status not in ("failed", "cancelled"):
        raise BadInput(
            f"generation {generation.id!r} is {generation.status}: only a failed or cancelled one is resumed"
        )
    stage = generation.current_stage or situation.stages[0]
    event = NewEvent(kind="generation_resumed", message="resumed on request", step=stage, data={"stage": stage})
    return Decision(situation.direction, continues_at=stage, events=(event,))
