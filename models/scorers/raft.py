"""RAFT: dense optical flow by recurrent matching (Teed and Deng, ECCV 2020, arXiv 2003.12039), the large model.

Two images are encoded at an eighth of their size; every cell of the first is compared with every cell of the second;
from flow 0, a gated recurrent unit reads that comparison around the present match and corrects the flow, 20 times; the
last flow is enlarged eight times by learned convex combinations. 5,257,536 parameters (5.26 M).

Published as `raft-things.pth` (BSD-3-Clause; trained on FlyingChairs and FlyingThings), which torchvision offers
under names of its own as `raft_large_C_T_V1`; `layouts` knows both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from models.conversion import Layout, Piece
from models.scorers.backbone import Backbone, load_network
from models.spec import ScorerModelSpec

ITERATIONS = 20
"""Corrections of the flow, as VBench's dynamic degree asks for."""
LEVELS, RADIUS = 4, 4
"""Of the correlation pyramid, and around the present match in each of its levels."""
CELL = 8
"""Pixels of an image that one cell of its features covers, each way."""
MIN_SIDE = 128
"""Least side in pixels, padded: below it the coarsest level is a single cell wide, whose normalised coordinates divide
by zero (measured: NaN at 64 to 120, finite from 128)."""
VOLUME_BYTES = {"cpu": 64 * 2**20, "cuda": 256 * 2**20}
"""Comparisons of all cells with all cells that are kept, from the coarsest level on; finer ones are computed where they
are looked up, in the rows near the matches. At 832x480 all four levels are 208 MB, the coarser three 52 MB: a CPU keeps
only these, for the same bits in 1.1 times the time (7.0 s instead of 6.4 for the 20 corrections of a pair)."""
PIECE = 256
"""Cells looked up at once, in whole rows, where a level is computed: their matches lie in a band of rows."""


