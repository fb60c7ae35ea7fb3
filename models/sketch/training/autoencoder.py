"""The autoencoder: trained whole at first, then the encoder is frozen and its decoder goes on to the end.

Latents are kept near mean 0 and spread 1 by a penalty, and decoded with noise on them; a smaller picture must decode
from averaged latents, which keeps them smooth and easy for a diffusion model (EQ-VAE, arXiv 2502.09509). No adversary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional as F

from models.sketch.training.networks import FACTOR, LATENTS
from models.sketch.training.shelf import Shelf, as_tensor

NOISE = 0.1
"""Most spread of the noise on latents in training: what a diffusion model hands over is not exact either. At 0.2 the
encoder had to say everything twice, and pictures came back at 26.4 dB."""
SMALL = 0.25
ANCHOR = 0.5
COLOURS = ((0.7, 0.7, 0.7), (1.93, -0.97, -0.97), (-0.87, -0.87, 1.73))
"""The first three latent channels: a cell's mean brightness and two colour differences, each with a spread of about 1.
Left to itself an encoder learns form first and has little room for the colours of small products."""
LOGVAR = -12.0
CHUNK = 128


def half(device: torch.device) -> torch.autocast:
    """bfloat16 on CUDA, plain float32 elsewhere."""
    return torch.autocast("cuda" if device.type == "cuda" else "cpu", torch.bfloat16, enabled=device.type == "cuda")


class HalfGroupNorm(nn.GroupNorm):
    """A group norm that takes and gives bfloat16, where autocast would widen both to float32.

    Its sums are float32 inside the kernel in any case; what is saved is half of the traffic that models this small
    wait for.
    """

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.dtype != torch.bfloat16:
            return super().forward(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            scale, shift = self.weight.to(pixels.dtype), self.bias.to(pixels.dtype)
            return F.group_norm(pixels, self.num_groups, scale, shift, self.eps)


def norms_in_half(model: nn.Module) -> None:
    """Make every group norm of `model` a `HalfGroupNorm`; its weights and their names stay."""
    for module in model.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = HalfGroupNorm


def latents(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """The posterior's mode, as the engine encodes."""
    moments: torch.Tensor = vae.quant_conv(vae.encoder(pixels))
    return moments[:, :LATENTS]


@torch.no_grad()
def encoded(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """Latents of n x height x width x 3 bytes, in float32 arithmetic, as bfloat16 on CUDA."""
    found = [
        latents(vae, as_tensor(part).contiguous(memory_format=torch.channels_last))
        for part in torch.split(pictures, CHUNK)
    ]
    return torch.cat(found).to(torch.bfloat16 if pictures.device.type == "cuda" else torch.float32)


def anchors(pixels: torch.Tensor, mixing: torch.Tensor) -> torch.Tensor:
    """What the first three channels are held to."""
    return torch.einsum("ij,bjhw->bihw", mixing, F.avg_pool2d(pixels, FACTOR))


def slopes(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return pictures[..., 1:] - pictures[..., :-1], pictures[..., 1:, :] - pictures[..., :-1, :]


def difference(out: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """L1 and L2, and L1 of slopes, which is what keeps edges sharp."""
    across, down = (F.l1_loss(a, b) for a, b in zip(slopes(out), slopes(wanted), strict=True))
    return F.l1_loss(out, wanted) + 2 * F.mse_loss(out, wanted) + 0.5 * (across + down)


class Reconstruction:
    """The steps of both stages over one VAE."""

    def __init__(self, vae: AutoencoderKL, shelves: Mapping[str, Shelf], batch: int, device: torch.device) -> None:
        self.vae, self.shelves, self.batch, self.device = vae, shelves, batch, device
        self.mixing = torch.tensor(COLOURS, device=device)

    def _pixels(self, aspect: str) -> torch.Tensor:
        shelf = self.shelves[aspect]
        pictures = shelf["pixels"][shelf.draw(self.batch, ready=False)]
        return as_tensor(pictures).contiguous(memory_format=torch.channels_last)

    def whole(self, aspect: str) -> torch.Tensor:
        """Encoder and decoder together."""
        pixels = self._pixels(aspect)
        with half(self.device):
            clean = latents(self.vae, pixels)
            near = clean.float()
            spread = near.var(dim=(0, 2, 3)) + 1e-6
            mean = near.mean(dim=(0, 2, 3))
            noisy = near + NOISE * torch.rand(len(near), 1, 1, 1, device=self.device) * torch.randn_like(near)
            out = self.vae.decode(noisy).sample
            small = self.vae.decode(F.avg_pool2d(near, 2)).sample
        held = F.mse_loss(near[:, :3], anchors(pixels, self.mixing))
        loss = (
            ANCHOR * held + difference(out.float(), pixels) + SMALL * difference(small.float(), F.avg_pool2d(pixels, 2))
        )
        return loss + 0.02 * (spread.log().square().mean() + mean.square().mean())

    def decoder(self, aspect: str) -> torch.Tensor:
        """The decoder alone, from the frozen encoder's latents."""
        pixels = self._pixels(aspect)
        with half(self.device):
            with torch.no_grad():
                clean = latents(self.vae, pixels).float()
            level = NOISE * torch.rand(len(clean), 1, 1, 1, device=self.device)
            out = self.vae.decode(clean + level * torch.randn_like(clean)).sample
        return difference(out.float(), pixels)


@torch.no_grad()
def normalise(vae: AutoencoderKL, pictures: list[torch.Tensor]) -> None:
    """Make the latents of these pictures mean 0 and spread 1 in each channel, by the 1 x 1 convolutions alone."""
    found = torch.cat([encoded(vae, some).float().transpose(0, 1).flatten(1) for some in pictures], dim=1)
    mean, spread = found.mean(dim=1), found.std(dim=1) + 1e-6
    enter, leave = vae.quant_conv, vae.post_quant_conv
    leave.bias.add_((leave.weight[:, :, 0, 0] @ mean[:, None])[:, 0])
    leave.weight.mul_(spread[None, :, None, None])
    enter.weight[:LATENTS] /= spread[:, None, None, None]
    enter.bias[:LATENTS] = (enter.bias[:LATENTS] - mean) / spread
    enter.weight[LATENTS:] = 0
    enter.bias[LATENTS:] = LOGVAR


def freeze_encoder(vae: AutoencoderKL) -> None:
    vae.requires_grad_(False)
    for part in (vae.decoder, vae.post_quant_conv):
        part.requires_grad_(True)


@torch.no_grad()
def psnr(vae: AutoencoderKL, pixels: torch.Tensor) -> float:
    """Mean over pictures in -1 to 1 of the PSNR in dB of the mean reconstruction, at 8 bits."""
    total = 0.0
    for batch in torch.split(pixels, 20):
        out = vae.decode(latents(vae, batch)).sample.clamp(-1, 1)
        error = ((out - batch) / 2).square().mean(dim=(1, 2, 3))
        total += float((-10 * error.log10()).sum())
    return total / len(pixels)
