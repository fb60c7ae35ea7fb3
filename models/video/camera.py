"""Camera moves: as words for models that learn them from captions, and as windows over the keyframe.

The geometry of a move is known, and half an hour of CPU does not teach a video model to shift and scale pictures by
itself. So a family may be given each frame as the moved camera sees its keyframe, and where that view runs past the
keyframe's edge.
"""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequest
from models.spec import CameraMove, VideoModelSpec

ZOOM = 1.35
"""Factor by which a whole push in enlarges, and a whole pull back shows more."""
PAN = 0.2
"""Share of the frame's width that a whole pan travels."""
TILT = 0.14
"""Share of the frame's height that a whole tilt travels."""
ROLL = 14.0
"""Degrees. An orbit about a flat picture is a roll with a slight approach: what remains of it in a plane."""

Matrix = NDArray[np.float64]
"""Shape (3, 3), homogeneous pixel coordinates."""

CAMERA_WORDS: dict[CameraMove, str] = {
    "static": "static camera",
    "push_in": "camera pushes in",
    "pull_back": "camera pulls back",
    "pan_left": "camera pans left",
    "pan_right": "camera pans right",
    "tilt_up": "camera tilts up",
    "tilt_down": "camera tilts down",
    "orbit": "camera orbits the product",
}


def camera_words(spec: VideoModelSpec, move: str) -> str:
    """The words for `move`. Raises InvalidRequest when the model does not know it."""
    for known in spec.camera_moves:
        if known == move:
            return CAMERA_WORDS[known]
    raise InvalidRequest(
        f"model {spec.name!r} does not know the camera move {move!r}; it knows {', '.join(spec.camera_moves)}"
    )


def motion(camera: str, height: int, width: int, t: float) -> tuple[float, float, float, float]:
    """Zoom (above 1 shows more), shift right and down in pixels, roll in radians, at share `t` (0 to 1) of a move."""
    match camera:
        case "push_in":
            return ZOOM**-t, 0.0, 0.0, 0.0
        case "pull_back":
            return ZOOM**t, 0.0, 0.0, 0.0
        case "pan_left":
            return 1.0, -PAN * width * t, 0.0, 0.0
        case "pan_right":
            return 1.0, PAN * width * t, 0.0, 0.0
        case "tilt_up":
            return 1.0, 0.0, -TILT * height * t, 0.0
        case "tilt_down":
            return 1.0, 0.0, TILT * height * t, 0.0
        case "orbit":
            return 1 - 0.06 * t, 0.0, 0.0, radians(ROLL) * t
    return 1.0, 0.0, 0.0, 0.0


def move_window(camera: str, height: int, width: int, t: float) -> Matrix:
    """3x3 matrix from frame pixels at share `t` (0 to 1) of a move to pixels of the keyframe."""
    zoom, dx, dy, roll = motion(camera, height, width, t)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    c, s = zoom * cos(roll), zoom * sin(roll)
    return np.array([[c, -s, cx + dx - c * cx + s * cy], [s, c, cy + dy - s * cx - c * cy], [0, 0, 1]])


def times(num_frames: int) -> list[float]:
    """Share of the move at each frame: 0 at the first, 1 at the last."""
    return [k / max(num_frames - 1, 1) for k in range(num_frames)]


def followed(
    keyframe: NDArray[np.uint8], camera: str, num_frames: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The keyframe as the camera sees it in each frame of a move, and where that view lies inside the keyframe.

    Shapes (frames, height, width, 3), the keyframe's edges drawn out, and (frames, height, width): 1 inside, 0 beyond.
    """
    import cv2  # one family follows its keyframe; the others run where OpenCV is not installed

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
