"""What `admint attach` brings home: everything into a folder, or the video or storyboard alone into a file."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from pipelines.errors import BadInput
from pipelines.report.record import RunRecord, storyboard_of
from pipelines.store.artifacts import LocalArtifacts, write_durably
from serving.client.generations import Generations
from serving.client.job import Job, Note, check_folder, write_note
from serving.client.remote_run import bring

VIDEO, STORYBOARD = ".mp4", ".json"


def check_output(job: Job, generation_id: str) -> None:
    """Raises BadInput for a folder that belongs to another run."""
    if job.output is not None and job.output.suffix not in (VIDEO, STORYBOARD):
        check_folder(job.output, Note(server=job.server, generation_id=generation_id))


async def fetch_output(generations: Generations, job: Job, generation_id: str) -> RunRecord | None:
    """Write what there is to `job.output`; the record when that is a folder. Raises BadInput, StorageFailed."""
    output = job.output
    if output is None:
        return None
    if output.suffix not in (VIDEO, STORYBOARD):
        await asyncio.to_thread(write_note, output, Note(server=job.server, generation_id=generation_id))
        return await bring(generations, generation_id, output)
    record = await generations.record(generation_id)
    made = storyboard_of(record) if output.suffix == STORYBOARD else await _video(generations, record)
    await asyncio.to_thread(write_durably, output, made)
    return None


async def _video(generations: Generations, record: RunRecord) -> bytes:
    """The finished ad, or the one clip of a generation that is no ad."""
    clips = [take.artifact for take in record.takes if take.current and take.kind == "clip"]
    if record.final is not None:
        wanted = record.final.artifact
    elif len(clips) == 1 and "stitch" not in record.recipe.stages:
        wanted = clips[0]
    else:
        raise BadInput(f"generation {record.generation_id!r} has no finished video: name a folder as --output")
    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        artifacts = LocalArtifacts(Path(scratch))
        await generations.fetch(wanted, artifacts)
        return artifacts.read(wanted)
