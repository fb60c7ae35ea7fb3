"""A worker of a server: runs its stored generations with whatever models it is given, and sweeps its artifact folder.

The pipeline deployment is one, over Serve handles; `admint worker` is one, over models in its own process. Knows
neither Ray nor HTTP.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Callable
from functools import cache

from configs.settings import Profile
from pipelines.engine import Engine
from pipelines.errors import BadInput
from pipelines.patient_store import Patience, PatientStore
from pipelines.run import Models
from pipelines.store.disposal import Disposal
from pipelines.store.records import Generation
from pipelines.store.sweep import keep_swept
from pipelines.worker import Worker
from serving.model_set import ModelSet, model_set
from serving.server_store import ServerStore

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
