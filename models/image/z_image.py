"""Family `z-image`: Z-Image (Qwen3 texts, one transformer over unpacked latents), also from an image or inside a mask.

Turbo weights are distilled: eight steps, guidance 0. `guidance_scale` is the published one, whose 0 is no guidance and
whose s is s + 1 elsewhere: v = v_text + s * (v_text - v_negative). Latents are (16, height / 8, width / 8). No
references: the Omni weights that take them are not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ZImageImg2ImgPipeline, ZImageInpaintPipeline, ZImagePipeline

from models.diffusion.engine import LatentGrid, TextEmbedding
from models.diffusion.loading import load_pipeline
from models.image.engine import ImageEngine, negative_prompt_note, steps_rounded_up
from models.interfaces import ImageRequest

PROMPT_TOKENS = 512
"""What the stock pipeline encodes, with the marks of its chat template."""
PATCH = 2
"""Latent cells per side that one token of the transformer holds."""


class ZImageToImage(ZImageImg2ImgPipeline):  # type: ignore[misc]
    """Stock image-to-image: `image` is clean latents, `latents` our start noise.

    SDEdit for flows: x_t = (1 - sigma) * image + sigma * noise. The stock class takes `latents` for noised ones.
    """

    def prepare_latents(self, image: torch.Tensor, timestep: torch.Tensor, *args: Any) -> torch.Tensor:
        """Start latents, in float32 as the stock class wants them."""
        *_, noise = args
        noised: torch.Tensor = self.scheduler.scale_noise(image.to(noise), timestep, noise)
        return noised


class ZImageInpainting(ZImageInpaintPipeline):  # type: ignore[misc]
    """Stock inpainting: `image` is clean latents, `latents` our start noise; the transformer never sees the mask."""

    def prepare_latents(self, image: torch.Tensor, timestep: torch.Tensor, *args: Any) -> tuple[torch.Tensor, ...]:
        """Start latents, noise and clean latents."""
        *_, noise = args
        clean = image.to(noise)
        return self.scheduler.scale_noise(clean, timestep, noise), noise, clean

    def prepare_mask_latents(
        self, mask: torch.Tensor, masked_image: torch.Tensor, batch_size: int, height: int, width: int,
        dtype: torch.dtype, device: torch.device, generator: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """The mask in latent cells. The stock class also encodes the masked image, which nothing reads."""
        cells = torch.nn.functional.interpolate(mask, size=masked_image.shape[-2:], mode="nearest")
        return cells.to(device, dtype), masked_image


class ZImage(ImageEngine):
    """ImageModel over Z-Image weights in the part `main`."""

    prompt_tokens = PROMPT_TOKENS

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        return load_pipeline(ZImagePipeline, self._spec, folders, dtype)

    def _variants(self) -> tuple[Any, ...]:
        variants = ZImageToImage(**self._pipeline.components), ZImageInpainting(**self._pipeline.components)
        for variant in variants:
            # Otherwise latents of sixteen channels are taken for pictures.
            variant.image_processor.register_to_config(vae_latent_channels=self._pipeline.vae.config.latent_channels)
        return variants

    def _latent_grid(self) -> LatentGrid:
        side: int = self._pipeline.vae_scale_factor
        return LatentGrid(self._pipeline.vae.config.latent_channels, side, side * PATCH)

    def _encode_text(self, text: str) -> TextEmbedding:
        """Shape (tokens, width): as many as the text has."""
        options = {"do_classifier_free_guidance": False, "max_sequence_length": PROMPT_TOKENS}
        (embedding,), _ = self._pipeline.encode_prompt(text, **options)
        return (embedding,)

    def _text_inputs(self, request: ImageRequest) -> dict[str, Any]:
        # Lists, for texts of different lengths.
        return {name: [embedding] for name, embedding in super()._text_inputs(request).items()}

    def _guided(self, request: ImageRequest) -> bool:
        return request.guidance_scale > 0

    def _steps(self, request: ImageRequest) -> int:
        return steps_rounded_up(request)

    def _on_device(self, latents: torch.Tensor) -> torch.Tensor:
        # In float32 between the steps, whatever the transformer computes in.
        return latents.to(self._pipeline._execution_device, torch.float32)

    def _as_read(self, text: str) -> str:
        chat = [{"role": "user", "content": text}]
        options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": True}
        read: str = self._pipeline.tokenizer.apply_chat_template(chat, **options)
        return read

    def _notes(self, request: ImageRequest) -> tuple[str, ...]:
        notes = super()._notes(request)
        if request.negative_prompt and not self._guided(request):
            return (*notes, negative_prompt_note(request))
        return notes
