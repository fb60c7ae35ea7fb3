"""DOVER: technical and aesthetic quality of a clip, by two networks (Wu et al., ICCV 2023, arXiv 2211.04894).

Technical: a Swin transformer over space and time (Swin-T, windows of 8 x 7 x 7) that sees 7 x 7 pieces of 32 x 32
pixels in full resolution, put together to one picture ("fragments", FAST-VQA, arXiv 2207.02595). Aesthetic: a
ConvNeXt-T with 3-D kernels that sees the whole picture at 224 x 224. A head of two layers rates every place in space
and time; the mean is the score. 56.2 M parameters.

Published as `DOVER.pth` (MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from models.conversion import Layout, Piece
from models.scorers.backbone import Backbone, load_network
from models.spec import ScorerModelSpec

WINDOW = (8, 7, 7)
"""Frames, rows and columns of tokens that attend to each other."""
FRAGMENTS = 7
"""Pieces along each side of the technical network's picture."""
PATCH = (2, 4, 4)
HEAD_WIDTH = 32
Three = tuple[int, int, int]
"""Frames, rows, columns."""
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, of RGB 0..255."""
PIECE = 16
"""Windows that attend at once: 30 MB of biases."""
APART = -100.0
"""Added to the attention of tokens that only the shift brought side by side."""


class DoverRating(Backbone):
    """The raw technical and aesthetic ratings of a clip, by the weights in the folder `main`."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._network = load_network(spec, folders["main"], device, _sized)

    @torch.inference_mode()
    def features(self, batch: tuple[torch.Tensor, torch.Tensor]) -> npt.NDArray[np.float32]:
        """Technical and aesthetic rating, (1, 2): the mean over the clips of fragments, and that of the other view.

        Views, as `quality.dimensions.dover` cuts them: (clips, 3, frames, 224, 224) uint8 RGB each.
        """
        parts = [
            torch.cat([network(self._normalised(clip[None])) for clip in view]).mean()
            for network, view in zip((self._network.technical, self._network.aesthetic), batch, strict=True)
        ]
        found: npt.NDArray[np.float32] = torch.stack(parts)[None].float().cpu().numpy()
        return found

    def _normalised(self, clip: torch.Tensor) -> torch.Tensor:
        mean, deviation = (torch.tensor(each, device=clip.device).view(3, 1, 1, 1) for each in (MEAN, DEVIATION))
        return ((clip - mean) / deviation).to(getattr(torch, self.dtype))


def _sized(state: dict[str, torch.Tensor]) -> Dover:
    def depths(prefix: str, part: str) -> tuple[int, int, int, int]:
        found = [sum(key.startswith(f"{prefix}.{n}.") and key.endswith(part) for key in state) for n in range(4)]
        return found[0], found[1], found[2], found[3]

    return Dover(
        len(state["technical_backbone.norm.weight"]) // 8,
        depths("technical_backbone.layers", ".norm1.weight"),
        depths("aesthetic_backbone.stages", ".gamma"),
    )


class Dover(nn.Module):
    """Both networks; width 96 with these depths is the published one, and others (multiples of 32) serve tests."""

    def __init__(
        self,
        width: int = 96,
        technical_depths: tuple[int, int, int, int] = (2, 2, 6, 2),
        aesthetic_depths: tuple[int, int, int, int] = (3, 3, 9, 3),
    ) -> None:
        super().__init__()
        self.technical_backbone = _Swin(width, technical_depths)
        self.aesthetic_backbone = _ConvNeXt(width, aesthetic_depths)
        self.technical_head, self.aesthetic_head = _Head(8 * width), _Head(8 * width)

    def technical(self, fragments: torch.Tensor) -> torch.Tensor:
        """The raw technical rating, (n,), of n clips of fragments, (n, 3, frames, 224, 224), ImageNet-normalised."""
        rating: torch.Tensor = self.technical_head(self.technical_backbone(fragments))
        return rating

    def aesthetic(self, pictures: torch.Tensor) -> torch.Tensor:
        """The raw aesthetic rating, (n,), of n clips, (n, 3, frames, 224, 224), ImageNet-normalised."""
        rating: torch.Tensor = self.aesthetic_head(self.aesthetic_backbone(pictures))
        return rating


