"""The composition root: a profile becomes an application of Ray Serve deployments that call each other by handle.

    Gateway ──> Chat, Image, Video, Scorer ──> Chat
       └─(wake, cancel)─> Pipeline ──> Chat, Image, Video, Scorer

`admint serve` runs what `application` builds; a Serve config file names it as `serving.app:application`.
"""

from __future__ import annotations

from ray.serve import Application

from configs.settings import Profile, load_profile
from serving.deployments.chat import chat_application
from serving.deployments.gateway import gateway_deployment
from serving.deployments.listener import Address
from serving.deployments.pictures import image_deployment, video_deployment
from serving.deployments.pipeline import pipeline_deployment
from serving.deployments.replica_options import replica_options
from serving.deployments.scorer import scorer_deployment

IMAGE_CALLS = 16
"""Calls that one image replica holds: those that may share a batch gather there."""
VIDEO_CALLS = 1
"""A replica makes one clip at a time: scenes then go to whichever replica is free."""
SCORER_CALLS = 8
CONTROL_CALLS = 1000
"""Calls of the gateway and the pipeline: they wait for other deployments and cost nothing themselves."""


def application(arguments: dict[str, str]) -> Application:
    """The application of the profile `arguments["profile"]`. Raises BadInput for an unknown profile."""
    return build(load_profile(arguments["profile"]))


def build(profile: Profile, address: Address | None = None) -> Application:
    """Every deployment of a profile, bound together; nothing runs yet.

    The gateway listens at `address` itself; None leaves HTTP to Serve's proxies.
    """
    serving = profile.serving
    image = image_deployment.options(**replica_options("Image", serving.image, IMAGE_CALLS)).bind(
        serving.image.offered(profile.image), profile.device, serving.image.memory_gb
    )
    video = video_deployment.options(**replica_options("Video", serving.video, VIDEO_CALLS)).bind(
        serving.video.offered(profile.video), profile.device, serving.video.memory_gb
    )
    chat = chat_application(profile)
    scorer_device = profile.device if serving.scorer.num_gpus else "cpu"
    scorer = scorer_deployment.options(**replica_options("Scorer", serving.scorer, SCORER_CALLS)).bind(
        profile.name, scorer_device, chat
    )
    return compose(profile, chat, image, video, scorer, address)


def compose(
    profile: Profile,
    chat: Application,
    image: Application,
    video: Application,
    scorer: Application,
    address: Address | None = None,
) -> Application:
    """The gateway over four bound deployments of models, and the pipeline, unless workers elsewhere run generations."""
    serving = profile.serving
    pipeline = None
    if serving.pipeline is not None:
        pipeline = pipeline_deployment.options(**replica_options("Pipeline", serving.pipeline, CONTROL_CALLS)).bind(
            profile.name, serving.pipeline.generations, chat, image, video, scorer
        )
    return gateway_deployment.options(**replica_options("Gateway", serving.gateway, CONTROL_CALLS)).bind(
        profile.name, pipeline, chat, image, video, scorer, address
    )
