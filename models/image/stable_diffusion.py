"""Family `stable-diffusion`: the SD1.5 classes of diffusers (one CLIP text encoder, UNet, AutoencoderKL)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline

from models.image.engine import StableDiffusionEngine, TextEmbedding
from models.image.loading import LOCAL
from models.image.reference_adapter import PreparedReferences
from models.image.start_noise import NoisedInpaint, NoisedStart
from models.placement import quantised


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
