"""Family `flux`: the Flux.1 classes of diffusers (CLIP and T5 texts, a transformer over packed latents), IP-Adapter.

Guidance is distilled into the weights: [dev] reads `guidance_scale` as a number, [schnell] has none, and neither knows
a negative prompt. Latents are drawn, encoded and handed on unpacked, (16, height / 8, width / 8), and packed into
patches of 2 x 2 only for the stock pipelines. Knows no job and no artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline
from diffusers.models.embeddings import MultiIPAdapterImageProjection
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from PIL import Image
from torch import nn

from models.diffusion.calls import Lane, Progress, Recent, check_size, decode, decode_covering, decode_mask, unread_note
from models.diffusion.latents import encode, pack, unpack
from models.diffusion.loading import LOCAL, Loras, check_loras, loading, part, renew_scheduler, scheduler
from models.diffusion.memory import SECOND_TRY, frugal, twice
from models.diffusion.noise import draw_batch, noise_sha256, step_generator
from models.diffusion.placement import exact, free_hooks, place, quantised
from models.diffusion.references import check_references
from models.errors import InvalidRequest
from models.interfaces import AdapterSettings, EncodedImage, ImageRequest, ImageResult, Reference, StartLatents, Watcher
from models.spec import ImageModelSpec

REMEMBERED_IMAGES = 32


class FluxReferenceAdapter:
    """The IP-Adapter of one pipeline. Not for concurrent calls: `begin`, then `before_step`, then `release`."""

    def __init__(self, pipeline: Any, folder: Path, weight_name: str, image_encoder: Path, slots: int) -> None:
        """Load the adapter and its image encoder, a CLIP vision folder, with room for `slots` references."""
        pipeline.load_ip_adapter(
            str(folder),
            weight_name=weight_name,
            image_encoder_pretrained_model_name_or_path=str(image_encoder),
            image_encoder_dtype=pipeline.transformer.dtype,
            local_files_only=LOCAL["local_files_only"],
        )
        self._pipeline = pipeline
        self._slots = slots
        self._processors = _share_layers(pipeline.transformer, slots)
        self._remembered: Recent[torch.Tensor] = Recent(REMEMBERED_IMAGES)
        self._strengths: list[float] = []
        self._window = (0.0, 1.0)
        self.release()

    def begin(self, references: Sequence[Reference], settings: AdapterSettings) -> dict[str, Any]:
        """Set the strengths for step 0; gives the pipeline's `joint_attention_kwargs`.

        `settings.scale` is the strength of all references together; `settings.blocks` is not read: which of Flux's
        layers carry style or layout is not known. Raises InvalidRequest for an image that cannot be decoded.
        """
        total = max(1.0, sum(reference.weight for reference in references))
        strengths = [settings.scale * reference.weight / total for reference in references]
        embeddings = [
            self._remember(reference.image, f"reference {n}")
            for n, (reference, strength) in enumerate(zip(references, strengths, strict=True), 1)
            if strength > 0
        ]
        self._strengths = [strength for strength in strengths if strength > 0]
        self._window = (settings.begin_step_percent, settings.end_step_percent)
        self.before_step(0, 1)
        if not embeddings:
            return {"ip_hidden_states": []}
        # The projection wants one image per slot; those beyond the strengths are not read.
        return {"ip_adapter_image_embeds": embeddings + embeddings[:1] * (self._slots - len(embeddings))}

    def before_step(self, done: int, total: int) -> None:
        """Switch on when step `done` of `total` lies in [begin, end) of the steps that this call runs, else off."""
        begin, end = self._window
        on = begin <= done / total < end
        for processor in self._processors:
            processor.scale = list(self._strengths) if on else []

    def release(self) -> None:
        """Forget the call: no strength."""
        self._strengths = []
        self.before_step(0, 1)

    def forget(self) -> None:
        """Drop the remembered embeddings."""
        self._remembered.clear()

    def stats(self) -> dict[str, int]:
        """How often an image was remembered, as `Recent.stats`."""
        return self._remembered.stats()

    def _remember(self, image: EncodedImage, name: str) -> torch.Tensor:
        return self._remembered.get(image.sha256, lambda: self._encode(decode(image, name)))

    def _encode(self, image: Image.Image) -> torch.Tensor:
        """Shape (1, 1, width of the image embedding)."""
        embedding: torch.Tensor = self._pipeline.encode_image(image, self._pipeline._execution_device, 1)
        return embedding[None]


def _share_layers(transformer: Any, slots: int) -> list[Any]:
    """List the adapter's layers once per slot; gives its attention processors."""
    processors = [p for p in transformer.attn_processors.values() if isinstance(p, FluxIPAdapterAttnProcessor)]
    for processor in processors:
        processor.to_k_ip = nn.ModuleList([processor.to_k_ip[0]] * slots)
        processor.to_v_ip = nn.ModuleList([processor.to_v_ip[0]] * slots)
    projection = transformer.encoder_hid_proj.image_projection_layers[0]
    transformer.encoder_hid_proj = MultiIPAdapterImageProjection([projection] * slots)
    return processors


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
