"""A whole run in this process: prepare or resume the folder, run the engine beside its display, write the report.

Knows no command-line flag; the tools hand it checked data.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from configs.settings import Profile, load_profile, load_recipe
from pipelines.brief import Brief
from pipelines.errors import BadInput
from pipelines.recipe import Recipe
from pipelines.report.folder import write_report
from pipelines.report.record import RunRecord, collect
from pipelines.steps import Json
from serving.console import Follower, display
from serving.profile_models import LocalDeployment, deploy
from serving.run_folder import OWNER, Workspace, check_resumable, open_workspace


@dataclass(frozen=True)
class NewRun:
    """A checked order: everything is valid, nothing is stored yet."""

    brief: Brief
    recipe: Recipe
    profile: Profile
    reference_images: tuple[bytes, ...]
    """PNG bytes of `brief.references`, in the same order."""
    given: Json


async def start(folder: Path, order: NewRun) -> RunRecord:
    """Run `order` in `folder`. Raises what stopped it; whatever finished stays and can be resumed."""
    deployment = deploy(order.profile)
    try:
        async with open_workspace(folder) as workspace:
            for image in order.reference_images:
                workspace.artifacts.put(image, "image/png")
            manifest = deployment.described.manifest
            generation_id = await workspace.store.create(OWNER, order.brief, order.recipe, order.given, manifest)
            return await _run(workspace, generation_id, order.profile, deployment)
    finally:
        deployment.models.close()


async def resume(folder: Path, full_pipeline: bool) -> RunRecord:
    """Continue the run in `folder`, to the end of its recipe with `full_pipeline`. Finished steps do not run again."""
    check_resumable(folder)
    async with open_workspace(folder) as workspace:
        ids = await workspace.store.list_ids(OWNER)
        if not ids:
            raise BadInput(f"{str(folder)!r} was stopped before its run was recorded: delete it and start again")
        generation = await workspace.store.get(OWNER, ids[0])
        if full_pipeline:
            stages = load_recipe(generation.recipe.name).stages
            longer = generation.recipe.model_copy(update={"stages": stages})
            await workspace.store.replace_recipe(OWNER, generation.id, longer)
        profile = load_profile(generation.manifest["profile"])
        deployment = deploy(profile)
        try:
            _same_models(folder, generation.manifest, deployment.described.manifest)
            return await _run(workspace, generation.id, profile, deployment)
        finally:
            deployment.models.close()


def _same_models(folder: Path, then: Json, now: Json) -> None:
    """The manifest names the models of the whole run. Raises BadInput when one is not what it was at its start."""
    for kind, model in then["models"].items():
        if now["models"][kind]["fingerprint"] != model["fingerprint"]:
            raise BadInput(
                f"the {kind} model {model['name']!r} changed since {str(folder)!r} was started, and its report would "
                "name the wrong one: start a new run with --output, or bring the model's files and settings back"
            )


async def _run(workspace: Workspace, generation_id: str, profile: Profile, deployment: LocalDeployment) -> RunRecord:
    seen = [event.seq for event in await workspace.store.events(generation_id)]
    after = seen[-1] if seen else 0
    engine = workspace.engine(profile, deployment)
    with display() as shown:
        follower = Follower(workspace.store, generation_id, after, shown.show)
        following = asyncio.create_task(follower.follow())
        try:
            # The folder's lock proves that nobody else runs it, so a lease left by a killed process is void.
            state = await engine.run(OWNER, generation_id, take_over=True)
        finally:
            following.cancel()
            await asyncio.wait({following})
            await follower.catch_up()
    record = await collect(workspace.store, OWNER, generation_id, state)
    await asyncio.to_thread(write_report, workspace.folder, record, workspace.artifacts)
    return record
