"""A whole run on a server: ordered, followed, and brought into a folder as a run in this process leaves it.

The folder's note says which generation of which server it belongs to, so that `--resume` finds it. The job itself never
depends on this process: whoever stops following it is told how to come back.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from models.errors import Cancelled
from pipelines.errors import StepFailed
from pipelines.report.folder import write_report
from pipelines.report.record import RunRecord, storyboard_of
from pipelines.steps import TakeKind
from pipelines.store.artifacts import LocalArtifacts, write_durably
from serving.client.ad_request import AdRequest
from serving.client.connection import connect
from serving.client.following import Following
from serving.client.generations import Generations, ServedGeneration
from serving.client.job import Job, Note, write_note
from serving.progress_display import display
from serving.workspace import STATE_FOLDER

IN_FOLDER: tuple[TakeKind, ...] = ("reference", "keyframe", "clip")
"""Takes that have a file of their own in the output folder."""


async def start(job: Job, folder: Path, request: AdRequest) -> RunRecord:
    """Order an ad and bring it into `folder`. Raises what stopped it."""
    async with connect(job.server) as connection:
        generations = Generations(connection)
        job.generation_id = (await generations.order(request)).id
        await asyncio.to_thread(write_note, folder, Note(server=job.server, generation_id=job.generation_id))
        await watch(generations, job.generation_id)
        return await bring(generations, job.generation_id, folder)


async def resume(note: Note, folder: Path, full_pipeline: bool) -> RunRecord:
    """Go on with the generation of `folder`: again if it failed, past its storyboard with `full_pipeline`."""
    async with connect(note.server) as connection:
        generations, generation_id = Generations(connection), note.generation_id
        now = await generations.get(generation_id)
        after = now.last_seq
        if now.status in ("failed", "cancelled"):
            now = await generations.resume(generation_id)
        if now.status != "awaiting_approval":
            now = await watch(generations, generation_id, after)
        while full_pipeline and now.status == "awaiting_approval" and now.current_stage is not None:
            after = now.last_seq
            await generations.approve(generation_id, now.current_stage)
            now = await watch(generations, generation_id, after)
        return await bring(generations, generation_id, folder)


async def write_scenes(job: Job, request: AdRequest, output: Path) -> RunRecord:
    """Order the scenes of an ad, write them to `output` as a storyboard file, and leave nothing on the server."""
    async with connect(job.server) as connection:
        generations = Generations(connection)
        generation_id = job.generation_id = (await generations.order(request)).id
        await watch(generations, generation_id)
        record = await generations.record(generation_id)
        await asyncio.to_thread(write_durably, output, storyboard_of(record))
        await generations.delete(generation_id)
        return record


async def watch(generations: Generations, generation_id: str, after: int = 0) -> ServedGeneration:
    """Show the events past `after` until it ends or waits. Raises StepFailed and Cancelled for how it ended,
    Unreachable when the server stays away.
    """
    with display() as shown:
        following = Following(generations, generation_id, shown.say, after)
        await following.show(shown.show)
    return check_outcome(await generations.get(generation_id))


def check_outcome(generation: ServedGeneration) -> ServedGeneration:
    """The generation itself. Raises StepFailed for one that failed, Cancelled for one that was cancelled."""
    if generation.status == "failed":
        raise StepFailed(f"generation {generation.id} failed: {generation.error_message}")
    if generation.status == "cancelled":
        raise Cancelled(f"generation {generation.id} was cancelled")
    return generation


async def bring(generations: Generations, generation_id: str, folder: Path) -> RunRecord:
    """Everything that there is of a generation, into `folder`. What is there already is not fetched again."""
    record = await generations.record(generation_id)
    artifacts = LocalArtifacts(folder / STATE_FOLDER / "artifacts")
    wanted = [take.artifact for take in record.takes if take.kind in IN_FOLDER]
    wanted += [reference.artifact for reference in record.brief.references]
    if record.final is not None:
        wanted += [record.final.artifact, record.final.thumbnail]
    for sha256 in dict.fromkeys(wanted):
        await generations.fetch(sha256, artifacts)
    await asyncio.to_thread(write_report, folder, record, artifacts)
    return record
