"""One process of a sweep: its models, loaded once, and the runs that it makes with them."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

from models.errors import ModelError
from models.interfaces import (
    ChatRequest,
    ChatResult,
    ImageRequest,
    ImageResult,
    VideoRequest,
    VideoResult,
    Watcher,
)
from pipelines.direction import Direction
from pipelines.errors import PipelineError, StorageFailed
from pipelines.lab.cache import ARTIFACTS, PlannedSteps, StepCache, claimed, write_load
from pipelines.lab.outcomes import TakenRun, extra_scores, outcome_scores
from pipelines.lab.runs import Run, RunScore, read_run, write_run
from pipelines.records import Generation
from pipelines.runtime.engine import Engine
from pipelines.scoring import ScoreRequest
from pipelines.stages.state import RunState
from pipelines.store.artifacts import LocalArtifacts
from quality.score import Score
from serving.backends.in_process import Loader, LocalBackend, LocalModels, profile_backend
from serving.lab.orders import RunOrder, Sweep
from serving.profile_models import ModelSet, model_sets

OWNER = "lab"
Ended = Literal["made", "finished", "taken"]
"""What became of a run: made here, found finished, or at work in another process."""


class Worker:
    """Makes the runs of a sweep in `folder`, one after the other. Every model is loaded when a step first needs it."""

    def __init__(self, sweep: Sweep, folder: Path, loader: Loader | None = None) -> None:
        """`loader` builds the engines; None: from the weights library."""
        self._sweep = sweep
        self._loader = loader
        self._folder = folder
        self._artifacts = LocalArtifacts(folder / ARTIFACTS)
        self._models_by_name: dict[tuple[tuple[str, str], ...], TimedModels] = {}
        self._runner = asyncio.Runner()
        self._loads = Loads(folder)
        self.described = model_sets(sweep.profile)
        """Descriptions of models by kind, each made once."""
        self._backend = lru_cache(None)(self._backend_of_all)

    def make(self, order: RunOrder) -> Ended:
        """Make one run and write its row. Raises StorageFailed, and what is a bug; a run that fails is a row."""
        with claimed(self._folder, order.run_id, lambda: read_run(self._folder, order.run_id) is not None) as claim:
            if claim != "mine":
                return claim
            write_run(self._folder, self._runner.run(self._run(order)))
            return "made"

    def planned(self, order: RunOrder) -> PlannedSteps:
        """The steps of a run, and which are to be made. Raises Unplannable where an agent's answer decides it."""
        models = self._models(order.models)
        steps = PlannedSteps(self._folder, _generation(order, models.described), models)
        self._runner.run(self._engine(steps, models).run(OWNER, order.run_id))
        return steps

    def close(self) -> None:
        """Wait for running calls and let the models go."""
        if self._models_by_name:
            self._backend().close()
        self._runner.close()

    async def _run(self, order: RunOrder) -> Run:
        models = self._models(order.models)
        steps = StepCache(self._folder, _generation(order, models.described), models)
        state, takes, scores, failed = RunState(), {}, {}, None
        try:
            for reference in order.story.references:
                self._artifacts.put(reference.png, "image/png")
            state = await self._engine(steps, models).run(OWNER, order.run_id)
            takes = _takes(state)
            scores = self._scores(order, state, takes)
        except StorageFailed:
            raise
        except (PipelineError, ModelError) as error:
            failed = " ".join([str(error), *getattr(error, "__notes__", [])])
        return _row(order, steps, takes, scores, failed)

    def _scores(self, order: RunOrder, state: RunState, takes: Mapping[str, str]) -> dict[str, RunScore]:
        measured: tuple[Score, ...] = state.scores or ()
        taken = TakenRun(order.arm, order.story, order.seed, takes, self._artifacts.read)
        return {
            **outcome_scores(self._sweep.spec.outcomes, measured, takes),
            **extra_scores(self._sweep.extra, taken),
        }

    def _engine(self, steps: StepCache, models: TimedModels) -> Engine:
        profile = self._sweep.profile
        return Engine(
            store=steps,
            artifacts=self._artifacts,
            models=models,
            fingerprints=models.described.fingerprints,
            fps=profile.fps,
            delivery=profile.delivery,
            worker=f"sweep-{os.getpid()}",
        )

    def _models(self, names: Mapping[str, str]) -> TimedModels:
        key = tuple(sorted(names.items()))
        if key not in self._models_by_name:
            described, device = self.described(**names), self._sweep.profile.device
            self._models_by_name[key] = TimedModels(self._backend(), described, device, self._loads)
        return self._models_by_name[key]

    def _backend_of_all(self) -> LocalBackend:
        """One backend for all models that an arm may name: a model that arms share is loaded once."""
        sweep = self._sweep
        named = {path.removeprefix("model."): set(values) for path, values in sweep.model_values().items()}
        sets = [self.described()]
        sets += [self.described(**{kind: name}) for kind, names in named.items() for name in sorted(names)]
        specs = [spec for each in sets for spec in (each.chat, each.image, each.video)]
        return profile_backend(sweep.profile, specs, self._loader)


