"""Rendered rows on the training device: preallocated tensors that fill while training draws from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_DTYPES = {"uint8": torch.uint8, "int16": torch.int16}


class Shelf:
    """Rows of one kind by field; the first `count` of them exist, the first `ready` with what is computed from them."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.fields: dict[str, torch.Tensor] = {}
        self.count = self.ready = 0
        self._count, self._ready = torch.ones((), device=device), torch.ones((), device=device)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.fields[name]

    def add(self, rows: dict[str, NDArray[Any]]) -> slice:
        """Append rows; gives their place."""
        size = len(next(iter(rows.values())))
        place = slice(self.count, self.count + size)
        for name, values in rows.items():
            if name not in self.fields:
                shape = (self.capacity, *values.shape[1:])
                self.fields[name] = torch.zeros(shape, dtype=_DTYPES[str(values.dtype)], device=self.device)
            self.fields[name][place] = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
        self.count = place.stop
        self._count.fill_(float(self.count))
        return place

    def compute(self, rows: dict[str, torch.Tensor]) -> None:
        """The computed fields of the next rows that are not ready."""
        size = len(next(iter(rows.values())))
        place = slice(self.ready, self.ready + size)
        for name, values in rows.items():
            if name not in self.fields:
                shape = (self.capacity, *values.shape[1:])
                self.fields[name] = torch.zeros(shape, dtype=values.dtype, device=self.device)
            self.fields[name][place] = values
        self.ready = place.stop
        self._ready.fill_(float(self.ready))

    def draw(self, size: int, ready: bool = True) -> torch.Tensor:
        """Indices of random rows, with computed fields or of all. Follows the counts inside a captured graph too."""
        bound = self._ready if ready else self._count
        return (torch.rand(size, device=self.device) * bound).long()


def as_tensor(pictures: torch.Tensor) -> torch.Tensor:
    """... x height x width x 3 bytes as ... x 3 x height x width in -1 to 1."""
    return pictures.movedim(-1, -3).float() / 127.5 - 1


def as_pictures(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """The way back, for n x 3 x height x width."""
    pixels = ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.asarray(pixels.permute(0, 2, 3, 1).cpu().numpy())
