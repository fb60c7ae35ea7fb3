"""A server's models, called one by one: what a command asks of a model becomes a request over HTTP.

Pictures and chat answers are made while the caller waits, and stop when it hangs up. A clip is a stored generation: it
is followed by its events, and is made also when it is no longer followed.
"""

from __future__ import annotations

import base64
import json
import tempfile
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import typer

from models.interfaces import AdapterBlocks, ChatRequest, ChatResult, ImageRequest, ImageResult, Unwatched, VideoRequest
from models.llm.openai_wire import complete_over
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.errors import BadInput
from pipelines.media import decode_image
from pipelines.steps import Json
from pipelines.store.artifacts import LocalArtifacts, write_durably
from serving.client.ads import check_outcome, get_generation
from serving.client.errors import refusal_of
from serving.client.events import Following
from serving.client.http import Connection, connect, event_data
from serving.client.run import Job
from serving.client.sending import PATIENCE_SECONDS
from serving.console import StepLines, line
from serving.model_names import ModelKind, nearest_name

METHODS: dict[AdapterBlocks, str] = {"all": "full", "style": "style", "layout": "composition"}
"""Blocks of the denoiser by the name that the API has for them."""
DONE = "[DONE]"
KIND_NAMES: dict[type, str] = {ChatModelSpec: "chat", ImageModelSpec: "image", VideoModelSpec: "video"}
Kind = TypeVar("Kind", ChatModelSpec, ImageModelSpec, VideoModelSpec)


@asynccontextmanager
async def remote_model_client(
    job: Job, image: str | None, video: str | None, strict: bool
) -> AsyncIterator[RemoteModelClient]:
    """The models of `job.server`. Raises BadInput, Unreachable, Unauthenticated, UnsafeCredentials."""
    async with connect(job.server) as connection:
        models = (await connection.call("GET", "/v1/models")).json()["data"]
        with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
            yield RemoteModelClient(connection, models, (image, video), strict, Path(scratch), job)


class RemoteModelClient:
    """The models of a server (`serving.cli.model_client.ModelClient`)."""

    def __init__(
        self,
        connection: Connection,
        models: Sequence[Json],
        names: tuple[str | None, str | None],
        strict: bool,
        scratch: Path,
        job: Job,
    ) -> None:
        """`models`: data of `GET /v1/models`; `names`: the image and the video model to use, None: the first.

        Without `strict` the name of a model that runs elsewhere is the nearest of the server's.
        """
        self._connection = connection
        self._models = models
        kinds: tuple[ModelKind, ...] = ("image", "video")
        nearest = [
            (None, ())
            if name is None
            else nearest_name(name, kind, [str(model["id"]) for model in models if model["kind"] == kind], strict)
            for name, kind in zip(names, kinds, strict=True)
        ]
        self._names = [name for name, _ in nearest]
        self._job = job
        self.notes: tuple[str, ...] = tuple(note for _, notes in nearest for note in notes)
        self.artifacts = LocalArtifacts(scratch)
        self.task = ""

    @property
    def chat_model(self) -> ChatModelSpec:
        return served_model(self._connection.server, self._models, ChatModelSpec, None)

    @property
    def image_model(self) -> ImageModelSpec:
        return served_model(self._connection.server, self._models, ImageModelSpec, self._names[0])

    @property
    def video_model(self) -> VideoModelSpec:
        return served_model(self._connection.server, self._models, VideoModelSpec, self._names[1])

    async def notice(
        self, kind: str, message: str, severity: Literal["info", "warning"] = "info", details: Json | None = None
    ) -> None:
        typer.echo(f"{severity}: {message}", err=True)

    async def chat(self, request: ChatRequest) -> ChatResult:
        return await complete_over(_Chat(self._connection), self.chat_model.name, request, Unwatched())

    async def generate_image(self, request: ImageRequest) -> ImageResult:
        body = {"n": 1, "response_format": "b64_json", **_sampled(request, self.image_model.name)}
        whole = (await self._connection.call("POST", "/v1/images/generations", json=body)).json()
        answer = whole["data"][0]
        typer.echo(f"{self.task}: drawn in {answer['seconds']:.1f} s", err=True)
        return ImageResult(
            image=decode_image(base64.b64decode(answer["b64_json"])),
            noise_sha256=answer["noise_sha256"],
            seconds=answer["seconds"],
            timings=answer["timings"],
            notes=(*whole.get("notes", ()), *answer.get("notes", ())),
        )

    async def generate_video(self, request: VideoRequest, path: Path) -> tuple[str, ...]:
        """Ask for the clip, follow it, and write its MP4 to `path`; gives what was not done as asked."""
        model = self.video_model
        body = {"num_frames": request.num_frames, "camera": request.camera, **_sampled(request, model.name)}
        if request.first_frame is not None and model.first_frame != "unused":
            body["input_reference"] = base64.b64encode(request.first_frame.data).decode()
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        created = await self._connection.call(
            "POST", "/v1/videos", json=body, headers=headers, patience=PATIENCE_SECONDS
        )
        video_id = self._job.generation_id = str(created.json()["id"])
        self._job.output = path
        await self._follow(video_id)
        content = await self._connection.call("GET", f"/v1/videos/{video_id}/content", patience=PATIENCE_SECONDS)
        write_durably(path, content.content)
        self._job.generation_id = None
        made = (await self._connection.call("GET", f"/v1/videos/{video_id}", patience=PATIENCE_SECONDS)).json()
        return (*created.json().get("notes", ()), *made.get("notes", ()))

    async def _follow(self, video_id: str) -> None:
        lines = StepLines(self.task)
        following = Following(self._connection, video_id, lambda text: typer.echo(text, err=True))
        async with aclosing(following.events()) as events:
            async for event in events:
                if event.kind == "step_progress":
                    lines.step(event.data["done"], event.data["total"])
                elif event.kind == "notice":
                    typer.echo(line(event), err=True)
        check_outcome(await get_generation(video_id)(self._connection))
        typer.echo(f"{self.task}: filmed", err=True)


