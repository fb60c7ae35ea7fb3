"""RunRecord: everything there is to say about one run, as plain data. It is what `run.json` holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from models.interfaces import Plain
from pipelines.brief import Brief
from pipelines.coherence import ScenePlan
from pipelines.errors import BadInput
from pipelines.recipe import Recipe, Transition
from pipelines.records import Event, Generation, GenerationStatus, Take
from pipelines.report.verdict import ApprovalStatus, approval_status
from pipelines.report.verdict import warnings as verdict_warnings
from pipelines.screenplay import FinalVideo, ScenesResult, StoryResult
from pipelines.stages.state import RunState, coherence_plans, scene_transitions
from pipelines.steps import Json, Message
from pipelines.storyboard_file import write_storyboard
from quality.score import Score


class StepTiming(Plain):
    """When a step ran and for how long."""

    name: str
    """The step: `storyboard/scene-002`."""
    started: datetime
    """When it began, UTC."""
    seconds: float
    """How long it ran."""
    reused: bool
    """A later run found it finished and did not run it again."""


class RunRecord(Plain):
    """One generation. Stages that did not run leave their field None or empty."""

    generation_id: str
    """Id of the generation."""
    status: GenerationStatus
    """How far it is."""
    brief: Brief
    """What was asked for."""
    recipe: Recipe
    """How it is made."""
    fps: int
    """Frames per second of the finished video."""
    story: StoryResult | None
    """Result of the stage `story`; null before it, or without it."""
    scenes: ScenesResult | None
    """Result of the stage `scenes`; null before it."""
    transitions: tuple[Transition, ...]
    """One per pair of neighbouring scenes."""
    plans: tuple[ScenePlan, ...]
    """Seeds, references and adapter settings by scene."""
    takes: tuple[Take, ...]
    """All results, those that are no longer in use too."""
    messages: tuple[Message, ...]
    """What the agents, the owner and the assistant said."""
    scores: tuple[Score, ...]
    """What was measured."""
    timings: tuple[StepTiming, ...]
    """How long each step ran."""
    final: FinalVideo | None
    """The finished video; null before it is stitched."""
    manifest: Json
    """Models, revisions, weights fingerprints, library versions, settings."""
    approval_status: ApprovalStatus | None = None
    """Whether the facts of the brief hold in story and scenes and their critics agree; None before there are any."""
    notes: tuple[str, ...]
    """Plain words that head the report: what the sketch models are, a fallback, why a run stopped."""


def storyboard_of(record: RunRecord) -> bytes:
    """Its scenes as a storyboard file. Raises BadInput for a run that has none yet."""
    if record.scenes is None:
        raise BadInput(f"generation {record.generation_id!r} has no scenes yet: wait until they are written")
    framework = record.brief.framework or record.recipe.framework
    return write_storyboard(record.brief, framework, record.scenes, record.fps)


def step_timings(events: tuple[Event, ...]) -> tuple[StepTiming, ...]:
    """Timings of the finished steps, in the order in which they started, read from the event log."""
    found = [event for event in events if event.kind == "step_reused"]
    reused = {name for event in found for name in event.data.get("steps", (event.step,))}  # one event each before 0.2
    timings = [
        StepTiming(
            name=event.step,
            started=event.created_at - timedelta(seconds=event.data["seconds"]),
            seconds=event.data["seconds"],
            reused=event.step in reused,
        )
        for event in events
        if event.kind == "step_completed" and event.step is not None
    ]
    return tuple(sorted(timings, key=lambda timing: timing.started))


class RecordSource(Protocol):
    """The store, as far as the report needs it."""

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
    own = verdict_warnings({"warnings": generation.manifest.get("warnings", ())}, state.story, scenes)
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
        approval_status=approval_status(state.story, scenes),
        notes=tuple(dict.fromkeys((*generation.manifest["notes"], *own, *warnings))),
    )
