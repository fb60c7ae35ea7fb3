"""The services of a server's gateway, over any models and any worker. Knows neither Ray nor a route."""

from __future__ import annotations

from configs.settings import Profile
from serving.ad_planner import profile_ad_planner
from serving.clip_planner import ProfileClipPlanner
from serving.gateway.ads import open_ads
from serving.gateway.backends import ModelBackend, Worker
from serving.gateway.services import Limits, Services
from serving.server_auth import server_auth
from serving.server_store import ServerStore, server_quota


class DistantWorker:
    """Workers that nobody can call: `admint worker` processes look at the rows by themselves every second."""

    async def wake(self) -> None:
        return None

    async def cancel(self, generation_id: str) -> None:
        return None


def server_services(profile: Profile, opened: ServerStore, backend: ModelBackend, worker: Worker) -> Services:
    """Raises BadInput, UnsafeSecret, StorageFailed."""
    return Services(
        auth=server_auth(opened.database),
        backend=backend,
        store=opened.store,
        owners=opened.owners,
        artifacts=opened.artifacts,
        worker=worker,
        plan_clip=ProfileClipPlanner(profile),
        ads=open_ads(opened.database, opened.artifacts, profile_ad_planner(profile), server_quota()),
        keyframe_model=profile.image,
        limits=Limits(
            waiting_generations=profile.serving.queue.max_waiting,
            retry_after_seconds=profile.serving.queue.retry_after_seconds,
        ),
    )
