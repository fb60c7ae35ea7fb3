"""What the learned dimensions need of a model: pictures and texts as unit vectors of one space.

Implemented by `models.clip`; this package imports no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""Shape (height, width, 3), RGB 0..255."""
Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    @property
    def name(self) -> str:
        """The backbone, for the score."""
        ...

    @property
    def fidelity(self) -> Literal["proxy", "toy"]:
        """`toy`: weights of a toy world, whose scores carry another metric's name."""
        ...

    @property
    def weights_sha256(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...

    def images(self, frames: Iterable[Pixels]) -> Vectors:
        """Shape (frames, width), each row of length 1."""
        ...

    def text(self, text: str) -> tuple[Vectors, bool]:
        """Shape (width,), of length 1; and whether the text was cut to what the model reads."""
        ...
