"""Clean latents of pictures: from pixels with an `AutoencoderKL`, and as bytes that one call hands to another.

Encoding is deterministic: the posterior's mode, where pipelines would sample.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from models.errors import InvalidRequest

TENSOR = "latents"


def encode(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Scaled latents, shape (n, channels, height / f, width / f), of pixels in -1..1 of shape (n, 3, height, width).

    SDXL's VAE overflows in float16 and says so (`force_upcast`): it encodes in float32 then.
    """
    dtype = vae.dtype
    upcast = dtype == torch.float16 and vae.config.force_upcast
    if upcast:
        vae.to(torch.float32)
    # An offloaded VAE lies on the CPU and works elsewhere.
    device = getattr(getattr(vae, "_hf_hook", None), "execution_device", None) or vae.device
    mode: torch.Tensor = vae.encode(pixels.to(device, vae.dtype)).latent_dist.mode()
    if upcast:
        vae.to(dtype)
    return _normalise(vae, mode.to(dtype))


def pack(latents: torch.Tensor) -> bytes:
    """Latents of one picture or clip, in latent cells, as a safetensors file in float32."""
    data: bytes = save({TENSOR: latents.detach().to("cpu", torch.float32).contiguous()})
    return data


def unpack(data: bytes, shape: tuple[int, ...]) -> torch.Tensor:
    """The float32 tensor that `pack` packed, on the CPU. Raises InvalidRequest unless it is whole and of `shape`."""
    try:
        tensors: dict[str, torch.Tensor] = load(data)
    except SafetensorError as error:
        raise InvalidRequest(
            f"the start latents cannot be read ({error}); give what `keep_latents` returned"
        ) from error
    latents = tensors.get(TENSOR)
    if latents is None or len(tensors) != 1 or latents.dtype != torch.float32:
        raise InvalidRequest(
            f"the start latents hold {sorted(tensors)}, not one float32 tensor {TENSOR!r};"
            " give what `keep_latents` returned"
        )
    if latents.shape != shape:
        raise InvalidRequest(
            f"the start latents have the shape {tuple(latents.shape)}, but this model at this size starts from {shape};"
            " use latents of the same model and size, or a start image"
        )
    if not bool(latents.isfinite().all()):
        raise InvalidRequest("the start latents hold values that are not finite; give what `keep_latents` returned")
    return latents


def begin_within(scheduler: Any, clean: torch.Tensor, noise: torch.Tensor, steps: int, of: int) -> torch.Tensor:
    """Have `scheduler` run the last `steps` of its `of` steps in the next call; gives what they start from.

    SDEdit (arXiv 2108.01073) for pipelines that take no strength: `clean` with as much of `noise` as the first of those
    steps expects. Only for that one call: the scheduler is changed.
    """
    scheduler.set_timesteps(of)
    begin = len(scheduler.timesteps) - steps * scheduler.order
    timestep = scheduler.timesteps[begin : begin + 1]
    mix = getattr(scheduler, "scale_noise", None)  # flow matching; the others say add_noise
    noised: torch.Tensor = mix(clean, timestep, noise) if mix else scheduler.add_noise(clean, noise, timestep)
    whole = scheduler.set_timesteps

    def the_rest(*args: Any, **kwargs: Any) -> None:
        whole(*args, **kwargs)
        scheduler.timesteps = scheduler.timesteps[begin:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)

    scheduler.set_timesteps = the_rest
    return noised


def _normalise(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    scale: float = vae.config.scaling_factor
    if vae.config.latents_mean is None or vae.config.latents_std is None:
        return (latents - (vae.config.shift_factor or 0.0)) * scale
    mean, std = (
        torch.tensor(values, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return (latents - mean) * scale / std
