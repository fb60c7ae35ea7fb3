"""What an ad was asked to be, beside its prompt, and what is known of it without looking at its pixels. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom edge, as shares of the picture's width and height."""
FactKind = Literal["object", "count", "color", "spatial", "scene", "action"]


@dataclass(frozen=True)
class Overlay:
    """Words that are laid over the picture."""

    text: str
    start: float
    """Second of their first frame."""
    end: float
    """Second after their last frame."""


@dataclass(frozen=True)
class Fact:
    """One thing that the pictures are to show, and the same with one thing changed, which they are not to show."""

    kind: FactKind
    text: str
    """`the bottle is teal`."""
    decoy: str
    """`the bottle is orange`."""


@dataclass(frozen=True)
class Asked:
    """What was asked for. None and () mean that it was not said, and then it is not measured."""

    seconds: float | None = None
    """Length of the whole."""
    ratio: tuple[int, int] | None = None
    """Width to height: (9, 16)."""
    style: str | None = None
    """The look, in words: `oil painting`."""
    overlays: tuple[Overlay, ...] = ()
    facts: tuple[Fact, ...] = ()


NOTHING = Asked()


@dataclass(frozen=True)
class Sound:
    """The sound track of a video."""

    samples: npt.NDArray[np.float32]
    """Shape (samples, channels), -1..1. Channels in the order left, right, centre, low frequency, surrounds."""
    rate: int
    """Samples per second."""
