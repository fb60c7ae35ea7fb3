"""The pipeline deployment: a worker per replica that runs stored generations on the other deployments.

A generation is never handed over in a call: `wake` says that a row waits, and every replica claims from the store. So a
killed replica loses nothing; its generations are claimed again when their leases end. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from functools import cache
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from configs.settings import load_profile
from pipelines.engine import Engine
from pipelines.errors import BadInput
from pipelines.store.records import Generation
from pipelines.worker import Worker
from serving.deployments.handle_models import HandleModels, ModelHandles
from serving.model_set import ModelSet, model_set
from serving.server_store import open_server_store


class PipelineReplica:
    """Runs up to `generations` at once."""

    async def __init__(  # type: ignore[misc]
        self,
        profile: str,
        generations: int,
        chat: DeploymentHandle[Any],
        image: DeploymentHandle[Any],
        video: DeploymentHandle[Any],
        scorer: DeploymentHandle[Any],
    ) -> None:
        self._profile = load_profile(profile)
        self._handles = ModelHandles(chat, image, video, scorer)
        self._opened = await open_server_store()
        self._described = cache(lambda names: model_set(self._profile, *names))
        name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._worker = Worker(self._opened.store, self._engine_for, name, generations)
        self._work = asyncio.create_task(self._worker.run())

    async def wake(self) -> None:
        self._worker.wake()

    async def cancel(self, generation_id: str) -> bool:
        """Whether the generation ran here; it has then been told to stop."""
        return self._worker.cancel(generation_id)

    async def asked(self) -> dict[str, int]:
        """Calls by model that this replica waits for."""
        return self._handles.asked.snapshot()

    def check_health(self) -> None:
        """Serve replaces a replica whose worker has died."""
        if self._work.done():
            self._work.result()
            raise RuntimeError("the worker has stopped")

    async def __del__(self) -> None:
        """Serve's orderly shutdown: running steps stop, their generations wait for another worker."""
        self._work.cancel()
        await asyncio.wait({self._work})
        await self._opened.close()

    def _engine_for(self, generation: Generation) -> Engine:
        """Raises BadInput when this server's models are not those that the generation began with."""
        wanted = generation.manifest["models"]
        described: ModelSet = self._described(tuple(wanted[kind]["name"] for kind in ("chat", "image", "video")))
        for kind, model in wanted.items():
            if described.fingerprints[kind] != model["fingerprint"]:
                raise BadInput(
                    f"the {kind} model {model['name']!r} changed since this generation was asked for: ask for it again"
                )
        return Engine(
            store=self._opened.store,
            artifacts=self._opened.artifacts,
            models=HandleModels(self._handles, described.chat, described.image, described.video),
            fingerprints=described.fingerprints,
            fps=self._profile.fps,
            delivery=self._profile.delivery,
            worker="pipeline",
        )


pipeline_deployment = serve.deployment(PipelineReplica)
