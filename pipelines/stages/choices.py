"""What stands in for a step because its owner chose so: an earlier take, or an edited picture."""

from __future__ import annotations

from pipelines.direction import ChosenTake
from pipelines.stages.context import StageContext
from pipelines.stages.inpaint import edit_step
from pipelines.steps import Json, TakeKind


async def chosen_value(context: StageContext, kind: TakeKind, scene_number: int | None) -> Json | None:
    """The output of the chosen take's step, or of the edit, made now if need be; None: nothing was chosen."""
    choice = context.direction.choice(kind, scene_number)
    if choice is None:
        return None
    return choice.value if isinstance(choice, ChosenTake) else await context.finish(edit_step(context, choice))
