"""A keyframe seen through a camera move: what a video model is told of each frame. Knows neither scenes nor models.

Half an hour of CPU does not teach a video model to shift and scale pictures by itself, but the geometry of a move is
known: each frame is given the keyframe as the moved camera sees it, and where that view runs past the keyframe's edge.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.sketch.world.camera import move_window, times
from models.sketch.world.canvas import Array


def followed(keyframe: NDArray[np.uint8], camera: str, num_frames: int) -> tuple[NDArray[np.uint8], Array]:
    """Frames x height x width x 3 of the moved keyframe, its edges drawn out; frames x height x width: 1 inside it."""
    height, width = keyframe.shape[:2]
    inside = np.ones((height, width), np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    frames, known = [], []
    for t in times(num_frames):
        matrix = move_window(camera, height, width, t)[:2]
        size = (width, height)
        frames.append(cv2.warpAffine(keyframe, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))
        known.append(cv2.warpAffine(inside, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT))
    return np.asarray(frames, np.uint8), np.asarray(known, np.float32)
