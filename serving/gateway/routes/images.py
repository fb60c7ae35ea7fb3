"""`/v1/images/generations` and `/v1/images/edits`: made while the caller waits; who hangs up cancels the model call."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request

from models.interfaces import ImageRequest, ImageResult, Pixels, Unwatched
from models.spec import ImageModelSpec
from pipelines.media import encode_jpeg, encode_png, encode_webp
from serving.gateway.bodies import FORM_TYPE, body_schema, read_body
from serving.gateway.disconnects import while_connected
from serving.gateway.identity import owner
from serving.gateway.image_orders import edit_requests, generation_requests
from serving.gateway.model_checks import find_model
from serving.gateway.schemas.images import ImageEdit, ImageGeneration, ImageObject, ImagesResponse, OutputFormat
from serving.gateway.schemas.sampling import MAX_PICTURES
from serving.gateway.services import Services, services
from serving.gateway.uploads import LATENTS_TYPE, Pictures

router = APIRouter(prefix="/v1/images", tags=["images"])

EDIT_FILES = MAX_PICTURES + 1 + MAX_PICTURES
"""Images, their mask, and those of `ip_adapter`."""
DEFAULT_QUALITY = 90
ENCODERS: dict[OutputFormat, Callable[[Pixels, int], bytes]] = {
    "png": lambda pixels, _: encode_png(pixels),
    "jpeg": encode_jpeg,
    "webp": encode_webp,
}


@router.post("/generations")
async def generate(request: Request, body: ImageGeneration) -> ImagesResponse:
    """Make `n` images from a prompt."""
    spec = find_model(services(request).backend.specs, body.model, ImageModelSpec)
    pictures = Pictures(services(request), owner(request))
    return await _answer(request, body, spec, await generation_requests(body, spec, pictures))


@router.post("/edits", openapi_extra=body_schema(ImageEdit, (FORM_TYPE,)))
async def edit(request: Request) -> ImagesResponse:
    """Repaint, vary or combine images."""
    limit = services(request).limits.upload_bytes
    body = await read_body(request, ImageEdit, EDIT_FILES, limit, (FORM_TYPE,))
    spec = find_model(services(request).backend.specs, body.model, ImageModelSpec)
    pictures = Pictures(services(request), owner(request))
    return await _answer(request, body, spec, await edit_requests(body, spec, pictures))


async def _answer(
    request: Request, body: ImageGeneration, spec: ImageModelSpec, orders: list[ImageRequest]
) -> ImagesResponse:
    results = await while_connected(request, _make(services(request), spec, orders))
    pictures = Pictures(services(request), owner(request))
    pairs = zip(orders, results, strict=True)
    return ImagesResponse(
        created=int(time.time()),
        data=[await _output(body, order, result, pictures) for order, result in pairs],
        model=spec.name,
        size=f"{orders[0].width}x{orders[0].height}",
        output_format=body.output_format,
        notes=body.unused(),
    )


async def _make(services: Services, spec: ImageModelSpec, orders: list[ImageRequest]) -> list[ImageResult]:
    """All at once: the backend puts what fits together into one batch. The first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(services.backend.image(spec.name, order, Unwatched())) for order in orders]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [call.result() for call in calls]


async def _output(body: ImageGeneration, order: ImageRequest, result: ImageResult, pictures: Pictures) -> ImageObject:
    quality = DEFAULT_QUALITY if body.output_compression == 100 else body.output_compression
    data = await asyncio.to_thread(ENCODERS[body.output_format], result.image, quality)
    stored = await pictures.keep(data, f"image/{body.output_format}")
    latents = None
    if result.latents is not None:
        latents = (await pictures.keep(result.latents, LATENTS_TYPE)).sha256
    where: dict[str, Any] = (
        {"url": f"/v1/artifacts/{stored.sha256}"}
        if body.response_format == "url"
        else {"b64_json": base64.b64encode(data).decode()}
    )
    return ImageObject(
        **where,
        seed=order.noise.seed,
        artifact=stored.sha256,
        latents_artifact=latents,
        noise_sha256=result.noise_sha256,
        notes=result.notes,
        timings=result.timings,
        seconds=result.seconds,
    )
