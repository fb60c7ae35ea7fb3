"""`admint serve`: a profile on Ray Serve, in the foreground. `admint worker`: its generations alone, without Ray."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from configs.settings import Profile


def serve(
    profile: Annotated[str | None, typer.Option(help="Which models to serve, and how (configs/profiles).")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    address: Annotated[
        str | None, typer.Option(help="An existing Ray cluster (auto, host:6379); without it Ray runs here.")
    ] = None,
) -> None:
    """Serve a profile over HTTP until Ctrl-C. Running generations wait in the store and resume at the next start."""
    from configs.settings import Settings, load_profile
    from serving.app import build
    from serving.deployments.listener import Address
    from serving.deployments.server import running
    from serving.profile_models import check_chat_address, model_set

    chosen = load_profile(profile or Settings().profile)
    described = model_set(chosen)  # a missing or altered folder is reported here, not by a replica
    check_chat_address(described.chat, host, port)
    for line in asyncio.run(_first_start()):
        typer.echo(line)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    for note in described.notes:
        typer.echo(f"note: {note}")
    typer.echo(
        f"starting profile {chosen.name!r}: {described.chat.name}, {described.image.name}, {described.video.name}"
    )
    with running(partial(build, chosen), Address(host, port), cluster=address):
        typer.echo(
            f"ready at http://{host}:{port} (OpenAI-compatible under /v1, API description at /docs). Ctrl-C stops."
        )
        stop.wait()
        typer.echo("stopping: running generations wait in the store and resume at the next start")


async def _first_start() -> tuple[str, ...]:
    """Migrate the store and check the secret; the lines to print when the first account was made now."""
    from serving.server.first_start import create_first_admin
    from serving.server.services import server_auth
    from serving.server.store import open_server_store

    opened = await open_server_store()
    try:
        auth = server_auth(opened.database)
        made = await create_first_admin(auth.accounts, auth.passwords)
        return made.lines() if made else ()
    finally:
        await opened.close()


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
    from serving.profile_models import model_set
    from serving.server.worker import check_profile

    chosen = load_profile(profile or Settings().profile)
    check_profile(chosen)
    described = model_set(chosen)  # a missing or altered folder is reported here, not by a generation
    for note in described.notes:
        typer.echo(f"note: {note}")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    for ours in ("pipelines", "serving"):
        logging.getLogger(ours).setLevel(logging.INFO)
    asyncio.run(_work(chosen, generations))


async def _work(profile: Profile, generations: int | None) -> None:
    from configs.serving import PipelineReplicas
    from configs.settings import library_root
    from models.weights import Library
    from serving.profile_models import LibraryLoader
    from serving.server.worker import work

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    at_once = generations or (profile.serving.pipeline or PipelineReplicas()).generations
    await work(profile, LibraryLoader(Library(library_root()), profile.device), at_once, stop)
