"""Replicas that sleep a fixed time per denoising step, so that cores do not limit: spread, cancel, and slow-down.

The application is the real one (gateway, pipeline, store, handles); only the engine inside the video replicas sleeps.
Knows no bar.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from ray import serve
from ray.serve import Application

from benchmarks.polling_clients import Crowd
from benchmarks.serving.http import PROMPT, UNFINISHED, Http
from configs.settings import load_model, load_profile
from models.interfaces import VideoRequest, VideoResult, Watcher
from models.spec import VideoModelSpec
from serving.app import IMAGE_CALLS, SCORER_CALLS, VIDEO_CALLS, compose
from serving.deployments.chat import chat_application
from serving.deployments.listener import Address
from serving.deployments.pictures import PictureReplica, VideoReplica, image_deployment
from serving.deployments.replica_options import replica_options
from serving.deployments.scorer import scorer_deployment

STEP_SECONDS = 0.5
CLIP_STEPS = 12
PAIRS = 2
POLL_SECONDS = 0.01


def lane_log() -> Path:
    """Where the lanes note who starts on them and who has left."""
    return Path(os.environ["ADMINT_HOME"]) / "lanes.log"


def _note(word: str, seed: int) -> None:
    with lane_log().open("a") as log:
        log.write(f"{word} {seed} {time.time()}\n")


@dataclass(frozen=True)
class SleepingVideo:
    """A VideoModel whose steps take STEP_SECONDS and no core."""

    def generate(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        _note("started", request.noise.seed)
        try:
            for done in range(request.num_inference_steps):
                watcher.step(done, request.num_inference_steps)
                time.sleep(STEP_SECONDS)
            watcher.step(request.num_inference_steps, request.num_inference_steps)
        finally:
            _note("left", request.noise.seed)
        frames = np.zeros((request.num_frames, request.height, request.width, 3), dtype=np.uint8)
        return VideoResult(frames, "0" * 64, request.num_inference_steps * STEP_SECONDS)


class SleepingReplica(VideoReplica):
    """A video replica around it."""

    async def __init__(self) -> None:  # type: ignore[misc]
        specs = {"sketch-video": load_model("sketch-video", VideoModelSpec)}
        self._replica = PictureReplica(specs, lambda spec: SleepingVideo(), "cpu", None)


sleeping_deployment = serve.deployment(SleepingReplica)


async def spread(client: httpx.AsyncClient, scenes: int) -> float:
    """Seconds in which one generation films its `scenes` scenes, by its event log: first start to last clip."""
    body = {
        "recipe": "express",
        "brief": {"prompt": PROMPT, "duration": 3 * scenes, "num_scenes": scenes},
        "use_llm": False,
        "approvals": [],
        "quality": {"dimensions": []},
    }
    made = (await client.post("/api/v1/generations", json=body)).raise_for_status().json()
    where = f"/api/v1/generations/{made['id']}"
    async with client.stream("GET", f"{where}/events", headers={"Accept": "text/event-stream"}) as stream:
        async for _ in stream.aiter_lines():  # it ends with the generation
            pass
    events = (await client.get(f"{where}/events")).raise_for_status().json()["items"]
    filming = [event for event in events if (event["step"] or "").startswith("video/")]
    started = [_moment(event) for event in filming if event["kind"] == "step_started"]
    completed = [_moment(event) for event in filming if event["kind"] == "step_completed"]
    if len(completed) != scenes:
        raise RuntimeError(f"{len(completed)} clips of {scenes} scenes: {events[-1]['message']}")
    return max(completed) - min(started)


def _moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["created_at"]).timestamp()


async def cancel_seconds(http: Http, client: httpx.AsyncClient, turn: int) -> dict[str, float]:
    """From DELETE of a running clip until its lane is free, and until the clip that waited starts there."""
    running, waiting = 1000 + 2 * turn, 1001 + 2 * turn  # seeds, by which the lane's log knows them
    first, second = await http.clip(running, 200), await http.clip(waiting, 200)
    await _noted("started", running)
    await asyncio.sleep(STEP_SECONDS * (1 + turn / 7))  # at another moment of a step each time
    asked = time.time()
    (await client.delete(f"/v1/videos/{first}")).raise_for_status()
    found = {"free": await _noted("left", running) - asked, "next": await _noted("started", waiting) - asked}
    (await client.delete(f"/v1/videos/{second}")).raise_for_status()
    await _ended(http, second)
    return found


async def _noted(word: str, seed: int) -> float:
    """When the lane's log said so; waits for it."""
    while True:
        for line in lane_log().read_text().splitlines() if lane_log().exists() else ():
            if line.startswith(f"{word} {seed} "):
                return float(line.rpartition(" ")[2])
        await asyncio.sleep(POLL_SECONDS)


async def clip_beside_polls(http: Http, url: str, key: str) -> float:
    """By how much a crowd that polls slows a clip whose steps need no core; the median of PAIRS by turns."""
    slowed = []
    for _ in range(PAIRS):
        started = time.perf_counter()
        await _ended(http, await http.clip(0, CLIP_STEPS))
        alone = time.perf_counter() - started
        started = time.perf_counter()
        clip = await http.clip(0, CLIP_STEPS)
        async with Crowd.gathered(url, key, "/v1/models", f"/v1/videos/{clip}") as crowd:
            _, ended = await crowd.beside(partial(_ended, http, clip))
        slowed.append((ended - started) / alone - 1)
    return median(slowed)


async def _ended(http: Http, clip: str) -> None:
    await http.until(clip, lambda view: view["status"] not in UNFINISHED, POLL_SECONDS)


def sleeping_application(count: int, address: Address | None) -> Application:
    """The application of the embedded profile, with `count` sleeping video replicas; it listens at `address`."""
    profile = load_profile("sketch")
    serving = profile.serving
    video = serving.video.model_copy(update={"num_replicas": count, "num_cpus": 0.1})
    return compose(
        profile,
        chat_application(profile),
        image_deployment.options(**replica_options("Image", serving.image, IMAGE_CALLS)).bind(
            (profile.image,), profile.device, None
        ),
        sleeping_deployment.options(**replica_options("Video", video, VIDEO_CALLS)).bind(),
        scorer_deployment.options(**replica_options("Scorer", serving.scorer, SCORER_CALLS)).bind(),
        address,
    )
