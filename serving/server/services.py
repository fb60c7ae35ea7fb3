"""The services of a server's gateway, put together in one place for Ray's replicas, other processes and tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from configs.settings import Profile, Settings, load_recipe
from pipelines.decisions.service import Directions
from pipelines.orders.ad import AdPlanner
from pipelines.orders.clip import ClipOrder, clip_generation
from pipelines.records import NewGeneration
from pipelines.steps import Json
from pipelines.store.accounts import Accounts
from pipelines.store.database import Database
from pipelines.store.decisions import DirectionStore
from pipelines.store.generation_index import GenerationIndex
from pipelines.store.intake import GroupStore, Intake
from pipelines.store.logins import CredentialStatus, LoginAttempts, Logins
from pipelines.store.queue import QueueLimit
from pipelines.store.sweep import Disposal
from quality.catalogue import Entry
from serving.backends.interface import ModelBackend, WorkerNotifier
from serving.gateway.auth.login import Auth, Passwords
from serving.gateway.auth.tokens import SignedTokens
from serving.gateway.proxies import NO_PROXIES, Proxies
from serving.gateway.services import Ads, ClipPlanner, Limits, Services
from serving.profile_models import ModelSet, ad_planner, model_sets
from serving.scores.local import catalogue_of
from serving.server.first_start import signing_key
from serving.server.store import ServerStore

CLIP_RECIPE = "clip"


def server_services(profile: Profile, opened: ServerStore, backend: ModelBackend, notifier: WorkerNotifier) -> Services:
    """The services of a profile, as the environment says. Raises BadInput, UnsafeSecret, StorageFailed."""
    describe = priced(model_sets(profile), Settings().device_hour_price)
    return services_over(
        opened,
        backend,
        notifier,
        auth=server_auth(opened.database),
        plan_ad=ad_planner(profile),
        manifest=lambda: describe().manifest,
        plan_clip=ProfileClipPlanner(describe),
        keyframe_model=profile.image,
        dimensions=lambda: catalogue_of(profile, served=True),
        limits=Limits(
            waiting_generations=profile.serving.queue.max_waiting,
            retry_after_seconds=profile.serving.queue.retry_after_seconds,
        ),
        proxies=Proxies(Settings().trusted_proxies, Settings().root_path),
    )


def priced(describe: Callable[..., ModelSet], device_hour_price: float | None) -> Callable[..., ModelSet]:
    """`describe` with what an hour of a device costs, noted in the manifest of what is asked for at that price."""
    if device_hour_price is None:
        return describe

    def described(*names: str, **named: str) -> ModelSet:
        found = describe(*names, **named)
        return replace(found, manifest={**found.manifest, "device_hour_price": device_hour_price})

    return described


def services_over(
    opened: ServerStore,
    backend: ModelBackend,
    notifier: WorkerNotifier,
    *,
    auth: Auth,
    plan_ad: AdPlanner,
    manifest: Callable[[], Json],
    plan_clip: ClipPlanner,
    keyframe_model: str,
    dimensions: Callable[[], tuple[Entry, ...]],
    limits: Limits,
    proxies: Proxies = NO_PROXIES,
) -> Services:
    """The services of a gateway over an opened store and any models."""
    database, artifacts = opened.database, opened.artifacts
    return Services(
        auth=auth,
        backend=backend,
        store=opened.store,
        owners=opened.owners,
        artifacts=artifacts,
        notifier=notifier,
        plan_clip=plan_clip,
        ads=Ads(
            planner=plan_ad,
            manifest=manifest,
            intake=Intake(database, opened.quota, queue_limit(limits)),
            index=GenerationIndex(database),
            directions=Directions(DirectionStore(database, opened.quota), artifacts),
            groups=GroupStore(database),
            disposal=Disposal(database),
            files=artifacts,
        ),
        keyframe_model=keyframe_model,
        dimensions=dimensions,
        limits=limits,
        proxies=proxies,
    )


def queue_limit(limits: Limits) -> QueueLimit:
    """What the store knows of a gateway's limits."""
    return QueueLimit(waiting=limits.waiting_generations, retry_after_seconds=limits.retry_after_seconds)


def server_auth(database: Database) -> Auth:
    """Accounts, logins and tokens of a server. Raises UnsafeSecret, StorageFailed."""
    return Auth(
        accounts=Accounts(database),
        logins=Logins(database),
        attempts=LoginAttempts(database),
        passwords=Passwords(),
        tokens=SignedTokens(signing_key()),
        credential_status=CredentialStatus(database),
        metrics_public=Settings().metrics_public,
        origins=frozenset(Settings().cors_origins),
    )


@dataclass(frozen=True)
class ProfileClipPlanner:
    """Plans clips for the models of one profile."""

    describe: Callable[..., ModelSet]
    """The profile's models, or those named instead (`serving.profile_models.model_sets`)."""

    def __call__(self, order: ClipOrder) -> NewGeneration:
        """Raises BadInput, WeightsError."""
        described = self.describe(video=order.model)
        brief, recipe, given = clip_generation(order, described.video, load_recipe(CLIP_RECIPE))
        return NewGeneration(brief, recipe, given, described.manifest)


class SilentNotifier:
    """For workers that cannot be called: `admint worker` processes poll the rows every second."""

    async def wake(self) -> None:
        return None

    async def cancel(self, generation_id: str) -> None:
        return None
