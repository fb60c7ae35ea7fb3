"""LAION's first aesthetic predictor: one linear layer over a picture's CLIP ViT-L/14 vector (769 parameters).

Trained on people's ratings of pictures from 1 to 10 (SAC, Logos, AVA); VBench's aesthetic quality is its mean over a
clip divided by 10. Published as `sa_0_4_vit_l_14_linear.pth` (LAION-AI/aesthetic-predictor, MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.conversion import Layout, Piece
from models.scorers.backbone import Backbone, load_network
from models.spec import ScorerModelSpec

WIDTH = 768
"""Of the vectors of CLIP ViT-L/14."""
SHAPES: dict[str, tuple[int, ...]] = {"weight": (1, WIDTH), "bias": (1,)}


class LaionHead(Backbone):
    """The linear layer. It takes no pictures: the dimension that uses it hands it the vectors of CLIP ViT-L/14."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._model = load_network(spec, folders["main"], device, lambda state: nn.Linear(WIDTH, 1))

    @torch.inference_mode()
    def features(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Ratings, mostly 1 to 10, shape (frames,), of vectors of length 1, shape (frames, 768). Not clamped.

        Raises ValueError for vectors of another width, which are those of another CLIP.
        """
        if batch.ndim != 2 or batch.shape[1] != WIDTH:
            raise ValueError(f"the aesthetic head reads vectors of {WIDTH} numbers by CLIP ViT-L/14, not {batch.shape}")
        vectors = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device, getattr(torch, self.dtype))
        found: npt.NDArray[np.float32] = self._model(vectors)[:, 0].float().cpu().numpy()
        return found


def layouts() -> dict[str, Layout]:
    """The file as published: the layer itself."""
    return {"sa_0_4_vit_l_14_linear.pth": Layout({name: Piece(name, shape) for name, shape in SHAPES.items()})}
