"""One run of a generation by one worker: finishing steps, counting progress, and what each running step may use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

from models.errors import BudgetExceeded, InferenceFailed, InvalidRequest, WeightsError
from models.interfaces import (
    ChatRequest,
    ChatResult,
    ImageRequest,
    ImageResult,
    Unwatched,
    VideoRequest,
    VideoResult,
    Watcher,
)
from pipelines.errors import PipelineError, StepFailed
from pipelines.recipe import StageName
from pipelines.records import Checkpoint, Lease, NewEvent
from pipelines.runtime.progress import StageProgress
from pipelines.runtime.traces import span
from pipelines.scoring import ScoreRequest
from pipelines.steps import Artifacts, Json, Models, Step, StepOutput
from quality.score import Score

PROGRESS_EVENT_SECONDS = 0.5
"""A running step writes at most one progress event in this time."""


class RunStore(Protocol):
    """The store, as far as a run needs it."""

    async def checkpoint(self, generation_id: str, step: Step) -> Checkpoint | None: ...
    async def commit_step(
        self, lease: Lease, step: Step, output: StepOutput, seconds: float, event: NewEvent
    ) -> None: ...
    async def reuse_step(self, lease: Lease, step: Step) -> None: ...
    async def replace_step(
        self, lease: Lease, step: Step, output: StepOutput, seconds: float, event: NewEvent
    ) -> None: ...
    async def artifact_hashes(self, generation_id: str) -> frozenset[str]: ...
    async def append(self, lease: Lease, *new_events: NewEvent) -> None: ...
    async def start_stage(self, lease: Lease, stage: StageName, event: NewEvent) -> None: ...
    async def finish_stage(self, lease: Lease, stage: StageName, output: Any, *events: NewEvent) -> None: ...


class StoredFiles(Artifacts, Protocol):
    """The artifact store, whose files a disk can lose (`pipelines.store.artifacts`)."""

    def is_whole(self, sha256: str) -> bool: ...


class StepProgress:
    """Last known denoising step of a running step; written from a model's thread, read by the engine's heartbeat."""

    def __init__(self, step: Step) -> None:
        self.working = step
        self.done = 0
        self.total = 0
        self.written = (0, 0.0)
        """Steps done, and when (monotonic seconds), at the last progress event."""

    def step(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    def due(self, now: float) -> bool:
        return self.done != self.written[0] and now - self.written[1] >= PROGRESS_EVENT_SECONDS


class RunningStep:
    """What one running step may use (`pipelines.steps.StepContext`)."""

    def __init__(self, run: Run, step: Step, progress: StepProgress) -> None:
        self._run = run
        self._step = step
        self._progress = progress
        self.artifacts = run.artifacts
        self.chat_model = run.models.chat_model
        self.image_model = run.models.image_model
        self.video_model = run.models.video_model

    async def notice(
        self, kind: str, message: str, severity: Literal["info", "warning"] = "info", details: Json | None = None
    ) -> None:
        """Append an event about the step to the generation's log."""
        async with self._run.in_order:
            event = NewEvent(
                kind="notice",
                message=message,
                severity=severity,
                step=self._step.name,
                scene_number=self._step.scene_number,
                data={**self._run.place, **(details or {}), "notice": kind},
            )
            await self._run.store.append(self._run.lease, event)

    async def chat(self, request: ChatRequest, watcher: Watcher | None = None) -> ChatResult:
        with span("chat", model=self.chat_model.name):
            return await self._run.models.chat(request, watcher or self._progress)

    async def image(self, request: ImageRequest, watcher: Watcher | None = None) -> ImageResult:
        with span("image", model=self.image_model.name):
            return await self._run.models.image(request, watcher or self._progress)

    async def video(self, request: VideoRequest, watcher: Watcher | None = None) -> VideoResult:
        with span("video", model=self.video_model.name):
            return await self._run.models.video(request, watcher or self._progress)

    async def score(self, request: ScoreRequest, watcher: Watcher | None = None) -> tuple[Score, ...]:
        """Scores of a file. Measuring does not move the step's progress, which counts denoising."""
        with span("score"):
            return await self._run.models.score(request, watcher or Unwatched())


