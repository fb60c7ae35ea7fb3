"""What the engine stores of a sweep: every finished step once, under its key, for all runs of all processes.

`StepCache` is the store of one run (`pipelines.runtime.engine.EngineStore`). A step of the same key that any run of the
sweep finished is not run again, so that arms share what their settings do not change. A step that another process is
making is waited for, by a lock that the system drops when that process dies. All of it is files that are written whole
under their final names, so that processes and machines that see one folder need no database between them.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from models.interfaces import Plain
from pipelines.errors import PipelineError
from pipelines.recipe import StageName
from pipelines.records import Checkpoint, Generation, GenerationStatus, Lease, NewEvent
from pipelines.screenplay import FinalVideo
from pipelines.stages.storyboard import Keyframe
from pipelines.steps import Json, Step, StepContext, StepOutput, StoredArtifact
from pipelines.store.artifacts import LocalArtifacts, storage_failure
from quality.score import Score

STEPS, ARTIFACTS, CLAIMS = "steps", "artifacts", "claims"
LOOK_SECONDS = 0.02
"""How often is looked whether another process has made a step."""
NOT_IN_COST = {"prompt", "negative_prompt", "noise", "adapter"}
"""Fields of a request that do not change how long it takes, but for whether the adapter acts."""


class StepRecord(Plain):
    """A finished step."""

    step: str
    key: str
    cost: str
    """What its time depends on (`cost_class`)."""
    value: Json
    artifacts: tuple[StoredArtifact, ...] = ()
    warnings: tuple[str, ...] = ()
    """What was done in another way than asked."""
    seconds: float
    """How long it ran, without the loading of models."""
    peak_memory_mb: float | None = None
    created_at: datetime


class Meter(Protocol):
    """What a running step takes beside its time."""

    def begin(self) -> None:
        """A step begins."""

    def peak_mb(self) -> float | None:
        """The most memory that was held since, in units of 10^6 bytes; None where the system does not say."""

    def loading_seconds(self) -> float:
        """Seconds since that went into loading models."""


def cost_class(step: Step) -> str:
    """What the time of a step depends on, as a text: steps of one class take about the same time."""
    request = step.inputs.get("request")
    told: Json = {"step": re.sub(r"-\d+", "", step.name), "model": step.inputs.get("model")}
    if isinstance(request, dict):
        told["request"] = {name: value for name, value in request.items() if name not in NOT_IN_COST}
        told["acts"] = bool(step.inputs.get("references")) and request.get("adapter", {}).get("scale", 1) > 0
        told["references"] = len(step.inputs.get("references") or ())
        told["starts"] = step.inputs.get("start") is not None or step.inputs.get("first_frame") is not None
    elif "dimensions" in step.inputs:
        told |= {"dimensions": step.inputs["dimensions"], "references": len(step.inputs.get("references") or ())}
    return json.dumps(told, sort_keys=True)


class StepCache:
    """The steps of a sweep, as the store of one of its runs.

    `used` names the steps that the run went through, in order, each with its record.
    """

    lease_seconds = 3600.0

    def __init__(self, folder: Path, generation: Generation, meter: Meter) -> None:
        self._folder = folder
        self._generation = generation
        self._meter = meter
        self._artifacts = LocalArtifacts(folder / ARTIFACTS)
        self._held: dict[str, _Lock] = {}
        self._notices: dict[str, list[str]] = {}
        self.used: dict[tuple[str, str], StepRecord] = {}

    # --- the run ---

    async def get(self, user_id: str, generation_id: str) -> Generation:
        return self._generation

    async def claim(self, generation_id: str, owner: str, take_over: bool = False) -> Lease:
        return Lease(generation_id=generation_id, owner=owner, fence=1)

    async def renew(self, lease: Lease) -> bool:
        return False

    async def end(
        self, lease: Lease, status: GenerationStatus, event: NewEvent, error_message: str | None = None
    ) -> None:
        """Let go of steps that were begun and not finished, for whoever waits for them."""
        for key in list(self._held):
            self._held.pop(key).release()

    async def append(self, lease: Lease, *new_events: NewEvent) -> None:
        for event in new_events:
            if event.kind == "step_started":
                self._meter.begin()
            elif event.severity == "warning":
                self._notices.setdefault(event.step or "", []).append(event.message)

    async def start_stage(self, lease: Lease, stage: StageName, event: NewEvent) -> None:
        return None

    async def finish_stage(self, lease: Lease, stage: StageName, output: Any, *events: NewEvent) -> None:
        return None

    # --- steps ---

    async def artifact_hashes(self, generation_id: str) -> frozenset[str]:
        """None: a step whose files are damaged is not found in the first place."""
        return frozenset()

    async def checkpoint(self, generation_id: str, step: Step) -> Checkpoint | None:
        """The step, if any run finished it; else None, and this run has it to make until it commits or ends."""
        if (record := self.find(step)) is None:
            lock = _Lock(self._path(step.key, ".lock"))
            while not lock.take():  # noqa: ASYNC110 - whoever has it is another process
                await asyncio.sleep(LOOK_SECONDS)
            if (record := self.find(step)) is None:
                self._held[step.key] = lock
                return None
            lock.release()
        self.used[step.name, step.key] = record
        return Checkpoint(**record.model_dump(include=set(Checkpoint.model_fields)))

    def find(self, step: Step) -> StepRecord | None:
        """The record of a finished step whose files can all be read."""
        record = read_record(self._path(step.key, ".json"))
        whole = record is not None and all(self._artifacts.is_whole(stored.sha256) for stored in record.artifacts)
        return record if whole else None

    async def commit_step(self, lease: Lease, step: Step, output: StepOutput, seconds: float, event: NewEvent) -> None:
        record = StepRecord(
            step=step.name,
            key=step.key,
            cost=cost_class(step),
            value=output.value,
            artifacts=output.artifacts,
            warnings=tuple(self._notices.pop(step.name, ())),
            seconds=max(0.0, seconds - self._meter.loading_seconds()),
            peak_memory_mb=self._meter.peak_mb(),
            created_at=datetime.now(UTC),
        )
        _write_record(self._path(step.key, ".json"), record)
        self.used[step.name, step.key] = record
        if (lock := self._held.pop(step.key, None)) is not None:
            lock.remove()

    async def replace_step(self, lease: Lease, step: Step, output: StepOutput, seconds: float, event: NewEvent) -> None:
        await self.commit_step(lease, step, output, seconds, event)

    async def reuse_step(self, lease: Lease, step: Step) -> None:
        return None

    def _path(self, key: str, suffix: str) -> Path:
        return self._folder / STEPS / key[:2] / f"{key[2:]}{suffix}"


def _write_record(path: Path, record: StepRecord) -> None:
    """Write a record whole or not at all, without waiting for the disk.

    One that a power cut spoils is not read, and its step is made again; waiting took a tenth of a short run's time.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(record.model_dump_json().encode())
        os.replace(temporary, path)
    except OSError as error:
        raise storage_failure(path, error) from error


