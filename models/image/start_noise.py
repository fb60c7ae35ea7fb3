"""Stock pipelines that start from our noise where the stock class would draw its own.

Text-to-image takes start noise as `latents`. Image-to-image has no such parameter, and inpainting ignores the image's
own latents when it is given one, so both get a `prepare_latents` of their own. Everything else is the stock class.
Works for the SD1.5 and the SDXL classes alike. Knows no request.
"""

from __future__ import annotations

from typing import Any

import torch


class NoisedStart:
    """Image-to-image: pass clean latents as `image` and set `start_noise`, of the same shape, before the call.

    SDEdit (arXiv 2108.01073): z_t = sqrt(abar_t) * z_image + sqrt(1 - abar_t) * noise, as the scheduler does it.
    """

    scheduler: Any
    start_noise: torch.Tensor

    def prepare_latents(self, image: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        noised: torch.Tensor = self.scheduler.add_noise(image, self.start_noise, timestep)
        return noised


class NoisedInpaint:
    """Inpainting: pass clean latents as `image` and the noise as `latents`."""

    scheduler: Any

    def prepare_latents(
        self, *args: Any, image: torch.Tensor, timestep: torch.Tensor, is_strength_max: bool, **kwargs: Any
    ) -> tuple[torch.Tensor, ...]:
        """Start latents, noise, clean latents. Strength 1 starts from pure noise, less from the noised image."""
        stock: Any = super()
        start, noise, clean = stock.prepare_latents(
            *args, image=image, timestep=timestep, is_strength_max=is_strength_max, **kwargs
        )
        if not is_strength_max:
            start = self.scheduler.add_noise(clean, noise, timestep)
        return start, noise, clean
