"""`/v1/images`: pictures from a prompt, and edits of pictures, made while the caller waits.

A body becomes one request per output; all are checked before any runs.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from models.interfaces import (
    AdapterSettings,
    EncodedImage,
    ImageRequest,
    ImageResult,
    Inpaint,
    Pixels,
    Reference,
    StartImage,
    StartLatents,
    Unwatched,
)
from models.spec import ImageModelSpec, Size
from pipelines.coherence import derived_seed, random_seed
from pipelines.media import decode_image, encode_jpeg, encode_png, encode_webp, image_size
from pipelines.reading.domain import prompt_warnings
from pipelines.stages.edits import overlaid
from pipelines.steps import StoredArtifact
from pipelines.uploads import is_empty
from serving.gateway.answers import while_connected
from serving.gateway.auth.gate import owner
from serving.gateway.events import HEADERS, HEARTBEAT_SECONDS, stream_content
from serving.gateway.openai.answers import ImageEvent, ImageObject, ImagesResponse, OutputFormat
from serving.gateway.openai.sampling import (
    MAX_PICTURES,
    adapter_settings,
    check_adapter,
    check_strength,
    find_model,
    references,
    sampled,
    sources,
    takes_references_natively,
)
from serving.gateway.openai.schemas import ImageEdit, ImageGeneration
from serving.gateway.openai.sizes import check_fills, fitting_size
from serving.gateway.orders import Idempotency, Idempotent
from serving.gateway.pictures import IMAGE_TYPES, LATENTS_TYPE, Pictures
from serving.gateway.problems import Problem, problem_response, refuse
from serving.gateway.requests import FORM_TYPE, BodyRoute, PictureSource, body_schema, parse_body
from serving.gateway.services import Services, services
from serving.gateway.signed import SIGNED_SECONDS, signed_address

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=BodyRoute)
Asking = TypeVar("Asking", ImageGeneration, ImageEdit)
EventName = Literal["image_generation.completed", "image_edit.completed"]
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": stream_content("ImageStreamItem")}}}
START_STRENGTH = 0.8
INPAINT_STRENGTH = 1.0
EDIT_FILES = MAX_PICTURES + 1 + MAX_PICTURES
"""Images, their mask, and those of `ip_adapter`."""
DEFAULT_QUALITY = 90
MOST = 0.5
"""Share of an image that a mask repaints, from which a note says so: strokes of a canvas mean the opposite here."""
ENCODERS: dict[OutputFormat, Callable[[Pixels, int], bytes]] = {
    "png": lambda pixels, _: encode_png(pixels),
    "jpeg": encode_jpeg,
    "webp": encode_webp,
}


@router.post("/generations", response_model=ImagesResponse, responses=STREAMED)
async def generate(request: Request, body: ImageGeneration, idempotency: Idempotent) -> ImagesResponse | Response:
    """Make `n` images from a prompt."""
    body = _repeatable(body, idempotency, owner(request))
    spec, notes = find_model(services(request).backend.specs, body.model, ImageModelSpec, body.strict)
    pictures = Pictures(services(request), owner(request))
    asked, said = await generation_requests(body, spec, pictures)
    return await _answer(request, body, spec, asked, (*notes, *said))


@router.post(
    "/edits", response_model=ImagesResponse, responses=STREAMED, openapi_extra=body_schema(ImageEdit, (FORM_TYPE,))
)
async def edit(request: Request, idempotency: Idempotent) -> ImagesResponse | Response:
    """Repaint, vary or combine images."""
    limit = services(request).limits.upload_bytes
    body = await parse_body(request, ImageEdit, EDIT_FILES, limit, (FORM_TYPE,))
    body = _repeatable(body, idempotency, owner(request))
    spec, notes = find_model(services(request).backend.specs, body.model, ImageModelSpec, body.strict)
    pictures = Pictures(services(request), owner(request))
    asked, said = await edit_requests(body, spec, pictures)
    return await _answer(request, body, spec, asked, (*notes, *said))


def _repeatable(body: Asking, idempotency: Idempotency, user: str) -> Asking:
    """`body`, which under an `Idempotency-Key` draws the same files whenever it is sent again.

    No answer is kept: the seed follows from the key, and a deterministic call has the same bits.
    """
    keys = idempotency.keys(body)
    if not keys:
        return body
    seed = derived_seed(0, user, keys[0].name, keys[0].fingerprint)
    return body.model_copy(update={"deterministic": True, "seed": seed if body.seed is None else body.seed})


async def _answer(
    request: Request,
    body: ImageGeneration,
    spec: ImageModelSpec,
    asked: list[ImageRequest],
    notes: tuple[str, ...],
) -> ImagesResponse | Response:
    used = services(request)
    expected = used.picture_sizes.expected(_kind(body, spec, asked))
    await used.owners.check_room(owner(request), len(asked) * expected)  # before the model runs
    if not body.stream:
        return await while_connected(request, _made(request, body, spec, asked, notes))
    carried = body.model_copy(update={"response_format": "b64_json"})
    name: EventName = "image_edit.completed" if isinstance(body, ImageEdit) else "image_generation.completed"
    events = _events(lambda: _made(request, carried, spec, asked, notes), name)
    return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)


def _kind(body: ImageGeneration, spec: ImageModelSpec, asked: list[ImageRequest]) -> Hashable:
    """What decides how many bytes a picture takes."""
    return (spec.name, asked[0].width, asked[0].height, body.output_format, body.coherence.keep_latents)


async def _made(
    request: Request,
    body: ImageGeneration,
    spec: ImageModelSpec,
    asked: list[ImageRequest],
    notes: tuple[str, ...],
) -> ImagesResponse:
    used, user = services(request), owner(request)
    made = zip(asked, await _make(used, spec, asked), strict=True)
    results = [await asyncio.to_thread(_with_kept_parts, body, *each) for each in made]
    files = [await asyncio.to_thread(_files, body, result) for result in results]
    for each in files:
        used.picture_sizes.note(_kind(body, spec, asked), sum(len(data) for data, _ in each))
    kept = iter(await Pictures(used, user).keep([file for each in files for file in each]))
    stored = [[next(kept) for _ in each] for each in files]
    outputs = zip(asked, results, files, stored, strict=True)
    return ImagesResponse(
        created=int(time.time()),
        data=[_output(request, body, *output) for output in outputs],
        model=spec.name,
        size="x".join(map(str, await asyncio.to_thread(_output_size, body, asked[0]))),
        output_format=body.output_format,
        notes=(*notes, *body.unused(), *prompt_warnings(body.prompt, spec.name, spec.domain)),
    )


async def _events(
    make: Callable[[], Coroutine[Any, Any, ImagesResponse]], name: EventName
) -> AsyncGenerator[bytes, None]:
    """OpenAI's events of an image stream, one `name` per image. Closing it cancels the work.

    An error is the last event: the status was sent long ago.
    """
    work = asyncio.ensure_future(make())
    try:
        while not (await asyncio.wait({work}, timeout=HEARTBEAT_SECONDS))[0]:
            yield KEEPALIVE_COMMENT
        answer = work.result()
        for image in answer.data:
            made = ImageEvent(
                **image.model_dump(exclude={"notes"}),
                **answer.model_dump(include={"model", "size", "output_format"}),
                type=name,
                created_at=answer.created,
                notes=(*answer.notes, *image.notes),
            )
            yield format_sse_event(data_str=made.model_dump_json(), event=name)
    except Exception as error:  # whatever it is, the reader must learn that there will be no image
        yield format_sse_event(data_str=bytes(problem_response(error).body).decode(), event="error")
    finally:
        work.cancel()


async def _make(services: Services, spec: ImageModelSpec, asked: list[ImageRequest]) -> list[ImageResult]:
    """Make all outputs at once: the backend batches those that fit together. The first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(services.backend.image(spec.name, each, Unwatched())) for each in asked]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [call.result() for call in calls]


