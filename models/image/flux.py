"""Family `flux`: the Flux.1 classes of diffusers (CLIP and T5 texts, a transformer over packed latents), IP-Adapter.

Guidance is distilled into the weights: [dev] reads `guidance_scale` as a number, [schnell] has none, and neither knows
a negative prompt. Latents are drawn, encoded and handed on unpacked, (16, height / 8, width / 8), and packed into
patches of 2 x 2 only for the stock pipelines. Knows no job and no artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline

from models.errors import InvalidRequest
from models.image.flux_adapter import FluxReferenceAdapter
from models.image.lane import Lane, Progress
from models.image.latents import encode, pack, unpack
from models.image.loading import LOCAL, loading, part, renew_scheduler, scheduler
from models.image.pixels import check_size, decode_covering, decode_mask
from models.image.prompt_length import unread_note
from models.image.recent import Recent
from models.image.reference_adapter import check_references
from models.interfaces import ImageRequest, ImageResult, StartLatents, Watcher
from models.lora import Loras, check_loras
from models.memory import SECOND_TRY, frugal, twice
from models.noise import draw_batch, noise_sha256, step_generator
from models.placement import exact, free_hooks, place, quantised
from models.spec import ImageModelSpec

REMEMBERED_TEXTS = 64
PATCH = 2
"""Latent cells per side that one token of the transformer holds."""


class ImageToImage(FluxImg2ImgPipeline):  # type: ignore[misc]
    """Stock image-to-image: `image` is clean latents, `latents` our start noise, both unpacked.

    SDEdit for flows: x_t = (1 - sigma) * image + sigma * noise. The stock class takes `latents` for noised ones.
    """

    def prepare_latents(self, image: torch.Tensor, timestep: torch.Tensor, *args: Any) -> tuple[torch.Tensor, ...]:
        *others, noise = args
        noised = self.scheduler.scale_noise(image.to(noise), timestep, noise)
        prepared: tuple[torch.Tensor, ...] = super().prepare_latents(
            image, timestep, *others, self._pack_latents(noised, *noised.shape)
        )
        return prepared


class Inpainting(FluxInpaintPipeline):  # type: ignore[misc]
    """Stock inpainting: `image` is clean latents, `latents` our start noise, which the stock class does not mix in."""

    def prepare_latents(self, image: torch.Tensor, timestep: torch.Tensor, *args: Any) -> tuple[torch.Tensor, ...]:
        _, noise, clean, ids = super().prepare_latents(image, timestep, *args)
        return self.scheduler.scale_noise(clean, timestep, noise), noise, clean, ids


class Flux:
    """ImageModel over Flux.1-type weights."""

    def __init__(self, spec: ImageModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the parts `main`, `lora-NAME` for each LoRA and, with references, `ip_adapter` and `image_encoder`.

        Raises WeightsError, OutOfMemory, and InvalidRequest for an acceleration that cannot be had.
        """
        self._spec = spec
        with loading(spec) as dtype:
            pipeline = FluxPipeline.from_pretrained(
                part(spec, folders, "main"),
                dtype=dtype,
                feature_extractor=None,
                image_encoder=None,
                **quantised(spec),
                **LOCAL,
            )
            pipeline.scheduler = scheduler(spec, pipeline.scheduler)
            self._adapter = _load_adapter(spec, folders, pipeline)
            self._loras = Loras(pipeline, spec, folders)
            place(pipeline, spec, device)
            self._text_to_image = pipeline
            self._image_to_image, self._inpaint = ImageToImage(**pipeline.components), Inpainting(**pipeline.components)
        self._pipelines = (self._text_to_image, self._image_to_image, self._inpaint)
        for each in self._pipelines:
            each.set_progress_bar_config(disable=True)
        self._tokens = 512 if pipeline.transformer.config.guidance_embeds else 256
        self._texts: Recent[tuple[torch.Tensor, torch.Tensor]] = Recent(REMEMBERED_TEXTS)
        self._lane = Lane(spec.name)

    def generate(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        """Make one image. Raises InvalidRequest, Cancelled, OutOfMemory, InferenceFailed; the next call is not touched.

        `start` and `inpaint` exclude each other. The strength decides how many of the `num_inference_steps` run, and
        adapter begin and end count those that run. A call that finds no memory is made again with less at once.
        """
        self._check(request)
        with self._lane.turn(watcher, _steps(request)):
            return twice(
                lambda: self._make(request, watcher),
                lambda: self._make_sparingly(request, watcher),
                self._forget,
                f"an image of {request.width}x{request.height}",
            )

    def _make_sparingly(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        # A deterministic call keeps its bits: only what was freed is new.
        with nullcontext() if request.deterministic else frugal(self._text_to_image.vae):
            result = self._make(request, watcher)
        return replace(result, notes=(*result.notes, SECOND_TRY))

    def _make(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        progress = Progress(watcher, self._adapter.before_step if self._adapter else None)
        noise = draw_batch([request.noise], *self._latent_shape(request))
        try:
            with exact(self._text_to_image, request.deterministic), self._loras.use(request.loras):
                pipeline, inputs = self._task(request, noise)
                renew_scheduler(pipeline)
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
            free_hooks(*self._pipelines)
            if self._adapter:
                self._adapter.release()
        seconds, timings = progress.finish()
        pixels = (images[0] * 255).round().astype("uint8")
        latents = self._kept(request, progress.latents) if request.keep_latents else None
        return ImageResult(pixels, noise_sha256(noise), seconds, timings, self._notes(request), latents)

    def _kept(self, request: ImageRequest, tokens: torch.Tensor | None) -> bytes | None:
        pipeline = self._text_to_image
        if tokens is None:
            return None
        unpacked = pipeline._unpack_latents(tokens, request.height, request.width, pipeline.vae_scale_factor)
        return pack(unpacked[0])

    def _task(self, request: ImageRequest, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        """The pipeline that serves the request, and what it starts from."""
        pipeline, noise = self._text_to_image, self._on_device(noise)
        size = {"width": request.width, "height": request.height}
        if request.inpaint:
            clean = self._clean(decode_covering(request.inpaint.image, "the image to inpaint", **size))
            mask = decode_mask(request.inpaint.mask, "the mask", **size)
            # The masked image matters to fill-type transformers only; given as latents, no time is spent on it.
            start = {"image": clean, "mask_image": mask, "masked_image_latents": clean, "latents": noise}
            return self._inpaint, {**size, **start, "strength": request.inpaint.strength}
        if request.start and request.start.strength < 1.0:
            start = {"image": self._start(request), "latents": noise}
            return self._image_to_image, {**size, **start, "strength": request.start.strength}
        return pipeline, {**size, "latents": pipeline._pack_latents(noise, *noise.shape)}

    def _start(self, request: ImageRequest) -> torch.Tensor:
        """Clean latents that the request starts from."""
        if isinstance(request.start, StartLatents):
            return self._on_device(unpack(request.start.data, self._latent_shape(request))[None])
        if request.start is None:
            raise ValueError("the request starts from nothing")
        return self._clean(decode_covering(request.start.image, "the start image", request.width, request.height))

    def _clean(self, image: Any) -> torch.Tensor:
        vae = self._text_to_image.vae
        shift: float = vae.config.shift_factor * vae.config.scaling_factor
        scaled = encode(vae, self._text_to_image.image_processor.preprocess(image))
        return scaled - shift

    def _on_device(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.to(self._text_to_image._execution_device, self._text_to_image.transformer.dtype)

    def _condition(self, request: ImageRequest) -> dict[str, Any]:
        """Embeddings of texts and references."""
        embedding, pooled = self._texts.get(f"{self._loras.key}\n{request.prompt}", lambda: self._embed(request.prompt))
        inputs: dict[str, Any] = {"prompt_embeds": embedding, "pooled_prompt_embeds": pooled}
        if self._adapter:
            inputs["joint_attention_kwargs"] = self._adapter.begin(request.references, request.adapter)
        return inputs

    def _embed(self, text: str) -> tuple[torch.Tensor, torch.Tensor]:
        embedding, pooled, _ = self._text_to_image.encode_prompt(text, max_sequence_length=self._tokens)
        return embedding, pooled

    def _notes(self, request: ImageRequest) -> tuple[str, ...]:
        pipeline = self._text_to_image
        notes = list(unread_note(pipeline.tokenizer_2, request.prompt, self._tokens))
        if request.negative_prompt:
            notes.append(
                f"the negative prompt {request.negative_prompt[:40]!r} had no effect: Flux is distilled and reads none;"
                " say in the prompt what to show instead"
            )
        if request.guidance_scale and not pipeline.transformer.config.guidance_embeds:
            notes.append(
                f"guidance_scale {request.guidance_scale:g} had no effect: these weights know no guidance; use 0"
            )
        if self._adapter and any(reference.role == "style" for reference in request.references):
            notes.append("the style reference acts on content too: Flux's layers for style alone are not known")
        return tuple(notes)

    def stats(self) -> dict[str, dict[str, int]]:
        """Hits, misses and entries of what is remembered: `texts` and `references`."""
        return {"texts": self._texts.stats()} | ({"references": self._adapter.stats()} if self._adapter else {})

    def _forget(self) -> None:
        self._texts.clear()
        if self._adapter:
            self._adapter.forget()

    def _check(self, request: ImageRequest) -> None:
        spec = self._spec
        spec.check_pixels(request.width, request.height)
        factor = self._text_to_image.vae_scale_factor * PATCH
        check_size(spec.name, request.width, request.height, spec.size_multiple, factor)
        check_references(spec, request)
        check_loras(spec, request.loras)
        if request.references and request.adapter.blocks != "all":
            raise InvalidRequest(
                f"model {spec.name!r} has no adapter blocks {request.adapter.blocks!r}: which of Flux's layers carry"
                " style or layout is not known; use blocks 'all'"
            )
        if request.start and request.inpaint:
            raise InvalidRequest("a request has both a start image and an inpainting; give one of them")
        if _steps(request) < 1:
            raise InvalidRequest("strength 0 runs no step; use more than 0")

    def _latent_shape(self, request: ImageRequest) -> tuple[int, int, int]:
        factor = self._text_to_image.vae_scale_factor
        channels: int = self._text_to_image.vae.config.latent_channels
        return channels, request.height // factor, request.width // factor


def _load_adapter(spec: ImageModelSpec, folders: Mapping[str, Path], pipeline: Any) -> FluxReferenceAdapter | None:
    if not spec.references:
        return None
    folder, encoder = part(spec, folders, "ip_adapter"), part(spec, folders, "image_encoder")
    return FluxReferenceAdapter(pipeline, folder, spec.adapter_weight_name, encoder, spec.references)


def _steps(request: ImageRequest) -> int:
    """Steps that the stock pipelines run: of a strength between two counts, the higher one."""
    within = request.inpaint or request.start
    strength, steps = within.strength if within else 1.0, request.num_inference_steps
    return steps - int(max(steps - min(steps * strength, steps), 0))
