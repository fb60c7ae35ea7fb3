"""MUSIQ: picture quality by a transformer over patches of three sizes of a picture (Ke et al., 2021, arXiv 2108.05997).

The picture is seen at its own size and with its longer side at 224 and 384 pixels. Each size is cut into patches of
32 x 32; a patch goes through a small ResNet stem and becomes one token, which is told where it lies (on a grid of
10 x 10 that is stretched over the picture) and which size it is of. Fourteen transformer blocks read all tokens
together; a linear head reads the mean opinion score from a token of its own. 27.1 M parameters.

Published by Google as Flax archives, one per data set (Apache-2.0): `spaq_ckpt.npz` (0 to 100), `koniq_ckpt.npz`
(0 to 100). Tokens of the smaller sizes are padded to a fixed count and masked there; a masked token has weight 0, so
here there is no padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from models.conversion import Layout, Piece
from models.scorers.backbone import Backbone, load_network
from models.spec import ScorerModelSpec

PATCH = 32
"""Pixels of a patch, each way."""
GRID = 10
"""Positions that are told apart, each way."""
SIZES = 3
STEM = 64
"""Channels of the stem; its bottleneck gives four times as many."""
HEAD_WIDTH = 64
PIECE = 128
"""Patches that go through the stem at once: 34 MB of activations, whatever the size of the picture."""
PUBLISHED_PREFIX = "opt/target/"


class MusiqRating(Backbone):
    """The mean opinion score of each picture, by the weights in the folder `main`."""

    batch = 4

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._network = load_network(
            spec,
            folders["main"],
            device,
            lambda state: Musiq(state["summary"].shape[-1], sum(key.endswith(".query.bias") for key in state)),
        )

    @torch.inference_mode()
    def features(self, batch: Sequence[torch.Tensor]) -> npt.NDArray[np.float32]:
        """Scores, (pictures,), on the scale of the data set, of a pyramid as `Musiq` takes it."""
        found: npt.NDArray[np.float32] = (
            self._network([level.to(getattr(torch, self.dtype)) for level in batch]).float().cpu().numpy()
        )
        return found


class Musiq(nn.Module):
    """The network; width 384 with 14 blocks is the published one, and others (multiples of 64) serve tests."""

    def __init__(self, width: int = 384, blocks: int = 14) -> None:
        super().__init__()
        self.stem = _Stem()
        self.embedding = nn.Linear(4 * STEM * (PATCH // 4) ** 2, width)
        self.position = nn.Parameter(torch.zeros(GRID * GRID, width))
        self.size = nn.Parameter(torch.zeros(SIZES, width))
        self.summary = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList([_Block(width) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 1)

    def forward(self, pyramid: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mean opinion scores, (n,), of n pictures.

        `pyramid` holds the same pictures three times, longer side 224 first, then 384, then as they are:
        (n, 3, height, width) each, RGB as -1..1.
        """
        tokens = torch.cat([self._tokens(pictures, number) for number, pictures in enumerate(pyramid)], dim=1)
        x = torch.cat([self.summary.expand(len(tokens), 1, -1), tokens], dim=1)
        for block in self.blocks:
            x = block(x)
        score: torch.Tensor = self.head(self.norm(x[:, 0]))
        return score[:, 0]

    def _tokens(self, pictures: torch.Tensor, size: int) -> torch.Tensor:
        patches, position = patches_of(pictures)
        count = len(pictures)
        flat = patches.flatten(0, 1)
        read = [self.embedding(self.stem(flat[start : start + PIECE])) for start in range(0, len(flat), PIECE)]
        return torch.cat(read).view(count, len(position), -1) + self.position[position] + self.size[size]


