"""Family `stable-diffusion`: the SD1.5 classes of diffusers (one CLIP text encoder, UNet, AutoencoderKL)."""

from __future__ import annotations

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

from models.diffusion.loading import LOCAL
from models.diffusion.noise import NoisedInpaint, NoisedStart
from models.diffusion.placement import quantised
from models.diffusion.references import PreparedReferences
from models.image.engine import StableDiffusionEngine, TextEmbedding


class TextToImage(PreparedReferences, StableDiffusionPipeline):  # type: ignore[misc]
    """Stock text-to-image that takes each item's own references in a batch."""


class ImageToImage(NoisedStart, StableDiffusionImg2ImgPipeline):  # type: ignore[misc]
    """Stock image-to-image with our start noise."""


class Inpainting(NoisedInpaint, StableDiffusionInpaintPipeline):  # type: ignore[misc]
    """Stock inpainting with our start noise."""


class StableDiffusion(StableDiffusionEngine):
    """ImageModel over SD1.5-type weights."""

    def _load(self, folder: Path, dtype: torch.dtype) -> Any:
        return TextToImage.from_pretrained(
            folder,
            dtype=dtype,
            safety_checker=None,
            feature_extractor=None,
            image_encoder=None,
            requires_safety_checker=False,
            **quantised(self._spec),
            **LOCAL,
        )

    def _share(self, pipeline: Any) -> tuple[Any, Any]:
        components = {**pipeline.components, "requires_safety_checker": False}
        return ImageToImage(**components), Inpainting(**components)

    def _embed(self, text: str) -> TextEmbedding:
        pipeline = self._text_to_image
        embedding, _ = pipeline.encode_prompt(text, pipeline._execution_device, 1, False)
        return (embedding,)

    def _text_inputs(self, prompt: str, negative_prompt: str | None) -> dict[str, Any]:
        inputs: dict[str, Any] = {"prompt_embeds": self._remember_text(prompt)[0]}
        if negative_prompt is not None:
            inputs["negative_prompt_embeds"] = self._remember_text(negative_prompt)[0]
        return inputs


class StableDiffusionXlTextToImage(PreparedReferences, StableDiffusionXLPipeline):  # type: ignore[misc]
    """Stock text-to-image that takes each item's own references in a batch."""


class StableDiffusionXlImageToImage(NoisedStart, StableDiffusionXLImg2ImgPipeline):  # type: ignore[misc]
    """Stock image-to-image with our start noise."""


class StableDiffusionXlInpainting(NoisedInpaint, StableDiffusionXLInpaintPipeline):  # type: ignore[misc]
    """Stock inpainting with our start noise."""


class StableDiffusionXL(StableDiffusionEngine):
    """ImageModel over SDXL-type weights."""

    def _load(self, folder: Path, dtype: torch.dtype) -> Any:
        return StableDiffusionXlTextToImage.from_pretrained(
            folder,
            dtype=dtype,
            feature_extractor=None,
            image_encoder=None,
            add_watermarker=False,
            **quantised(self._spec),
            **LOCAL,
        )

    def _share(self, pipeline: Any) -> tuple[Any, Any]:
        components = {**pipeline.components, "add_watermarker": False}
        return StableDiffusionXlImageToImage(**components), StableDiffusionXlInpainting(**components)

    def _embed(self, text: str) -> TextEmbedding:
        embedding, _, pooled, _ = self._text_to_image.encode_prompt(text, do_classifier_free_guidance=False)
        return embedding, pooled

    def _text_inputs(self, prompt: str, negative_prompt: str | None) -> dict[str, Any]:
        embedding, pooled = self._remember_text(prompt)
        inputs: dict[str, Any] = {"prompt_embeds": embedding, "pooled_prompt_embeds": pooled}
        if negative_prompt is not None:
            negative, negative_pooled = self._negative(embedding, pooled, negative_prompt)
            inputs |= {"negative_prompt_embeds": negative, "negative_pooled_prompt_embeds": negative_pooled}
        return inputs

    def _negative(self, embedding: torch.Tensor, pooled: torch.Tensor, text: str) -> TextEmbedding:
        # SDXL was trained with zeros, not with the encoded empty text, for "no prompt".
        if not text and self._text_to_image.config.force_zeros_for_empty_prompt:
            return torch.zeros_like(embedding), torch.zeros_like(pooled)
        return self._remember_text(text)
