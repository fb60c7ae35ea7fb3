"""The engine: claim a generation, run its stages in order, keep the lease, end it in a state that says the truth.

Stages are data (`stages/registry.py`); finished steps inside them are not run again (`run.py`). The engine itself knows
no agent and no model. A generation that this worker no longer holds is left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

from models.spec import AspectRatio, Size
from pipelines.brief import Brief
from pipelines.errors import LeaseLost, StorageFailed
from pipelines.recipe import Recipe
from pipelines.run import Models, Run, RunStore
from pipelines.stages.context import StageContext
from pipelines.stages.registry import Stage, wanted_stages
from pipelines.stages.state import RunState
from pipelines.steps import Artifacts
from pipelines.store.records import Generation, GenerationStatus, Lease, NewEvent
from pipelines.timing import SceneSlot, plan_slots

PULSE_SECONDS = 0.25
"""How often progress is written and a cancel request looked for."""
RENEW_SECONDS = 10.0


class EngineStore(RunStore, Protocol):
    """What the engine needs of the store."""

    async def get(self, user_id: str, generation_id: str) -> Generation: ...
    async def claim(self, generation_id: str, owner: str, take_over: bool = False) -> Lease: ...
    async def renew(self, lease: Lease) -> bool: ...
    async def end(
        self, lease: Lease, status: GenerationStatus, event: NewEvent, error_message: str | None = None
    ) -> None: ...


class Engine:
    """Runs generations for one worker.

    `fps` and `delivery` (width, height by ratio) are the deployment's; the brief decides everything else.
    """

    def __init__(
        self,
        store: EngineStore,
        artifacts: Artifacts,
        models: Models,
        fingerprints: dict[str, str],
        fps: int,
        delivery: Mapping[AspectRatio, Size],
        worker: str,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._models = models
        self._fingerprints = fingerprints
        self._fps = fps
        self._delivery = delivery
        self._worker = worker

    async def run(self, user_id: str, generation_id: str, take_over: bool = False) -> RunState:
        """Run to the end. Raises what stopped it, after the store says so: PipelineError, or CancelledError.

        When this task is cancelled (Ctrl-C) the running step stops within one denoising step and the generation goes
        back to `pending`; a cancel request in the store ends it as `cancelled`.
        """
        generation = await self._store.get(user_id, generation_id)
        lease = await self._store.claim(generation_id, self._worker, take_over)
        run = Run(self._store, lease, self._models, self._artifacts)
        work = asyncio.create_task(self._stages(run, generation))
        try:
            await self._attend(run, work)
            state = await work
        except asyncio.CancelledError:
            await _stop(work)
            await self._store.end(lease, *_cancelled(run))
            raise
        except LeaseLost:
            await _stop(work)
            raise
        except Exception as error:  # a bug ends the generation as truthfully as a failed step does
            await _stop(work)
            await self._fail(lease, error)
            raise
        await self._store.end(lease, "completed", NewEvent(kind="generation_completed", message="the ad is finished"))
        return state

    async def _attend(self, run: Run, work: asyncio.Task[RunState]) -> None:
        """Until `work` ends: write progress, renew the lease, and cancel `work` when the owner asked for it."""
        renewed = 0.0
        while not work.done():
            await asyncio.wait({work}, timeout=PULSE_SECONDS)
            if events := run.progress_events():
                await self._store.append(run.lease, *events)
            if time.monotonic() - renewed >= RENEW_SECONDS:
                renewed = time.monotonic()
                run.cancel_requested = await self._store.renew(run.lease)
            if run.cancel_requested:
                raise asyncio.CancelledError

    async def _stages(self, run: Run, generation: Generation) -> RunState:
        recipe = generation.recipe
        state = RunState.model_validate(generation.given)
        context = self._context(run, generation, state)
        await run.store.append(run.lease, NewEvent(kind="generation_started", message=f"recipe {recipe.name!r}"))
        todo = wanted_stages(recipe, frozenset(generation.given))
        total = sum(stage.weight for stage in todo)
        finished = 0
        for stage in todo:
            state = await self._stage(stage, run, context, state, round(100 * finished / total))
            finished += stage.weight
        return state

    async def _stage(self, stage: Stage, run: Run, context: StageContext, state: RunState, progress: int) -> RunState:
        started = NewEvent(kind="stage_started", message=stage.describe, step=stage.name, data={"progress": progress})
        await run.store.append(run.lease, started, progress=progress)
        made = await stage.run(context, state)
        await run.store.append(
            run.lease, NewEvent(kind="stage_completed", message=f"{stage.name} finished", step=stage.name)
        )
        return state.model_copy(update={stage.makes: made})

    def _context(self, run: Run, generation: Generation, given: RunState) -> StageContext:
        brief, recipe = generation.brief, generation.recipe
        return StageContext(
            brief=brief,
            recipe=recipe,
            slots=_slots(brief, recipe, self._fps, given),
            fps=self._fps,
            delivery=self._delivery[brief.aspect_ratio],
            fingerprints=self._fingerprints,
            chat_model=self._models.chat_model,
            image_model=self._models.image_model,
            video_model=self._models.video_model,
            finish=run.finish,
        )

    async def _fail(self, lease: Lease, error: Exception) -> None:
        message = " ".join([str(error), *getattr(error, "__notes__", [])])
        event = NewEvent(kind="generation_failed", message=message, severity="error")
        try:
            await self._store.end(lease, "failed", event, message)
        except StorageFailed as second:
            error.add_note(f"(the store could not record it: {type(second).__name__})")


def _slots(brief: Brief, recipe: Recipe, fps: int, given: RunState) -> tuple[SceneSlot, ...]:
    """Slots of the given scenes, else by the framework."""
    if given.scenes is None:
        return plan_slots(brief.framework or recipe.framework, brief.duration, fps, brief.num_scenes)
    return tuple(
        SceneSlot(scene_number=scene.scene_number, purpose=scene.purpose, frames=scene.frames)
        for scene in given.scenes.scenes
    )


def _cancelled(run: Run) -> tuple[GenerationStatus, NewEvent]:
    if run.cancel_requested:
        return "cancelled", NewEvent(kind="generation_cancelled", message="cancelled on request")
    return "pending", NewEvent(kind="generation_interrupted", message="interrupted; it can be resumed")


async def _stop(work: asyncio.Task[RunState]) -> None:
    """Cancel the stages and wait until no model call of theirs is left running."""
    work.cancel()
    await asyncio.wait({work})
