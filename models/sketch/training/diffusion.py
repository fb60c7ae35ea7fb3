"""What all diffusion stages share: the noise schedule, noising and the loss, on any device and without a host sync.

v-prediction on a schedule that ends in pure noise: otherwise a model never sees a scene without a trace of its mean
brightness, and night and snow both come out grey.
"""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler

SNR_CAP = 5.0
MIDDLE = 0.45
"""Where two thirds of the timesteps lie: there small parts (handles, lids, dials) form."""
SETTLED = 450
"""Below this timestep the noise shows where the product is, and each picture's own place is weighed; above it, where
products usually are. A weight that knows more than the model favours "product" wherever that is still open."""
PRODUCT = 5.0
"""Extra weight of the product's place."""


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


class Noising:
    """Noisy latents, targets and losses with the schedule's table on the device."""

    def __init__(self, device: torch.device) -> None:
        self.alphas = scheduler().alphas_cumprod.to(device=device, dtype=torch.float32)

    def timesteps(self, count: int) -> torch.Tensor:
        """Strata over the batch, which is in random order already; a third the likelier the noisier, for what a prompt
        decides is decided early, the others around `MIDDLE`."""
        device = self.alphas.device
        strata = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
        early = torch.rand(count, device=device) < 1 / 3
        rising = (strata * MIDDLE).sqrt()
        triangular = torch.where(strata < MIDDLE, rising, 1 - ((1 - strata) * (1 - MIDDLE)).sqrt())
        return (torch.where(early, strata.sqrt(), triangular) * 1000).long().clamp(max=999)

    def noised(self, clean: torch.Tensor, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Noisy latents and the v target; `timesteps` has one value for each row."""
        alpha = self.alphas[timesteps].view(-1, *(1,) * (clean.ndim - 1))
        noise = torch.randn_like(clean)
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise, alpha.sqrt() * noise - (1 - alpha).sqrt() * clean

    def loss(
        self,
        out: torch.Tensor,
        target: torch.Tensor,
        timesteps: torch.Tensor,
        emphasis: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Weighted v loss: 1 where noise rules, falling where the picture is almost clean and v is almost noise."""
        alpha = self.alphas[timesteps]
        snr = alpha / (1 - alpha)
        error = (out.float() - target).square()
        if emphasis is not None:
            error = error * (emphasis / emphasis.mean())
        return (torch.clamp((SNR_CAP + 1) / (snr + 1), max=1.0) * error.flatten(1).mean(1)).mean()


def emphasis(timesteps: torch.Tensor, own: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """Loss weight of each place: the picture's own product where the noise shows it, else the usual place."""
    return 1 + PRODUCT * torch.where((timesteps < SETTLED)[:, None, None, None], own, usual)