def _files(body: ImageGeneration, result: ImageResult) -> list[tuple[bytes, str]]:
    """What of a result is stored, with its media types: the picture, then the latents where they are kept."""
    quality = DEFAULT_QUALITY if body.output_compression == 100 else body.output_compression
    picture = (ENCODERS[body.output_format](result.image, quality), f"image/{body.output_format}")
    return [picture] if result.latents is None else [picture, (result.latents, LATENTS_TYPE)]


def _output(
    request: Request,
    body: ImageGeneration,
    asked: ImageRequest,
    result: ImageResult,
    files: list[tuple[bytes, str]],
    kept: list[StoredArtifact],
) -> ImageObject:
    stored, data = kept[0], files[0][0]
    where: dict[str, Any] = (
        {"url": signed_address(request, stored.sha256, int(time.time()) + SIGNED_SECONDS)}
        if body.response_format == "url"
        else {"b64_json": base64.b64encode(data).decode()}
    )
    return ImageObject(
        **where,
        seed=asked.noise.seed,
        artifact=stored.sha256,
        latents_artifact=kept[1].sha256 if len(kept) > 1 else None,
        noise_sha256=result.noise_sha256,
        notes=result.notes,
        timings=result.timings,
        seconds=result.seconds,
    )


def _output_size(body: ImageGeneration, asked: ImageRequest) -> Size:
    """Width and height of what is answered: under a mask the image's own, unless the body asks for another."""
    if asked.inpaint is not None:
        own = image_size(asked.inpaint.image.data)
        if body.size in ("auto", f"{own[0]}x{own[1]}"):
            return own
    return asked.width, asked.height


