"""Stage 1: the autoencoder's decoder (stock `AutoencoderKL`, factor 4; stock inpainting demands 4 latent channels).

`python -m models.sketch.train.vae`. The encoder is a fixed linear map (`thumbnail`), so no other stage waits for this
one. L1 + L2 reconstruction and no adversary: 64-pixel scenes need no invented texture. Steps run in bfloat16 autocast,
1.5 times faster on a core with AVX-512 bfloat16.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from models.sketch.train import data, loop, thumbnail
from models.sketch.train.paths import EXPORTS, as_tensor

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
