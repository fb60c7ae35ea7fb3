"""The folder of a run on this machine: its SQLite store, its artifacts, its lock, its engine.

An operating-system lock on the folder proves that no other process runs it. The kernel drops the lock when the process
dies, so `--resume` after `kill -9` need not wait for a lease to end.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.settings import Profile
from pipelines.errors import BadInput, Busy
from pipelines.runtime.engine import Engine
from pipelines.store.artifacts import LocalArtifacts, storage_failure
from pipelines.store.database import Database, sqlite_url
from pipelines.store.generations import GenerationStore
from serving.backends.in_process import LocalModels

OWNER = "local"
"""The user id of everything that the command line makes."""
STATE_FOLDER = ".admint"
OUTPUT_NAMES = ("final.mp4", "thumbnail.jpg", "report.html", "run.json", "scenes", "references", STATE_FOLDER)


@dataclass(frozen=True)
class RunFolder:
    """A run folder whose lock this process holds."""

    path: Path
    store: GenerationStore
    artifacts: LocalArtifacts

    def engine(self, profile: Profile, models: LocalModels) -> Engine:
        """The engine that runs this folder's generation on `models`."""
        return Engine(
            store=self.store,
            artifacts=self.artifacts,
            models=models,
            fingerprints=models.described.fingerprints,
            fps=profile.fps,
            delivery=profile.delivery,
            worker=f"cli-{os.getpid()}",
        )


def check_new(folder: Path) -> None:
    """Raises BadInput when `folder` holds another run or is not a folder that can be written."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"output {str(folder)!r} is a file: name a folder")
    taken = [name for name in OUTPUT_NAMES if (folder / name).exists()]
    if taken:
        raise BadInput(
            f"output folder {str(folder)!r} belongs to another run (it holds {taken[0]!r}): "
            f"choose an empty folder, or continue that run with --resume {folder}"
        )


def check_resumable(folder: Path) -> None:
    """Raises BadInput when `folder` holds no run."""
    if not (folder / STATE_FOLDER / "store.sqlite").exists():
        raise BadInput(f"{str(folder)!r} holds no run to resume: give the --output folder of an earlier run")


@asynccontextmanager
async def open_run_folder(folder: Path) -> AsyncIterator[RunFolder]:
    """Open or create the run in `folder`. Raises Busy, StorageFailed."""
    state = folder / STATE_FOLDER
    try:
        lock = _made(state)
    except OSError as error:
        raise storage_failure(folder, error) from error
    try:
        _lock(lock, folder)
        database = Database(sqlite_url(state / "store.sqlite"))
        try:
            await database.migrate()
            yield RunFolder(folder, GenerationStore(database), LocalArtifacts(state / "artifacts"))
        finally:
            await database.close()
    finally:
        os.close(lock)


def _made(state: Path) -> int:
    """The open lock file of a folder that only its owner can enter: it holds prompts and drafts. Raises OSError.

    The results beside it are as the user's umask says.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    state.mkdir(mode=0o700, exist_ok=True)
    return os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"another process runs {str(folder)!r}: wait for it, or stop it with Ctrl-C there") from None
