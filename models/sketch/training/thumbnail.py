"""An autoencoder whose encoder is a known linear map, written into the weights of a stock `AutoencoderKL`.

Latent channels: brightness, two colour differences, and the diagonal slope of brightness within each 4 x 4 block.
Trained freely, the encoder had no room for the colours of small products after 1,300 steps (red came out orange, green
grey). A fixed one costs nothing, makes latents that a diffusion model learns easily, and lets all later stages start
before the decoder is done. Knows nothing of data or training.

Two identities make convolutions, normalisation and SiLU a linear map: silu(z) - silu(-z) = z, and a normalised group
that also holds large constants of both signs keeps its scale whatever the picture.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn

CHANNELS = (16, 48, 96)
GROUPS = 4
LARGE = 100.0
"""The constants; pictures are within 1, so the scale of a group varies by less than a ten-thousandth."""
LOGVAR = -12.0
SCALES = (2.1, 2.9, 2.6, 10.0)
"""Bring the channels to spreads of about 1, 0.9, 0.75 and 0.55 on the world's pictures: colour before detail."""


def network() -> AutoencoderKL:
    """The autoencoder with its encoder set and frozen, and its decoder at plain interpolation."""
    vae = AutoencoderKL(
        block_out_channels=CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        sample_size=64,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    with torch.no_grad():
        _set_encoder(vae)
        _set_decoder(vae)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    return vae


def filters() -> torch.Tensor:
    """The linear map: 4 channels x 3 colours x 4 rows x 4 columns."""
    mean = torch.full((4, 4), 1 / 16)
    ramp = torch.tensor([-3.0, -1.0, 1.0, 3.0]) / 80
    slope = ramp[:, None] + ramp[None, :]
    colours = torch.tensor([[1, 1, 1], [2, -1, -1], [-1, -1, 2]]) / 3.0
    rows = [c[:, None, None] * mean for c in colours] + [torch.full((3, 1, 1), 1 / 3) * slope]
    return torch.stack(rows) * torch.tensor(SCALES)[:, None, None, None]


def encode(pixels: torch.Tensor) -> torch.Tensor:
    """What the encoder computes, without running it."""
    return nn.functional.conv2d(pixels, filters(), stride=4)


def _identity(block: Any) -> None:
    """A residual block that starts as its shortcut."""
    block.conv2.weight.zero_()
    block.conv2.bias.zero_()


def _blank(conv: nn.Conv2d) -> None:
    conv.weight.zero_()
    if conv.bias is not None:
        conv.bias.zero_()


def _set_encoder(vae: AutoencoderKL) -> None:
    encoder = vae.encoder
    first, second, third = encoder.down_blocks
    for block in (first.resnets[0], second.resnets[0], third.resnets[0], *encoder.mid_block.resnets):
        _identity(block)
    _blank(encoder.conv_in)
    encoder.conv_in.weight[range(3), range(3), 1, 1] = 1
    half = first.downsamplers[0].conv
    _blank(half)
    for colour in range(3):
        for tap in range(4):
            half.weight[4 * colour + tap, colour, tap // 2, tap % 2] = 1
    _blank(second.resnets[0].conv_shortcut)
    second.resnets[0].conv_shortcut.weight[range(12), range(12), 0, 0] = 1
    _set_projection(second.downsamplers[0].conv)
    _set_linear_output(third.resnets[0].conv_shortcut, encoder.conv_norm_out, encoder.conv_out, 4)
    encoder.conv_out.bias[4:] = LOGVAR
    _blank(vae.quant_conv)
    vae.quant_conv.weight[range(8), range(8), 0, 0] = 1


def _set_projection(conv: nn.Conv2d) -> None:
    """From 2 x 2 taps of 2 x 2 taps of colours to the four channels."""
    _blank(conv)
    maps = filters()
    for colour in range(3):
        for tap in range(4):
            for outer in range(4):
                y, x = 2 * (outer // 2) + tap // 2, 2 * (outer % 2) + tap % 2
                conv.weight[:4, 4 * colour + tap, outer // 2, outer % 2] = maps[:, colour, y, x]


def _set_linear_output(shortcut: Any, norm: nn.GroupNorm, out: Any, count: int) -> None:
    """Carry `count` channels through normalisation and SiLU unchanged: each shares a group with its negative."""
    size = shortcut.out_channels // GROUPS
    constants = (size - 2) // 2
    scale = LARGE * (2 * constants / size) ** 0.5
    out.weight.zero_()
    if count == GROUPS:
        _blank(shortcut)
        out.bias.zero_()
    for k in range(count):
        rows = range(k * size, (k + 1) * size)
        shortcut.weight[rows.start : rows.stop] = 0
        shortcut.weight[rows.start, k], shortcut.weight[rows.start + 1, k] = 1, -1
        shortcut.bias[rows.start : rows.stop] = torch.tensor([0.0, 0.0] + [LARGE, -LARGE] * constants)
        out.weight[:, rows.start : rows.stop] = 0
        out.weight[k, rows.start, 1, 1], out.weight[k, rows.start + 1, 1, 1] = scale, -scale
    norm.weight.fill_(1)
    norm.bias.zero_()


def _set_decoder(vae: AutoencoderKL) -> None:
    """Colours go straight through, smoothed by the upsampling; everything else is left to training."""
    decoder = vae.decoder
    _blank(vae.post_quant_conv)
    vae.post_quant_conv.weight[range(4), range(4), 0, 0] = 1
    for block in decoder.mid_block.resnets:
        _identity(block)
    for up in decoder.up_blocks:
        for block in up.resnets:
            _identity(block)
    light, red, blue = (1 / s for s in SCALES[:3])
    decoder.conv_in.weight[:3], decoder.conv_in.bias[:3] = 0, 0
    mixing = torch.tensor([[light, red, 0, 0], [light, -red, -blue, 0], [light, 0, blue, 0]])
    decoder.conv_in.weight[:3, :, 1, 1] = mixing
    smooth = torch.tensor([1.0, 2.0, 1.0]) / 4
    for up in decoder.up_blocks[:2]:
        conv = up.upsamplers[0].conv
        conv.weight[:3], conv.bias[:3] = 0, 0
        conv.weight[range(3), range(3)] = torch.outer(smooth, smooth)
    narrow = decoder.up_blocks[1].resnets[0].conv_shortcut
    narrow.weight[:3], narrow.bias[:3] = 0, 0
    narrow.weight[range(3), range(3), 0, 0] = 1
    decoder.conv_out.bias.zero_()
    _set_linear_output(decoder.up_blocks[2].resnets[0].conv_shortcut, decoder.conv_norm_out, decoder.conv_out, 3)
