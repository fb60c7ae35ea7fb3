"""RunRecord: everything there is to say about one run, as plain data. It is what `run.json` holds."""

from __future__ import annotations

from datetime import datetime, timedelta

from models.interfaces import Plain
from pipelines.brief import Brief
from pipelines.clips import FinalVideo
from pipelines.coherence import ScenePlan
from pipelines.errors import BadInput
from pipelines.recipe import Recipe, Transition
from pipelines.steps import Json, Message
from pipelines.store.records import Event, GenerationStatus, Take
from pipelines.story import ScenesResult, StoryResult
from pipelines.storyboard_file import write_storyboard
from quality.score import Score


class StepTiming(Plain):
    """When a step ran and for how long."""

    name: str
    started: datetime
    seconds: float
    reused: bool
    """A later run found it finished and did not run it again."""


class RunRecord(Plain):
    """One generation. Stages that did not run leave their field None or empty."""

    generation_id: str
    status: GenerationStatus
    brief: Brief
    recipe: Recipe
    fps: int
    story: StoryResult | None
    scenes: ScenesResult | None
    transitions: tuple[Transition, ...]
    """One per pair of neighbouring scenes."""
    plans: tuple[ScenePlan, ...]
    takes: tuple[Take, ...]
    messages: tuple[Message, ...]
    scores: tuple[Score, ...]
    timings: tuple[StepTiming, ...]
    final: FinalVideo | None
    manifest: Json
    """Models, revisions, weights fingerprints, library versions, settings."""
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
    reused = {event.step for event in events if event.kind == "step_reused"}
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
