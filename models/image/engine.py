"""One image request on a Stable Diffusion type model: from nothing, from an image, or inside a mask.

The three pipelines share one set of weights, one IP-Adapter and one lane. What differs between SD1.5 and SDXL (classes
and text encoding) is in `stable_diffusion.py` and `stable_diffusion_xl.py`. Knows no job and no artifact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.errors import InvalidRequest
from models.image.lane import Lane, Progress
from models.image.latents import encode
from models.image.loading import loading, part, renew_scheduler, scheduler
from models.image.pixels import check_size, decode_covering, decode_mask
from models.image.prompt_length import unread_note
from models.image.recent import Recent
from models.image.reference_adapter import ReferenceAdapter, check_references
from models.interfaces import ImageRequest, ImageResult, Watcher
from models.noise import draw_batch, noise_sha256, step_generator
from models.spec import ImageModelSpec

REMEMBERED_TEXTS = 64

TextEmbedding = tuple[torch.Tensor, ...]
"""What one text becomes; how many tensors is the family's affair."""


class StableDiffusionEngine(ABC):
    """An ImageModel over the stock text-to-image, image-to-image and inpainting pipelines of one family."""

    def __init__(self, spec: ImageModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the parts `main` and, when the spec takes references, `ip_adapter`. Raises WeightsError."""
        self._spec = spec
        with loading(spec) as dtype:
            self._text_to_image = self._load(part(spec, folders, "main"), dtype).to(device)
            self._text_to_image.scheduler = scheduler(spec, self._text_to_image.scheduler)
            self._adapter = self._load_adapter(folders)
            self._image_to_image, self._inpaint = self._share(self._text_to_image)
        for pipeline in (self._text_to_image, self._image_to_image, self._inpaint):
            pipeline.set_progress_bar_config(disable=True)
        self._texts: Recent[TextEmbedding] = Recent(REMEMBERED_TEXTS)
        self._lane = Lane(spec.name)

    def generate(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        """Make one image. Raises InvalidRequest, Cancelled, InferenceFailed; none of them touches the next call.

        References need room in the adapter; `start` and `inpaint` exclude each other. The strength decides how many of
        the `num_inference_steps` run, and adapter begin and end count those that run.
        """
        self._check(request)
        strength = _strength(request)
        with self._lane.turn(watcher, int(request.num_inference_steps * strength)):
            return self._generate(request, strength, watcher)

    def _generate(self, request: ImageRequest, strength: float, watcher: Watcher) -> ImageResult:
        progress = Progress(watcher, self._adapter.before_step if self._adapter else None)
        noise = draw_batch([request.noise], *self._latent_shape(request))
        pipeline, inputs = self._task(request, strength, noise)
        renew_scheduler(pipeline)
        try:
            inputs |= self._condition(request)
            progress.encoded()
            images = pipeline(
                **inputs,
                num_inference_steps=request.num_inference_steps,
                guidance_scale=request.guidance_scale,
                generator=step_generator(request.noise),
                callback_on_step_end=progress,
                output_type="np",
            ).images
        finally:
            pipeline.maybe_free_model_hooks()
            if self._adapter:
                self._adapter.release()
        seconds, timings = progress.finish()
        notes = unread_note(self._text_to_image.tokenizer, request.prompt)
        pixels = (images[0] * 255).round().astype("uint8")
        return ImageResult(pixels, noise_sha256(noise), seconds, timings, notes)

    def _task(self, request: ImageRequest, strength: float, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        """The pipeline that serves the request, and what it starts from."""
        on_device = noise.to(self._text_to_image.device, self._text_to_image.unet.dtype)
        size = {"width": request.width, "height": request.height}
        if request.inpaint:
            image = decode_covering(request.inpaint.image, "the image to inpaint", **size)
            clean = self._clean(image)
            mask = decode_mask(request.inpaint.mask, "the mask", **size)
            # The masked image matters to nine-channel UNets only; given as latents, no time is spent on making one.
            start = {"image": clean, "mask_image": mask, "masked_image_latents": clean, "latents": on_device}
            return self._inpaint, {**size, **start, "strength": strength}
        if request.start and strength < 1.0:
            self._image_to_image.start_noise = on_device
            image = decode_covering(request.start.image, "the start image", **size)
            return self._image_to_image, {"image": self._clean(image), "strength": strength}
        return self._text_to_image, {**size, "latents": on_device}

    def _clean(self, image: Any) -> torch.Tensor:
        return encode(self._text_to_image.vae, self._text_to_image.image_processor.preprocess(image))

    def _condition(self, request: ImageRequest) -> dict[str, Any]:
        """Embeddings of texts and references; guidance as the stock pipelines decide it."""
        unet = self._text_to_image.unet
        guided = request.guidance_scale > 1 and unet.config.time_cond_proj_dim is None
        inputs = self._text_inputs(request.prompt, request.negative_prompt if guided else None)
        if self._adapter:
            inputs["ip_adapter_image_embeds"] = self._adapter.begin(request.references, request.adapter, guided)
        return inputs

    def _remember_text(self, text: str) -> TextEmbedding:
        return self._texts.get(text, lambda: self._embed(text))

    def _check(self, request: ImageRequest) -> None:
        factor = self._text_to_image.vae_scale_factor
        check_size(self._spec.name, request.width, request.height, self._spec.size_multiple, factor)
        check_references(self._spec.name, request.references, self._spec.references)
        if request.start and request.inpaint:
            raise InvalidRequest("a request has both a start image and an inpainting; give one of them")
        strength = _strength(request)
        if int(request.num_inference_steps * strength) < 1:
            raise InvalidRequest(
                f"strength {strength!r} of {request.num_inference_steps} steps runs no step;"
                f" use at least {1 / request.num_inference_steps:.3f} or more steps"
            )

    def _latent_shape(self, request: ImageRequest) -> tuple[int, int, int]:
        factor = self._text_to_image.vae_scale_factor
        channels: int = self._text_to_image.unet.config.in_channels
        return channels, request.height // factor, request.width // factor

    def _load_adapter(self, folders: Mapping[str, Path]) -> ReferenceAdapter | None:
        spec = self._spec
        if not spec.references:
            return None
        folder = part(spec, folders, "ip_adapter")
        return ReferenceAdapter(
            self._text_to_image, folder, spec.adapter_weight_name, spec.image_encoder, spec.references
        )

    @abstractmethod
    def _load(self, folder: Path, dtype: torch.dtype) -> Any:
        """The stock text-to-image pipeline of a folder."""

    @abstractmethod
    def _share(self, pipeline: Any) -> tuple[Any, Any]:
        """Image-to-image and inpainting pipelines over the components of `pipeline`."""

    @abstractmethod
    def _embed(self, text: str) -> TextEmbedding:
        """Encode one text."""

    @abstractmethod
    def _text_inputs(self, prompt: str, negative_prompt: str | None) -> dict[str, Any]:
        """Embedding arguments of the pipeline call; None: no classifier-free guidance."""


def _strength(request: ImageRequest) -> float:
    if request.inpaint:
        return request.inpaint.strength
    return request.start.strength if request.start else 1.0
