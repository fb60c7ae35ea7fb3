"""Family `flux2-klein`: Flux.2 [klein], which looks at several pictures beside the prompt (Qwen3 texts).

References are encoded by the VAE, joined to the latents as further tokens, and never weighed. Inside a mask the picture
to repaint is the first of them, before the references, as `Flux2KleinInpaintPipeline` does it. Latents are the VAE's,
(32, height / 8, width / 8), normalised, and folded into patches of 2 x 2 for the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from diffusers import Flux2KleinPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from PIL import Image

from models.diffusion.engine import LatentGrid, TextEmbedding
from models.diffusion.latents import execution_device
from models.diffusion.loading import load_pipeline
from models.diffusion.references import reference_images, reference_notes
from models.errors import InvalidRequest
from models.image.engine import negative_prompt_note
from models.image.flow_matching import FlowMatchingEngine, canvas
from models.interfaces import ImageRequest

PROMPT_TOKENS = 512
"""What the stock pipeline encodes, with the marks of its chat template."""
PATCH = 2
"""Latent cells per side that one token of the transformer holds."""
SHORTEST_SIDE, WIDEST_ASPECT = 64, 8
"""The stock pipeline refuses pictures that are smaller or longer."""
LARGEST_AREA = 1024 * 1024
"""Pixels to which the stock pipeline scales larger pictures down."""


class Flux2Klein(FlowMatchingEngine):
    """ImageModel over Flux.2 [klein] weights, distilled (no guidance) or base, in the part `main`."""

    prompt_tokens = PROMPT_TOKENS

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        # diffusers 0.42.1 takes its first block's output for a tensor, as its last block's is; here it is a pair.
        if (self._spec.acceleration.cache or {}).get("class") == "FirstBlockCacheConfig":
            raise InvalidRequest(
                f"model {self._spec.name!r}: `acceleration.cache: FirstBlockCacheConfig` does not fit Flux.2's blocks;"
                " use another cache, such as TaylorSeerCacheConfig, or none"
            )
        return load_pipeline(Flux2KleinPipeline, self._spec, folders, dtype)

    def _latent_grid(self) -> LatentGrid:
        side: int = self._pipeline.vae_scale_factor
        return LatentGrid(self._pipeline.vae.config.latent_channels, side, side * PATCH)

    def _encode_text(self, text: str) -> TextEmbedding:
        return (self._pipeline.encode_prompt(text, max_sequence_length=PROMPT_TOKENS)[0],)

    def _guided(self, request: ImageRequest) -> bool:
        return super()._guided(request) and not self._pipeline.config.is_distilled

    def _condition(self, request: ImageRequest) -> dict[str, Any]:
        images = {f"reference {n}": image for n, image in reference_images(request.references, request.adapter).items()}
        if request.inpaint:
            images = {"the image to inpaint": canvas(request.inpaint, request.width, request.height), **images}
        for name, image in images.items():
            width, height = image.size
            if min(width, height) < SHORTEST_SIDE or max(width, height) > WIDEST_ASPECT * min(width, height):
                raise InvalidRequest(
                    f"{name} is {width}x{height}; model {self._spec.name!r} takes sides of at least"
                    f" {SHORTEST_SIDE} pixels, one at most {WIDEST_ASPECT} times the other: scale or crop it"
                )
        # Above 1 without guidance the stock pipeline would warn of a scale that it does not use.
        scale = request.guidance_scale if self._guided(request) else 1.0
        whole = [_in_patches(image, self._grid.multiple) for image in images.values()]
        return {"image": whole or None, "guidance_scale": scale}

    def _shift(self, tokens: int, steps: int) -> float:
        shift: float = compute_empirical_mu(image_seq_len=tokens, num_steps=steps)
        return shift

    def _clean(self, image: Any) -> torch.Tensor:
        vae = self._pipeline.vae
        pixels = self._pipeline.image_processor.preprocess(image).to(execution_device(vae), vae.dtype)
        # Normalised in patches, by the mean and variance of the VAE's batch norm.
        patches = self._pipeline._encode_vae_image(pixels, generator=None)
        clean: torch.Tensor = self._pipeline._unpatchify_latents(patches)
        return clean

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        folded: torch.Tensor = self._pipeline._patchify_latents(latents)
        return folded

    def _tokens(self, latents: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self._pipeline._pack_latents(self._packed(latents))
        return tokens

    def _unpacked(self, latents: torch.Tensor, request: ImageRequest) -> torch.Tensor:
        side = self._grid.multiple
        rows, columns = request.height // side, request.width // side
        patches = latents.permute(0, 2, 1).reshape(1, -1, rows, columns)
        unfolded: torch.Tensor = self._pipeline._unpatchify_latents(patches)
        return unfolded

    def _notes(self, request: ImageRequest) -> tuple[str, ...]:
        notes = [*super()._notes(request)]
        if self._pipeline.config.is_distilled and request.guidance_scale > 1:
            notes.append(
                f"guidance_scale {request.guidance_scale:g} had no effect: these weights know no guidance; use 1"
            )
        if request.negative_prompt and not self._guided(request):
            notes.append(negative_prompt_note(request))
        return (*notes, *reference_notes(request.references, request.adapter))

    def _as_read(self, text: str) -> str:
        chat = [{"role": "user", "content": text}]
        options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        read: str = self._pipeline.tokenizer.apply_chat_template(chat, **options)
        return read


def _in_patches(image: Image.Image, step: int) -> Image.Image:
    """`image` in a size that the stock pipeline takes as it is: of any other it cuts up to `step` - 1 pixels off."""
    scale = min(1.0, sqrt(LARGEST_AREA / (image.width * image.height)))
    width, height = (round(side * scale / step) * step for side in image.size)
    if width * height > LARGEST_AREA:
        width, height = (int(side * scale) // step * step for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
