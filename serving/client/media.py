"""Single pictures, clips and scores of a server as operations, its models, and files by their sha256.

`options` are the other fields of the request, by the names of the OpenAPI document: `num_inference_steps`,
`guidance_scale`, `ip_adapter`, `coherence`, …
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import BadInput, StepFailed
from serving.client.events import Following, nobody
from serving.client.http import Connection
from serving.client.sending import (
    MODEL_TIMEOUT,
    File,
    Operation,
    ask,
    body,
    download,
    given,
    is_stored,
    once_named,
    place,
)
from serving.gateway.openai.answers import (
    DimensionList,
    ImagesResponse,
    ModelList,
    ModelObject,
    ScoreList,
    ScoreLists,
    VideoDeleted,
    VideoList,
    VideoObject,
)

IMAGES, VIDEOS, SCORES, MODELS, ARTIFACTS = "/v1/images", "/v1/videos", "/v1/scores", "/v1/models", "/v1/artifacts"


def generate_images(
    prompt: str,
    *,
    model: str | None = None,
    n: int | None = None,
    size: str | None = None,
    seed: int | None = None,
    negative_prompt: str | None = None,
    response_format: Literal["b64_json", "url"] | None = None,
    **options: Any,
) -> Operation[ImagesResponse]:
    """Draw one picture or several, and wait for them. They come as base64, or as addresses of files."""
    fields = given(
        prompt=prompt, model=model, n=n, size=size, seed=seed, negative_prompt=negative_prompt,
        response_format=response_format, **options,
    )  # fmt: skip
    address = place(IMAGES, "generations")
    return ask(ImagesResponse, "POST", address, once=True, timeout=MODEL_TIMEOUT, json=fields)


def edit_image(
    prompt: str,
    image: File | Sequence[File],
    *,
    mask: File | None = None,
    model: str | None = None,
    n: int | None = None,
    size: str | None = None,
    seed: int | None = None,
    response_format: Literal["b64_json", "url"] | None = None,
    **options: Any,
) -> Operation[ImagesResponse]:
    """Repaint a picture: where the `mask` says so, or starting from it as a whole; further pictures are references."""
    fields = given(prompt=prompt, model=model, n=n, size=size, seed=seed, response_format=response_format, **options)
    images = [image] if isinstance(image, str | os.PathLike | bytes) else list(image)
    files: list[tuple[str, File]] = [("image[]", each) for each in images]
    files += [] if mask is None else [("mask", mask)]
    sent = body(fields, files, as_form=True)
    return ask(ImagesResponse, "POST", place(IMAGES, "edits"), once=True, timeout=MODEL_TIMEOUT, **sent)


def create_video(
    prompt: str,
    *,
    model: str | None = None,
    seconds: float | None = None,
    size: str | None = None,
    seed: int | None = None,
    input_reference: File | None = None,
    negative_prompt: str | None = None,
    camera: str | None = None,
    idempotency_key: str | None = None,
    **options: Any,
) -> Operation[VideoObject]:
    """Ask for a clip. Returns at once; `input_reference`: the picture that it starts from."""
    fields = given(
        prompt=prompt, model=model, seconds=seconds, size=size, seed=seed, negative_prompt=negative_prompt,
        camera=camera, **options,
    )  # fmt: skip
    files: list[tuple[str, File]] = [] if input_reference is None else [("input_reference", input_reference)]
    return ask(VideoObject, "POST", VIDEOS, headers=once_named(idempotency_key), **body(fields, files))


def get_video(video_id: str) -> Operation[VideoObject]:
    """One clip, finished or not."""
    return ask(VideoObject, "GET", place(VIDEOS, video_id))


def list_videos(
    *, limit: int = 20, after: str | None = None, order: Literal["asc", "desc"] = "desc"
) -> Operation[VideoList]:
    """One page of your clips; `after`: the last id of the page before."""
    return ask(VideoList, "GET", VIDEOS, params=given(limit=limit, after=after, order=order))


def wait_for_video(video_id: str, *, timeout: float | None = None) -> Operation[VideoObject]:
    """Wait for a clip. Raises Failed when it failed or was cancelled, TimeoutError after `timeout` seconds."""

    async def perform(connection: Connection) -> VideoObject:
        async with asyncio.timeout(timeout):
            async for _ in Following(connection, video_id, nobody, 0).events():  # a clip is a generation, too
                pass
            clip = await get_video(video_id)(connection)
        if clip.status != "completed":
            raise StepFailed(f"clip {video_id} {clip.status}: {clip.error.message if clip.error else 'on request'}")
        return clip

    return perform


def delete_video(video_id: str) -> Operation[VideoDeleted]:
    """Cancel a clip that waits or runs, or delete one that has ended."""
    return ask(VideoDeleted, "DELETE", place(VIDEOS, video_id))


def download_content(video_id: str, path: str | os.PathLike[str]) -> Operation[Path]:
    """Write a clip (MP4) to `path`, as it comes."""
    return download(place(VIDEOS, video_id, "content"), path)


def measure(
    video: File,
    *,
    dimensions: Sequence[str] | None = None,
    prompt: str | None = None,
    references: Sequence[File] = (),
    reference_roles: Sequence[str] | None = None,
    style: str | None = None,
    duration: float | None = None,
    aspect_ratio: str | None = None,
    overlays: str | Sequence[str] | None = None,
    protocol: str | None = None,
    series: bool | None = None,
) -> Operation[ScoreList]:
    """Measure an MP4 or a picture; `prompt`: what it was asked to show. A score without a value says why.

    Args:
        video: Its path, its bytes, or the id of a video that the server has.
        dimensions: Names of `list_dimensions`; None: all.
        prompt: What it was asked to show: alignment needs it.
        references: Pictures that it was to look like, at most three.
        reference_roles: What they show, in their order: `product`, `character` or `style`.
        style: The look that it was to have, in words.
        duration: Seconds that it was to have.
        aspect_ratio: Width to height that it was to have, such as `9:16`.
        overlays: Words that were to be read in it, throughout or, as `0.5-3=WORDS`, from one second to another.
        protocol: How VBench's dimensions see it: `auto` (None), `custom`, `standard` or `long2s`.
        series: Whether each score says frame by frame what it is the mean of.
    """
    fields = given(
        dimensions=_listed(dimensions), prompt=prompt, reference_roles=_listed(reference_roles), style=style,
        duration=duration, aspect_ratio=aspect_ratio, overlays=_listed(overlays), protocol=protocol, series=series,
    )  # fmt: skip
    files = [("artifact" if is_stored(video) else "file", video), *_pictures(references)]
    return ask(ScoreList, "POST", SCORES, once=True, timeout=MODEL_TIMEOUT, **body(fields, files))


def measure_files(
    videos: Sequence[File],
    *,
    dimensions: Sequence[str] | None = None,
    prompt: str | None = None,
    references: Sequence[File] = (),
    reference_roles: Sequence[str] | None = None,
    style: str | None = None,
    duration: float | None = None,
    aspect_ratio: str | None = None,
    overlays: str | Sequence[str] | None = None,
    protocol: str | None = None,
    series: bool | None = None,
) -> Operation[ScoreLists]:
    """Measure up to eight files in one request, as `measure` does; one that cannot be measured says why in its place.

    Raises BadInput when some are files and some are ids.
    """
    stored = {is_stored(video) for video in videos}
    if len(stored) > 1:
        raise BadInput("some videos are files and some are ids of the server: measure them in two calls")
    fields = given(
        dimensions=_listed(dimensions), prompt=prompt, reference_roles=_listed(reference_roles), style=style,
        duration=duration, aspect_ratio=aspect_ratio, overlays=_listed(overlays), protocol=protocol, series=series,
    )  # fmt: skip
    name = "artifact" if stored == {True} else "file"
    sent = body(fields, [*((f"{name}[]", video) for video in videos), *_pictures(references)])
    if "files" in sent:  # the name says that there may be several, also where there is one
        sent["files"] = [(f"{each}[]" if each == name else each, part) for each, part in sent["files"]]
    return ask(ScoreLists, "POST", SCORES, once=True, timeout=MODEL_TIMEOUT, **sent)


def _listed(value: str | Sequence[str] | None) -> str | list[str] | None:
    return value if value is None or isinstance(value, str) else list(value)


def _pictures(references: Sequence[File]) -> list[tuple[str, File]]:
    return [("reference[]", picture) for picture in references]


def list_dimensions() -> Operation[DimensionList]:
    """The dimensions of quality: what each gives, needs and costs, and what the server lacks for it."""
    return ask(DimensionList, "GET", place(SCORES, "dimensions"))


def list_models() -> Operation[ModelList]:
    """The models of the server, with what can be asked of each."""
    return ask(ModelList, "GET", MODELS)


def get_model(model_id: str) -> Operation[ModelObject]:
    """One model."""
    return ask(ModelObject, "GET", place(MODELS, model_id))


def download_artifact(sha256: str, path: str | os.PathLike[str]) -> Operation[Path]:
    """Write a file of yours to `path`, as it comes; its bytes are checked against the sha256."""
    return download(place(ARTIFACTS, sha256), path, sha256)