class _Head(nn.Module):
    """A rating of every place, and their mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc_hid, self.fc_last = nn.Conv3d(width, 64, 1), nn.Conv3d(64, 1, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        places: torch.Tensor = self.fc_last(F.gelu(self.fc_hid(features)))
        return places.mean(dim=(1, 2, 3, 4))


# --- technical: a Swin transformer -----------------------------------------------------------------------------------


class _Swin(nn.Module):
    """Four stages of windows that are shifted by half in every second block."""

    def __init__(self, width: int, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.patch_embed = _Patches(width)
        self.layers = nn.ModuleList(
            [_Stage(width << number, depth, last=number == len(depths) - 1) for number, depth in enumerate(depths)]
        )
        self.norm = nn.LayerNorm(width << (len(depths) - 1))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(clip)
        for layer in self.layers:
            x = layer(x)
        found: torch.Tensor = self.norm(x).permute(0, 4, 1, 2, 3)
        return found


class _Patches(nn.Module):
    """Patches of 2 frames and 4 x 4 pixels as tokens, (n, frames, rows, columns, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv3d(3, width, PATCH, stride=PATCH), nn.LayerNorm(width)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(self.proj(clip).permute(0, 2, 3, 4, 1))
        return found


class _Stage(nn.Module):
    def __init__(self, width: int, depth: int, *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Block(width, shifted=bool(n % 2), apart=not last) for n in range(depth)])
        self.downsample = nn.Identity() if last else _Merging(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        found: torch.Tensor = self.downsample(x)
        return found


class _Merging(nn.Module):
    """Four neighbouring tokens become one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        corners = [x[:, :, row::2, column::2] for column, row in product((0, 1), (0, 1))]
        found: torch.Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return found


class _Block(nn.Module):
    def __init__(self, width: int, *, shifted: bool, apart: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _Attention(width, apart=apart)
        self.mlp = _Layers(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self._attended(self.norm1(x))
        found: torch.Tensor = x + self.mlp(self.norm2(x))
        return found

    def _attended(self, x: torch.Tensor) -> torch.Tensor:
        frames, rows, columns = x.shape[1:4]
        window, shift = windows_of((frames, rows, columns), shifted=self.shifted)
        lack = [-length % side for length, side in zip((frames, rows, columns), window, strict=True)]
        x = F.pad(x, (0, 0, 0, lack[2], 0, lack[1], 0, lack[0]))
        whole = (x.shape[1], x.shape[2], x.shape[3])
        x = torch.roll(x, [-by for by in shift], (1, 2, 3))
        x = joined(self.attn(split(x, window), whole, window, shift), window, len(x), whole)
        return torch.roll(x, shift, (1, 2, 3))[:, :frames, :rows, :columns]


class _Layers(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.fc2(F.gelu(self.fc1(x)))
        return found


class _Attention(nn.Module):
    """Attention inside of windows, with a learned bias for each distance.

    There are two tables of biases: one for tokens that lie in one fragment, one for tokens of two. As published, the
    first is weighted with the number of fragments between the tokens (0 inside of one) and the second with one less
    that number, so that the second serves inside of a fragment, the first between neighbours, and both further apart.
    The last stage has a token per fragment, and the first table alone.
    """

    def __init__(self, width: int, *, apart: bool) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        distances = (2 * WINDOW[0] - 1) * (2 * WINDOW[1] - 1) * (2 * WINDOW[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(distances, self.heads))
        self.fragment_position_bias_table = nn.Parameter(torch.zeros(distances, self.heads)) if apart else None
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, whole: Three, window: Three, shift: Three) -> torch.Tensor:
        """`x`: (n * windows, tokens, width), those of one clip one after the other."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, HEAD_WIDTH))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        windows = whole[0] // window[0] * (whole[1] // window[1]) * (whole[2] // window[2])
        pieces = []
        for start in range(0, len(x), PIECE):  # the biases of all windows of a clip would take 236 MB
            own = slice(start, start + PIECE)
            numbers = torch.arange(len(x))[own] % windows
            bias = self._bias(whole, window, shift, numbers, x)
            pieces.append(F.scaled_dot_product_attention(query[own], key[own], value[own], attn_mask=bias))
        found: torch.Tensor = self.proj(torch.cat(pieces).transpose(1, 2).flatten(2))
        return found

    def _bias(
        self, whole: Three, window: Three, shift: Three, numbers: torch.Tensor, like: torch.Tensor
    ) -> torch.Tensor:
        """What is added to the attention of these windows, (windows, heads, tokens, tokens)."""
        index = distance_index(window).to(like.device)
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)[None]
        if self.fragment_position_bias_table is not None:
            between = fragments_between(whole, window, shift)[numbers].to(like.device, like.dtype)[:, None]
            inside = self.fragment_position_bias_table[index].permute(2, 0, 1)[None]
            bias = bias * between + inside * (1 - between)
        if any(shift):
            bias = bias + APART * strangers(whole, window, shift)[numbers].to(like.device, like.dtype)[:, None]
        return bias


