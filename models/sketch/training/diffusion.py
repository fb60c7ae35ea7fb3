"""What all diffusion stages share: the noise schedule, the loss, the text encoder and the sampling scheduler.

Knows nothing of pictures or clips. v-prediction on a schedule that ends in pure noise: otherwise a model never sees a
scene without a trace of its mean brightness, and night and snow both come out grey.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch.nn import functional as F
from transformers import CLIPTextModel

from models.sketch.training import data, loop, thumbnail
from models.sketch.training.loop import EXPORTS, as_tensor

SNR_CAP = 5.0
MIDDLE = 0.45


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


def weights(schedule: DDIMScheduler, timesteps: torch.Tensor) -> torch.Tensor:
    """Loss weights: 1 where noise rules, falling where the picture is almost clean and v is almost noise."""
    alpha = schedule.alphas_cumprod[timesteps]
    snr = alpha / (1 - alpha)
    return torch.clamp((SNR_CAP + 1) / (snr + 1), max=1.0)


def _triangular(share: torch.Tensor) -> torch.Tensor:
    """Quantiles of the triangular distribution over 0 to 1 that peaks at `MIDDLE`."""
    rising = (share * MIDDLE).sqrt()
    return torch.where(share < MIDDLE, rising, 1 - ((1 - share) * (1 - MIDDLE)).sqrt())


def noised(
    schedule: DDIMScheduler, clean: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy latents, timesteps (strata over the batch) and the v target.

    A third of the timesteps are the likelier the noisier: what a prompt decides is decided early. The others lie around
    `MIDDLE`, where handles, lids and dials form. With all of the first kind, colours and settings were right after
    4,600 steps and half of the shapes, of seen combinations too, lacked their small parts.
    """
    count = len(clean)
    strata = (torch.arange(count) + torch.rand((), generator=generator)) / count
    strata = strata[torch.randperm(count, generator=generator)]
    early = torch.rand(count, generator=generator) < 1 / 3
    timesteps = (torch.where(early, strata.sqrt(), _triangular(strata)) * 1000).long().clamp(max=999)
    noise = torch.randn(clean.shape, generator=generator)
    return (
        schedule.add_noise(clean, noise, timesteps),
        timesteps,
        schedule.get_velocity(clean, noise, timesteps),
    )


def loss(
    schedule: DDIMScheduler,
    out: torch.Tensor,
    target: torch.Tensor,
    timesteps: torch.Tensor,
    emphasis: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weighted v loss; `emphasis` weighs places of the picture."""
    error = (out - target).square()
    if emphasis is not None:
        error = error * (emphasis / emphasis.mean())
    return (weights(schedule, timesteps) * error.flatten(1).mean(1)).mean()


def hidden_states(encoder: CLIPTextModel, ids: torch.Tensor) -> torch.Tensor:
    """Per-token states as Stable Diffusion takes them."""
    states: torch.Tensor = encoder(input_ids=ids).last_hidden_state
    return states


BATCH = 8
NOISE = 0.05
"""Spread of the noise on latents in training: what a diffusion model hands over is not exact either."""


@torch.no_grad()
def psnr(vae: AutoencoderKL, pixels: torch.Tensor) -> float:
    """Mean over pictures of the PSNR in dB of the mean reconstruction, at 8 bits."""
    total = 0.0
    for batch in torch.split(pixels, 20):
        out = vae.decode(vae.encode(batch).latent_dist.mode()).sample.clamp(-1, 1)
        error = ((out - batch) / 2).square().mean(dim=(1, 2, 3))
        total += float((-10 * error.log10()).sum())
    return total / len(pixels)


def export(vae: AutoencoderKL) -> None:
    vae.save_pretrained(EXPORTS / "image/vae", safe_serialization=True)


def main() -> None:
    args = loop.arguments("vae", steps=6000, minutes=30)
    vae = thumbnail.network().to(args.device)
    run = loop.Run(vae, args, lr=2e-3, decay=0.995)
    rng = np.random.default_rng(args.seed + run.step)
    held_out = {a: as_tensor(data.pictures("heldout", a)[:40]) for a in data.SHARES}

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        pictures = data.pictures("train", data.bucket(rng))
        batch = as_tensor(pictures[np.sort(rng.integers(len(pictures), size=args.batch or BATCH))])
        latents = thumbnail.encode(batch)
        latents = latents + NOISE * rng.random() * torch.randn_like(latents)
        with torch.autocast(args.device.split(":")[0], dtype=torch.bfloat16):
            out = vae.decode(latents.to(args.device)).sample
        out = out.float().cpu()
        square = F.mse_loss(out, batch)
        return F.l1_loss(out, batch) + 3 * square, {"psnr": -10 * math.log10(float(square.detach()) / 4)}

    def check() -> dict[str, float]:
        averaged = run.averaged()
        return {f"heldout_psnr_{a}": psnr(averaged, pixels) for a, pixels in held_out.items()}

    if not args.export:
        run.train(step, check=check)
    export(run.averaged())


if __name__ == "__main__":
    main()