def _with_kept_parts(body: ImageGeneration, asked: ImageRequest, result: ImageResult) -> ImageResult:
    """The result of an edit with the image itself, bit for bit, where the mask keeps it; any other as it is."""
    from PIL import Image

    from models.diffusion.inputs import decode_mask, decode_whole, lies_whole, place_of

    inpaint, made = asked.inpaint, (asked.width, asked.height)
    if inpaint is None:
        return result
    own = image_size(inpaint.image.data)
    if _output_size(body, asked) != own:
        picture = decode_whole(inpaint.image, "the image to inpaint", *made)
        mask = decode_mask(inpaint.mask, "the mask", *made)
        return replace(result, image=overlaid(np.asarray(picture), result.image, np.asarray(mask.convert("RGB"))))
    whole = Image.fromarray(result.image).crop(place_of(own, made)).resize(own, Image.Resampling.LANCZOS)
    image = overlaid(decode_image(inpaint.image.data), np.asarray(whole), decode_image(inpaint.mask.data))
    if own == made:
        return replace(result, image=image)
    scaled = f"the masked part was painted at {made[0]}x{made[1]} and scaled to the image's own size"
    others = [note for note in result.notes if not note.startswith(lies_whole("the image", own))]
    return replace(result, image=image, notes=(*others, scaled))


Asked = tuple[list[ImageRequest], tuple[str, ...]]
"""One request per output, and notes on what is not made as asked."""


async def generation_requests(body: ImageGeneration, spec: ImageModelSpec, pictures: Pictures) -> Asked:
    """The requests of a body for `spec`. Raises Problem."""
    size, notes = fitting_size([(spec, 1)], body.size, body.strict)
    _check(body, spec)
    check_adapter(spec, body.ip_adapter)
    adapter_images = [await pictures.picture(source, param) for param, source in sources(body.ip_adapter)]
    start = await _start(body, spec, pictures)
    adapter = await _adapter(body, pictures)
    return _requests(body, spec, size, references(body.ip_adapter, adapter_images), adapter, start=start), notes


async def edit_requests(body: ImageEdit, spec: ImageModelSpec, pictures: Pictures) -> Asked:
    """The requests of an edit; `ImageEdit` says what becomes of its images. Raises Problem."""
    as_references = body.mask is None and (body.ip_adapter is not None or takes_references_natively(spec))
    joined = len(body.image) - (0 if as_references else 1)
    check_adapter(spec, body.ip_adapter, joined)
    if body.coherence.start is not None:
        refuse("coherence.start", "coherence.start: an edit starts from its image; give the artifact id as `image`")
    if body.strength is not None and as_references:
        refuse("strength", f"strength: model {spec.name!r} starts from noise here, with the images as references")
    images = [await pictures.picture(source, f"image.{index}") for index, source in enumerate(body.image)]
    adapter_images = [await pictures.picture(source, param) for param, source in sources(body.ip_adapter)]
    shape = await asyncio.to_thread(image_size, images[0].data)
    size, notes = fitting_size([(spec, 1)], body.size, body.strict, shape)
    _check(body, spec)
    bound = references(body.ip_adapter, (images if as_references else images[1:]) + adapter_images)
    adapter = await _adapter(body, pictures)
    if as_references:
        return _requests(body, spec, size, bound, adapter), notes
    strength = _strength(body, spec)
    check_fills(shape, size, "image", body.strict)
    if body.mask is None:
        start = StartImage(image=images[0], strength=strength)
        return _requests(body, spec, size, bound, adapter, start=start), notes
    mask = await _mask(body.mask, "mask", pictures)
    inpaint = await _inpaint(images[0], mask, strength)
    share = float((await asyncio.to_thread(decode_image, mask.data)).mean()) / 255
    if share > MOST:
        notes += (
            f"the mask repaints {share:.0%} of the image: its transparent parts; in a file without any, its white ones",
        )
    return _requests(body, spec, size, bound, adapter, inpaint=inpaint), notes