def windows_of(tokens: Three, *, shifted: bool) -> tuple[Three, Three]:
    """The window for so many tokens, and its shift: none along an axis with no more tokens than a window."""
    fits = [count <= side for count, side in zip(tokens, WINDOW, strict=True)]
    window = [count if fit else side for count, side, fit in zip(tokens, WINDOW, fits, strict=True)]
    shift = [0 if fit or not shifted else side // 2 for side, fit in zip(WINDOW, fits, strict=True)]
    return (window[0], window[1], window[2]), (shift[0], shift[1], shift[2])


def split(x: torch.Tensor, window: Three) -> torch.Tensor:
    """(n, frames, rows, columns, width) as windows: (n * windows, tokens, width)."""
    n, frames, rows, columns, width = x.shape
    f, r, c = window
    x = x.view(n, frames // f, f, rows // r, r, columns // c, c, width)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, f * r * c, width)


def joined(windows: torch.Tensor, window: Three, n: int, whole: Three) -> torch.Tensor:
    """What `split` made windows of."""
    f, r, c = window
    x = windows.view(n, whole[0] // f, whole[1] // r, whole[2] // c, f, r, c, -1)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(n, *whole, -1)


@lru_cache
def distance_index(window: Three) -> torch.Tensor:
    """For each pair of tokens of a window, at most WINDOW: the row of the bias tables for their distance."""
    axes = [torch.arange(count) for count in window]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    apart = places[:, :, None] - places[:, None]
    f, r, c = (apart[n] + WINDOW[n] - 1 for n in range(3))
    return (f * (2 * WINDOW[1] - 1) + r) * (2 * WINDOW[2] - 1) + c


@lru_cache
def fragments_between(whole: Three, window: Three, shift: Three) -> torch.Tensor:
    """How many fragments apart two tokens of a window are, rows plus columns: (windows, tokens, tokens)."""
    place = [torch.arange(count) * FRAGMENTS // count for count in whole[1:]]
    rows, columns = place[0][:, None].expand(*whole[1:]), place[1].expand(*whole[1:])
    places = torch.stack([rows, columns], dim=-1).to(torch.int8).expand(1, whole[0], *whole[1:], 2)
    mine = split(torch.roll(places, [-by for by in shift], (1, 2, 3)), window)
    return (mine[:, None] - mine[:, :, None]).abs().sum(dim=-1, dtype=torch.uint8)


@lru_cache
def strangers(whole: Three, window: Three, shift: Three) -> torch.Tensor:
    """1 where two tokens of a shifted window are no neighbours in the clip, else 0: (windows, tokens, tokens)."""
    region = torch.zeros(whole, dtype=torch.long)
    for axis, (length, by) in enumerate(zip(whole, shift, strict=True)):
        if by:
            wrapped = (torch.arange(length) >= length - by).long()
            shape = [-1 if n == axis else 1 for n in range(3)]
            region = 2 * region + wrapped.view(shape)
    mine = split(region[None, ..., None], window)[..., 0]
    return mine[:, None] != mine[:, :, None]


# --- aesthetic: a ConvNeXt -------------------------------------------------------------------------------------------


class _ConvNeXt(nn.Module):
    """Four stages of depthwise convolutions; every second one of three looks at the frame before and after, too."""

    def __init__(self, width: int, depths: tuple[int, ...]) -> None:
        super().__init__()
        widths = [width << number for number in range(len(depths))]
        first = nn.Sequential(nn.Conv3d(3, width, PATCH, stride=PATCH), _ChannelNorm(width))
        smaller = [
            nn.Sequential(_ChannelNorm(before), nn.Conv3d(before, 2 * before, (1, 2, 2), stride=(1, 2, 2)))
            for before in widths[:-1]
        ]
        self.downsample_layers = nn.ModuleList([first, *smaller])
        self.stages = nn.ModuleList(
            [
                nn.Sequential(*(_ConvBlock(own, frames=3 if n % 3 == 1 else 1) for n in range(depth)))
                for own, depth in zip(widths, depths, strict=True)
            ]
        )
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for smaller, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(smaller(x))
        found: torch.Tensor = self.norm(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
        return found


class _ChannelNorm(nn.LayerNorm):
    """A norm over the channels of (n, channels, frames, rows, columns)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class _ConvBlock(nn.Module):
    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv3d(width, width, (frames, 7, 7), padding=(frames // 2, 3, 3), groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 4, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        found: torch.Tensor = x + y.permute(0, 4, 1, 2, 3)
        return found


# --- published layout ------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """`DOVER.pth`, whose names are those of `Dover`, beside tables that are computed here."""
    with torch.device("meta"):
        own = Dover().state_dict()
    pieces = {name: Piece(name, tuple(tensor.shape)) for name, tensor in own.items()}
    return {"DOVER.pth": Layout(pieces, lambda key: key.endswith("relative_position_index"))}