def patches_of(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The patches of n pictures, (n, patches, 3, 32, 32), row by row, and each patch's place on the grid.

    What lacks to whole patches is filled with 0 on both sides, the smaller half first. The patch in row i of r is in
    row floor(10 i / r) of the grid, in float32 as the published code computes it.
    """
    height, width = pictures.shape[-2:]
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    lack_y, lack_x = rows * PATCH - height, columns * PATCH - width
    padded = F.pad(pictures, (lack_x // 2, lack_x - lack_x // 2, lack_y // 2, lack_y - lack_y // 2))
    cut = padded.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    patches = cut.permute(0, 2, 3, 1, 4, 5).reshape(len(pictures), rows * columns, 3, PATCH, PATCH)
    place = [
        (torch.arange(count, dtype=torch.float32) * (torch.tensor(float(GRID)) / count)).floor().long()
        for count in (rows, columns)
    ]
    position = (place[0][:, None] * GRID + place[1]).flatten()
    return patches, position.to(pictures.device)


class _StandardConv(nn.Conv2d):
    """A convolution whose kernels are brought to mean 0 and deviation 1 first; padded as TensorFlow's `SAME`."""

    def __init__(self, before: int, after: int, side: int, stride: int = 1) -> None:
        super().__init__(before, after, side, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        kernel = kernel / (kernel.std(dim=(1, 2, 3), keepdim=True, correction=0) + 1e-5)
        return F.conv2d(same(x, self.kernel_size[0], self.stride[0]), kernel, stride=self.stride)


def same(x: torch.Tensor, side: int, stride: int, value: float = 0.0) -> torch.Tensor:
    """`x`, of equal sides, padded so that a window of `side` begins in each `stride`: the smaller half first."""
    length = x.shape[-1]
    lack = max(0, (-(-length // stride) - 1) * stride + side - length)
    before, after = lack // 2, lack - lack // 2
    return F.pad(x, (before, after, before, after), value=value)


class _Stem(nn.Module):
    """A patch of 32 x 32 as 8 x 8 cells: one convolution, a pooling, and a bottleneck block."""

    def __init__(self) -> None:
        super().__init__()
        out = 4 * STEM
        self.root, self.root_norm = _StandardConv(3, STEM, 7, stride=2), nn.GroupNorm(32, STEM, eps=1e-6)
        self.shortcut, self.shortcut_norm = _StandardConv(STEM, out, 1), nn.GroupNorm(32, out, eps=1e-4)
        self.narrow, self.narrow_norm = _StandardConv(STEM, STEM, 1), nn.GroupNorm(32, STEM, eps=1e-4)
        self.middle, self.middle_norm = _StandardConv(STEM, STEM, 3), nn.GroupNorm(32, STEM, eps=1e-4)
        self.widen, self.widen_norm = _StandardConv(STEM, out, 1), nn.GroupNorm(32, out, eps=1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.root_norm(self.root(x)))
        x = F.max_pool2d(same(x, 3, 2, float("-inf")), 3, stride=2)
        y = torch.relu(self.narrow_norm(self.narrow(x)))
        y = torch.relu(self.middle_norm(self.middle(y)))
        y = self.widen_norm(self.widen(y))
        x = torch.relu(self.shortcut_norm(self.shortcut(x)) + y)
        return x.permute(0, 2, 3, 1).flatten(1)  # channels last, as Flax flattens


class _Block(nn.Module):
    """A transformer block that normalises before attention and before its two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm, self.layers_norm = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.layers = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU("tanh"), nn.Linear(3 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.attention_norm(x)
        query, key, value = (
            part(y).unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        x = x + self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        found: torch.Tensor = x + self.layers(self.layers_norm(x))
        return found


# --- published layout ------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """The names of the Flax archive, for the published width and depth."""
    return {"musiq .npz": layout()}


def layout(width: int = 384, blocks: int = 14) -> Layout:
    """Where each tensor of `Musiq(width, blocks)` lies in the archive; what is not below `opt/target/` is no weight."""
    pieces = dict(_pieces(width, blocks))
    return Layout(pieces, lambda key: not key.startswith(PUBLISHED_PREFIX))


def _pieces(width: int, blocks: int) -> Iterator[tuple[str, Piece]]:
    def piece(key: str, shape: tuple[int, ...], take: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Piece:
        return Piece(f"{PUBLISHED_PREFIX}{key}", shape, take)

    def norm(own: str, key: str, shape: tuple[int, ...]) -> Iterator[tuple[str, Piece]]:
        yield f"{own}.weight", piece(f"{key}/scale", shape, torch.flatten)
        yield f"{own}.bias", piece(f"{key}/bias", shape, torch.flatten)

    def linear(own: str, key: str, before: int, after: int) -> Iterator[tuple[str, Piece]]:
        yield f"{own}.weight", piece(f"{key}/kernel", (before, after), torch.t)
        yield f"{own}.bias", piece(f"{key}/bias", (after,))

    out, heads = 4 * STEM, width // HEAD_WIDTH
    for own, key, before, after, side in (
        ("root", "root", 3, STEM, 7),
        ("shortcut", "proj", STEM, out, 1),
        ("narrow", "1", STEM, STEM, 1),
        ("middle", "2", STEM, STEM, 3),
        ("widen", "3", STEM, out, 1),
    ):
        place, tie = ("", "_") if own == "root" else ("block1/unit1/", "_" if own == "shortcut" else "")
        kernel = (side, side, before, after)
        yield f"stem.{own}.weight", piece(f"{place}conv{tie}{key}/kernel", kernel, lambda x: x.permute(3, 2, 0, 1))
        yield from norm(f"stem.{own}_norm", f"{place}gn{tie}{key}", (1, 1, 1, after))
    yield from linear("embedding", "embedding", out * (PATCH // 4) ** 2, width)
    yield "position", piece("Transformer/posembed_input/pos_embedding", (1, GRID * GRID, width), lambda x: x[0])
    yield "size", piece("Transformer/scaleembed_input/scale_embedding", (1, SIZES, width), lambda x: x[0])
    yield "summary", piece("Transformer/cls", (1, 1, width))
    for number in range(blocks):
        own, key = f"blocks.{number}", f"Transformer/encoderblock_{number}"
        yield from norm(f"{own}.attention_norm", f"{key}/LayerNorm_0", (width,))
        attention = f"{key}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            yield (
                f"{own}.{part}.weight",
                piece(f"{attention}/{part}/kernel", (width, heads, HEAD_WIDTH), lambda x: x.flatten(1).t()),
            )
            yield f"{own}.{part}.bias", piece(f"{attention}/{part}/bias", (heads, HEAD_WIDTH), torch.flatten)
        whole = (heads, HEAD_WIDTH, width)
        yield f"{own}.out.weight", piece(f"{attention}/out/kernel", whole, lambda x: x.flatten(0, 1).t())
        yield f"{own}.out.bias", piece(f"{attention}/out/bias", (width,))
        yield from norm(f"{own}.layers_norm", f"{key}/LayerNorm_2", (width,))
        yield from linear(f"{own}.layers.0", f"{key}/MlpBlock_3/Dense_0", width, 3 * width)
        yield from linear(f"{own}.layers.2", f"{key}/MlpBlock_3/Dense_1", 3 * width, width)
    yield from norm("norm", "Transformer/encoder_norm", (width,))
    yield from linear("head", "head", width, 1)
