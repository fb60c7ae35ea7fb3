"""Start noise: a `NoiseSpec` becomes float32 latents on the CPU, whatever the device, the batch and the thread count.

z = sqrt(1 - a) * e(seed) + sqrt(a) * e(shared_seed) keeps the variance at 1 for every a, and two scenes that share
`shared_seed` correlate by a. (A plain lerp would have std 0.71 at a = 0.5 and wash the picture out.)

With a cut-off the same blend is done per frequency f of each frame's cells, and only low ones are shared:

    z(f) = sqrt(1 - a(f)) * e(seed)(f) + sqrt(a(f)) * e(shared_seed)(f),  a(f) = a / (1 + (|f| / cut-off)^8)

which is LP(shared) + HP(own) at a = 1, with the gains of a Butterworth filter of order 4 and of its complement in
power: their squares add up to 1 at every frequency, so that the noise stays white and its variance 1 without a factor.
Two scenes correlate by the mean of a(f) over all frequencies (`shared_correlation`).

Every frame has a generator of its own, keyed by (seed, frame): a longer clip begins with the noise of a shorter one,
and frame 0 is the noise of the still. Scaling by the scheduler's `init_noise_sigma` is left to the pipeline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.interfaces import NoiseSpec

FILTER_ORDER = 4
"""Of the Butterworth filter between what scenes share and what is their own: half the power passes at the cut-off."""


def draw_sound(spec: NoiseSpec, channels: int, bins: int, frames: int) -> torch.Tensor:
    """Noise of the sound of one clip, shape (channels, frames, bins), apart from that of its frames.

    It comes from the same integers as `draw`'s, so scenes that share noise share it in their sound too.
    """
    cells = [_draw_frame(spec, frame, (channels, 1, bins), "sound") for frame in range(frames)]
    return torch.cat(cells, dim=1)


def draw(spec: NoiseSpec, channels: int, height: int, width: int, frames: int | None = None) -> torch.Tensor:
    """Noise of one item, N(0, 1), float32, CPU.

    Sizes are in latent cells. Shape (channels, height, width), or (channels, frames, height, width) with `frames`.
    """
    if frames is None:
        return _draw_frame(spec, 0, (channels, height, width))
    return torch.stack([_draw_frame(spec, frame, (channels, height, width)) for frame in range(frames)], dim=1)


def draw_batch(
    specs: Sequence[NoiseSpec], channels: int, height: int, width: int, frames: int | None = None
) -> torch.Tensor:
    """Noise of several items, stacked: item k is bit-equal to `draw(specs[k], ...)`."""
    return torch.stack([draw(spec, channels, height, width, frames) for spec in specs])


def noise_sha256(latents: torch.Tensor) -> str:
    """sha256 of the values as little-endian float32, in C order; the shape does not enter."""
    values = latents.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()


def shared_correlation(spec: NoiseSpec, height: int, width: int) -> float:
    """How two noises of `height` x `width` cells correlate that have all of `spec` in common but their own seed."""
    if spec.shared_cutoff is None:
        return spec.shared_strength
    return float(_shares(spec.shared_strength, spec.shared_cutoff, height, width).mean())


def step_generator(spec: NoiseSpec) -> torch.Generator:
    """For schedulers that add noise between steps (Euler ancestral, SDE solvers): a stream apart from the start."""
    return _generator("steps", spec.seed, spec.shared_seed)


def _draw_frame(spec: NoiseSpec, frame: int, shape: tuple[int, int, int], purpose: str = "start") -> torch.Tensor:
    own = _unit_noise(spec.seed, frame, shape, purpose)
    if spec.shared_strength == 0.0 or spec.seed == spec.shared_seed:
        # One noise blended with itself is that noise; the formula, made for independent ones, would raise its variance.
        return own
    shared = _unit_noise(spec.shared_seed, frame, shape, purpose)
    if spec.shared_cutoff is not None:
        return _blend_by_frequency(own, shared, _shares(spec.shared_strength, spec.shared_cutoff, *shape[1:]))
    return sqrt(1.0 - spec.shared_strength) * own + sqrt(spec.shared_strength) * shared


def _shares(strength: float, cutoff: float, height: int, width: int) -> npt.NDArray[np.float64]:
    """The share a(f) of the common noise at each frequency, (height, width), in the order of `numpy.fft.fft2`."""
    if cutoff == 0.0:
        return np.zeros((height, width))
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    shares: npt.NDArray[np.float64] = strength / (1.0 + (radius / cutoff) ** (2 * FILTER_ORDER))
    return shares


def _blend_by_frequency(own: torch.Tensor, shared: torch.Tensor, shares: npt.NDArray[np.float64]) -> torch.Tensor:
    # NumPy's transform in float64: the same bits whatever the thread count, where torch's depends on how it was built.
    own_spectrum, shared_spectrum = (np.fft.fft2(noise.double().numpy()) for noise in (own, shared))
    mixed = np.sqrt(1.0 - shares) * own_spectrum + np.sqrt(shares) * shared_spectrum
    return torch.from_numpy(np.fft.ifft2(mixed).real.astype(np.float32))


def _unit_noise(seed: int, frame: int, shape: tuple[int, int, int], purpose: str) -> torch.Tensor:
    return torch.randn(shape, generator=_generator(purpose, seed, frame), dtype=torch.float32)


def _generator(purpose: str, *key: int) -> torch.Generator:
    # Hashed, because PyTorch's CPU generator takes only the low 32 bits of a seed: 1 and 2**32 + 1 would be equal.
    digest = hashlib.sha256(":".join([purpose, *map(str, key)]).encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class NoisedStart:
    """Pipeline mixin for image-to-image: takes clean latents as `image` and the noise, of their shape, as `latents`.

    SDEdit (arXiv 2108.01073): z_t = sqrt(abar_t) * z_image + sqrt(1 - abar_t) * noise, as the scheduler does it. The
    stock class draws its noise itself, and takes the size from the image.
    """

    scheduler: Any

    def __call__(self, *args: Any, latents: torch.Tensor, width: int, height: int, **kwargs: Any) -> Any:
        """The stock call, from `latents` as noise."""
        self._start_noise = latents
        stock: Any = super()
        return stock.__call__(*args, **kwargs)

    def prepare_latents(self, image: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Start latents: the image's with as much noise as its strength says."""
        noised: torch.Tensor = self.scheduler.add_noise(image, self._start_noise, timestep)
        return noised