def read_record(path: Path) -> StepRecord | None:
    """The record in a file; None when there is none that is whole."""
    try:
        return StepRecord.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def all_records(folder: Path) -> Iterator[StepRecord]:
    """Every finished step of the sweep in `folder`."""
    for path in sorted((folder / STEPS).glob("??/*.json")):
        if (record := read_record(path)) is not None:
            yield record


def write_load(folder: Path, what: str, seconds: float) -> None:
    """Keep how long a process took to load a model, as a step of its own."""
    step = load_step(what)
    record = StepRecord(
        step=step.name, key=step.key, cost=cost_class(step), value={}, seconds=seconds, created_at=datetime.now(UTC)
    )
    _write_record(folder / STEPS / step.key[:2] / f"{step.key[2:]}.json", record)


def load_step(what: str) -> Step:
    """The loading of a model, as a step."""
    return Step(name=f"load/{what}", inputs={}, work=_no_work)


async def _no_work(context: StepContext) -> StepOutput:
    return StepOutput(value={})


# --- what a run would do ---


class Unplannable(PipelineError):
    """A step whose result decides what follows, and which is not finished: an agent's."""


class PlannedSteps(StepCache):
    """Takes every step for finished, without a model: which steps a run has, and which of them are to be made.

    A step that is not finished has a result of the right shape that nothing was made for, so that what follows from it
    is to be made too. The gate finds no scores in it and asks for no retake.
    """

    def __init__(self, folder: Path, generation: Generation, meter: Meter) -> None:
        super().__init__(folder, generation, meter)
        self.planned: dict[str, Step] = {}
        """The steps to be made, by key."""

    async def checkpoint(self, generation_id: str, step: Step) -> Checkpoint | None:
        if (record := self.find(step)) is not None:
            self.used[step.name, step.key] = record
            return Checkpoint(**record.model_dump(include=set(Checkpoint.model_fields)))
        self.planned[step.key] = step
        value = _blank(step)
        return Checkpoint(step=step.name, key=step.key, value=value, seconds=0.0, created_at=datetime.now(UTC))


def _blank(step: Step) -> Json:
    """A value of the shape that the step's would have."""
    made = hashlib.sha256(f"planned {step.key}".encode()).hexdigest()
    stage, _, rest = step.name.partition("/")
    if rest == "attention-bank":
        return {"bank": made}
    if stage == "storyboard" or rest.endswith("/start"):
        return Keyframe(scene_number=step.scene_number or 1, artifact=made, noise_sha256=None).model_dump()
    if stage == "video":
        frames = step.inputs["request"]["num_frames"]
        clip = {"scene_number": step.scene_number, "artifact": made, "num_frames": frames, "native_fps": 1}
        return {"clip": clip, "last_frame": made, "latents": made}
    if stage == "stitch":
        plain = {"frames": 1, "fps": 1, "width": 2, "height": 2, "seconds": 1.0, "has_sound": False}
        return FinalVideo.model_validate({"artifact": made, "thumbnail": made, **plain}).model_dump()
    if "dimensions" in step.inputs:
        names = [each.rpartition("@")[0] for each in step.inputs["dimensions"]]
        scores = [Score(metric_id=f"admint.{name}", impl_id=f"{name}@none", reason="planned") for name in names]
        return {"scores": [score.model_dump(mode="json") for score in scores]}
    if stage == "quality":
        return {"scores": []}
    raise Unplannable(f"what follows from step {step.name!r} is not known before it has run")


# --- locks between processes ---


class _Lock:
    """A lock that the system lets go when the process that has it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Whether it is had now. Does not wait."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Let go for good: only when what it guards is finished and found by whoever takes a lock after this one."""
        self._path.unlink(missing_ok=True)
        self.release()


@contextmanager
def claimed(folder: Path, run_id: str, finished: Callable[[], bool]) -> Iterator[Literal["mine", "finished", "taken"]]:
    """The right of this process to a run: `mine` unless it is finished, or another process has it."""
    lock = _Lock(folder / CLAIMS / run_id)
    if finished():
        yield "finished"
        return
    if not lock.take():
        yield "taken"
        return
    try:
        if finished():
            lock.remove()
            yield "finished"
            return
        yield "mine"
        if finished():
            lock.remove()
    finally:
        lock.release()
