"""Optical flow by OpenCV's DIS (Kroeger et al., arXiv 1603.03590): classical, no weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from quality.stream import Pixels

MIN_PIXELS = 16
"""Least length of the shorter side: below it the flow's patches (8 pixels) have no room."""
Flow = npt.NDArray[np.float32]
"""Shape (height, width, 2): where each pixel went, in pixels to the right and down."""


def flow(before: Pixels, after: Pixels) -> Flow:
    """The optical flow from `before` to `after`, two frames of one size of at least MIN_PIXELS."""
    import cv2

    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # one per call: it keeps buffers
    found: Flow = dis.calc(grey[0], grey[1], None)
    return found


def warped(frame: Pixels, by: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """`frame` with each pixel taken from where `by` points, bilinear, edges repeated; not rounded."""
    import cv2

    height, width = by.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    pixels = frame.astype(np.float32)
    moved: npt.NDArray[np.float32] = cv2.remap(
        pixels,
        (x + by[..., 0]).astype(np.float32),
        (y + by[..., 1]).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float32)
    return moved