class _Chat:
    """A `models.llm.openai_wire.ChatService` over `/v1/chat/completions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def chat(self, body: Json) -> AsyncGenerator[Json, None]:
        async with (
            self._connection.open("POST", "/v1/chat/completions", json=body) as answer,
            aclosing(event_data(answer.aiter_lines(), lambda: None)) as frames,
        ):
            async for data in frames:
                if data == DONE:
                    return
                chunk: Json = json.loads(data)
                if "error" in chunk:
                    raise refusal_of(self._connection.server, chunk["error"])
                yield chunk


def _sampled(request: ImageRequest | VideoRequest, model: str) -> dict[str, Any]:
    """The fields that requests for pictures and for clips share, by the names of the API."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "size": f"{request.width}x{request.height}",
        "seed": request.noise.seed,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
    }
    if request.references:
        body["ip_adapter"] = {
            "images": [base64.b64encode(reference.image.data).decode() for reference in request.references],
            "role": [reference.role for reference in request.references],
            "weight": request.adapter.scale,
            "method": METHODS[request.adapter.blocks],
        }
    return body


def served_model(server: str, models: Sequence[Json], kind: type[Kind], name: str | None) -> Kind:
    """The model `name` among the `data` of `GET /v1/models`, or the first of its kind. Raises BadInput."""
    word = KIND_NAMES[kind]
    known = {str(model["id"]): model for model in models if model["kind"] == word}
    chosen = known.get(name) if name is not None else next(iter(known.values()), None)
    if chosen is None:
        asked = "" if name is None else f" {name!r}"
        raise BadInput(f"{server} has no {word} model{asked}: its {word} models are {', '.join(known) or 'none'}")
    common = {"name": chosen["id"], "kind": word, "family": chosen["family"], "licence": chosen["licence"]}
    common["commercial"] = chosen["commercial"]
    common["commercial_condition"] = chosen["commercial_condition"] or ""
    return kind.model_validate({**common, "vram_gb": 0.0, **_limits(chosen)})


def _limits(model: Json) -> dict[str, Any]:
    limits = model.get("limits")
    if limits is None:
        return {"vision": bool(model.get("vision"))}
    found = {
        "sizes": {ratio: tuple(map(int, size.split("x"))) for ratio, size in limits["sizes"].items()},
        "size_multiple": limits["size_multiple"],
        "num_inference_steps": limits["num_inference_steps"],
        "guidance_scale": limits["guidance_scale"],
        "references": limits["max_references"],
        "max_pixels": limits["max_pixels"],
    }
    if model["kind"] == "image":
        return found
    moving = {name: limits[name] for name in ("max_frames", "frame_multiple", "first_frame", "camera_moves")}
    return {**found, **moving, "native_fps": limits["fps"]}
