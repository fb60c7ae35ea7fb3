"""Families `stable-diffusion` and `stable-diffusion-xl`: UNet, AutoencoderKL and one or two CLIP text encoders.

Both batch, and take references through an IP-Adapter. XL adds a pooled text embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)

from models.diffusion.engine import LatentGrid, TextEmbedding
from models.diffusion.loading import load_pipeline
from models.diffusion.noise import NoisedInpaint, NoisedStart
from models.diffusion.references import PreparedReferences, ReferenceAdapter
from models.diffusion.shared_attention import SharedAttention
from models.image.batching import BatchingImageEngine
from models.interfaces import ImageRequest
from models.spec import ImageModelSpec


class TextToImage(PreparedReferences, StableDiffusionPipeline):  # type: ignore[misc]
    """Stock text-to-image that takes each item's own references in a batch."""


class ImageToImage(NoisedStart, StableDiffusionImg2ImgPipeline):  # type: ignore[misc]
    """Stock image-to-image with our start noise."""


class Inpainting(NoisedInpaint, StableDiffusionInpaintPipeline):  # type: ignore[misc]
    """Stock inpainting with our start noise."""


class StableDiffusion(BatchingImageEngine):
    """BatchingImageModel over SD1.5-type weights: the parts `main` and, with references, `ip_adapter`."""

    def __init__(self, spec: ImageModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """As `DiffusionEngine`."""
        super().__init__(spec, folders, device)
        self._attention = SharedAttention(self._pipeline.unet)
        self._stepwise = (*self._stepwise, self._attention)

    def _batch_condition(self, requests: Sequence[ImageRequest]) -> dict[str, Any]:
        first = requests[0]
        rows = 2 if self._guided(first) else 1
        self._attention.begin(first.keep_attention, first.attention_bank, self._steps(first), rows)
        return super()._batch_condition(requests)

    def _attention_bank(self) -> bytes | None:
        return self._attention.written()

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        unused = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
        return load_pipeline(TextToImage, self._spec, folders, dtype, requires_safety_checker=False, **unused)

    def _variants(self) -> tuple[Any, ...]:
        components = {**self._pipeline.components, "requires_safety_checker": False}
        variants = ImageToImage(**components), Inpainting(**components)
        for variant in variants:
            # Otherwise latents of any other number of channels than four are taken for pictures.
            variant.image_processor.register_to_config(vae_latent_channels=self._latent_grid().channels)
        return variants

    def _load_adapter(self, folders: Mapping[str, Path]) -> ReferenceAdapter:
        return ReferenceAdapter.of(self._spec, folders, self._pipeline)

    def _latent_grid(self) -> LatentGrid:
        pipeline = self._pipeline
        return LatentGrid(pipeline.vae.config.latent_channels, pipeline.vae_scale_factor, pipeline.vae_scale_factor)

    def _guided(self, request: ImageRequest) -> bool:
        # UNets distilled for a guidance embedding take the scale as a number and no negative prompt.
        return super()._guided(request) and self._pipeline.unet.config.time_cond_proj_dim is None

    def _encode_text(self, text: str) -> TextEmbedding:
        embedding, _ = self._pipeline.encode_prompt(text, self._pipeline._execution_device, 1, False)
        return (embedding,)


class TextToImageXL(PreparedReferences, StableDiffusionXLPipeline):  # type: ignore[misc]
    """Stock text-to-image that takes each item's own references in a batch."""


class ImageToImageXL(NoisedStart, StableDiffusionXLImg2ImgPipeline):  # type: ignore[misc]
    """Stock image-to-image with our start noise."""


class InpaintingXL(NoisedInpaint, StableDiffusionXLInpaintPipeline):  # type: ignore[misc]
    """Stock inpainting with our start noise."""


class StableDiffusionXL(StableDiffusion):
    """BatchingImageModel over SDXL-type weights."""

    text_inputs = ("prompt_embeds", "pooled_prompt_embeds")

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        unused = {"feature_extractor": None, "image_encoder": None}
        return load_pipeline(TextToImageXL, self._spec, folders, dtype, add_watermarker=False, **unused)

    def _variants(self) -> tuple[Any, ...]:
        components = {**self._pipeline.components, "add_watermarker": False}
        return ImageToImageXL(**components), InpaintingXL(**components)

    def _encode_text(self, text: str) -> TextEmbedding:
        embedding, _, pooled, _ = self._pipeline.encode_prompt(text, do_classifier_free_guidance=False)
        return embedding, pooled

    def _negative_embedding(self, request: ImageRequest, positive: TextEmbedding) -> TextEmbedding:
        # SDXL was trained with zeros, not with the encoded empty text, for "no prompt".
        if not request.negative_prompt and self._pipeline.config.force_zeros_for_empty_prompt:
            return tuple(torch.zeros_like(tensor) for tensor in positive)
        return super()._negative_embedding(request, positive)
