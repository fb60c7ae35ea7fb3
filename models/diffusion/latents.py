"""Clean latents of pictures: from pixels with an `AutoencoderKL`, and as bytes that one call hands to another.

Encoding is deterministic: the posterior's mode, where pipelines would sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
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
    mode: torch.Tensor = vae.encode(pixels.to(execution_device(vae), vae.dtype)).latent_dist.mode()
    if upcast:
        vae.to(dtype)
    return _normalise(vae, mode.to(dtype))


def pack(latents: torch.Tensor, **others: torch.Tensor) -> bytes:
    """Latents of one picture or clip, in latent cells, and `others` by name, as a safetensors file in float32."""
    tensors = {TENSOR: latents, **others}
    data: bytes = save({name: each.detach().to("cpu", torch.float32).contiguous() for name, each in tensors.items()})
    return data


def unpack(data: bytes, shape: tuple[int, ...]) -> torch.Tensor:
    """The only tensor that `pack` packed. Raises InvalidRequest as `unpack_all`."""
    return unpack_all(data, {TENSOR: shape})[TENSOR]


def unpack_all(data: bytes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The float32 tensors that `pack` packed, on the CPU.

    Raises InvalidRequest unless they are those of `shapes`, whole and finite.
    """
    try:
        tensors: dict[str, torch.Tensor] = load(data)
    except SafetensorError as error:
        raise InvalidRequest(
            f"the start latents cannot be read ({error}); give what `keep_latents` returned"
        ) from error
    if tensors.keys() != shapes.keys() or any(each.dtype != torch.float32 for each in tensors.values()):
        wanted = f"one float32 tensor {TENSOR!r}" if len(shapes) == 1 else f"the float32 tensors {sorted(shapes)}"
        raise InvalidRequest(
            f"the start latents hold {sorted(tensors)}, not {wanted}; give what `keep_latents` returned"
        )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise InvalidRequest(
                f"the start {name} have the shape {tuple(tensors[name].shape)}, but this model at this size starts from"
                f" {shape}; use latents of the same model and size, or a start image"
            )
        if not bool(tensors[name].isfinite().all()):
            raise InvalidRequest(f"the start {name} hold values that are not finite; give what `keep_latents` returned")
    return tensors


def begin_within(
    scheduler: Any, clean: torch.Tensor, noise: torch.Tensor, steps: int, of: int, **schedule: Any
) -> torch.Tensor:
    """Have `scheduler` run the last `steps` of its `of` steps in the next call; gives what they start from.

    SDEdit (arXiv 2108.01073) for pipelines that take no strength: `clean` with as much of `noise` as the first of those
    steps expects. Only for that one call: the scheduler is changed. `schedule`: what the pipeline will give
    `set_timesteps` beside the number of steps, such as `sigmas` and `mu`.
    """
    scheduler.set_timesteps(of, **schedule)
    begin = len(scheduler.timesteps) - steps * scheduler.order
    timestep = scheduler.timesteps[begin : begin + 1]
    mix = getattr(scheduler, "scale_noise", None)  # flow matching; the others say add_noise
    noised: torch.Tensor = mix(clean, timestep, noise) if mix else scheduler.add_noise(clean, noise, timestep)
    whole, begin_at = scheduler.set_timesteps, getattr(scheduler, "set_begin_index", None)

    @wraps(whole)  # pipelines ask for its signature
    def the_rest(*args: Any, **kwargs: Any) -> None:
        whole(*args, **kwargs)
        scheduler.timesteps = scheduler.timesteps[begin:]
        if begin_at:
            begin_at(begin)

    scheduler.set_timesteps = the_rest
    if begin_at:
        # Some pipelines set the index of their first step themselves, to 0.
        scheduler.set_begin_index = lambda index=0: begin_at(begin + index)
    return noised


def keep_outside(scheduler: Any, clean: torch.Tensor, noise: torch.Tensor, mask: torch.Tensor) -> None:
    """Have `scheduler`, of a flow-matching model, keep `clean` where `mask` is 0 after every step of the next call.

    All tensors are laid out as the pipeline gives latents to `step`. After each step, what is kept has as much of
    `noise` as the next one expects, and none after the last (blended diffusion, arXiv 2111.14818). Only for that one
    call: the scheduler is changed.
    """
    step = scheduler.step

    def step_within(
        output: Any, timestep: torch.Tensor, sample: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        moved, *rest = step(output, timestep, sample, *args, **kwargs | {"return_dict": False})
        # The scheduler has counted the step already, and takes its own index before the timestep given here.
        kept = scheduler.scale_noise(clean.to(moved), timestep.reshape(1), noise.to(moved))
        return (1 - mask.to(moved)) * kept + mask.to(moved) * moved, *rest

    scheduler.step = step_within


def execution_device(vae: Any) -> torch.device:
    """Where `vae` computes: an offloaded one lies on the CPU, or nowhere between calls, and works elsewhere."""
    for module in vae.modules():
        # Sequential offload gives a device to the hooks of the layers only, not to that of the whole.
        device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    own: torch.device = vae.device
    return own


def _normalise(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    scale: float = vae.config.scaling_factor
    if vae.config.latents_mean is None or vae.config.latents_std is None:
        return (latents - (vae.config.shift_factor or 0.0)) * scale
    mean, std = (
        torch.tensor(values, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return (latents - mean) * scale / std
