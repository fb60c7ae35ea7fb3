"""The gateway on a real uvicorn server at a loopback port, over models that draw at once in real lanes.

Everything from the socket to the artifact folder is the shipped code; only the engines are small. `Studio` lets a test
hold an engine at a denoising step and see what it was asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvloop
from safetensors.numpy import save

from configs.settings import Lanes, Profile, load_recipe
from models.errors import InferenceFailed, ModelError
from models.interfaces import ImageResult, LoraUse, VideoResult
from models.spec import AspectRatio, ChatModelSpec, ImageModelSpec, LoraSource, Preset, Size, VideoModelSpec
from pipelines.orders.ad import AdPlanner
from pipelines.store.database import sqlite_url
from serving.backends.in_process import LocalBackend, LocalModels
from serving.deployments.listener import Address, Listener
from serving.gateway.app import create_app
from serving.gateway.proxies import NO_PROXIES, Proxies
from serving.gateway.services import Limits, Services
from serving.profile_models import ModelSet
from serving.scores.local import catalogue_of
from serving.server.services import ProfileClipPlanner, SilentNotifier, services_over
from serving.server.store import open_store
from serving.server.worker import ServerWorker
from tests.support.gateway_users import MANY, admin_key, auth_on, bearer
from tests.support.program import free_port
from tests.support.waiting import ended, happened, within

SUITE_SECONDS = 7200.0
"""No run of the suite takes as long as this."""

SIZES: dict[AspectRatio, Size] = {"1:1": (64, 64), "9:16": (48, 80), "16:9": (80, 48)}
COMMON = {"family": "drawing", "licence": "test", "vram_gb": 0.0}
PICTURES = {**COMMON, "sizes": SIZES, "num_inference_steps": 4, "guidance_scale": 3.0, "size_multiple": 16}
WEIGHTS = LoraSource(repository="embedded:test", revision="1")
CHAT = ChatModelSpec(name="talker", kind="chat", vision=False, **COMMON)
IMAGE = ImageModelSpec(
    name="painter", kind="image", references=3, reference_mask=True, max_pixels=128 * 128, **PICTURES,
    weights={"main": WEIGHTS, "ip_adapter": WEIGHTS}, loras={"toon": WEIGHTS, "ink": WEIGHTS},
    presets={"fast": Preset(loras=(LoraUse(name="ink"),), num_inference_steps=3, guidance_scale=1.0)},
)  # fmt: skip
MIXER = ImageModelSpec(
    name="mixer", kind="image", references=3, weights={"main": WEIGHTS}, **PICTURES,
    commercial="below-revenue", commercial_condition="free below 10 million dollars of revenue a year",
)  # fmt: skip
VIDEO = VideoModelSpec(
    name="filmer", kind="video", references=3, native_fps=8, max_frames=17, frame_multiple=4,
    camera_moves=("static", "push_in"), weights={"main": WEIGHTS, "ip_adapter": WEIGHTS}, **PICTURES,
)  # fmt: skip
SPECS = (CHAT, IMAGE, MIXER, VIDEO)
PROFILE = Profile(
    name="test", description="", chat=CHAT.name, image=IMAGE.name, video=VIDEO.name, device="cpu", fps=24,
    lanes=Lanes(chat="chat", image="image", video="video"), delivery=SIZES,
)  # fmt: skip


class Studio:
    """What the engines share with the test."""

    def __init__(self) -> None:
        self.requests: list[object] = []
        self.fail_with: ModelError | None = None
        self._hold_at: int | None = None
        self._held = threading.Event()
        self._go_on = threading.Event()

    @contextmanager
    def holding(self, step: int) -> Iterator[None]:
        """Engines wait after denoising step `step` until the block ends."""
        self._held.clear()
        self._go_on.clear()
        self._hold_at = step
        try:
            yield
        finally:
            self._hold_at = None
            self._go_on.set()

    def until_held(self) -> None:
        """Returns once an engine waits."""
        happened(self._held, "an engine to be held at its step")

    def run(self, request, watcher):
        """The denoising loop: progress, holding and failing as told. A held engine still hears a cancel."""
        self.requests.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        total = request.num_inference_steps
        for done in range(1, total + 1):
            watcher.step(done, total)
            while self._hold_at == done and not self._go_on.wait(0.01):
                self._held.set()
                watcher.step(done, total)


class Drawer:
    """An image and video engine: one colour that follows from the start noise; it notes a prompt of over 60 words."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def generate(self, request, watcher):
        self._studio.run(request, watcher)
        noise = hashlib.sha256(request.noise.model_dump_json().encode())
        colour = np.frombuffer(noise.digest()[:3], dtype=np.uint8)
        picture = np.broadcast_to(colour, (request.height, request.width, 3)).copy()
        notes = (f"the prompt has {words} words",) if (words := len(request.prompt.split())) > 60 else ()
        seconds: dict[str, Any] = {"seconds": 0.01, "timings": {"denoise": 0.01}, "noise_sha256": noise.hexdigest()}
        if hasattr(request, "num_frames"):
            frames = np.repeat(picture[None], request.num_frames, axis=0)
            return VideoResult(frames=frames, notes=notes, **seconds)
        latents = save({"latents": np.zeros((4, 8, 8), np.float32)}) if request.keep_latents else None
        return ImageResult(image=picture, latents=latents, notes=notes, **seconds)


