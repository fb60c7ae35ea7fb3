"""The pipeline deployment: a worker per replica that runs stored generations on the other deployments.

A generation is never handed over in a call: `wake` says that a row waits, and every replica claims from the store. So a
killed replica loses nothing; its generations are claimed again when their leases end.
"""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from configs.settings import load_profile
from serving.deployments.handles import HandleModels, ModelHandles
from serving.deployments.replica_options import begin_replica, end_construction
from serving.profile_models import model_sets
from serving.server.store import open_server_store
from serving.server.worker import ServerWorker


class PipelineReplica:
    """A worker that runs up to `generations` at once."""

    async def __init__(  # type: ignore[misc]
        self,
        profile: str,
        generations: int,
        chat: DeploymentHandle[Any],
        image: DeploymentHandle[Any],
        video: DeploymentHandle[Any],
        scorer: DeploymentHandle[Any],
    ) -> None:
        begin_replica("Pipeline")
        handles = self._handles = ModelHandles(chat, image, video, scorer)
        loaded = load_profile(profile)
        describe = model_sets(loaded)
        self._opened = await open_server_store()
        self._worker = ServerWorker(
            loaded, self._opened, lambda *names: HandleModels(handles, describe(*names)), generations
        )
        self._stopping = False
        end_construction()

    async def wake(self) -> None:
        await self._worker.wake()

    async def cancel(self, generation_id: str) -> None:
        await self._worker.cancel(generation_id)

    async def asked(self) -> dict[str, int]:
        """How many calls this replica waits for, by model."""
        return self._handles.asked.snapshot()

    def check_health(self) -> None:
        """Raises when the worker has died: Serve then replaces the replica."""
        if self._worker.work.done() and not self._stopping:
            self._worker.work.result()
            raise RuntimeError("the worker has stopped")

    async def stop(self) -> None:
        """Running steps stop at their next denoising step, and their generations wait for another worker."""
        self._stopping = True
        await self._worker.stop()

    async def __del__(self) -> None:
        """When Serve shuts the replica down."""
        await self.stop()
        await self._opened.close()


pipeline_deployment = serve.deployment(PipelineReplica)
