"""Worker and gateway processes that can be killed: what `admint worker` and the gateway run, over engines that draw.

They are forked from a server that has imported everything, so that a start costs a tenth of a second and hundreds of
kills fit in minutes; each is a process of its own with its own connections. SIGKILL is the kernel's.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import uvicorn

from configs.serving import QueueSettings
from configs.settings import Profile, load_profile
from models.errors import InferenceFailed
from serving.gateway.app import create_app
from serving.server.services import SilentNotifier, server_services
from serving.server.store import open_server_store
from serving.server.worker import offered_models, work
from tests.support.ad_server import Speaker
from tests.support.drawing_engine import Drawing
from tests.support.gateway_server import Studio
from tests.support.waiting import PATIENCE_SECONDS, too_late

PRELOADED = ("alembic.command", "av", "PIL.Image", "psycopg", "sqlalchemy.dialects.postgresql.psycopg")
"""Besides this module: what a process would import at its first row and its first picture."""


class DrawingLoader:
    """Agents that speak at once, models that draw at once."""

    def chat(self, spec: Any) -> Any:
        return Speaker(Studio())

    def image(self, spec: Any) -> Any:
        return Drawing()

    def video(self, spec: Any) -> Any:
        return Drawing()

    def scorer(self, spec: Any) -> Any:
        raise InferenceFailed("no model scores here")


def small_profile() -> Profile:
    """The embedded profile, delivered small, with room for every order: an ad takes a third of a second of one core."""
    profile = load_profile("sketch")
    serving = profile.serving.model_copy(update={"queue": QueueSettings(max_waiting=100_000)})
    return profile.model_copy(update={"fps": 8, "delivery": {"9:16": (48, 80)}, "serving": serving, "scorer": None})


class Process:
    """One running process."""

    def __init__(self, target: Callable[..., None], environment: dict[str, str], *arguments: Any) -> None:
        self._process = _context().Process(target=target, args=(environment, *arguments), daemon=True)
        self._process.start()

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that ended it."""
        return self._process.exitcode

    def kill(self) -> None:
        """`kill -9`; returns when it is dead."""
        self._process.kill()
        self._join("a killed process to die")

    def stop(self) -> int | None:
        """SIGTERM; the exit code once it has ended."""
        self._process.terminate()
        self._join("a process that was told to stop")
        return self.exit_code

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _join(self, what: str) -> None:
        self._process.join(PATIENCE_SECONDS)
        if not self.ended:
            raise too_late(what, PATIENCE_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


def run_worker(environment: dict[str, str], generations: int) -> None:
    """The program of a worker process."""
    _begin(environment, "worker")
    asyncio.run(_work(generations))


def run_gateway(environment: dict[str, str], port: int) -> None:
    """The program of a gateway process at a port of this machine."""
    _begin(environment, "gateway")
    asyncio.run(_serve(port))


async def _work(generations: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await work(small_profile(), DrawingLoader(), generations, stop)


async def _serve(port: int) -> None:
    profile = small_profile()
    opened = await open_server_store()
    services = server_services(profile, opened, offered_models(profile, DrawingLoader()), SilentNotifier())
    await uvicorn.Server(uvicorn.Config(create_app(services), port=port, log_config=None)).serve()


def _begin(environment: dict[str, str], name: str) -> None:
    os.environ.update(environment)
    log = Path(environment["ADMINT_HOME"]) / f"{name}.log"
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *PRELOADED])
    return context
