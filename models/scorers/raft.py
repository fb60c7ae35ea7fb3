"""RAFT: dense optical flow by recurrent matching (Teed and Deng, ECCV 2020, arXiv 2003.12039), the large model.

Two images are encoded at an eighth of their size; every cell of the first is compared with every cell of the second;
from flow 0, a gated recurrent unit reads that comparison around the present match and corrects the flow, 20 times; the
last flow is enlarged eight times by learned convex combinations. 5,257,536 parameters (5.26 M).

Published as `raft-things.pth` (BSD-3-Clause; trained on FlyingChairs and FlyingThings), which torchvision offers
under names of its own as `raft_large_C_T_V1`; `layouts` knows both.
"""

from __future__ import annotations

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
VOLUME_BYTES = 256 * 2**20
"""Comparisons of all cells with all cells are kept up to this size (832x480: 208 MB); above it, they are computed where
they are looked up, in pieces: the same numbers, slower, in bounded memory."""
PIECE = 512
"""Cells looked up at once in the second way."""


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
        del correlation  # the largest of all, and enlarging takes 100 MB at 832x480
        return enlarged(matched - start, 0.25 * self.enlargement(state))

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
        self.first = nn.Sequential(nn.Conv2d(before, after, 3, stride=stride, padding=1), norm(after), nn.ReLU(True))
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, padding=1), norm(after), nn.ReLU(True))
        self.shortcut = (
            nn.Identity() if stride == 1 else nn.Sequential(nn.Conv2d(before, after, 1, stride=stride), norm(after))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x
        for layer in (*self.first, *self.second):  # one by one: each result is let go as soon as the next is there
            state = layer(state)
        found: torch.Tensor = self.shortcut(x) + state
        return found.relu_()


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
    cells = first.shape[-2] * first.shape[-1]
    if first.element_size() * len(first) * cells * cells * 4 // 3 <= VOLUME_BYTES:
        return _kept_correlation(first, second)
    return _computed_correlation(first, second)


def _kept_correlation(first: torch.Tensor, second: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    count, channels, height, width = first.shape
    volume = (first / channels**0.5).flatten(2).transpose(1, 2) @ second.flatten(2)  # divided before it is large
    pyramid = [volume.view(count * height * width, 1, height, width)]
    for _ in range(LEVELS - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))

    def look_up(matched: torch.Tensor) -> torch.Tensor:
        centres = matched.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
        found = [
            _sampled(level, centres / 2**number + _steps(matched)).view(count, height, width, -1)
            for number, level in enumerate(pyramid)
        ]
        return torch.cat(found, dim=-1).permute(0, 3, 1, 2).contiguous()

    return look_up


def _computed_correlation(first: torch.Tensor, second: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The comparison is linear in the second image's features, so these are averaged and sampled in its place."""
    count, channels, height, width = first.shape
    pyramid = [second]
    for _ in range(LEVELS - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    rows = first.flatten(2) / channels**0.5

    def look_up(matched: torch.Tensor) -> torch.Tensor:
        centres = matched.flatten(2).transpose(1, 2)
        steps = _steps(matched).view(1, 1, -1, 2)
        pieces = []
        for start in range(0, height * width, PIECE):
            near = centres[:, start : start + PIECE, None]
            own = rows[:, :, start : start + PIECE]
            found = [
                (_sampled(level, near / 2**number + steps) * own[..., None]).sum(dim=1)
                for number, level in enumerate(pyramid)
            ]
            pieces.append(torch.cat(found, dim=-1))
        return torch.cat(pieces, dim=1).transpose(1, 2).reshape(count, -1, height, width)

    return look_up


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
    shares = weights.view(count, 1, 9, CELL, CELL, height, width).softmax(dim=2)
    near = F.unfold(CELL * flow, 3, padding=1).view(count, 2, 9, 1, 1, height, width)
    fine = (shares * near).sum(dim=2)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(count, 2, CELL * height, CELL * width)


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
