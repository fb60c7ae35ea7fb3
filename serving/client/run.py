"""A whole run on a server: asked for, followed, and fetched into a folder as a run in this process leaves it.

The folder's note says which generation of which server it belongs to, so that `--resume` finds it. The generation never
depends on this process: a user who stops following it is told how to come back.
"""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from models.errors import Cancelled
from models.interfaces import Plain
from pipelines.errors import BadInput, NotFound, StepFailed
from pipelines.report.folder import write_report
from pipelines.report.record import RunRecord, storyboard_of
from pipelines.steps import TakeKind
from pipelines.store.artifacts import LocalArtifacts, write_durably
from serving.ad_flags import naming_flags
from serving.client import ads
from serving.client.events import Following
from serving.client.generations import GenerationRequest, ask_for, fetch
from serving.client.http import Connection, connect
from serving.console import display
from serving.gateway.generations.answers import GenerationDetail
from serving.run_folder import STATE_FOLDER, check_new

VIDEO, STORYBOARD = ".mp4", ".json"
IN_FOLDER: tuple[TakeKind, ...] = ("reference", "keyframe", "clip")
"""Takes that have a file of their own in the output folder."""


@dataclass
class Job:
    """A generation on a server, where its result goes, and what to say when it is no longer followed."""

    server: str
    output: Path | None = None
    generation_id: str | None = None
    """None until the server has accepted the request."""

    def stopped(self) -> str:
        """The line after Ctrl-C."""
        return "stopped" if self.generation_id is None else self._way_back(self.generation_id)

    def failed(self, error: Exception) -> str | None:
        """What is added to the line of an error; None: nothing."""
        if self.generation_id is None or isinstance(error, NotFound):
            return None
        if not isinstance(error, StepFailed | Cancelled):
            return self._way_back(self.generation_id)
        if self.output is None or not note_file(self.output).exists():
            return None
        return f"finished steps are kept; continue with: admint pipeline --resume {shlex.quote(str(self.output))}"

    def _way_back(self, generation_id: str) -> str:
        words = ["admint", "attach", generation_id, "--server", self.server]
        command = shlex.join(words if self.output is None else [*words, "--output", str(self.output)])
        return f"the server goes on with it; follow it again with: {command}"


async def start(job: Job, folder: Path, request: GenerationRequest) -> RunRecord:
    """Ask for an ad, follow it and fetch it into `folder`. Raises what stopped it."""
    async with connect(job.server) as connection:
        with naming_flags():
            job.generation_id = (await ask_for(request)(connection)).id
        await asyncio.to_thread(write_note, folder, Note(server=job.server, generation_id=job.generation_id))
        await watch(connection, job.generation_id)
        return await fetch_folder(connection, job.generation_id, folder)


async def resume(note: Note, folder: Path, full_pipeline: bool) -> RunRecord:
    """Resume the generation of `folder` if it failed; with `full_pipeline` also approve what waits."""
    async with connect(note.server) as connection:
        generation_id = note.generation_id
        now = await ads.get_generation(generation_id)(connection)
        after = now.last_seq
        if now.status in ("failed", "cancelled"):
            await ads.resume_generation(generation_id)(connection)
        if now.status != "awaiting_approval":
            now = await watch(connection, generation_id, after)
        while full_pipeline and now.status == "awaiting_approval" and now.current_stage is not None:
            after = now.last_seq
            await ads.approve_generation(generation_id, now.current_stage)(connection)
            now = await watch(connection, generation_id, after)
        return await fetch_folder(connection, generation_id, folder)


async def write_scenes(job: Job, request: GenerationRequest, output: Path) -> RunRecord:
    """Ask for the scenes of an ad, write them to `output` as a storyboard file, and delete them on the server."""
    async with connect(job.server) as connection:
        with naming_flags():
            generation_id = job.generation_id = (await ask_for(request)(connection)).id
        await watch(connection, generation_id)
        record = await ads.generation_record(generation_id)(connection)
        await asyncio.to_thread(write_durably, output, storyboard_of(record))
        await ads.delete_generation(generation_id)(connection)
        return record