class Run:
    """The work of one worker on one generation under one lease."""

    def __init__(
        self,
        store: RunStore,
        lease: Lease,
        models: Models,
        artifacts: StoredFiles,
        cancel: asyncio.Event,
        progress: int = 0,
    ) -> None:
        """`cancel` is set when the owner asked to stop: by this class's users, or through the store.

        `progress` is the percent at which the generation stands.
        """
        self.store = store
        self.lease = lease
        self.models = models
        self.artifacts = artifacts
        self.cancel_requested = cancel
        self.stage: StageProgress | None = None
        """The stage at work; None before the first."""
        self.in_order = asyncio.Lock()
        """Held while an event is made and appended, so that the log's percent never falls: of two scenes that move at
        once, the one that says less could be written last."""
        self._percent = progress
        self._running: dict[str, StepProgress] = {}
        self._files: frozenset[str] | None = None
        """Hashes of the files that earlier runs left; None: not looked at yet."""
        self._reused: list[str] = []
        """Steps that were found finished and are not told of in the log yet."""

    async def finish(self, step: Step) -> Json:
        """The value of `step`: from its checkpoint, else by running it now. Raises StepFailed, LeaseLost.

        A step whose files its disk lost or damaged since is run again.
        """
        known = await self.store.checkpoint(self.lease.generation_id, step)
        damaged = () if known is None else await self._damaged_files(known.value)
        if known is not None and not damaged:
            async with self.in_order:
                self._move(step, 1.0)
                await self.store.reuse_step(self.lease, step)
                self._reused.append(step.name)
            return known.value
        async with self.in_order:
            await self.store.append(self.lease, *self.reused_events(), *self._begin(step, damaged))
        output, seconds = await self._work(step)
        commit = self.store.commit_step if known is None else self.store.replace_step
        async with self.in_order:
            self._move(step, 1.0)
            done = self._event("step_completed", step, f"finished in {seconds:.1f} s", seconds=round(seconds, 3))
            await commit(self.lease, step, output, seconds, done)
        return output.value

    def _begin(self, step: Step, damaged: Sequence[str]) -> list[NewEvent]:
        began = self._event("step_started", step, "started")
        if not damaged:
            return [began]
        message = f"{len(damaged)} stored file(s) of {step.name} are damaged or gone: it is made again"
        data: Json = {**self.place, "kind": "damaged_artifact", "artifacts": list(damaged)}
        scene = step.scene_number
        return [
            NewEvent(kind="notice", severity="warning", message=message, step=step.name, scene_number=scene, data=data),
            began,
        ]

    async def _damaged_files(self, value: Json) -> tuple[str, ...]:
        """Files that a finished step's value names and that cannot be read any more."""
        if self._files is None:
            self._files = await self.store.artifact_hashes(self.lease.generation_id)
        named = sorted(self._files.intersection(_texts(value)))
        whole = await asyncio.to_thread(lambda: [self.artifacts.is_whole(sha256) for sha256 in named])
        return tuple(sha256 for sha256, good in zip(named, whole, strict=True) if not good)

    @property
    def place(self) -> Json:
        """Where the generation is, as its events say it; the percent never falls during a run.

        A stage that an earlier run finished is passed again from its begin, so its own percent is no measure.
        """
        if self.stage is None:
            return {}
        self._percent = max(self._percent, self.stage.percent)
        return {"stage": self.stage.stage, "progress": self._percent}

    def reused_events(self) -> list[NewEvent]:
        """One event for all finished steps that were used again since the last call, none when there were none.

        To be appended while `in_order` is held. A session that is approved stage by stage passes what is finished
        again each time: an event for each step was a third of its log.
        """
        steps, self._reused = self._reused, []
        if not steps:
            return []
        message = f"{len(steps)} finished steps are used again" if len(steps) > 1 else "a finished step is used again"
        return [NewEvent(kind="step_reused", message=message, data={**self.place, "steps": steps})]

    async def _work(self, step: Step) -> tuple[StepOutput, float]:
        progress = self._running[step.name] = StepProgress(step)
        started = time.perf_counter()
        try:
            with span(f"step {step.name}"):
                output = await step.work(RunningStep(self, step, progress))
        except (InvalidRequest, BudgetExceeded, InferenceFailed, WeightsError) as error:
            raise StepFailed(f"step {step.name!r} failed: {error}") from error
        except PipelineError as error:
            error.add_note(f"in step {step.name!r}")
            raise
        finally:
            del self._running[step.name]
        return output, time.perf_counter() - started

    def progress_events(self) -> list[NewEvent]:
        """Progress of the running steps that moved since the last call, at most one per step and half second."""
        now = time.monotonic()
        moved = [progress for progress in self._running.values() if progress.due(now)]
        for progress in moved:
            progress.written = (progress.done, now)
            self._move(progress.working, progress.done / progress.total)
        return [
            self._event(
                "step_progress",
                progress.working,
                f"step {progress.done} of {progress.total}",
                done=progress.done,
                total=progress.total,
            )
            for progress in moved
        ]

    def _move(self, step: Step, fraction: float) -> None:
        if self.stage is not None:
            self.stage.move(step, fraction)

    def _event(
        self,
        kind: Literal["step_started", "step_progress", "step_completed"],
        step: Step,
        message: str,
        **data: float,
    ) -> NewEvent:
        place: Json = {**self.place, **data}
        return NewEvent(kind=kind, message=message, step=step.name, scene_number=step.scene_number, data=place)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
