"""The gateway deployment: the FastAPI application of `serving.gateway`, with handles for what it needs."""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from configs.settings import load_model_specs, load_profile
from models.spec import ScorerModelSpec
from serving.backends.interface import Spec
from serving.deployments.handles import HandleBackend, HandleNotifier, ModelHandles
from serving.deployments.listener import Address, Listener
from serving.deployments.replica_options import begin_replica, end_construction
from serving.gateway.app import create_app
from serving.gateway.middleware import RequestIdFilter
from serving.server.services import SilentNotifier, server_services
from serving.server.store import open_server_store

NICENESS = 5
"""Added to the niceness of this thread and those it starts: a third of the share of a model, when both want one core.

An answer that comes 10 ms later is no loss; a model that others interrupt is. On two cores with 200 polls a second a
clip's model waited for a core 16 to 20 % of its time while the gateway went first, and 6 to 10 % with this.
"""


@serve.ingress()
class GatewayReplica:
    """Answers HTTP over an application's handles."""

    async def __init__(  # type: ignore[misc]
        self,
        profile: str,
        pipeline: DeploymentHandle[Any] | None,
        chat: DeploymentHandle[Any],
        image: DeploymentHandle[Any],
        video: DeploymentHandle[Any],
        scorer: DeploymentHandle[Any],
        address: Address | None,
    ) -> None:
        """Listen at `address` if it is given; Serve's proxies reach the replica in any case."""
        begin_replica("Gateway", RequestIdFilter())
        os.nice(NICENESS)
        chosen = load_profile(profile)
        self._opened = await open_server_store()
        known = load_model_specs()
        names = (
            chosen.chat,
            *chosen.serving.image.offered(chosen.image),
            *chosen.serving.video.offered(chosen.video),
        )
        offered: dict[str, Spec] = {
            name: spec for name in names if not isinstance(spec := known[name], ScorerModelSpec)
        }
        handles = ModelHandles(chat, image, video, scorer)
        backend = HandleBackend(handles, pipeline, offered)
        notifier = SilentNotifier() if pipeline is None else HandleNotifier(pipeline)
        self._app = create_app(server_services(chosen, self._opened, backend, notifier))
        self._listener = None if address is None else Listener(self._app, address)
        self._stopping = False
        end_construction()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._app

    def check_health(self) -> None:
        """Raises when nobody can reach this replica: Serve then replaces it."""
        if self._listener is not None and not self._stopping:
            self._listener.check()

    async def stop(self) -> None:
        """Take no more connections, and give running answers a moment to end."""
        self._stopping = True
        if self._listener is not None:
            await self._listener.close()

    async def __del__(self) -> None:
        await self.stop()
        await self._opened.close()


gateway_deployment = serve.deployment(GatewayReplica)
