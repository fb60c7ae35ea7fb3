"""Family `flux2-klein`: Flux.2 [klein], which looks at several reference images beside the prompt (Qwen3 texts).

Text to image, or images of the same things anew: references are encoded by the VAE, joined to the latents as further
tokens, and never weighed (`native_references`). Latents are drawn as the VAE's, (32, height / 8, width / 8), and folded
into patches of 2 x 2 for the pipeline. There is no start image and no mask here. Knows no job and no artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import Flux2KleinPipeline

from models.diffusion.calls import Lane, Progress, Recent, check_size, unread_note
from models.diffusion.loading import LOCAL, Loras, check_loras, loading, part, renew_scheduler, scheduler
from models.diffusion.memory import SECOND_TRY, frugal, twice
from models.diffusion.noise import draw_batch, noise_sha256
from models.diffusion.placement import exact, free_hooks, place, quantised
from models.diffusion.references import check_references, reference_images, reference_notes
from models.errors import InvalidRequest
from models.interfaces import ImageRequest, ImageResult, Watcher
from models.spec import ImageModelSpec

REMEMBERED_TEXTS = 64
PROMPT_TOKENS = 512
"""What the stock pipeline encodes, with the marks of its chat template."""
PATCH = 2
"""Latent cells per side that one token of the transformer holds."""
SHORTEST_SIDE, WIDEST_ASPECT = 64, 8
"""The stock pipeline refuses references that are smaller or longer."""


class Flux2Klein:
    """ImageModel over Flux.2 [klein] weights, distilled (no guidance) or base."""

    def __init__(self, spec: ImageModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the parts `main` and `lora-NAME` for each LoRA.

        Raises WeightsError, OutOfMemory, and InvalidRequest for an acceleration that cannot be had.
        """
        self._spec = spec
        _check_cache(spec)
        with loading(spec) as dtype:
            self._pipeline = Flux2KleinPipeline.from_pretrained(
                part(spec, folders, "main"), dtype=dtype, **quantised(spec), **LOCAL
            )
            self._pipeline.scheduler = scheduler(spec, self._pipeline.scheduler)
            self._loras = Loras(self._pipeline, spec, folders)
            place(self._pipeline, spec, device)
        self._pipeline.set_progress_bar_config(disable=True)
        self._texts: Recent[torch.Tensor] = Recent(REMEMBERED_TEXTS)
        self._lane = Lane(spec.name)

    def generate(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        """Make one image. Raises InvalidRequest, Cancelled, OutOfMemory, InferenceFailed; the next call is not touched.

        A start image and a mask are refused. A call that finds no memory is made again with less at once.
        """
        self._check(request)
        with self._lane.turn(watcher, request.num_inference_steps):
            return twice(
                lambda: self._make(request, watcher),
                lambda: self._make_sparingly(request, watcher),
                self._texts.clear,
                f"an image of {request.width}x{request.height}",
            )

    def stats(self) -> dict[str, dict[str, int]]:
        """Hits, misses and entries of the remembered `texts`."""
        return {"texts": self._texts.stats()}

    def _make_sparingly(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        # A deterministic call keeps its bits: only what was freed is new.
        with nullcontext() if request.deterministic else frugal(self._pipeline.vae):
            result = self._make(request, watcher)
        return replace(result, notes=(*result.notes, SECOND_TRY))

    def _make(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        pipeline = self._pipeline
        progress = Progress(watcher)
        noise = draw_batch([request.noise], *self._latent_shape(request))
        renew_scheduler(pipeline)
        try:
            with exact(pipeline, request.deterministic), self._loras.use(request.loras):
                inputs = self._condition(request)
                progress.encoded()
                images = pipeline(
                    **inputs,
                    latents=pipeline._patchify_latents(noise),
                    width=request.width,
                    height=request.height,
                    num_inference_steps=request.num_inference_steps,
                    guidance_scale=request.guidance_scale if self._guided(request) else 1.0,
                    callback_on_step_end=progress,
                    output_type="np",
                ).images
        finally:
            free_hooks(pipeline)
        seconds, timings = progress.finish()
        pixels = (images[0] * 255).round().astype("uint8")
        return ImageResult(pixels, noise_sha256(noise), seconds, timings, self._notes(request))

    def _condition(self, request: ImageRequest) -> dict[str, Any]:
        """Embeddings of the texts, and the references as images."""
        inputs: dict[str, Any] = {"prompt_embeds": self._embed(request.prompt)}
        if self._guided(request):
            inputs["negative_prompt_embeds"] = self._embed(request.negative_prompt)
        images = reference_images(request.references, request.adapter)
        for number, image in images.items():
            width, height = image.size
            if min(width, height) < SHORTEST_SIDE or max(width, height) > WIDEST_ASPECT * min(width, height):
                raise InvalidRequest(
                    f"reference {number} is {width}x{height}; model {self._spec.name!r} takes sides of at least"
                    f" {SHORTEST_SIDE} pixels, one at most {WIDEST_ASPECT} times the other: scale or crop it"
                )
        return inputs | {"image": list(images.values()) or None}

    def _embed(self, text: str) -> torch.Tensor:
        return self._texts.get(
            f"{self._loras.key}\n{text}",
            lambda: self._pipeline.encode_prompt(text, max_sequence_length=PROMPT_TOKENS)[0],
        )

    def _guided(self, request: ImageRequest) -> bool:
        return request.guidance_scale > 1 and not self._pipeline.config.is_distilled

    def _notes(self, request: ImageRequest) -> tuple[str, ...]:
        chat = [{"role": "user", "content": request.prompt}]
        options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        read = self._pipeline.tokenizer.apply_chat_template(chat, **options)
        notes = [*unread_note(self._pipeline.tokenizer, read, PROMPT_TOKENS)]
        if self._pipeline.config.is_distilled and request.guidance_scale > 1:
            notes.append(
                f"guidance_scale {request.guidance_scale:g} had no effect: these weights know no guidance; use 1"
            )
        if request.negative_prompt and not self._guided(request):
            notes.append(
                f"the negative prompt {request.negative_prompt[:40]!r} had no effect: it works through guidance, and"
                " this call has none; say in the prompt what to show instead"
            )
        if request.keep_latents:
            notes.append("no latents were kept: this model could not start from them")
        return (*notes, *reference_notes(request.references, request.adapter))

    def _check(self, request: ImageRequest) -> None:
        spec, name = self._spec, self._spec.name
        spec.check_pixels(request.width, request.height)
        check_size(name, request.width, request.height, spec.size_multiple, self._pipeline.vae_scale_factor * PATCH)
        check_references(spec, request)
        check_loras(spec, request.loras)
        if request.start:
            raise InvalidRequest(f"model {name!r} cannot start from an image; give that image as a reference instead")
        if request.inpaint:
            raise InvalidRequest(
                f"model {name!r} has no masks; give the image as a reference and say in the prompt what to change,"
                " or choose a model of the family flux or stable-diffusion"
            )

    def _latent_shape(self, request: ImageRequest) -> tuple[int, int, int]:
        factor = self._pipeline.vae_scale_factor
        channels: int = self._pipeline.vae.config.latent_channels
        return channels, request.height // factor, request.width // factor


def _check_cache(spec: ImageModelSpec) -> None:
    # diffusers 0.42.1 takes its first block's output for a tensor as its last block's is; here it is a pair of them.
    if (spec.acceleration.cache or {}).get("class") == "FirstBlockCacheConfig":
        raise InvalidRequest(
            f"model {spec.name!r}: `acceleration.cache: FirstBlockCacheConfig` does not fit Flux.2's blocks;"
            " use another cache, such as TaylorSeerCacheConfig, or none"
        )
