"""`admint serve`: a profile on Ray Serve, in the foreground. `admint worker`: its generations alone, without Ray."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from configs.settings import Profile
    from serving.deployments.listener import Address
    from serving.logs import Terminal
    from serving.server.first_start import FirstAdmin
    from serving.server.stopping import Stop


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


Level = Annotated[
    LogLevel | None, typer.Option(help="Say what is of this level and above: by default ADMINT_LOG_LEVEL, or info.")
]
Format = Annotated[
    LogFormat | None, typer.Option(help="Lines for a person, or a JSON object per line: ADMINT_LOG_FORMAT, or text.")
]


def serve(
    profile: Annotated[str | None, typer.Option(help="Which models to serve, and how (configs/profiles).")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    address: Annotated[
        str | None, typer.Option(help="An existing Ray cluster (auto, host:6379); without it Ray runs here.")
    ] = None,
    log_level: Level = None,
    log_format: Format = None,
) -> None:
    """Serve a profile over HTTP until Ctrl-C or SIGTERM. Running generations wait in the store and resume later."""
    from configs.settings import Settings, load_profile
    from serving.logs import Terminal
    from serving.profile_models import check_chat_address, model_set
    from serving.server.stopping import Stop

    gc.disable()  # until all is ready: collections while modules are imported cost a tenth of the start
    os.umask(0o077)
    _choose_logs(log_level, log_format)
    stop = Stop()
    stop.listen()
    terminal = Terminal(Settings().log_format)
    chosen = load_profile(profile or Settings().profile)
    described = model_set(chosen)  # a missing or altered folder is reported here, not by a replica
    check_chat_address(described.chat, host, port)
    for note in described.notes:
        terminal.say(f"note: {note}")
    terminal.say(
        f"starting profile {chosen.name!r}: {described.chat.name}, {described.image.name}, {described.video.name}"
    )
    try:
        _serve(chosen, host, port, address, terminal, stop)
    except SystemExit:  # how Ray hears SIGTERM while it starts, before it is ours again
        stop.ask(signal.SIGTERM)
    raise typer.Exit(stop.exit_code)


def _serve(profile: Profile, host: str, port: int, cluster: str | None, terminal: Terminal, stop: Stop) -> None:
    from serving.deployments.listener import Address
    from serving.deployments.server import running, watch

    with ThreadPoolExecutor(1) as beside:
        prepared = beside.submit(_prepare, terminal)  # while Ray's processes start

        def build(address: Address | None) -> Any:
            from serving.app import build as application

            prepared.result()
            return application(profile, address)

        with running(build, Address(host, port), cluster, terminal, stop):
            gc.enable()
            if not stop.asked:
                terminal.say(
                    f"ready at http://{host}:{port} (OpenAI-compatible under /v1, API description at /docs). "
                    "Ctrl-C stops."
                )
                watch(terminal, stop)
            terminal.say("stopping: running generations wait in the store and resume at the next start")


def _prepare(terminal: Terminal) -> None:
    """Migrate the store and check the secret, tell of the first account when it was made now, and load our own code."""
    first = asyncio.run(_first_start())
    if first is not None:
        if sys.stdout.isatty() and terminal.for_people:
            for line in first.lines():
                terminal.say(line)
        else:
            terminal.say(first.kept())
    import serving.app  # noqa: F401


async def _first_start() -> FirstAdmin | None:
    from serving.server.first_start import create_first_admin
    from serving.server.services import server_auth
    from serving.server.store import open_server_store

    opened = await open_server_store()
    try:
        auth = server_auth(opened.database)
        return await create_first_admin(auth.accounts, auth.passwords)
    finally:
        await opened.close()


def _choose_logs(level: LogLevel | None, form: LogFormat | None) -> None:
    """What the command line says of logs goes into the environment: the processes started from here read it."""
    if level is not None:
        os.environ["ADMINT_LOG_LEVEL"] = level.value
    if form is not None:
        os.environ["ADMINT_LOG_FORMAT"] = form.value


def worker(
    profile: Annotated[str | None, typer.Option(help="Which models to run (configs/profiles).")] = None,
    generations: Annotated[
        int | None, typer.Option(min=1, help="How many to run at once; by default as the profile says.")
    ] = None,
    log_level: Level = None,
    log_format: Format = None,
) -> None:
    """Run stored generations until Ctrl-C or SIGTERM, without Ray and HTTP. Any number of workers share one database.

    The store is the server's: ADMINT_DATABASE, ADMINT_ARTIFACTS, ADMINT_HOME.
    """
    from configs.settings import Settings, load_profile
    from serving.logs import log_as
    from serving.profile_models import model_set
    from serving.server.stopping import Stop
    from serving.server.worker import check_profile
    from serving.tracing import start_tracing

    os.umask(0o077)
    _choose_logs(log_level, log_format)
    chosen = load_profile(profile or Settings().profile)
    check_profile(chosen)
    described = model_set(chosen)  # a missing or altered folder is reported here, not by a generation
    for note in described.notes:
        typer.echo(f"note: {note}")
    log_as("Worker")
    start_tracing("Worker", Settings().traces)
    stop = Stop()
    asyncio.run(_work(chosen, generations, stop))
    raise typer.Exit(stop.exit_code)


async def _work(profile: Profile, generations: int | None, stop: Stop) -> None:
    from configs.serving import PipelineReplicas
    from configs.settings import library_root
    from models.weights import Library
    from serving.profile_models import LibraryLoader
    from serving.server.worker import work

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    stop.listen(lambda: loop.call_soon_threadsafe(stopped.set))
    at_once = generations or (profile.serving.pipeline or PipelineReplicas()).generations
    await work(profile, LibraryLoader(Library(library_root()), profile.device), at_once, stopped)
