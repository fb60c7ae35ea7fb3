"""Pixels to latents with an `AutoencoderKL`, without chance: the posterior's mode, where pipelines would sample."""

from __future__ import annotations

from typing import Any

import torch


def encode(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Scaled latents, shape (n, channels, height / f, width / f), of pixels in -1..1 of shape (n, 3, height, width).

    SDXL's VAE overflows in float16 and says so (`force_upcast`): it encodes in float32 then.
    """
    dtype = vae.dtype
    upcast = dtype == torch.float16 and vae.config.force_upcast
    if upcast:
        vae.to(torch.float32)
    mode: torch.Tensor = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
    if upcast:
        vae.to(dtype)
    return _normalise(vae, mode.to(dtype))


def _normalise(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    scale: float = vae.config.scaling_factor
    if vae.config.latents_mean is None or vae.config.latents_std is None:
        return latents * scale
    mean, std = (
        torch.tensor(values, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return (latents - mean) * scale / std
