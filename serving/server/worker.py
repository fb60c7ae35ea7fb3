"""The work of `admint worker`: a server's stored generations on models in this process, without Ray and without HTTP.

Knows no command line and no signal; whoever runs it says when to stop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable
from functools import cache

from configs.settings import Profile, load_model
from models.registry import SERVED_FAMILY
from models.spec import ChatModelSpec, ImageModelSpec, ScorerModelSpec, VideoModelSpec
from pipelines.errors import BadInput
from pipelines.records import Generation
from pipelines.runtime.engine import Engine
from pipelines.runtime.lanes import Loader
from pipelines.runtime.run import Models
from pipelines.runtime.worker import Patience, PatientStore, Worker
from pipelines.store.sweep import Disposal, keep_swept
from serving.backends.in_process import BackendModels, LocalBackend
from serving.profile_models import ModelSet, model_set
from serving.server.store import ServerStore, open_server_store

ModelsOf = Callable[[ModelSet], Models]
"""The models of a generation, ready to be called. Raises BadInput when they are not to be had here."""


class ServerWorker:
    """Works from its making until `stop`, in the running event loop."""

    def __init__(self, profile: Profile, opened: ServerStore, models_of: ModelsOf, generations: int) -> None:
        """Runs at most `generations` at once."""
        self._profile = profile
        self._opened = opened
        self._models_of = models_of
        self._patience = Patience()
        self._store = PatientStore(opened.store, self._patience)
        # Hashing weights takes seconds for large folders, which do not change while a server runs.
        self._described = cache(lambda names: model_set(profile, *names))
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._worker = Worker(self._store, self._engine_for, self.name, generations)
        self.work = asyncio.create_task(self._worker.run())
        """Ends only when the worker is stopped, or with the error that broke it."""
        self._sweeping = asyncio.create_task(keep_swept(opened.artifacts, Disposal(opened.database)))

    def wake(self) -> None:
        """A new row may be waiting."""
        self._worker.wake()

    def cancel(self, generation_id: str) -> bool:
        """Whether the generation runs here; it has then been told to stop."""
        return self._worker.cancel(generation_id)

    async def stop(self) -> None:
        """Running steps stop at their next denoising step, and their generations wait for another worker at once."""
        self._patience.end()
        self.work.cancel()
        self._sweeping.cancel()
        await asyncio.wait({self.work, self._sweeping})

    def _engine_for(self, generation: Generation) -> Engine:
        """Raises BadInput when the models here are not those that the generation began with."""
        wanted = generation.manifest["models"]
        described: ModelSet = self._described(tuple(wanted[kind]["name"] for kind in ("chat", "image", "video")))
        for kind, model in wanted.items():
            if described.fingerprints.get(kind) != model["fingerprint"]:
                raise BadInput(
                    f"the {kind} model {model['name']!r} changed since this generation was asked for: ask for it again"
                )
        return Engine(
            store=self._store,
            artifacts=self._opened.artifacts,
            models=self._models_of(described),
            fingerprints=described.fingerprints,
            fps=self._profile.fps,
            delivery=self._profile.delivery,
            worker=self.name,
        )


MAX_WAITING = 10_000
"""Calls before a lane: those of this worker's own generations, which wait as long as it takes."""
logger = logging.getLogger(__name__)


def check_profile(profile: Profile) -> None:
    """Raises BadInput when a worker cannot run the profile's models."""
    if load_model(profile.chat, ChatModelSpec).family == SERVED_FAMILY:
        raise BadInput(
            f"profile {profile.name!r} has a chat model that only vLLM runs, and a worker runs models in its own "
            "process: serve the model with an OpenAI-compatible server, and name a profile that calls it"
        )


async def work(profile: Profile, loader: Loader, generations: int, stop: asyncio.Event) -> None:
    """Run at most `generations` at once until `stop` is set. Raises BadInput, StorageFailed, and what broke the worker.

    A database that is not there yet is waited for.
    """
    backend = local_backend(profile, loader)
    opened = await _opened(stop)
    if opened is None:
        return
    try:
        await _until(stop, ServerWorker(profile, opened, lambda described: _models(backend, described), generations))
    finally:
        await asyncio.to_thread(backend.close)
        await opened.close()


def local_backend(profile: Profile, loader: Loader) -> LocalBackend:
    """The profile's models and those offered beside them, loaded when first used."""
    chat = load_model(profile.chat, ChatModelSpec)
    images = [load_model(name, ImageModelSpec) for name in profile.serving.image.offered(profile.image)]
    videos = [load_model(name, VideoModelSpec) for name in profile.serving.video.offered(profile.video)]
    lanes = {chat.name: profile.lanes.chat}
    lanes |= {spec.name: profile.lanes.image for spec in images} | {spec.name: profile.lanes.video for spec in videos}
    scorer = None if profile.scorer is None else load_model(profile.scorer, ScorerModelSpec)
    return LocalBackend([chat, *images, *videos], loader, lanes, MAX_WAITING, scorer)


async def _opened(stop: asyncio.Event) -> ServerStore | None:
    """The store, once its database answers; None when it is time to stop before."""
    patience = Patience()
    opening = asyncio.create_task(patience(open_server_store))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not opening.done():
        patience.end()
        await asyncio.wait({opening})
        return None if opening.exception() else await opening
    return await opening


async def _until(stop: asyncio.Event, worker: ServerWorker) -> None:
    logger.info("worker %s is ready", worker.name)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({worker.work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if worker.work.done():
        await worker.work
    logger.info("worker %s stops: its generations wait for another one", worker.name)
    await worker.stop()


def _models(backend: LocalBackend, described: ModelSet) -> Models:
    for spec in (described.chat, described.image, described.video):
        if spec.name not in backend.specs:
            raise BadInput(f"this worker does not offer the model {spec.name!r}: start one whose profile does")
    return BackendModels(backend, described.chat, described.image, described.video)
