"""`admint worker`: runs a server's stored generations with models in this process, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from configs.settings import Profile


def worker(
    profile: Annotated[str | None, typer.Option(help="Which models to run (configs/profiles).")] = None,
    generations: Annotated[
        int | None, typer.Option(min=1, help="How many to run at once; by default as the profile says.")
    ] = None,
) -> None:
    """Run stored generations until Ctrl-C or SIGTERM, without Ray and HTTP. Any number of workers share one database.

    The store is the server's: ADMINT_DATABASE, ADMINT_ARTIFACTS, ADMINT_HOME.
    """
    from configs.settings import Settings, load_profile
    from serving.local_worker import check_profile
    from serving.model_set import model_set

    chosen = load_profile(profile or Settings().profile)
    check_profile(chosen)
    described = model_set(chosen)  # a missing or altered folder is said here, not by a generation
    for note in described.notes:
        typer.echo(f"note: {note}")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    for ours in ("pipelines", "serving"):
        logging.getLogger(ours).setLevel(logging.INFO)
    asyncio.run(_work(chosen, generations))


async def _work(profile: Profile, generations: int | None) -> None:
    from configs.deployments import PipelineReplicas
    from configs.settings import library_root
    from models.weights import Library
    from serving.local_models import LibraryLoader
    from serving.local_worker import work

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    at_once = generations or (profile.serving.pipeline or PipelineReplicas()).generations
    await work(profile, LibraryLoader(Library(library_root()), profile.device), at_once, stop)
