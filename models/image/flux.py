"""Family `flux`: the Flux.1 classes of diffusers (CLIP and T5 texts, a transformer over packed latents), IP-Adapter.

Guidance is distilled into the weights: [dev] reads `guidance_scale` as a number, [schnell] has none, and neither knows
a negative prompt. Latents are drawn, encoded and handed on unpacked, (16, height / 8, width / 8), and packed into
patches of 2 x 2 only for the stock pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline
from diffusers.models.embeddings import MultiIPAdapterImageProjection
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from PIL import Image
from torch import nn

from models.diffusion.calls import LruCache
from models.diffusion.engine import LatentGrid, TextEmbedding
from models.diffusion.inputs import cut_prompt_note, decode
from models.diffusion.loading import LOCAL, load_pipeline, part
from models.diffusion.references import whole_picture_processor
from models.errors import InvalidRequest
from models.image.engine import ImageEngine, steps_rounded_up
from models.interfaces import AdapterSettings, EncodedImage, ImageRequest, Reference

PATCH = 2
"""Latent cells per side that one token of the transformer holds."""


class FluxImageToImage(FluxImg2ImgPipeline):  # type: ignore[misc]
    """Stock image-to-image: `image` is clean latents, `latents` our start noise, both unpacked.

    SDEdit for flows: x_t = (1 - sigma) * image + sigma * noise. The stock class takes `latents` for noised ones.
    """

    def prepare_latents(self, image: torch.Tensor, timestep: torch.Tensor, *args: Any) -> tuple[torch.Tensor, ...]:
        """Start latents, packed, and their position ids."""
        *others, noise = args
        noised = self.scheduler.scale_noise(image.to(noise), timestep, noise)
        prepared: tuple[torch.Tensor, ...] = super().prepare_latents(
            image, timestep, *others, self._pack_latents(noised, *noised.shape)
        )
        return prepared


class FluxInpainting(FluxInpaintPipeline):  # type: ignore[misc]
    """Stock inpainting: `image` is clean latents, `latents` our start noise, which the stock class does not mix in."""

    def prepare_latents(self, image: torch.Tensor, timestep: torch.Tensor, *args: Any) -> tuple[torch.Tensor, ...]:
        """Start latents, noise and clean latents, packed, and their position ids."""
        _, noise, clean, ids = super().prepare_latents(image, timestep, *args)
        return self.scheduler.scale_noise(clean, timestep, noise), noise, clean, ids


class Flux(ImageEngine):
    """ImageModel over Flux.1-type weights: the parts `main` and, with references, `ip_adapter` and `image_encoder`."""

    text_inputs = ("prompt_embeds", "pooled_prompt_embeds")
    _adapter: FluxReferenceAdapter | None

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        return load_pipeline(FluxPipeline, self._spec, folders, dtype, feature_extractor=None, image_encoder=None)

    def _load_adapter(self, folders: Mapping[str, Path]) -> FluxReferenceAdapter:
        spec = self._spec
        folder, encoder = part(spec, folders, "ip_adapter"), part(spec, folders, "image_encoder")
        return FluxReferenceAdapter(self._pipeline, folder, spec.adapter_weight_name, encoder, spec.references)

    def _variants(self) -> tuple[Any, ...]:
        return FluxImageToImage(**self._pipeline.components), FluxInpainting(**self._pipeline.components)

    def _latent_grid(self) -> LatentGrid:
        side: int = self._pipeline.vae_scale_factor
        return LatentGrid(self._pipeline.vae.config.latent_channels, side, side * PATCH)

    def _encode_text(self, text: str) -> TextEmbedding:
        embedding, pooled, _ = self._pipeline.encode_prompt(text, max_sequence_length=self._prompt_tokens())
        return embedding, pooled

    def _prompt_tokens(self) -> int:
        """What the T5 encoder reads: [dev] was trained on 512 tokens, [schnell] on 256."""
        return 512 if self._pipeline.transformer.config.guidance_embeds else 256

    def _guided(self, request: ImageRequest) -> bool:
        return False

    def _condition(self, request: ImageRequest) -> dict[str, Any]:
        if not self._adapter:
            return {}
        return {"joint_attention_kwargs": self._adapter.begin(request.references, request.adapter)}

    def _steps(self, request: ImageRequest) -> int:
        return steps_rounded_up(request)

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        packed: torch.Tensor = self._pipeline._pack_latents(latents, *latents.shape)
        return packed

    def _unpacked(self, latents: torch.Tensor, request: ImageRequest) -> torch.Tensor:
        size = request.height, request.width, self._grid.side
        unpacked: torch.Tensor = self._pipeline._unpack_latents(latents, *size)
        return unpacked

    def _check(self, request: ImageRequest) -> None:
        super()._check(request)
        if request.references and request.adapter.blocks != "all":
            raise InvalidRequest(
                f"model {self._spec.name!r} has no adapter blocks {request.adapter.blocks!r}: which of Flux's layers"
                " carry style or layout is not known; use blocks 'all'"
            )

    def _notes(self, request: ImageRequest) -> tuple[str, ...]:
        notes = list(cut_prompt_note(self._pipeline.tokenizer_2, request.prompt, self._prompt_tokens()))
        if request.negative_prompt:
            notes.append(
                f"the negative prompt {request.negative_prompt[:40]!r} had no effect: Flux is distilled and reads none;"
                " say in the prompt what to show instead"
            )
        if request.guidance_scale and not self._pipeline.transformer.config.guidance_embeds:
            notes.append(
                f"guidance_scale {request.guidance_scale:g} had no effect: these weights know no guidance; use 0"
            )
        if self._adapter and any(reference.role == "style" for reference in request.references):
            notes.append("the style reference acts on content too: Flux's layers for style alone are not known")
        return tuple(notes)


CACHED_IMAGES = 32


class FluxReferenceAdapter:
    """The IP-Adapter of one Flux pipeline. Not for concurrent calls: `begin`, then `before_step`, then `release`."""

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
        self._image_processor = whole_picture_processor(image_encoder, pipeline.image_encoder.config.image_size)
        self._slots = slots
        self._processors = _share_layers(pipeline.transformer, slots)
        self._cache: LruCache[torch.Tensor] = LruCache(CACHED_IMAGES)
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
            self._embedding(reference.image, f"reference {n}")
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
        """Drop the cached embeddings of images."""
        self._cache.clear()

    def stats(self) -> dict[str, int]:
        """Hits, misses and entries of the cached embeddings of images."""
        return self._cache.stats()

    def _embedding(self, image: EncodedImage, name: str) -> torch.Tensor:
        return self._cache.get(image.sha256, lambda: self._encode(decode(image, name)))

    def _encode(self, image: Image.Image) -> torch.Tensor:
        """Shape (1, 1, width of the image embedding)."""
        pixels = self._image_processor(image, return_tensors="pt")["pixel_values"]
        embedding: torch.Tensor = self._pipeline.encode_image(pixels, self._pipeline._execution_device, 1)
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