class RaftFlow(Backbone):
    """Flow between each frame and the next, by the weights in the folder `main`.

    Each frame is encoded once and each pair is matched by itself, so that neither the batch nor a neighbour changes a
    flow, and memory is that of one pair.
    """

    window = 2
    batch = 4
    min_side = MIN_SIDE

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._network = load_network(
            spec, folders["main"], device, lambda state: Raft(len(state["features.stem.0.weight"]))
        )

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Flow in pixels to the right and down, (items, 2, height, width), of pairs (items, 2, 3, height, width), uint8
        RGB with sides of multiples of 8."""
        flows: list[torch.Tensor] = []
        before, encoded = torch.zeros(0, device=batch.device), torch.zeros(0)
        for pair in batch:
            first, second = pair.to(getattr(torch, self.dtype)).split(1)
            start = encoded if torch.equal(first, before) else self._network.encode(first)
            before, encoded = second, self._network.encode(second)
            flows.append(self._network.match(start, self._network.surroundings(first), encoded))
        found: npt.NDArray[np.float32] = torch.cat(flows).float().cpu().numpy()
        return found


class Raft(nn.Module):
    """The network; `width` 64 is the published one, and others serve tests."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.state = 2 * width
        self.features = _Encoder(width, 4 * width, nn.InstanceNorm2d)
        self.context = _Encoder(width, 2 * self.state, nn.BatchNorm2d)
        self.motion = _Motion(width)
        self.recurrence = nn.ModuleList(
            [_Gate(self.state, 2 * self.state, (1, 5)), _Gate(self.state, 2 * self.state, (5, 1))]
        )
        self.correction = nn.Sequential(
            nn.Conv2d(self.state, 4 * width, 3, padding=1), nn.ReLU(), nn.Conv2d(4 * width, 2, 3, padding=1)
        )
        self.enlargement = nn.Sequential(
            nn.Conv2d(self.state, 4 * width, 3, padding=1), nn.ReLU(), nn.Conv2d(4 * width, 9 * CELL * CELL, 1)
        )

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Features to match, (n, channels, height / 8, width / 8), for flow from an image and to it.

        `images`: (n, 3, height, width), RGB 0..255, sides of multiples of 8 from MIN_SIDE on.
        """
        found: torch.Tensor = self.features(2 * (images / 255.0) - 1)
        return found

    def surroundings(self, images: torch.Tensor) -> torch.Tensor:
        """Context of the flow that starts at `images`, of the size of their features."""
        found: torch.Tensor = self.context(2 * (images / 255.0) - 1)
        return found

    def match(self, first: torch.Tensor, context: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Flow in pixels, (n, 2, height, width), to the right and down, from both images' features and the first's
        context.

        Raises ValueError for features of images below MIN_SIDE.
        """
        if min(first.shape[-2:]) * CELL < MIN_SIDE:
            raise ValueError(f"RAFT needs sides of at least {MIN_SIDE} pixels")
        correlation = correlation_of(first, second)
        state, context = torch.tanh(context[:, : self.state]), torch.relu(context[:, self.state :])
        start = grid(first)
        matched = start
        for _ in range(ITERATIONS):
            moved = self.motion(matched - start, correlation(matched))
            for gate in self.recurrence:
                state = gate(state, torch.cat([context, moved], dim=1))
            matched = matched + self.correction(state)
        del correlation  # the largest of all
        return enlarged(matched - start, self.enlargement(state).mul_(0.25))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Flow from each of `first` to the same of `second`, images as `encode` takes them, as `match` gives it."""
        return self.match(self.encode(first), self.surroundings(first), self.encode(second))


class _Encoder(nn.Module):
    """An image at an eighth of its size: a stem, then three stages of two residual blocks."""

    def __init__(self, width: int, out: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        widths = (width, width, width * 3 // 2, width * 2)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, stride=2, padding=3), norm(width), nn.ReLU(True))
        stages = [(widths[n], widths[n + 1], 1 if n == 0 else 2) for n in range(3)]
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_Residual(before, after, stride, norm), _Residual(after, after, 1, norm))
                for before, after, stride in stages
            ]
        )
        self.out = nn.Conv2d(widths[-1], out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for stage in self.stages:
            for block in stage.children():  # one by one: no stage's input is held through its second block
                x = block(x)
        found: torch.Tensor = self.out(x)
        return found


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.first = nn.Sequential(_Strips(before, after, 3, stride=stride, padding=1), norm(after), nn.ReLU(True))
        self.second = nn.Sequential(_Strips(after, after, 3, padding=1), norm(after), nn.ReLU(True))
        self.shortcut = (
            nn.Identity() if stride == 1 else nn.Sequential(nn.Conv2d(before, after, 1, stride=stride), norm(after))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x
        for layer in (*self.first, *self.second):  # one by one: each result is let go as soon as the next is there
            state = layer(state)
        state += self.shortcut(x)
        return state.relu_()


class _Strips(nn.Conv2d):
    """On a CPU a convolution by strips: else it copies all of its input and output into a layout of its own, 51 MB at
    416x240 with 64 channels. The same numbers in the same time."""

    ROWS = 32

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.device.type != "cpu":
            return super().forward(input)
        count, _, height, width = input.shape
        (size, _), (stride, _), padding = self.kernel_size, self.stride, self.kernel_size[0] // 2
        rows, columns = ((length + 2 * padding - size) // stride + 1 for length in (height, width))
        found = input.new_empty(count, self.out_channels, rows, columns)
        for top in range(0, rows, self.ROWS):
            bottom = min(top + self.ROWS, rows)
            first, last = top * stride - padding, (bottom - 1) * stride - padding + size
            strip = input[:, :, max(0, first) : min(last, height)]
            strip = F.pad(strip, (padding, padding, max(0, -first), max(0, last - height)))
            found[:, :, top:bottom] = F.conv2d(strip, self.weight, self.bias, stride)
        return found


class _Motion(nn.Module):
    """What the recurrent unit reads of the present flow and of the comparison around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        looked_up = LEVELS * (2 * RADIUS + 1) ** 2
        self.correlation = nn.Sequential(
            nn.Conv2d(looked_up, 4 * width, 1), nn.ReLU(), nn.Conv2d(4 * width, 3 * width, 3, padding=1), nn.ReLU()
        )
        self.flow = nn.Sequential(
            nn.Conv2d(2, 2 * width, 7, padding=3), nn.ReLU(), nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU()
        )
        self.both = nn.Sequential(nn.Conv2d(4 * width, 2 * width - 2, 3, padding=1), nn.ReLU())

    def forward(self, flow: torch.Tensor, correlation: torch.Tensor) -> torch.Tensor:
        read = self.both(torch.cat([self.correlation(correlation), self.flow(flow)], dim=1))
        return torch.cat([read, flow], dim=1)


