"""Families `dino` and `dinov2`: what a picture shows, learned without labels; the CLS token is the picture's vector.

DINO (Caron et al., arXiv 2104.14294) ViT-B/16, 85.8 M parameters, is what VBench's subject consistency compares frames
by; DINOv2 (Oquab et al., arXiv 2304.07193) ViT-B/14, 86.6 M, tells products apart better. Both are stock classes of
transformers; DINO's weights are read from its authors' `dino_vitbase16_pretrain.pth`, DINOv2's from the hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from transformers import Dinov2Model, ViTConfig, ViTModel

from models.conversion import Layout, Piece
from models.scorers.backbone import Backbone
from models.scorers.stock import stock, unit
from models.spec import ScorerModelSpec

CONFIG = ViTConfig(layer_norm_eps=1e-6)
"""ViT-B/16 for 224 x 224, with the epsilon of DINO's own code."""


class Dino(Backbone):
    """DINO on pictures of any size from one patch on; they need not be square."""

    min_side = 16

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._model = stock(ViTModel, spec, folders["main"], device, surplus=("pooler.",), add_pooling_layer=False)

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape (pictures, width), of normalised pictures (pictures, 3, height, width)."""
        return unit(summary(self._model, batch.to(getattr(torch, self.dtype))))


class Dinov2(Backbone):
    """DINOv2. A picture's vector and those of its patches, of which textures can be told."""

    min_side = 14

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._model = stock(Dinov2Model, spec, folders["main"], device)
        self._size, self._mean, self._deviation = _own_preprocessing(folders["main"])

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape (pictures, 1 + patches, width): the picture's first, then its patches'.

        uint8 pictures (pictures, 3, height, width) are brought to the model's own size, whole; float ones are what it
        takes.
        """
        if batch.dtype == torch.uint8:
            planes = batch.float().contiguous()
            small = F.interpolate(planes, self._size, mode="bicubic", align_corners=False, antialias=True)
            mean, deviation = (small.new_tensor(each).view(3, 1, 1) for each in (self._mean, self._deviation))
            batch = (small.clamp(0, 255) / 255 - mean) / deviation
        return unit(self._model(pixel_values=batch.to(getattr(torch, self.dtype))).last_hidden_state)


def _own_preprocessing(folder: Path) -> tuple[tuple[int, int], list[float], list[float]]:
    """Height and width, mean and deviation as the folder's `preprocessor_config.json` gives them; without one the
    published model's: 224 x 224, ImageNet's."""
    file = folder / "preprocessor_config.json"
    read = json.loads(file.read_text()) if file.is_file() else {}
    cut = read.get("do_center_crop", True)
    size = read.get("crop_size" if cut else "size", {"height": 224, "width": 224})
    mean, deviation = read.get("image_mean", [0.485, 0.456, 0.406]), read.get("image_std", [0.229, 0.224, 0.225])
    return (int(size["height"]), int(size["width"])), mean, deviation


def summary(model: Any, pictures: torch.Tensor) -> torch.Tensor:
    """The CLS token after the last normalisation, (pictures, width), with positions as DINO's own code places them."""
    embeddings = model.embeddings
    patches = embeddings.patch_embeddings.projection(pictures)
    tokens = patches.flatten(2).transpose(1, 2)
    first = embeddings.cls_token.expand(len(pictures), -1, -1)
    state = torch.cat([first, tokens], dim=1) + positions(embeddings.position_embeddings, patches.shape[-2:])
    for layer in model.layers:
        state = layer(state)
    found: torch.Tensor = model.layernorm(state)[:, 0]
    return found


def positions(table: torch.Tensor, grid: torch.Size) -> torch.Tensor:
    """The position table, (1, 1 + side * side, width), for a picture of `grid` patches.

    DINO stretches it bicubically by the factor (patches + 0.1) / side, and samples by that factor and not by the sizes:
    up to 0.03 of the table's deviation away from what `interpolate_pos_encoding` of transformers gives.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if tuple(grid) == (side, side):
        return table
    square = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    factors = [(patches + 0.1) / side for patches in grid]
    stretched = F.interpolate(square.float(), scale_factor=factors, mode="bicubic", align_corners=False)
    if tuple(stretched.shape[-2:]) != tuple(grid):
        raise ValueError(
            f"a table of {side} x {side} positions became {tuple(stretched.shape[-2:])}, not {tuple(grid)}"
        )
    return torch.cat([table[:, :1], stretched.to(table.dtype).flatten(2).transpose(1, 2)], dim=1)


# --- published layout -------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """The names of DINO's own code, for the published size."""
    return {"dino_vitbase16_pretrain.pth": layout(CONFIG)}


def layout(config: ViTConfig) -> Layout:
    """Where each tensor of the stock class is published; queries, keys and values are one tensor there."""
    with torch.device("meta"):
        tensors = ViTModel(config, add_pooling_layer=False).state_dict()
    pieces = {name: _piece(name, tensor, int(config.hidden_size)) for name, tensor in tensors.items()}
    return Layout(pieces, files={"config.json": config.to_json_string()})


def _piece(name: str, tensor: torch.Tensor, width: int) -> Piece:
    shape = tuple(tensor.shape)
    if not name.startswith("layers."):
        return Piece(_OUTSIDE[name], shape)
    _, number, rest = name.split(".", 2)
    module, _, leaf = rest.rpartition(".")
    if module in _INSIDE:
        return Piece(f"blocks.{number}.{_INSIDE[module]}.{leaf}", shape)
    start = width * ("q_proj", "k_proj", "v_proj").index(module.removeprefix("attention."))
    return Piece(
        f"blocks.{number}.attn.qkv.{leaf}", (3 * width, *shape[1:]), lambda whole: whole[start : start + width]
    )


_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
_INSIDE = {
    "attention.o_proj": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""Published module by module of the stock class, in a block."""
