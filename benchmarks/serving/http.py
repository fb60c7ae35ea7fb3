"""What HTTP and Ray Serve cost beside the models: one `admint serve` process against bare diffusers, in one run.

The server has the embedded profile; the bare calls run in this process while the server rests, with the same weights,
settings and start noise. Both sides have one torch thread. Knows no bar.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import httpx

from benchmarks.bare_models import BareModels
from benchmarks.polling_clients import Crowd, percentile
from models.diffusion.noise import draw, noise_sha256
from models.interfaces import EncodedImage, ImageRequest, NoiseSpec, Unwatched, VideoRequest
from pipelines.media import encode_png
from serving.backends.in_process import LocalModels

IMAGE_STEPS, CLIP_STEPS, SMALL_STEPS = 200, 30, 10
"""The first two make calls of five seconds and more here."""
IMAGE_SIZE, SMALL_SIZE, CLIP_SIZE = (128, 128), (96, 160), (96, 160)
CLIP_FRAMES = 8
SHORT_IMAGE_STEPS, SHORT_CLIP_STEPS = 20, 3
"""Calls of less than a second."""
PAIRS, ENGINE_PAIRS = 3, 50
BURST = 8
POLL_SECONDS = 0.02
UNFINISHED = ("queued", "in_progress")
GUIDANCE = 3.0
PROMPT = "a red bottle on a beach"


class Seconds(NamedTuple):
    """Of one call."""

    whole: float
    inside: float
    """In the model, by its own clock: encoding, denoising, decoding."""


class Http:
    """The endpoints as a client uses them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def image(self, steps: int, size: tuple[int, int], seed: int) -> dict[str, Any]:
        """The answer for one image."""
        body = {
            "model": "sketch-image",
            "prompt": PROMPT,
            "size": f"{size[0]}x{size[1]}",
            "num_inference_steps": steps,
            "guidance_scale": GUIDANCE,
            "seed": seed,
            "response_format": "url",
        }
        answer = await self._client.post("/v1/images/generations", json=body)
        found: dict[str, Any] = answer.raise_for_status().json()["data"][0]
        return found

    async def image_seconds(self, seed: int) -> Seconds:
        """From the request to the answer, which comes when the artifact is on disk."""
        started = time.perf_counter()
        answer = await self.image(IMAGE_STEPS, IMAGE_SIZE, seed)
        return Seconds(time.perf_counter() - started, sum(answer["timings"].values()))

    async def clip(self, seed: int, steps: int = CLIP_STEPS) -> str:
        """The id of a clip that was asked for."""
        first = base64.b64encode(_still(CLIP_SIZE).data).decode()
        body = {
            "model": "sketch-video",
            "prompt": PROMPT,
            "size": f"{CLIP_SIZE[0]}x{CLIP_SIZE[1]}",
            "num_frames": CLIP_FRAMES,
            "num_inference_steps": steps,
            "guidance_scale": GUIDANCE,
            "seed": seed,
            "input_reference": first,
        }
        answer = await self._client.post("/v1/videos", json=body)
        return str(answer.raise_for_status().json()["id"])

    async def view(self, clip: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self._client.get(f"/v1/videos/{clip}")).raise_for_status().json()
        return found

    async def until(self, clip: str, reached: Callable[[dict[str, Any]], bool], poll_seconds: float) -> None:
        """Returns once the clip's state is `reached`, as a client sees it that looks every `poll_seconds`."""
        while True:
            if reached(await self.view(clip)):
                return
            await asyncio.sleep(poll_seconds)

    async def completed(self, clip: str) -> None:
        """Raises RuntimeError when the clip ends in another way."""
        await self.until(clip, lambda view: view["status"] not in UNFINISHED, POLL_SECONDS)
        if (status := (await self.view(clip))["status"]) != "completed":
            raise RuntimeError(f"the clip ended as {status}")

    async def clip_seconds(self, seed: int) -> Seconds:
        """From the request to `completed`, as a client sees it that looks every POLL_SECONDS."""
        started = time.perf_counter()
        clip = await self.clip(seed)
        await self.completed(clip)
        whole = time.perf_counter() - started
        takes = (await self._client.get(f"/api/v1/generations/{clip}/takes")).raise_for_status().json()["items"]
        (timings,) = (take["provenance"]["timings"] for take in takes if take["kind"] == "clip")
        return Seconds(whole, sum(timings.values()))


async def overhead(http: Http, models: LocalModels, bare: BareModels) -> dict[str, dict[str, Any]]:
    """One image and one clip over HTTP against the bare call by turns; and the same in its two parts.

    The speed of a shared machine changes by a tenth between two calls of many seconds, which hides what is looked for.
    Its parts can be seen: what a call takes outside of the model, by the model's own clock, and what the engine costs
    over bare diffusers in many short calls by turns in this process.
    """

    def bare_image(steps: int, seed: int) -> float:
        return bare.seconds("image", image_request(steps, IMAGE_SIZE, seed), 0)

    def bare_clip(steps: int, seed: int) -> float:
        return bare.seconds("video", clip_request(steps, seed), 0)

    async def our_image(seed: int) -> None:
        await models.image(image_request(SHORT_IMAGE_STEPS, IMAGE_SIZE, seed), Unwatched())

    async def our_clip(seed: int) -> None:
        await models.video(clip_request(SHORT_CLIP_STEPS, seed), Unwatched())

    image = await _pairs(http.image_seconds, partial(bare_image, IMAGE_STEPS))
    clip = await _pairs(http.clip_seconds, partial(bare_clip, CLIP_STEPS))
    return {
        "image": image | {"engine": await _engine(our_image, partial(bare_image, SHORT_IMAGE_STEPS))},
        "clip": clip | {"engine": await _engine(our_clip, partial(bare_clip, SHORT_CLIP_STEPS))},
    }