class _Gate(nn.Module):
    """A convolutional GRU that looks along one axis."""

    def __init__(self, state: int, read: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.update, self.reset, self.candidate = (
            nn.Conv2d(state + read, state, kernel, padding=padding) for _ in range(3)
        )

    def forward(self, state: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        both = torch.cat([state, read], dim=1)
        update, reset = torch.sigmoid(self.update(both)), torch.sigmoid(self.reset(both))
        candidate = torch.tanh(self.candidate(torch.cat([reset * state, read], dim=1)))
        return (1 - update) * state + update * candidate


def grid(features: torch.Tensor) -> torch.Tensor:
    """The position of each cell, (n, 2, height, width): x, then y."""
    count, _, height, width = features.shape
    x = torch.arange(width, device=features.device, dtype=features.dtype).expand(height, width)
    y = torch.arange(height, device=features.device, dtype=features.dtype)[:, None].expand(height, width)
    return torch.stack([x, y]).expand(count, 2, height, width)


def correlation_of(first: torch.Tensor, second: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Gives the function that looks comparisons up: matched positions, (n, 2, height, width), to
    (n, levels * (2 * radius + 1)**2, height, width).

    The comparison of two cells is the dot product of their features over the square root of the features' count. Level
    n is the mean over 2**n by 2**n cells of `second`; a value between cells is bilinear, one outside of the image is 0.
    Channels run over levels, then over steps in x from -radius to radius, then over steps in y.
    """
    pairs = [_Correlation(*pair) for pair in zip(first, second, strict=True)]
    return lambda matched: torch.stack([pair.near(at) for pair, at in zip(pairs, matched, strict=True)])


class _Correlation:
    """All cells of one image against all of another, by their features (channels, height, width).

    The volume has a row for each cell of the first; rows go through in pieces, and a piece has its levels for itself.
    """

    def __init__(self, first: torch.Tensor, second: torch.Tensor) -> None:
        channels, height, width = first.shape
        self._own = (first / channels**0.5).flatten(1).T  # divided before it is large
        self._other = second.flatten(1)
        self._size = (height, width)
        sizes = [first.element_size() * height * width * (height >> n) * (width >> n) for n in range(LEVELS)]
        limit = VOLUME_BYTES[first.device.type]
        computed = next(n for n in range(LEVELS + 1) if sum(sizes[n:]) <= limit)
        rows = max(1, PIECE // width) if computed else height
        self._pieces = [slice(row * width, (row + rows) * width) for row in range(0, height, rows)]
        self._computed = [first.new_zeros(rows * width, 1, height >> n, width >> n) for n in range(computed)]
        if not computed:
            self._kept = self._levels(self._pieces[0])
            return
        self._kept = [first.new_empty(height * width, 1, height >> n, width >> n) for n in range(computed, LEVELS)]
        for piece in self._pieces:
            for level, found in zip(self._kept, self._levels(piece)[computed:], strict=True):
                level[piece] = found

    def near(self, matched: torch.Tensor) -> torch.Tensor:
        """Comparisons around the positions (2, height, width)."""
        centres, steps = matched.flatten(1).T.view(-1, 1, 1, 2), _steps(matched)
        found = matched.new_empty(LEVELS, steps.shape[0] * steps.shape[1], len(centres))
        for piece in self._pieces:
            at = centres[piece]
            levels = [*self._around(piece, at[:, 0, 0, 1]), *(level[piece] for level in self._kept)]
            for n, level in enumerate(levels):
                found[n, :, piece] = _sampled(level, at / 2**n + steps).flatten(1).T
        return found.view(-1, *self._size)

    def _levels(self, piece: slice) -> list[torch.Tensor]:
        levels = [(self._own[piece] @ self._other).view(-1, 1, *self._size)]
        for _ in range(LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], 2))
        return levels

    def _around(self, piece: slice, rows: torch.Tensor) -> list[torch.Tensor]:
        """The levels that are not kept, right in all rows that are read for matches in these `rows`; elsewhere is what
        an earlier piece left."""
        if not self._computed:
            return []
        height, width = self._size
        coarse = 2 ** (len(self._computed) - 1)
        reach = (RADIUS + 2) * coarse  # a row more than the radius between cells, and one for rounding
        top, bottom = (int(each) for each in rows.nan_to_num().clamp(0, height).aminmax())
        top, bottom = max(0, top - reach) // coarse * coarse, min(height, (bottom + reach) // coarse * coarse + coarse)
        own = self._own[piece]
        levels = [level[: len(own)] for level in self._computed]
        levels[0][:, 0, top:bottom] = (own @ self._other[:, top * width : bottom * width]).view(len(own), -1, width)
        for n, (finer, level) in enumerate(itertools.pairwise(levels)):
            level[:, :, top >> n + 1 : bottom >> n + 1] = F.avg_pool2d(finer[:, :, top >> n : bottom >> n], 2)
        return levels


def _steps(like: torch.Tensor) -> torch.Tensor:
    """Steps around a match, (side, side, 2): x changes along the first axis, y along the second."""
    side = torch.arange(-RADIUS, RADIUS + 1, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1)


def _sampled(image: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """`image` (n, c, h, w) at the positions `at` (n, i, j, 2), x and y in cells: bilinear, 0 outside."""
    height, width = image.shape[-2:]
    last = torch.tensor([width - 1, height - 1], device=at.device, dtype=at.dtype)
    return F.grid_sample(image, 2 * at / last - 1, align_corners=True)


def enlarged(flow: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`flow` (n, 2, h, w) in cells, as pixels of the whole image, (n, 2, 8h, 8w).

    Each pixel is a convex combination of the nine cells around its own, by the softmax over the nine of `weights`
    (n, 9 * 64, h, w); cells outside of the image are 0.
    """
    count, _, height, width = flow.shape
    near = F.unfold(CELL * flow, 3, padding=1).view(count, 2, 9, 1, 1, height, width)
    found = flow.new_empty(count, 2, height, CELL, width, CELL)
    for top in range(0, height, CELL):  # a few rows of cells at once: all would be 230 MB in Full HD
        rows = slice(top, top + CELL)
        shares = weights[:, :, rows].reshape(count, 1, 9, CELL, CELL, -1, width).softmax(dim=2)
        found[:, :, rows] = (shares * near[..., rows, :]).sum(dim=2).permute(0, 1, 4, 2, 5, 3)
    return found.view(count, 2, CELL * height, CELL * width)


# --- published layouts -----------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """The authors' names and torchvision's, for the published width."""
    return {"raft-things.pth": layout(_AUTHORS), "torchvision C_T_V1": layout(_TORCHVISION)}


def layout(names: _Names, width: int = 64) -> Layout:
    """Where each tensor of `Raft(width)` is published under `names`."""
    with torch.device("meta"):
        own = Raft(width).state_dict()
    modules = {**_encoder("features", names.features, names), **_encoder("context", names.context, names)}
    modules |= dict(zip(_OWN, names.rest, strict=True))
    pieces = {}
    for name, tensor in own.items():
        module, _, leaf = name.rpartition(".")
        if leaf != "num_batches_tracked":
            pieces[name] = Piece(f"{modules[module]}.{leaf}", tuple(tensor.shape))
    repeats = {
        key.replace(".downsample.1.", ".norm3."): key
        for key in (piece.key for piece in pieces.values())
        if names is _AUTHORS and ".downsample.1." in key
    }
    return Layout(pieces, lambda key: key.endswith("num_batches_tracked"), repeats)


class _Names(NamedTuple):
    """What a publisher calls the modules."""

    features: str
    context: str
    stem: tuple[str, str]
    """Convolution and norm at the beginning of an encoder."""
    block: tuple[str, str, str, str]
    """Two convolutions with the norms that follow them, in a residual block."""
    out: str
    rest: tuple[str, ...]
    """In the order of `_OWN`."""


_OWN = (
    *(f"motion.{each}" for each in ("correlation.0", "correlation.2", "flow.0", "flow.2", "both.0")),
    *(f"recurrence.{axis}.{gate}" for axis in (0, 1) for gate in ("update", "reset", "candidate")),
    *("correction.0", "correction.2", "enlargement.0", "enlargement.2"),
)
_AUTHORS = _Names(
    "fnet",
    "cnet",
    ("conv1", "norm1"),
    ("conv1", "norm1", "conv2", "norm2"),
    "conv2",
    (
        *(f"update_block.encoder.conv{each}" for each in ("c1", "c2", "f1", "f2", "")),
        *(f"update_block.gru.conv{gate}{axis}" for axis in (1, 2) for gate in "zrq"),
        *("update_block.flow_head.conv1", "update_block.flow_head.conv2", "update_block.mask.0", "update_block.mask.2"),
    ),
)
_TORCHVISION = _Names(
    "feature_encoder",
    "context_encoder",
    ("convnormrelu.0", "convnormrelu.1"),
    ("convnormrelu1.0", "convnormrelu1.1", "convnormrelu2.0", "convnormrelu2.1"),
    "conv",
    (
        *(f"update_block.motion_encoder.conv{each}.0" for each in ("corr1", "corr2", "flow1", "flow2", "")),
        *(f"update_block.recurrent_block.convgru{axis}.conv{gate}" for axis in (1, 2) for gate in "zrq"),
        *("update_block.flow_head.conv1", "update_block.flow_head.conv2"),
        *("mask_predictor.convrelu.0", "mask_predictor.conv"),
    ),
)


def _encoder(own: str, published: str, names: _Names) -> dict[str, str]:
    """Published module by own module, of one encoder."""
    found = {f"{own}.stem.{n}": f"{published}.{name}" for n, name in enumerate(names.stem)}
    found[f"{own}.out"] = f"{published}.{names.out}"
    parts = ("first.0", "first.1", "second.0", "second.1")
    for stage in range(3):
        for block in range(2):
            here, there = f"{own}.stages.{stage}.{block}", f"{published}.layer{stage + 1}.{block}"
            found |= {f"{here}.{part}": f"{there}.{name}" for part, name in zip(parts, names.block, strict=True)}
            found |= {f"{here}.shortcut.{n}": f"{there}.downsample.{n}" for n in range(2)}
    return found
