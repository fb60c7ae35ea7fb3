"""What every scorer model shares: the facts that its scores carry, and, of a network, how many frames it takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from models.conversion import WEIGHTS_FILE
from models.diffusion.loading import loading
from models.manifest import read_manifest
from models.spec import ScorerModelSpec

Network = TypeVar("Network", bound=torch.nn.Module)


class Scorer:
    """A model behind learned dimensions, as `quality.stream.Model` wants one."""

    def __init__(self, spec: ScorerModelSpec, weights_sha256: str | None, device: str) -> None:
        self.name = spec.name
        self.licence = spec.licence
        self.fidelity: Literal["published", "proxy", "toy"] = spec.fidelity
        self.weights_sha256 = weights_sha256
        self.dtype = spec.dtype
        self.device = device


class Backbone(Scorer, ABC):
    """A network that turns frames into features, as `quality.stream.Backbone` wants one. Its calls block."""

    window = 1
    """How many consecutive frames make an item: 1 for a picture encoder, 2 for optical flow."""
    batch = 16
    """Items at once: bounds the memory, whatever a clip's length."""
    min_side = 1
    """Least length in pixels of a frame's shorter side, after preprocessing."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """On the folder `main` of weights. Raises WeightsError."""
        super().__init__(spec, read_manifest(folders["main"]).files[WEIGHTS_FILE].sha256, device)

    @abstractmethod
    def features(self, batch: Any) -> npt.NDArray[np.float32]:
        """Features of `batch`, one row an item.

        With a window of 1, `batch` is what a preprocessing made of uint8 frames (frames, 3, height, width) on this
        device; with a longer one, a tensor (items, window, 3, h, w).
        """


def load_network(
    spec: ScorerModelSpec, folder: Path, device: str, build: Callable[[dict[str, torch.Tensor]], Network]
) -> Network:
    """The network that `build` makes to the sizes of the weights in `folder`, with these weights, on `device`.

    Raises WeightsError when they are not those of such a network.
    """
    with loading(spec) as dtype:
        state = load_file(folder / WEIGHTS_FILE)
        network = build(state)
        network.load_state_dict(state)
    return network.to(device, dtype).eval()