async def _engine(ours: Callable[[int], Awaitable[None]], bare: Callable[[int], float]) -> float:
    """By how much the engine is slower than bare diffusers; the median over ENGINE_PAIRS, who begins by turns."""
    ratios = []
    for seed in range(ENGINE_PAIRS):
        theirs = bare(seed) if seed % 2 else 0.0
        started = time.perf_counter()
        await ours(seed)
        took = time.perf_counter() - started
        ratios.append(took / (theirs or bare(seed)))
    return median(ratios) - 1


async def _pairs(ours: Callable[[int], Awaitable[Seconds]], bare: Callable[[int], float]) -> dict[str, Any]:
    pairs = [(await ours(seed), bare(seed)) for seed in range(PAIRS + 1)][1:]  # the first one warms both sides
    return {
        "ours": median(our.whole for our, _ in pairs),
        "bare": median(their for _, their in pairs),
        "overhead": median(our.whole / their for our, their in pairs) - 1,
        "outside": median(our.whole - our.inside for our, _ in pairs),
        "pairs": [[our.whole, our.inside, their] for our, their in pairs],
    }


async def burst(http: Http, bare: BareModels) -> dict[str, Any]:
    """Images of BURST requests at once against the same ones in a serial loop: throughput, and equal noise."""
    together, serial, equal = [], [], True
    for turn in range(PAIRS + 1):
        seeds = range(turn * BURST, (turn + 1) * BURST)
        started = time.perf_counter()
        answers = await asyncio.gather(*(http.image(SMALL_STEPS, SMALL_SIZE, seed) for seed in seeds))
        together.append(time.perf_counter() - started)
        requests = [image_request(SMALL_STEPS, SMALL_SIZE, seed) for seed in seeds]
        serial.append(sum(bare.seconds("image", request, 0) for request in requests))
        equal &= [answer["noise_sha256"] for answer in answers] == [_noise(request) for request in requests]
    gains = [theirs / ours for ours, theirs in zip(together[1:], serial[1:], strict=True)]
    return {
        "ours": median(together[1:]),
        "bare": median(serial[1:]),
        "throughput": median(gains),
        "noise_equal": equal,
    }


async def polls(http: Http, url: str, key: str) -> dict[str, float]:
    """Clips alone and beside a crowd that polls their state and the models, by turns: latencies, and what clips lose.

    Last, all of the crowd ask in one instant while a clip runs.
    """
    slowed, latencies, at_once = [], [], []
    for seed in range(PAIRS + 1):
        alone = (await http.clip_seconds(seed)).whole
        started = time.perf_counter()
        clip = await http.clip(seed)
        async with Crowd.gathered(url, key, "/v1/models", f"/v1/videos/{clip}") as crowd:
            waits, ended = await crowd.beside(partial(http.completed, clip))
        latencies += waits
        slowed.append((ended - started) / alone - 1)
        clip = await http.clip(seed)
        async with Crowd.gathered(url, key, "/v1/models", f"/v1/videos/{clip}") as crowd:
            at_once += await crowd.at_once()
        await http.completed(clip)
    latencies.sort()
    at_once.sort()
    return {
        "requests": len(latencies),
        "p50": percentile(latencies, 0.5),
        "p99": percentile(latencies, 0.99),
        "clip_slowed": median(slowed[1:]),
        "at_once_p50": percentile(at_once, 0.5),
        "at_once_p99": percentile(at_once, 0.99),
    }


def image_request(steps: int, size: tuple[int, int], seed: int) -> ImageRequest:
    return ImageRequest(
        prompt=PROMPT,
        width=size[0],
        height=size[1],
        noise=NoiseSpec(seed=seed),
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
    )


def clip_request(steps: int, seed: int) -> VideoRequest:
    return VideoRequest(
        prompt=PROMPT,
        width=CLIP_SIZE[0],
        height=CLIP_SIZE[1],
        num_frames=CLIP_FRAMES,
        noise=NoiseSpec(seed=seed),
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        first_frame=_still(CLIP_SIZE),
    )


def _still(size: tuple[int, int]) -> EncodedImage:
    pixels = draw(NoiseSpec(seed=1), 3, size[1], size[0]).permute(1, 2, 0)
    return EncodedImage(data=encode_png(pixels.mul(60).add(128).clamp(0, 255).byte().numpy()))


def _noise(request: ImageRequest) -> str:
    return noise_sha256(draw(request.noise, 4, request.height // 4, request.width // 4))