def check_output(job: Job, generation_id: str) -> None:
    """Raises BadInput when `job.output` is a folder of another run."""
    if job.output is not None and job.output.suffix not in (VIDEO, STORYBOARD):
        check_folder(job.output, Note(server=job.server, generation_id=generation_id))


async def fetch_output(connection: Connection, job: Job, generation_id: str) -> RunRecord | None:
    """Write the result to `job.output`. The record, when that is a folder. Raises BadInput, StorageFailed."""
    output = job.output
    if output is None:
        return None
    if output.suffix not in (VIDEO, STORYBOARD):
        await asyncio.to_thread(write_note, output, Note(server=job.server, generation_id=generation_id))
        return await fetch_folder(connection, generation_id, output)
    record = await ads.generation_record(generation_id)(connection)
    made = storyboard_of(record) if output.suffix == STORYBOARD else await _video(connection, record)
    await asyncio.to_thread(write_durably, output, made)
    return None


async def _video(connection: Connection, record: RunRecord) -> bytes:
    """The finished ad, or the only clip of a generation of the recipe `clip`, as MP4."""
    clips = [take.artifact for take in record.takes if take.current and take.kind == "clip"]
    if record.final is not None:
        wanted = record.final.artifact
    elif len(clips) == 1 and "stitch" not in record.recipe.stages:
        wanted = clips[0]
    else:
        raise BadInput(f"generation {record.generation_id!r} has no finished video: name a folder as --output")
    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        artifacts = LocalArtifacts(Path(scratch))
        await fetch(connection, wanted, artifacts)
        return artifacts.read(wanted)


async def watch(connection: Connection, generation_id: str, after: int = 0) -> GenerationDetail:
    """Show the events past `after` until the generation has ended or waits for its owner.

    Raises StepFailed or Cancelled when it ended so, Unreachable when the server stays away.
    """
    with display() as shown:
        following = Following(connection, generation_id, shown.say, after)
        await following.show(shown.show)
    return ads.check_outcome(await ads.get_generation(generation_id)(connection))


async def fetch_folder(connection: Connection, generation_id: str, folder: Path) -> RunRecord:
    """Fetch all files of a generation into `folder`, but those that are there already, and write its report."""
    record = await ads.generation_record(generation_id)(connection)
    artifacts = LocalArtifacts(folder / STATE_FOLDER / "artifacts")
    wanted = [take.artifact for take in record.takes if take.kind in IN_FOLDER]
    wanted += [reference.artifact for reference in record.brief.references]
    if record.final is not None:
        wanted += [record.final.artifact, record.final.thumbnail]
    for sha256 in dict.fromkeys(wanted):
        await fetch(connection, sha256, artifacts)
    await asyncio.to_thread(write_report, folder, record, artifacts)
    return record


class Note(Plain):
    """Which generation of which server a folder belongs to."""

    server: str
    generation_id: str


def note_file(folder: Path) -> Path:
    return folder / STATE_FOLDER / "server.json"


def check_folder(folder: Path, note: Note) -> None:
    """Raises BadInput when `folder` holds anything but the result of `note`'s generation."""
    if read_note(folder) != note:
        check_new(folder)


def read_note(folder: Path) -> Note | None:
    """The note of a folder; None without one. Raises BadInput for a damaged one."""
    path = note_file(folder)
    try:
        return Note.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror}") from None
    except ValidationError:
        raise BadInput(f"{str(path)!r} is damaged: find the generation with admint list, then admint attach") from None


def write_note(folder: Path, note: Note) -> None:
    """Write the note of a folder. Raises StorageFailed."""
    write_durably(note_file(folder), (note.model_dump_json(indent=2) + "\n").encode())