class Loads:
    """What this process has loaded; how long that took is kept, for the estimate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ready: set[str] = set()
        """Names of models, and of dimensions whose scorers are loaded."""

    def loaded(self, what: str, names: Collection[str], seconds: float) -> None:
        """`names` are ready, after `seconds`."""
        self.ready |= {*names}
        write_load(self._folder, what, seconds)


class TimedModels(LocalModels):
    """Models that are loaded, with a first small call, before a step's own call; and what steps take beside that."""

    def __init__(self, backend: LocalBackend, described: ModelSet, device: str, loads: Loads) -> None:
        super().__init__(backend, described)
        self._device = device
        self._loads = loads
        self._loading = 0.0

    async def chat(self, request: ChatRequest, watcher: Watcher | None = None) -> ChatResult:
        await self._warm(self.chat_model.name)
        return await super().chat(request, watcher)

    async def image(self, request: ImageRequest, watcher: Watcher | None = None) -> ImageResult:
        await self._warm(self.image_model.name)
        return await super().image(request, watcher)

    async def video(self, request: VideoRequest, watcher: Watcher | None = None) -> VideoResult:
        await self._warm(self.video_model.name)
        return await super().video(request, watcher)

    async def score(self, request: ScoreRequest, watcher: Watcher | None = None) -> tuple[Score, ...]:
        await self._warm(*request.dimensions, scorers=True)
        return await super().score(request, watcher)

    def begin(self) -> None:
        """As `pipelines.lab.cache.Meter`; so are the two below."""
        self._loading = 0.0
        if self._device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak of resident memory begins anew

    def peak_mb(self) -> float | None:
        if self._device == "cuda":
            import torch

            return round(torch.cuda.max_memory_allocated() / 1e6, 1)
        with suppress(OSError), open("/proc/self/status") as file:
            kilobytes = next((line.split()[1] for line in file if line.startswith("VmHWM:")), None)
            if kilobytes is not None:
                return round(int(kilobytes) * 1024 / 1e6, 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)

    def loading_seconds(self) -> float:
        return self._loading

    async def _warm(self, *names: str, scorers: bool = False) -> None:
        if self._loads.ready.issuperset(names):
            return
        started = time.perf_counter()
        await (self.backend.load_scorers(names) if scorers else self.backend.warm_up(names))
        seconds = time.perf_counter() - started
        self._loading += seconds
        self._loads.loaded("scorers" if scorers else names[0], names, seconds)


def _generation(order: RunOrder, models: ModelSet) -> Generation:
    """The run as the engine knows it."""
    return Generation(
        id=order.run_id,
        user_id=OWNER,
        brief=order.order.brief,
        recipe=order.order.recipe,
        given=order.order.given,
        manifest=models.manifest,
        direction=Direction(),
        status="pending",
        progress=0,
        current_stage=None,
        current_step=None,
        error_message=None,
        cancellation_requested=False,
        generation_group_id=None,
        parent_generation_id=None,
        created_at=datetime.now(UTC),
        completed_at=None,
    )


def _takes(state: RunState) -> dict[str, str]:
    """sha256 of what was made, by name."""
    takes = {f"scene-{each.scene_number}/keyframe": each.artifact for each in state.keyframes or ()}
    takes |= {f"scene-{each.scene_number}/clip": each.artifact for each in state.clips or ()}
    return takes | ({} if state.video is None else {"video": state.video.artifact})


def _row(
    order: RunOrder,
    steps: StepCache,
    takes: Mapping[str, str],
    scores: Mapping[str, RunScore],
    failed: str | None,
) -> Run:
    seconds: dict[str, float] = {}
    for record in steps.used.values():
        stage = record.step.partition("/")[0]
        seconds[stage] = seconds.get(stage, 0.0) + record.seconds
    peaks = [record.peak_memory_mb for record in steps.used.values() if record.peak_memory_mb is not None]
    warnings = [*order.order.warnings, *(text for record in steps.used.values() for text in record.warnings)]
    return Run(
        run_id=order.run_id,
        arm=order.arm,
        story=order.story.id,
        seed=order.seed,
        settings=dict(order.settings),
        takes=dict(takes),
        scores=dict(scores),
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
        peak_memory_mb=max(peaks, default=None),
        fingerprint=order.fingerprint,
        warnings=tuple(dict.fromkeys(warnings)),
        failed=failed,
    )
