"""The worker of a server: runs the generations that wait in its store, on models of this process or of Ray's replicas.

`admint worker` is `work`: without Ray and without HTTP. The pipeline deployment makes a `ServerWorker` over handles.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable
from typing import Protocol

from configs.settings import Profile, load_model
from models.registry import SERVED_FAMILY
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.errors import BadInput
from pipelines.records import Generation
from pipelines.runtime.engine import Engine
from pipelines.runtime.worker import Backoff, RetryingStore, Worker
from pipelines.steps import Models
from pipelines.store.sweep import Disposal, keep_swept
from serving.backends.in_process import Loader, LocalBackend, LocalModels, profile_backend
from serving.profile_models import ModelSet, model_sets
from serving.server.store import ServerStore, open_server_store

logger = logging.getLogger(__name__)


def check_profile(profile: Profile) -> None:
    """Raises BadInput when a worker cannot run the profile's models in its own process."""
    if load_model(profile.chat, ChatModelSpec).family == SERVED_FAMILY:
        raise BadInput(
            f"profile {profile.name!r} has a chat model that only vLLM runs, and a worker runs models in its own "
            "process: run the model on an OpenAI-compatible server, and set ADMINT_CHAT_URL to its address"
        )


async def work(profile: Profile, loader: Loader, generations: int, stop: asyncio.Event) -> None:
    """Run at most `generations` at once until `stop` is set. Raises BadInput, StorageFailed, and what broke the worker.

    A database that does not answer yet is waited for.
    """
    backend, describe = offered_models(profile, loader), model_sets(profile)

    def models_of(chat: str, image: str, video: str) -> LocalModels:
        for name in (chat, image, video):
            if name not in backend.specs:
                raise BadInput(f"this worker does not offer the model {name!r}: start one whose profile does")
        return LocalModels(backend, describe(chat, image, video))

    opened = await _opened(stop)
    if opened is None:
        return
    try:
        await _run_until(stop, ServerWorker(profile, opened, models_of, generations))
    finally:
        await asyncio.to_thread(backend.close)
        await opened.close()


def offered_models(profile: Profile, loader: Loader) -> LocalBackend:
    """The profile's models and those offered beside them, loaded when first used. Their calls wait without a bound."""
    serving = profile.serving
    chat = load_model(profile.chat, ChatModelSpec)
    images = [load_model(name, ImageModelSpec) for name in serving.image.offered(profile.image)]
    videos = [load_model(name, VideoModelSpec) for name in serving.video.offered(profile.video)]
    return profile_backend(profile, [chat, *images, *videos], loader)


async def _opened(stop: asyncio.Event) -> ServerStore | None:
    """The store, once its database answers; None when `stop` is set before."""
    patience = Backoff()
    opening = asyncio.create_task(patience(open_server_store))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not opening.done():
        patience.end()
        await asyncio.wait({opening})
        return None if opening.exception() else await opening
    return await opening


async def _run_until(stop: asyncio.Event, worker: ServerWorker) -> None:
    logger.info("worker %s is ready", worker.name)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({worker.work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if worker.work.done():
        await worker.work
    logger.info("worker %s stops: its generations wait for another one", worker.name)
    await worker.stop()


class DescribedModels(Models, Protocol):
    """The models of a generation, with what its manifest says of them."""

    @property
    def described(self) -> ModelSet: ...


ModelsOf = Callable[[str, str, str], DescribedModels]
"""By the names of a chat, an image and a video model. Raises BadInput when one is not offered, WeightsError."""


class ServerWorker:
    """Works in the running event loop from the moment it is made until `stop`. Also a `WorkerNotifier` for itself."""

    def __init__(self, profile: Profile, opened: ServerStore, models_of: ModelsOf, generations: int) -> None:
        """Runs at most `generations` at once."""
        self._profile = profile
        self._opened = opened
        self._models_of = models_of
        self._patience = Backoff()
        self._store = RetryingStore(opened.store, self._patience)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        """Owns the leases of its generations: no other worker has it."""
        self._worker = Worker(self._store, self._engine_for, self.name, generations)
        self.work = asyncio.create_task(self._worker.run())
        """Ends only when the worker is stopped, or with the error that broke it."""
        disposal = Disposal(opened.database)
        self._sweeping = asyncio.create_task(keep_swept(opened.artifacts, disposal, opened.retention))

    async def wake(self) -> None:
        """A new row may be waiting."""
        self._worker.wake()

    async def cancel(self, generation_id: str) -> None:
        """Stop the generation within one denoising step, if it runs here."""
        self._worker.cancel(generation_id)

    async def stop(self) -> None:
        """Running steps stop at their next denoising step, and their generations wait for another worker at once."""
        self._patience.end()
        self.work.cancel()
        self._sweeping.cancel()
        await asyncio.wait({self.work, self._sweeping})

    def _engine_for(self, generation: Generation) -> Engine:
        """Raises BadInput when the models here are not those that the generation began with."""
        wanted = generation.manifest["models"]
        models = self._models_of(*(wanted[kind]["name"] for kind in ("chat", "image", "video")))
        models.described.check_unchanged(
            generation.manifest, since="this generation was asked for", remedy="ask for it again"
        )
        return Engine(
            store=self._store,
            artifacts=self._opened.artifacts,
            models=models,
            fingerprints=models.described.fingerprints,
            fps=self._profile.fps,
            delivery=self._profile.delivery,
            worker=self.name,
        )
