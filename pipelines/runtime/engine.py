"""The engine: claim a generation, run its stages in order, keep the lease, end it in a state that says the truth.

Stages are data (`stages/registry.py`); finished steps inside them are not run again (`run.py`). A generation whose
lease is lost is left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from models.spec import AspectRatio, Size
from pipelines.brief import Brief
from pipelines.errors import LeaseLost, StorageFailed
from pipelines.recipe import Recipe
from pipelines.records import Generation, GenerationStatus, Lease, NewEvent
from pipelines.runtime.progress import StageProgress, stage_shares
from pipelines.runtime.run import Run, RunStore, StoredFiles
from pipelines.runtime.traces import span
from pipelines.stages.context import StageContext
from pipelines.stages.owner_edits import directed_story
from pipelines.stages.registry import Stage, wanted_stages
from pipelines.stages.selection import keep_selected_outputs
from pipelines.stages.state import RunState
from pipelines.steps import Json, Models
from pipelines.timing import SceneSlot, plan_slots

HEARTBEAT_SECONDS = 0.25
"""How often progress is written and a cancel request looked for."""
Progressed = tuple[RunState, Stage | None]
"""What the stages made, and the one that waits for approval."""


class EngineStore(RunStore, Protocol):
    """The store, as far as the engine needs it."""

    @property
    def lease_seconds(self) -> float: ...
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
        artifacts: StoredFiles,
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
        """Run to the end, or to where the owner must approve.

        Raises what stopped it, after the store says so: PipelineError, or CancelledError.

        When this task is cancelled (Ctrl-C) the running step stops within one denoising step and the generation goes
        back to `pending`; a cancel request in the store ends it as `cancelled`.
        """
        await self._store.get(user_id, generation_id)
        lease = await self._store.claim(generation_id, self._worker, take_over)
        return await self.run_claimed(lease, await self._store.get(user_id, generation_id))

    async def run_claimed(self, lease: Lease, generation: Generation, cancel: asyncio.Event | None = None) -> RunState:
        """As `run`, under a lease that the caller took. Setting `cancel` ends it as `cancelled` within one step."""
        asked_by = generation.manifest.get("traceparent")
        with span(f"generation {generation.recipe.name}", asked_by, **{"admint.generation": generation.id}):
            return await self._run_claimed(lease, generation, cancel)

    async def _run_claimed(self, lease: Lease, generation: Generation, cancel: asyncio.Event | None) -> RunState:
        cancel = cancel or asyncio.Event()
        run = Run(self._store, lease, self._models, self._artifacts, cancel, generation.progress)
        work = asyncio.create_task(self._stages(run, generation))
        try:
            await self._attend(run, work)
            state, waiting = await work
        except asyncio.CancelledError:
            await _stop(work)
            await self._store.end(lease, *_cancelled(run))
            raise
        except LeaseLost:
            await _stop(work)
            raise
        except Exception as error:  # a bug ends the generation as truthfully as a failed step does
            await _stop(work)
            await self._fail(run, error)
            raise
        await self._store.end(lease, *_ended(run, waiting))
        return state

    async def _attend(self, run: Run, work: asyncio.Task[Progressed]) -> None:
        """Until `work` ends: write progress, renew the lease, and cancel `work` when the owner asked for it."""
        renewed = 0.0
        cancelled = asyncio.create_task(run.cancel_requested.wait())
        try:
            while not work.done():
                await asyncio.wait({work, cancelled}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                renewed = await self._heartbeat(run, renewed)
        finally:
            cancelled.cancel()

    async def _heartbeat(self, run: Run, renewed: float) -> float:
        """Write progress, look for a cancel request, renew the lease in time; returns when it was last renewed."""
        if run.cancel_requested.is_set():
            raise asyncio.CancelledError
        async with run.in_order:
            if events := run.progress_events():
                await self._store.append(run.lease, *events)
        if time.monotonic() - renewed < self._store.lease_seconds / 3:
            return renewed
        if await self._store.renew(run.lease):
            run.cancel_requested.set()
        return time.monotonic()

    async def _stages(self, run: Run, generation: Generation) -> Progressed:
        """The state, and the stage after which the owner must approve, if that is where it stands now.

        Stages before the current one were finished by an earlier run: they pass without a word, their steps reused.
        """
        recipe, direction = generation.recipe, generation.direction
        state = RunState.model_validate(generation.given)
        context = self._context(run, generation, state)
        todo = wanted_stages(recipe, frozenset(generation.given))
        names = [stage.name for stage in todo]
        data: Json = {"stages": names, "references": len(generation.brief.references)}
        started = NewEvent(kind="generation_started", message=f"recipe {recipe.name!r}", data=data)
        await run.store.append(run.lease, started)
        current = generation.current_stage
        news = names.index(current) if current in names else 0
        shares = stage_shares(recipe, frozenset(generation.given))
        for position, stage in enumerate(todo):
            run.stage = StageProgress(stage, shares[stage.name], len(context.slots))
            state = await self._stage(stage, run, run.stage, context, state, position >= news)
            if stage.name not in recipe.approvals:
                continue
            approval = direction.approval(stage.name)
            if approval is None:
                return state, stage
            total = sum(slot.frames for slot in context.slots)
            state = keep_selected_outputs(state, stage.name, approval.selected_indices, total, context.fps)
            if stage.name == "storyboard" and approval.selected_indices is not None:
                context = replace(context, slots=_slots(generation.brief, recipe, self._fps, state))
        return state, None

    async def _stage(
        self, stage: Stage, run: Run, progress: StageProgress, context: StageContext, state: RunState, news: bool
    ) -> RunState:
        if news:
            async with run.in_order:
                if passed := run.reused_events():
                    await run.store.append(run.lease, *passed)
                began = NewEvent(kind="stage_started", message=stage.describe, step=stage.name, data=run.place)
                await run.store.start_stage(run.lease, stage.name, began)
        with span(f"stage {stage.name}"):
            state = state.model_copy(update={stage.makes: await stage.run(context, state)})
        output = state.model_dump(mode="json", include={stage.makes})[stage.makes]
        if stage.name == "story" and state.story is not None and context.direction.later_edits:
            output = directed_story(context, state.story).model_dump(mode="json")
        progress.end()
        async with run.in_order:
            message = f"{stage.describe}: finished"
            done = NewEvent(kind="stage_completed", message=message, step=stage.name, data=run.place)
            told = [*run.reused_events(), done] if news else []
            await run.store.finish_stage(run.lease, stage.name, output, *told)
        return state

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
            direction=generation.direction,
        )

    async def _fail(self, run: Run, error: Exception) -> None:
        message = " ".join([str(error), *getattr(error, "__notes__", [])])
        event = NewEvent(kind="generation_failed", message=message, severity="error", data=run.place)
        try:
            await self._store.end(run.lease, "failed", event, message)
        except StorageFailed as second:
            error.add_note(f"(the store could not record it: {type(second).__name__})")


def _slots(brief: Brief, recipe: Recipe, fps: int, given: RunState) -> tuple[SceneSlot, ...]:
    """Slots of the given scenes, else those of the framework."""
    if given.scenes is None:
        return plan_slots(brief.framework or recipe.framework, brief.duration, fps, brief.num_scenes)
    return tuple(
        SceneSlot(scene_number=scene.scene_number, purpose=scene.purpose, frames=scene.frames)
        for scene in given.scenes.scenes
    )


def _ended(run: Run, waiting: Stage | None) -> tuple[GenerationStatus, NewEvent]:
    if waiting is None:
        return "completed", NewEvent(kind="generation_completed", message="the ad is finished", data={"progress": 100})
    message = f"{waiting.name}: approve it, or say what to change"
    return "awaiting_approval", NewEvent(kind="approval_needed", message=message, step=waiting.name, data=run.place)


def _cancelled(run: Run) -> tuple[GenerationStatus, NewEvent]:
    if run.cancel_requested.is_set():
        return "cancelled", NewEvent(kind="generation_cancelled", message="cancelled on request")
    return "pending", NewEvent(kind="generation_interrupted", message="interrupted; it can be resumed")


async def _stop(work: asyncio.Task[Progressed]) -> None:
    """Cancel the stages and wait until no model call of theirs is left running."""
    work.cancel()
    await asyncio.wait({work})
