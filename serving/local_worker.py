"""The work of `admint worker`: a server's stored generations on models in this process, without Ray and without HTTP.

Knows no command line and no signal; whoever runs it says when to stop.
"""

from __future__ import annotations

import asyncio
import logging

from configs.settings import Profile, load_model
from models.registry import SERVED_FAMILY
from models.spec import ChatModelSpec, ImageModelSpec, ScorerModelSpec, VideoModelSpec
from pipelines.errors import BadInput
from pipelines.lanes import Loader
from pipelines.patient_store import Patience
from pipelines.run import Models
from serving.gateway.local_backends import BackendModels, LocalBackend
from serving.model_set import ModelSet
from serving.server_store import ServerStore, open_server_store
from serving.server_worker import ServerWorker

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
