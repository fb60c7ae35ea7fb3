"""Gathers what the store knows of one generation into a RunRecord. Reads only; decides nothing."""

from __future__ import annotations

from typing import Protocol

from pipelines.report.record import RunRecord, step_timings
from pipelines.stages.plans import coherence_plans, scene_transitions
from pipelines.stages.state import RunState
from pipelines.steps import Message
from pipelines.store.records import Event, Generation, Take


class RecordSource(Protocol):
    """What the report needs of the store."""

    async def get(self, user_id: str, generation_id: str) -> Generation: ...
    async def events(self, generation_id: str, after: int = 0) -> tuple[Event, ...]: ...
    async def messages(self, generation_id: str) -> tuple[Message, ...]: ...
    async def takes(self, generation_id: str) -> tuple[Take, ...]: ...


async def collect(source: RecordSource, user_id: str, generation_id: str, state: RunState) -> RunRecord:
    """The record of a run that ended in `state`. Raises NotFound.

    Notes are the manifest's, then every warning of the event log once.
    """
    generation = await source.get(user_id, generation_id)
    events = await source.events(generation_id)
    scenes = state.scenes
    warnings = dict.fromkeys(event.message for event in events if event.severity == "warning")
    return RunRecord(
        generation_id=generation_id,
        status=generation.status,
        brief=generation.brief,
        recipe=generation.recipe,
        fps=generation.manifest["fps"],
        story=state.story,
        scenes=scenes,
        transitions=scene_transitions(generation.recipe, scenes) if scenes else (),
        plans=coherence_plans(generation.brief, state, scenes) if scenes else (),
        takes=await source.takes(generation_id),
        messages=await source.messages(generation_id),
        scores=state.scores or (),
        timings=step_timings(events),
        final=state.video,
        manifest=generation.manifest,
        notes=(*generation.manifest["notes"], *warnings),
    )