def output_seeds(seed: int | list[int] | None, count: int) -> list[int]:
    """One seed per output. Raises Problem 422 when a list has another length.

    A single seed serves output 0; output k gets the upper 53 bits of sha256("SEED:output:k") as
    `pipelines.coherence.derived_seed` reads it. None: a random seed.
    """
    if isinstance(seed, list):
        if len(seed) != count:
            refuse("seed", f"seed: {len(seed)} seeds for n = {count} outputs: give one seed, or one each")
        return seed
    first = random_seed() if seed is None else seed
    return [derived_seed(first, "output", k) if k else first for k in range(count)]


async def _adapter(body: ImageGeneration, pictures: Pictures) -> AdapterSettings:
    given = body.ip_adapter
    if given is None or given.mask is None:
        return adapter_settings(given)
    return adapter_settings(given, await _mask(given.mask, "ip_adapter.mask", pictures))


async def _mask(source: PictureSource, param: str, pictures: Pictures) -> EncodedImage:
    """A mask by OpenAI's rule: transparent parts count, and in a file without any the white ones. Raises Problem."""
    mask = await pictures.mask(source, param, clear="repainted")
    if await asyncio.to_thread(is_empty, mask.data):
        refuse(param, f"{param}: the mask is empty: make transparent, or paint white, what is meant")
    return mask


def _check(body: ImageGeneration, spec: ImageModelSpec) -> None:
    if body.background == "transparent":
        text = 'background: no model here draws transparency: leave it out, or ask for "opaque" and cut the picture out'
        raise Problem("unsupported", text, "background")
    sampled(body, spec)
    output_seeds(body.seed, body.n)


def _steps(body: ImageGeneration, spec: ImageModelSpec) -> int:
    return sampled(body, spec).num_inference_steps


def _strength(body: ImageEdit, spec: ImageModelSpec) -> float:
    default = INPAINT_STRENGTH if body.mask is not None else START_STRENGTH
    strength = default if body.strength is None else body.strength
    check_strength(strength, _steps(body, spec), "strength")
    return strength


async def _inpaint(image: EncodedImage, mask: EncodedImage, strength: float) -> Inpaint:
    sizes = [await asyncio.to_thread(image_size, each.data) for each in (image, mask)]
    if sizes[0] != sizes[1]:
        (width, height), (mask_width, mask_height) = sizes
        refuse("mask", f"mask: it is {mask_width}x{mask_height}, the image {width}x{height}: make them the same size")
    return Inpaint(image=image, mask=mask, strength=strength)


async def _start(body: ImageGeneration, spec: ImageModelSpec, pictures: Pictures) -> StartImage | StartLatents | None:
    start, param = body.coherence.start, "coherence.start.artifact"
    if start is None:
        return None
    check_strength(start.strength, _steps(body, spec), "coherence.start.strength")
    types = (*IMAGE_TYPES, LATENTS_TYPE)
    data = await pictures.artifact(start.artifact, param, types)
    if await pictures.media_type(start.artifact, param, types) == LATENTS_TYPE:
        return StartLatents(data=data, strength=start.strength)
    return StartImage(image=EncodedImage(data=data), strength=start.strength)


def _requests(
    body: ImageGeneration,
    spec: ImageModelSpec,
    size: Size,
    bound: tuple[Reference, ...],
    adapter: AdapterSettings,
    start: StartImage | StartLatents | None = None,
    inpaint: Inpaint | None = None,
) -> list[ImageRequest]:
    sample = sampled(body, spec)
    return [
        ImageRequest(
            prompt=body.prompt,
            negative_prompt=body.negative_prompt,
            width=size[0],
            height=size[1],
            noise=body.coherence.noise(seed),
            num_inference_steps=sample.num_inference_steps,
            guidance_scale=sample.guidance_scale,
            references=bound,
            adapter=adapter,
            start=start,
            inpaint=inpaint,
            loras=sample.loras,
            deterministic=body.deterministic,
            keep_latents=body.coherence.keep_latents,
        )
        for seed in output_seeds(body.seed, body.n)
    ]
