"""Keeping an IP-Adapter to a region of the picture: a mask for every attention layer of a UNet, in that layer's size.

    h = Attn(Q, K_text, V_text) + mask * sum_j s_j * Attn(Q, K_j, V_j)

diffusers' processors take `ip_adapter_masks`, but give all layers the same mask and guess from its aspect ratio how it
folds into a layer's row of queries, which goes wrong where a side cannot be halved without a rest. So each layer is
given a mask of its own here, one row high, which leaves nothing to guess. Knows no reference and no scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from models.image.pixels import decode_mask
from models.interfaces import EncodedImage


class Region:
    """The masks of one running call; none between calls."""

    def __init__(self, layers: Sequence[nn.Module], slots: int) -> None:
        """`layers`: the cross-attentions that have the adapter; `slots`: how many times it is listed in each."""
        self._slots = slots
        self._masks: dict[int, torch.Tensor] = {}
        for layer in layers:
            layer.register_forward_pre_hook(self._with_mask, with_kwargs=True)

    def keep_to(self, mask: EncodedImage, width: int, height: int, factor: int) -> None:
        """For a picture of `width` x `height`, whose latents are `factor` times smaller.

        A UNet halves the latents again and again, and a rest counts as one. Raises InvalidRequest for a mask that
        cannot be decoded, before any change.
        """
        whole = decode_mask(mask, "the mask of the references", width, height)
        columns, rows = width // factor, height // factor
        masks = {columns * rows: _row(whole, columns, rows)}
        while columns * rows > 1:
            columns, rows = (columns + 1) // 2, (rows + 1) // 2
            masks[columns * rows] = _row(whole, columns, rows)
        self._masks = masks

    def forget(self) -> None:
        self._masks = {}

    def _with_mask(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._masks:
            return None
        queries: torch.Tensor = args[0] if args else kwargs["hidden_states"]
        mask = self._masks[queries.shape[1]].to(queries)
        return args, {**kwargs, "ip_adapter_masks": [mask] * self._slots}


def _row(mask: Image.Image, columns: int, rows: int) -> torch.Tensor:
    """(1, 1, 1, rows * columns) in 0..1: each value the mean of what it covers."""
    small = np.asarray(mask.resize((columns, rows), Image.Resampling.BOX), dtype=np.float32)
    return torch.from_numpy(small / 255).reshape(1, 1, 1, rows * columns)