class Studios:
    """A loader of drawing engines."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def chat(self, spec):
        raise InferenceFailed("nobody talks here")

    def image(self, spec):
        return Drawer(self._studio)

    def video(self, spec):
        return Drawer(self._studio)

    def scorer(self, spec):
        raise InferenceFailed("nobody scores here")


@dataclass(frozen=True)
class Web:
    """What the operator says of browsers and reverse proxies."""

    origins: tuple[str, ...] = ()
    proxies: Proxies = NO_PROXIES


@dataclass
class Server:
    """A running gateway."""

    url: str
    http: httpx.Client
    studio: Studio
    folder: Path
    services: Services
    backend: LocalBackend
    key: str
    """API key of an admin; `http` carries it."""
    loop: asyncio.AbstractEventLoop = field(repr=False)

    def call(self, coroutine):
        """Run a coroutine in the server's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)


@contextmanager
def serve(
    folder, *, loader=None, specs=SPECS, limits=None, working=True, max_waiting=8, login_limits=MANY, quota=None,
    scorers=None, port=0, database_url=None, around=None, web=None,
):  # fmt: skip
    """A gateway with a worker in the same event loop (none with `working=False`), in a thread of its own.

    Its store is a SQLite file in `folder`, or another database. `around` puts an application around the gateway's.
    """
    web, limits = web or Web(), limits or Limits()
    studio, url = Studio(), database_url or sqlite_url(folder / "store.sqlite")
    backend = LocalBackend(
        specs,
        loader or Studios(studio),
        {spec.name: spec.kind for spec in specs},
        scorers or {},
        max_waiting,
    )
    started: threading.Event = threading.Event()
    box: dict[str, Any] = {}
    thread = threading.Thread(
        target=lambda: uvloop.run(  # as in Ray's replicas
            _run(
                folder, url, backend, limits or Limits(), login_limits, quota, working, port, web, started, box, around
            )
        ),
        daemon=True,
    )
    thread.start()
    happened(started, "a gateway to start")
    try:
        with httpx.Client(base_url=box["url"], timeout=60, headers=bearer(box["key"])) as http:
            yield Server(box["url"], http, studio, folder, box["services"], backend, box["key"], box["loop"])
    finally:
        box["loop"].call_soon_threadsafe(box["stop"].set)
        ended(thread, "a gateway to stop")
        backend.close()


def refusal(caught):
    """The `error` object of a failure that the official client raised."""
    return caught.value.body


async def _run(folder, url, backend, limits, login_limits, quota, working, port, web, started, box, around):
    opened = await open_store(url, folder / "artifacts", quota, lease_seconds=30.0)
    worker = ServerWorker(PROFILE, opened, lambda *names: _models(backend, *names), 2) if working else None
    auth = auth_on(opened.database, login_limits, frozenset(web.origins))
    image, video = _first(backend, "image"), _first(backend, "video")
    services = services_over(
        opened, backend, worker or SilentNotifier(), auth=auth,
        plan_ad=AdPlanner(recipe=load_recipe, image_model=image, video_model=video, fps=PROFILE.fps, scorers={"clip"}),
        manifest=lambda: _described(backend, image, video).manifest,
        plan_clip=ProfileClipPlanner(lambda video: _described(backend, image, backend.specs[video])),
        keyframe_model=image.name, limits=limits, proxies=web.proxies,
        dimensions=lambda: catalogue_of(PROFILE.model_copy(update={"chat": "sketch-author"}), served=True),
    )  # fmt: skip
    app, address = create_app(services), Address("127.0.0.1", port or free_port())
    stop = asyncio.Event()
    async with app.router.lifespan_context(app):
        listener = Listener((around or (lambda app: app))(app), address)
        box.update(
            url=f"http://{address.host}:{address.port}",
            services=services,
            key=await admin_key(auth),
            stop=stop,
            loop=asyncio.get_running_loop(),
        )
        started.set()
        await within(stop.wait(), "the end of the tests of this server", SUITE_SECONDS)
        await listener.close()
        if worker is not None:
            await worker.stop()
    await opened.close()


def _first(backend, kind):
    """What the server offers of a kind; a server without one still plans for ours."""
    return next(spec for spec in (*backend.specs.values(), *SPECS) if spec.kind == kind)


def _described(backend, image, video):
    specs = {"chat": _first(backend, "chat"), "image": image, "video": video}
    models = {kind: {**spec.model_dump(mode="json"), "fingerprint": kind} for kind, spec in specs.items()}
    manifest = {"profile": "test", "fps": PROFILE.fps, "models": models, "notes": []}
    return ModelSet(**specs, fingerprints={kind: kind for kind in specs}, manifest=manifest, notes=())


def _models(backend, chat, image, video):
    return LocalModels(backend, _described(backend, backend.specs[image], backend.specs[video]))