class NoisedInpaint:
    """Pipeline mixin for inpainting: takes clean latents as `image` and `masked_image_latents`, noise as `latents`.

    The stock classes know UNets of nine input channels, which read the mask, and of four, which do not. A UNet of any
    other number works on latents of so many channels and does not read the mask: it is handled as one of four.
    """

    scheduler: Any
    unet: Any
    vae: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The stock call, for any number of latent channels."""
        stock: Any = super()
        channels: int = self.unet.config.in_channels
        if channels in (4, 9):
            return stock.__call__(*args, **kwargs)
        before = self.unet._internal_dict
        self.unet.register_to_config(in_channels=4)
        # An IP-Adapter's loader notes its type as an attribute, not as an entry, so that it would be lost.
        self.unet.config.encoder_hid_dim_type = before.encoder_hid_dim_type
        try:
            return stock.__call__(*args, **kwargs)
        finally:
            self.unet._internal_dict = before

    def prepare_latents(
        self, *args: Any, image: torch.Tensor, timestep: torch.Tensor, is_strength_max: bool, **kwargs: Any
    ) -> tuple[torch.Tensor, ...]:
        """Start latents, noise, clean latents. Strength 1 starts from pure noise, less from the noised image."""
        stock: Any = super()
        if image.shape[1] == 4:
            start, noise, clean = stock.prepare_latents(
                *args, image=image, timestep=timestep, is_strength_max=is_strength_max, **kwargs
            )
        else:
            # The stock method would encode what it does not take for latents. Its eighth argument is the noise.
            noise, clean = args[7], image
            start = noise * self.scheduler.init_noise_sigma
        if not is_strength_max:
            start = self.scheduler.add_noise(clean, noise, timestep)
        return start, noise, clean

    def prepare_mask_latents(
        self, mask: torch.Tensor, masked_image: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, ...]:
        """The mask in latent cells. The masked image's latents matter to UNets that read them, which have four."""
        stock: Any = super()
        four = masked_image[:, :4] if masked_image.shape[1] == self.vae.config.latent_channels else masked_image
        prepared: tuple[torch.Tensor, ...] = stock.prepare_mask_latents(mask, four, *args, **kwargs)
        return prepared
