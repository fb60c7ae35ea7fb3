"""The real application on Ray Serve with image and video replicas that draw at once, or slowly when told to.

Gateway, pipeline, store, handles, lanes and streams are the real ones; only the engines inside the replicas draw by
themselves (`drawing_engine`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import ray
from ray import serve

from configs.settings import load_model, load_profile
from models.errors import InferenceFailed
from models.spec import ImageModelSpec, VideoModelSpec
from serving.app import IMAGE_CALLS, VIDEO_CALLS, compose
from serving.deployments.batching import Coalescer
from serving.deployments.calls import Failed
from serving.deployments.pictures import ImageReplica, PictureReplica, VideoReplica
from serving.deployments.replica_options import replica_options
from serving.deployments.scorer import scorer_deployment
from tests.support.drawing_engine import Drawing

NAMESPACE = "serve"


class DrawingImageReplica(ImageReplica):
    async def __init__(self) -> None:  # type: ignore[misc]
        specs = {"sketch-image": load_model("sketch-image", ImageModelSpec).model_copy(update={"batch_pixels": 0})}
        self._replica = PictureReplica(specs, lambda spec: Drawing(), "cpu", None)
        self._coalescer = Coalescer(self._run)


class DrawingVideoReplica(VideoReplica):
    async def __init__(self) -> None:  # type: ignore[misc]
        specs = {"sketch-video": load_model("sketch-video", VideoModelSpec)}
        self._replica = PictureReplica(specs, lambda spec: Drawing(), "cpu", None)


class SilentChat:
    """No test here lets an agent speak."""

    async def answer(self, body: dict[str, Any]) -> AsyncIterator[Any]:
        yield Failed(InferenceFailed(f"nobody talks here: {body}"))


def drawing_application(videos: int = 2, video_resources: dict[str, float] | None = None) -> Any:
    """The embedded profile's application with drawing replicas, `videos` of them for clips.

    `video_resources` are what a video replica asks of its node besides cores.
    """
    profile = load_profile("sketch")
    serving = profile.serving.model_copy(
        update={
            "video": profile.serving.video.model_copy(update={"num_replicas": videos}),
        }
    )
    profile = profile.model_copy(update={"serving": serving})
    image = serve.deployment(DrawingImageReplica).options(**replica_options("Image", serving.image, IMAGE_CALLS))
    video_options = replica_options("Video", serving.video, VIDEO_CALLS)
    video_options["ray_actor_options"]["resources"] = video_resources or {}
    video = serve.deployment(DrawingVideoReplica).options(**video_options)
    chat = serve.deployment(SilentChat).options(**replica_options("Chat", serving.chat, 1))
    scorer = scorer_deployment.options(**replica_options("Scorer", serving.scorer, 1))
    return compose(profile, chat.bind(), image.bind(), video.bind(), scorer.bind())


def replicas(deployment: str) -> list[str]:
    """Actor names of the live replicas of a deployment."""
    named = ray.util.list_named_actors(all_namespaces=True)
    return sorted(actor["name"] for actor in named if f"#{deployment}#" in actor["name"])


def kill_replica(name: str) -> None:
    """As when its process dies."""
    ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
