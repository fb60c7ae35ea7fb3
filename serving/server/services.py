"""The services of a server's gateway, over any models and any worker. Knows neither Ray nor a route."""

from __future__ import annotations

from functools import cache

from configs.settings import Profile, Settings, load_model, load_recipe
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.orders.ad import AdPlanner
from pipelines.orders.clip import VideoOrder, clip_generation
from pipelines.store.accounts import Accounts
from pipelines.store.database import Database
from pipelines.store.logins import LoginAttempts, Logins, Standing
from serving.backends.interface import ModelBackend, Worker
from serving.gateway.auth.login import Auth, Passwords
from serving.gateway.auth.tokens import AccessTokens
from serving.gateway.services import Limits, NewGeneration, Services, open_ads
from serving.profile_models import ModelSet, model_set
from serving.server.first_start import signing_key
from serving.server.store import ServerStore, server_quota


def profile_ad_planner(profile: Profile) -> AdPlanner:
    """Raises BadInput for a profile whose image model is unknown."""

    # Hashing weights takes seconds for large folders, which do not change while a server runs.
    @cache
    def described() -> ModelSet:
        return model_set(profile)

    return AdPlanner(
        recipe=load_recipe,
        image_model=load_model(profile.image, ImageModelSpec),
        fps=profile.fps,
        manifest=lambda: described().manifest,
    )


def server_auth(database: Database) -> Auth:
    """Raises UnsafeSecret, StorageFailed."""
    return Auth(
        accounts=Accounts(database),
        logins=Logins(database),
        attempts=LoginAttempts(database),
        passwords=Passwords(),
        tokens=AccessTokens(signing_key()),
        standing=Standing(database),
        metrics_public=Settings().metrics_public,
    )


CLIP_RECIPE = "clip"


class ProfileClipPlanner:
    """Plans clips for the models of one profile."""

    def __init__(self, profile: Profile) -> None:
        # Hashing weights takes seconds for large folders, which do not change while a server runs.
        self._described = cache(lambda video: model_set(profile, video=video))

    def __call__(self, order: VideoOrder) -> NewGeneration:
        """Raises BadInput, WeightsError."""
        described: ModelSet = self._described(order.model)
        spec = load_model(order.model, VideoModelSpec)
        brief, recipe, given = clip_generation(order, spec, load_recipe(CLIP_RECIPE))
        return NewGeneration(brief, recipe, given, described.manifest)


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
