"""One server's database and artifact folder with the processes that work on them, seen by a test that kills these.

The test looks at rows only, as any other process could. What must hold of a generation whatever was killed is said
once, in `check`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.brief import Brief
from pipelines.errors import NotFound
from pipelines.recipe import Recipe, SceneAgents, StoryAgents
from pipelines.records import Event, Generation
from pipelines.runtime.worker import Backoff
from pipelines.steps import Json
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.database import Database
from pipelines.store.fault_points import VARIABLE
from pipelines.store.generations import GenerationStore
from pipelines.store.sweep import Disposal, sweep
from tests.chaos.processes import Process, run_gateway, run_worker
from tests.support.waiting import until_async

OWNER = "anna"
LEASE_SECONDS = 1.0
LOOK_SECONDS = 0.03
STAGES = ("story", "scenes", "storyboard", "video", "stitch")
RECIPE = Recipe(
    name="chaos",
    description="",
    stages=STAGES,
    story=StoryAgents(critic=False),
    scenes=SceneAgents(critic=False, cohesor=False),
)

PROMPT = "an ad for a steel water bottle"
SECRET = "8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d"  # noqa: S105


@dataclass(frozen=True)
class Finished:
    """What a generation had made at some moment, and must not lose."""

    steps: frozenset[tuple[str, str]]
    """Name and key."""
    takes: dict[str, str]
    """sha256 by id."""


class ChaosWorld:
    """`home` is shared by worlds: it holds weights, logs and the pace file; the rest is this world's own."""

    def __init__(
        self, folder: Path, home: Path, database_url: str, manifest: Json, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.database = Database(database_url)
        self.store = GenerationStore(self.database, lease_seconds=lease_seconds)
        self.artifacts = LocalArtifacts(folder / "artifacts")
        self.pace = home / "slow"
        self._folder = folder / "artifacts"
        self._manifest = manifest
        self._environment = {
            "ADMINT_HOME": str(home),
            "ADMINT_DATABASE": database_url,
            "ADMINT_ARTIFACTS": str(self._folder),
            "ADMINT_LEASE_SECONDS": str(lease_seconds),
            "ADMINT_SECRET": SECRET,
            "ADMINT_GENERATIONS_PER_USER": "100000",
            "OMP_NUM_THREADS": "1",
        }
        self._patience = Backoff()
        self._processes: list[Process] = []

    # --- processes ---

    def worker(self, fault: str | None = None, generations: int = 1) -> Process:
        """`fault`: point and number at which it dies."""
        return self._start(run_worker, fault, generations)

    def gateway(self, port: int, fault: str | None = None) -> Process:
        return self._start(run_gateway, fault, port)

    def _start(self, program: Callable[..., None], fault: str | None, argument: int) -> Process:
        environment = self._environment | ({} if fault is None else {VARIABLE: fault})
        process = Process(program, environment, argument)
        self._processes.append(process)
        return process

    async def close(self) -> None:
        for process in self._processes:
            if not process.ended:
                process.kill()
        self.pace.unlink(missing_ok=True)
        await self.database.close()

    # --- generations ---

    async def order(self, seed: int = 1) -> str:
        """A new generation of two scenes that waits for a worker; those of one seed end with the same bytes."""
        brief = Brief(prompt=PROMPT, duration=9, num_scenes=2, seed=seed)
        return await self.store.create(OWNER, brief, RECIPE, {}, self._manifest)

    async def get(self, generation_id: str) -> Generation:
        return await self._patience(lambda: self.store.get(OWNER, generation_id))

    async def events(self, generation_id: str, after: int = 0) -> tuple[Event, ...]:
        return await self._patience(lambda: self.store.events(generation_id, after))

    async def finished(self, generation_id: str) -> Finished:
        checkpoints = await self._patience(lambda: self.store.checkpoints(generation_id))
        takes = await self._patience(lambda: self.store.takes(generation_id))
        return Finished(frozenset((one.step, one.key) for one in checkpoints), {one.id: one.artifact for one in takes})

    async def ended(self, generation_id: str) -> bool:
        return (await self.get(generation_id)).status not in ("pending", "processing")

    async def until(self, condition: Callable[[], Awaitable[bool]], why: str) -> None:
        await until_async(condition, f"this to be so: {why}", pause=LOOK_SECONDS)

    async def until_ended(self, generation_id: str) -> Generation:
        await self.until(lambda: self.ended(generation_id), f"{generation_id} has ended")
        return await self.get(generation_id)

    async def until_event(self, generation_id: str, kind: str, step: str = "", after: int = 0) -> Event:
        """The first event of a kind, and of a step whose name begins so, past the cursor `after`."""
        found: list[Event] = []

        async def seen() -> bool:
            log = await self.events(generation_id, after)
            found.extend(event for event in log if event.kind == kind and (event.step or "").startswith(step))
            return bool(found)

        await self.until(seen, f"{generation_id} has an event {kind!r} of {step!r}")
        return found[0]

    async def check(self, generation_id: str, *kept: Finished) -> str:
        """Asserts all that must hold of a generation in the end; returns the sha256 of its video."""
        generation = await self.get(generation_id)
        assert generation.status == "completed", generation.error_message
        log = await self.events(generation_id)
        assert [event.seq for event in log] == list(range(1, len(log) + 1)), "the log has a gap"
        completed = Counter(event.step for event in log if event.kind == "step_completed")
        assert set(completed.values()) == {1}, f"finished twice: {completed}"
        now = await self.finished(generation_id)
        assert sorted(name for name, _ in now.steps) == sorted(str(name) for name in completed)
        for before in kept:
            assert before.steps <= now.steps, "a finished step was lost"
            assert before.takes.items() <= now.takes.items(), "a finished scene was lost"
        takes = await self.store.takes(generation_id)
        places = Counter((take.kind, take.scene_number) for take in takes)
        assert set(places.values()) == {1}, f"made twice: {places}"
        assert all(take.current for take in takes)
        for sha256 in now.takes.values():
            assert hashlib.sha256(self.artifacts.read(sha256)).hexdigest() == sha256
        return next(take.artifact for take in takes if take.kind == "video")

    # --- files ---

    def files(self) -> set[str]:
        """Hashes of the files in the folder; of what is half written, the whole name."""
        paths = (path for path in self._folder.rglob("*") if path.is_file())
        return {path.name if path.name.startswith(".") else path.parent.name + path.name for path in paths}

    async def forget(self, generation_id: str) -> None:
        """Rows and files, so that the next generation writes the same bytes anew."""
        for sha256 in await Disposal(self.database).forget(OWNER, generation_id):
            self.artifacts.remove(sha256, datetime.now(UTC))

    async def check_files(self) -> None:
        """What is not swept is exactly what rows name."""
        disposal = Disposal(self.database)
        await sweep(self.artifacts, disposal, datetime.now(UTC))
        left = self.files()
        assert left == await disposal.named(left), "files that no row names outlived the sweep"

    async def exists(self, generation_id: str) -> bool:
        try:
            await self.get(generation_id)
        except NotFound:
            return False
        return True
