"""What HTTP and Ray Serve cost beside the models: one `admint serve` process against bare diffusers, in one run.

The server has the embedded profile; the bare calls run in this process while the server rests, with the same weights,
settings and start noise. Both sides have one torch thread. Knows no bar.
"""

from __future__ import annotations

import asyncio
import base64
import time
from statistics import median
from typing import Any

import httpx

from benchmarks.bare_models import BareModels
from models.interfaces import EncodedImage, ImageRequest, NoiseSpec, VideoRequest
from models.noise import draw, noise_sha256
from pipelines.media import encode_png
from serving.local_models import LocalDeployment

IMAGE_STEPS, CLIP_STEPS, SMALL_STEPS = 120, 30, 10
"""The first two make calls of five seconds and more here."""
IMAGE_SIZE, SMALL_SIZE, CLIP_SIZE = (64, 64), (48, 80), (48, 80)
CLIP_FRAMES = 8
ROUNDS = 3
BURST = 8
CLIENTS, POLLS = 200, 5
POLL_SECONDS = 0.02
PROMPT = "a red bottle on a beach"


class Http:
    """The endpoints as a client uses them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def image(self, steps: int, size: tuple[int, int], seed: int) -> dict[str, Any]:
        """The answer for one image, with `wall` seconds."""
        body = {
            "model": "sketch-image",
            "prompt": PROMPT,
            "size": f"{size[0]}x{size[1]}",
            "num_inference_steps": steps,
            "seed": seed,
            "response_format": "url",
        }
        started = time.perf_counter()
        answer = await self._client.post("/v1/images/generations", json=body)
        wall = time.perf_counter() - started
        return {**answer.raise_for_status().json()["data"][0], "wall": wall}

    async def clip(self, seed: int, steps: int = CLIP_STEPS) -> str:
        """The id of a clip that was asked for."""
        first = base64.b64encode(_still(CLIP_SIZE).data).decode()
        body = {
            "model": "sketch-video",
            "prompt": PROMPT,
            "size": f"{CLIP_SIZE[0]}x{CLIP_SIZE[1]}",
            "num_frames": CLIP_FRAMES,
            "num_inference_steps": steps,
            "seed": seed,
            "input_reference": first,
        }
        answer = await self._client.post("/v1/videos", json=body)
        return str(answer.raise_for_status().json()["id"])

    async def status(self, clip: str) -> str:
        return str((await self._client.get(f"/v1/videos/{clip}")).raise_for_status().json()["status"])

    async def clip_seconds(self, seed: int) -> float:
        """From the request to `completed`, as a client that polls sees it."""
        started = time.perf_counter()
        clip = await self.clip(seed)
        while (status := await self.status(clip)) != "completed":
            if status not in ("queued", "in_progress"):
                raise RuntimeError(f"the clip ended as {status}")
            await asyncio.sleep(POLL_SECONDS)
        return time.perf_counter() - started

    async def poll_seconds(self, path: str) -> float:
        started = time.perf_counter()
        (await self._client.get(path)).raise_for_status()
        return time.perf_counter() - started


async def overhead(http: Http, bare: BareModels) -> dict[str, dict[str, float]]:
    """Seconds of one image and one clip, ours and bare, medians of alternating rounds."""
    seconds: dict[str, dict[str, list[float]]] = {kind: {"ours": [], "bare": []} for kind in ("image", "clip")}
    for seed in range(ROUNDS + 1):  # the first round warms both sides
        seconds["image"]["ours"].append((await http.image(IMAGE_STEPS, IMAGE_SIZE, seed))["wall"])
        seconds["image"]["bare"].append(bare.seconds("image", image_request(IMAGE_STEPS, IMAGE_SIZE, seed), 0))
        seconds["clip"]["ours"].append(await http.clip_seconds(seed))
        seconds["clip"]["bare"].append(bare.seconds("video", clip_request(seed), 0))
    found = {kind: {side: median(values[1:]) for side, values in sides.items()} for kind, sides in seconds.items()}
    return {kind: {**sides, "overhead": sides["ours"] / sides["bare"] - 1} for kind, sides in found.items()}


async def burst(http: Http, bare: BareModels) -> dict[str, Any]:
    """Images of BURST requests at once against the same ones in a serial loop: throughput, and equal noise."""
    together, serial, equal = [], [], True
    for turn in range(ROUNDS + 1):
        seeds = range(turn * BURST, (turn + 1) * BURST)
        started = time.perf_counter()
        answers = await asyncio.gather(*(http.image(SMALL_STEPS, SMALL_SIZE, seed) for seed in seeds))
        together.append(time.perf_counter() - started)
        requests = [image_request(SMALL_STEPS, SMALL_SIZE, seed) for seed in seeds]
        serial.append(sum(bare.seconds("image", request, 0) for request in requests))
        equal &= [answer["noise_sha256"] for answer in answers] == [_noise(request) for request in requests]
    ours, theirs = median(together[1:]), median(serial[1:])
    return {"ours": ours, "bare": theirs, "throughput": theirs / ours, "noise_equal": equal}


async def polls(http: Http) -> dict[str, float]:
    """Latencies of CLIENTS clients that poll once a second beside a running clip; and all of them at once."""
    clip = await http.clip(99, steps=150)
    paths = ["/v1/models", f"/v1/videos/{clip}"]

    async def client(number: int) -> list[float]:
        await asyncio.sleep(number / CLIENTS)
        seconds = []
        for turn in range(POLLS):
            took = await http.poll_seconds(paths[(number + turn) % 2])
            seconds.append(took)
            await asyncio.sleep(max(0.0, 1.0 - took))
        return seconds

    spread = sorted(value for values in await asyncio.gather(*map(client, range(CLIENTS))) for value in values)
    at_once = sorted(await asyncio.gather(*(http.poll_seconds(paths[number % 2]) for number in range(CLIENTS))))
    running = await http.status(clip)
    return {
        "p50": spread[len(spread) // 2],
        "p99": spread[int(len(spread) * 0.99)],
        "at_once_p50": at_once[CLIENTS // 2],
        "at_once_p99": at_once[int(CLIENTS * 0.99)],
        "clip_was_running": float(running == "in_progress"),
    }


def bare_models(deployment: LocalDeployment) -> BareModels:
    """Stock pipelines over the same folders."""
    return BareModels(deployment.models)


def image_request(steps: int, size: tuple[int, int], seed: int) -> ImageRequest:
    return ImageRequest(
        prompt=PROMPT,
        width=size[0],
        height=size[1],
        noise=NoiseSpec(seed=seed),
        num_inference_steps=steps,
        guidance_scale=3.0,
    )


def clip_request(seed: int) -> VideoRequest:
    return VideoRequest(
        prompt=PROMPT,
        width=CLIP_SIZE[0],
        height=CLIP_SIZE[1],
        num_frames=CLIP_FRAMES,
        noise=NoiseSpec(seed=seed),
        num_inference_steps=CLIP_STEPS,
        guidance_scale=3.0,
        first_frame=_still(CLIP_SIZE),
    )


def _still(size: tuple[int, int]) -> EncodedImage:
    pixels = draw(NoiseSpec(seed=1), 3, size[1], size[0]).permute(1, 2, 0)
    return EncodedImage(data=encode_png(pixels.mul(60).add(128).clamp(0, 255).byte().numpy()))


def _noise(request: ImageRequest) -> str:
    return noise_sha256(draw(request.noise, 4, request.height // 4, request.width // 4))
