"""The size of a model for an aspect ratio that the user typed."""

from __future__ import annotations

from collections.abc import Mapping

from models.spec import AspectRatio, Size
from pipelines.errors import BadInput


def size_of(sizes: Mapping[AspectRatio, Size], aspect_ratio: str) -> Size:
    """Width and height in pixels. Raises BadInput naming the ratios there are."""
    for ratio, size in sizes.items():
        if ratio == aspect_ratio:
            return size
    raise BadInput(f"--aspect-ratio {aspect_ratio!r}: choose one of {', '.join(sizes)}")
