"""Models that draw at once: real pixels from the request's noise seed, so that engine tests need no weights.

They satisfy `pipelines.runtime.run.Models`, count their calls, and can be told to fail or to wait in a scene.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random

import numpy as np

from models.errors import InferenceFailed
from models.interfaces import ChatRequest, ChatResult, ImageResult, Unwatched, VideoResult
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.media import decode_image
from pipelines.scoring import score_file
from tests.support.scripted_desk import agent_of, from_schema
from tests.support.waiting import for_ever, within

SIZES = {"9:16": (48, 80), "16:9": (80, 48), "1:1": (64, 64)}
COMMON = {"family": "drawing", "licence": "test", "vram_gb": 0.0}


class DrawingModels:
    """Keyframes are one colour that follows from the noise seed; clips move a bar over their first frame."""

    def __init__(self) -> None:
        self.chat_model = ChatModelSpec(name="c", kind="chat", vision=True, **COMMON)
        self.image_model = ImageModelSpec(
            name="i", kind="image", sizes=SIZES, num_inference_steps=4, guidance_scale=3.0, references=3, **COMMON
        )
        self.video_model = VideoModelSpec(
            name="v",
            kind="video",
            sizes=SIZES,
            num_inference_steps=4,
            guidance_scale=3.0,
            references=3,
            native_fps=8,
            max_frames=32,
            **COMMON,
        )
        self.images: list[object] = []
        self.videos: list[object] = []
        self.another_device = 0
        """Bits that differ in every colour, as on a device that computes otherwise."""
        self.fail_video_calls: set[int] = set()
        self.wait_in_video_call: int | None = None
        self._waiting = asyncio.Event()

    async def until_waiting(self) -> None:
        """Returns once a video call waits, as `wait_in_video_call` tells it to."""
        await within(self._waiting.wait(), "a video call to be reached")

    async def chat(self, request, watcher=None):
        raise InferenceFailed("these tests give the scenes; nothing is written")

    async def image(self, request, watcher=None):
        self.images.append(request)
        watcher.step(1, 1)
        drawn = _colour(request) ^ np.uint8(self.another_device)
        if request.inpaint:  # as a real model: all of it changes a little, what is masked changes entirely
            drawn = np.where(_mask(request) > 127, drawn, decode_image(request.inpaint.image.data) // 2)
        bank = None if request.keep_attention is None else f"a bank of {request.prompt}".encode()
        return ImageResult(image=drawn, noise_sha256=_hash(request.noise), seconds=0.0, attention_bank=bank)

    async def video(self, request, watcher=None):
        self.videos.append(request)
        watcher.step(1, 4)
        if len(self.videos) in self.fail_video_calls:
            raise InferenceFailed("out of memory")
        if len(self.videos) == self.wait_in_video_call:
            self._waiting.set()
            await for_ever()
        frames = np.repeat(_colour(request)[None], request.num_frames, axis=0)
        for index in range(request.num_frames):
            frames[index, :, (index * 2) % request.width] = 255
        return VideoResult(frames=frames, noise_sha256=_hash(request.noise), seconds=0.0)

    async def score(self, request, watcher=None):
        return score_file(request, {}, watcher or Unwatched())


class SpeakingModels(DrawingModels):
    """Also answers the agents: valid JSON, drawn from the schema by the request's seed."""

    def __init__(self) -> None:
        super().__init__()
        self.chats: list[ChatRequest] = []

    async def chat(self, request, watcher=None):
        self.chats.append(request)
        answer = from_schema(request.json_schema, random.Random(request.seed))  # noqa: S311
        return ChatResult(text=json.dumps(answer), prompt_tokens=1, completion_tokens=1, seconds=0.0)

    def asked(self, agent):
        """What an agent was asked, each question's own text."""
        return [request.messages[1].content for request in self.chats if agent_of(request) == agent]


def _colour(request):
    rgb = np.frombuffer(hashlib.sha256(str(request.noise.seed).encode()).digest()[:3], dtype=np.uint8)
    return np.broadcast_to(rgb, (request.height, request.width, 3)).copy()


def _mask(request):
    """The request's mask in the picture's size."""
    mask = decode_image(request.inpaint.mask.data)
    return np.kron(mask, np.ones((request.height // mask.shape[0], request.width // mask.shape[1], 1), np.uint8))


def _hash(noise):
    return hashlib.sha256(noise.model_dump_json().encode()).hexdigest()
