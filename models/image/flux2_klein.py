"""Family `flux2-klein`: Flux.2 [klein], which looks at several reference images beside the prompt (Qwen3 texts).

Text to image, or images of the same things anew: references are encoded by the VAE, joined to the latents as further
tokens, and never weighed. Latents are drawn as the VAE's, (32, height / 8, width / 8), and folded into patches of 2 x 2
for the pipeline. There is no start image and no mask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from diffusers import Flux2KleinPipeline
from PIL import Image

from models.diffusion.engine import LatentGrid, TextEmbedding
from models.diffusion.loading import load_pipeline
from models.diffusion.references import reference_images, reference_notes
from models.errors import InvalidRequest
from models.image.engine import ImageEngine
from models.interfaces import ImageRequest

PROMPT_TOKENS = 512
"""What the stock pipeline encodes, with the marks of its chat template."""
PATCH = 2
"""Latent cells per side that one token of the transformer holds."""
SHORTEST_SIDE, WIDEST_ASPECT = 64, 8
"""The stock pipeline refuses references that are smaller or longer."""
LARGEST_AREA = 1024 * 1024
"""Pixels to which the stock pipeline scales larger references down."""


class Flux2Klein(ImageEngine):
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
        images = reference_images(request.references, request.adapter)
        for number, image in images.items():
            width, height = image.size
            if min(width, height) < SHORTEST_SIDE or max(width, height) > WIDEST_ASPECT * min(width, height):
                raise InvalidRequest(
                    f"reference {number} is {width}x{height}; model {self._spec.name!r} takes sides of at least"
                    f" {SHORTEST_SIDE} pixels, one at most {WIDEST_ASPECT} times the other: scale or crop it"
                )
        # Above 1 without guidance the stock pipeline would warn of a scale that it does not use.
        scale = request.guidance_scale if self._guided(request) else 1.0
        whole = [_in_patches(image, self._grid.multiple) for image in images.values()]
        return {"image": whole or None, "guidance_scale": scale}

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        folded: torch.Tensor = self._pipeline._patchify_latents(latents)
        return folded

    def _unpacked(self, latents: torch.Tensor, request: ImageRequest) -> None:
        return None

    def _check(self, request: ImageRequest) -> None:
        name = self._spec.name
        if request.start:
            raise InvalidRequest(f"model {name!r} cannot start from an image; give that image as a reference instead")
        if request.inpaint:
            raise InvalidRequest(
                f"model {name!r} has no masks; give the image as a reference and say in the prompt what to change,"
                " or choose a model of the family flux or stable-diffusion"
            )
        super()._check(request)

    def _notes(self, request: ImageRequest) -> tuple[str, ...]:
        notes = [*super()._notes(request)]
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
