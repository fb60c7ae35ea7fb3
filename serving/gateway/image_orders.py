"""From the body of an image call to the requests that the model gets: one per output, all checked before any runs.

Knows no HTTP and no model; what may be asked is in `model_checks`.
"""

from __future__ import annotations

import asyncio
import secrets

from models.interfaces import (
    AdapterSettings,
    EncodedImage,
    ImageRequest,
    Inpaint,
    NoiseSpec,
    Reference,
    StartImage,
    StartLatents,
)
from models.spec import ImageModelSpec, Size
from pipelines.coherence import derived_seed
from pipelines.media import image_size
from serving.gateway.adapters import adapter_settings, check_adapter, references, sources
from serving.gateway.model_checks import (
    check_loras,
    check_size,
    check_strength,
    pick_size,
    takes_references_natively,
)
from serving.gateway.problems import refuse
from serving.gateway.schemas.images import ImageEdit, ImageGeneration
from serving.gateway.uploads import IMAGE_TYPES, LATENTS_TYPE, Pictures

SEED_BITS = 53
"""Seeds chosen here stay exact in JSON readers that have only doubles."""
START_STRENGTH = 0.8
INPAINT_STRENGTH = 1.0


def output_seeds(seed: int | list[int] | None, count: int) -> list[int]:
    """One seed per output.

    A list is taken as it is. A single seed serves output 0; output k gets the upper 53 bits of
    sha256("SEED:output:k") as `pipelines.coherence.derived_seed` reads it. None: chance. Raises Problem 422.
    """
    if isinstance(seed, list):
        if len(seed) != count:
            refuse("seed", f"seed: {len(seed)} seeds for n = {count} outputs: give one seed, or one each")
        return seed
    first = secrets.randbits(SEED_BITS) if seed is None else seed
    return [derived_seed(first, "output", k) >> (63 - SEED_BITS) if k else first for k in range(count)]


async def generation_requests(body: ImageGeneration, spec: ImageModelSpec, pictures: Pictures) -> list[ImageRequest]:
    """Raises Problem."""
    size = pick_size(spec, body.size)
    _check(body, spec, size)
    check_adapter(spec, body.ip_adapter)
    adapter_images = [await pictures.picture(source, param) for param, source in sources(body.ip_adapter)]
    start = await _start(body, spec, pictures)
    adapter = await _adapter(body, pictures)
    return _requests(body, spec, size, references(body.ip_adapter, adapter_images), adapter, start=start)


async def edit_requests(body: ImageEdit, spec: ImageModelSpec, pictures: Pictures) -> list[ImageRequest]:
    """What becomes of the images is told in `ImageEdit`. Raises Problem."""
    as_references = body.mask is None and (body.ip_adapter is not None or takes_references_natively(spec))
    joined = len(body.image) - (0 if as_references else 1)
    check_adapter(spec, body.ip_adapter, joined)
    if body.coherence.start is not None:
        refuse("coherence.start", "coherence.start: an edit starts from its image; give the artifact id as `image`")
    if body.strength is not None and as_references:
        refuse("strength", f"strength: model {spec.name!r} starts from noise here, with the images as references")
    images = [await pictures.picture(source, f"image.{index}") for index, source in enumerate(body.image)]
    adapter_images = [await pictures.picture(source, param) for param, source in sources(body.ip_adapter)]
    size = pick_size(spec, body.size, await asyncio.to_thread(image_size, images[0].data))
    _check(body, spec, size)
    bound = references(body.ip_adapter, (images if as_references else images[1:]) + adapter_images)
    adapter = await _adapter(body, pictures)
    if as_references:
        return _requests(body, spec, size, bound, adapter)
    strength = _strength(body, spec)
    if body.mask is None:
        return _requests(body, spec, size, bound, adapter, start=StartImage(image=images[0], strength=strength))
    mask = await pictures.mask(body.mask, "mask")
    return _requests(body, spec, size, bound, adapter, inpaint=await _inpaint(images[0], mask, strength))


async def _adapter(body: ImageGeneration, pictures: Pictures) -> AdapterSettings:
    given = body.ip_adapter
    if given is None or given.mask is None:
        return adapter_settings(given)
    return adapter_settings(given, await pictures.mask(given.mask, "ip_adapter.mask"))


def _check(body: ImageGeneration, spec: ImageModelSpec, size: Size) -> None:
    check_size(spec, size)
    check_loras(spec, body.loras)
    output_seeds(body.seed, body.n)


def _steps(body: ImageGeneration, spec: ImageModelSpec) -> int:
    return body.num_inference_steps or spec.num_inference_steps


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
    return [
        ImageRequest(
            prompt=body.prompt,
            negative_prompt=body.negative_prompt,
            width=size[0],
            height=size[1],
            noise=NoiseSpec(
                seed=seed, shared_seed=body.coherence.shared_seed, shared_strength=body.coherence.shared_strength
            ),
            num_inference_steps=_steps(body, spec),
            guidance_scale=spec.guidance_scale if body.guidance_scale is None else body.guidance_scale,
            references=bound,
            adapter=adapter,
            start=start,
            inpaint=inpaint,
            loras=body.loras,
            deterministic=body.deterministic,
            keep_latents=body.coherence.keep_latents,
        )
        for seed in output_seeds(body.seed, body.n)
    ]
