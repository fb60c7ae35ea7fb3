"""A whole run in this process: create or resume its folder, run the engine, show its progress, write the report."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from configs.settings import Profile, load_profile, load_recipe
from pipelines.errors import BadInput
from pipelines.orders.ad import AdOrder
from pipelines.report.folder import write_report
from pipelines.report.record import RunRecord, collect
from serving.backends.in_process import LocalModels, local_models
from serving.console import EventDisplay, Follower, display
from serving.reference_files import ReferenceFile
from serving.run_folder import OWNER, RunFolder, check_resumable, open_run_folder


async def start(
    folder: Path,
    order: AdOrder,
    references: Iterable[ReferenceFile],
    profile: Profile,
    events: EventDisplay | None = None,
) -> RunRecord:
    """Run `order` in `folder`. Raises what stopped it; finished steps are kept, for `resume`.

    `events` is shown every event of the run; None: they go to the terminal.
    """
    models = local_models(profile)
    try:
        async with open_run_folder(folder) as opened:
            for file in references:
                opened.artifacts.put(file.png, "image/png")
            manifest = {**models.described.manifest, "warnings": list(order.warnings)}
            generation_id = await opened.store.create(OWNER, order.brief, order.recipe, order.given, manifest)
            return await _run(opened, generation_id, profile, models, events or display())
    finally:
        models.close()


async def resume(folder: Path, full_pipeline: bool) -> RunRecord:
    """Continue the run in `folder`, to the end of its recipe with `full_pipeline`. Finished steps do not run again."""
    check_resumable(folder)
    async with open_run_folder(folder) as opened:
        ids = await opened.store.list_ids(OWNER)
        if not ids:
            raise BadInput(f"{str(folder)!r} was stopped before its run was recorded: delete it and start again")
        generation = await opened.store.get(OWNER, ids[0])
        if full_pipeline:
            stages = load_recipe(generation.recipe.name).stages
            longer = generation.recipe.model_copy(update={"stages": stages})
            await opened.store.replace_recipe(OWNER, generation.id, longer)
        profile = load_profile(generation.manifest["profile"])
        models = local_models(profile)
        try:
            models.described.check_unchanged(
                generation.manifest,
                since=f"{str(folder)!r} was started, and its report would name the wrong one",
                remedy="start a new run with --output, or bring the model's files and settings back",
            )
            return await _run(opened, generation.id, profile, models, display())
        finally:
            models.close()


async def _run(
    opened: RunFolder, generation_id: str, profile: Profile, models: LocalModels, events: EventDisplay
) -> RunRecord:
    """Run the engine beside its display, then write the report."""
    seen = [event.seq for event in await opened.store.events(generation_id)]
    engine = opened.engine(profile, models)
    with events as shown:
        follower = Follower(opened.store, generation_id, seen[-1] if seen else 0, shown.show)
        following = asyncio.create_task(follower.follow())
        try:
            # The folder's lock proves that nobody else runs it, so a lease left by a killed process is void.
            state = await engine.run(OWNER, generation_id, take_over=True)
        finally:
            following.cancel()
            await asyncio.wait({following})
            await follower.catch_up()
    record = await collect(opened.store, OWNER, generation_id, state)
    await asyncio.to_thread(write_report, opened.path, record, opened.artifacts)
    return record
