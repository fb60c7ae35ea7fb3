"""Camera moves as similarity windows over a larger canvas, and the exact optical flow that follows from them.

Knows nothing of what is drawn. A tracking shot of a flat world has no parallax: `orbit` is a roll about the product
with a slight approach, which is what remains of an orbit in a plane.
"""

from __future__ import annotations

import itertools
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from models.sketch.world.canvas import Array
from models.sketch.world.spec import SceneSpec, frame_size

ZOOM = 1.35
PAN = 0.24
"""Share of the frame's width that a whole pan travels."""
TILT = 0.2
ROLL = 14.0
MARGIN = 0.32
"""Canvas beyond the frame on each side, as a share of the frame: what the widest move needs."""

Matrix = NDArray[np.float64]


def margins(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of canvas beyond the frame."""
    return round(height * MARGIN), round(width * MARGIN)


def window(spec: SceneSpec, t: float) -> Matrix:
    """3x3 matrix from frame pixels at share `t` of the scene's move to pixels of the frame at rest."""
    return move_window(spec.camera, *frame_size(spec.aspect), t)


def move_window(camera: str, height: int, width: int, t: float) -> Matrix:
    """The same for a move by name and a frame of any size."""
    zoom, dx, dy, roll = 1.0, 0.0, 0.0, 0.0
    match camera:
        case "push_in":
            zoom = ZOOM**-t
        case "pull_back":
            zoom = ZOOM**t
        case "pan_left":
            dx = -PAN * width * t
        case "pan_right":
            dx = PAN * width * t
        case "tilt_up":
            dy = -TILT * height * t
        case "tilt_down":
            dy = TILT * height * t
        case "orbit":
            roll, zoom = radians(ROLL) * t, 1 - 0.06 * t
    cx, cy = (width - 1) / 2, (height - 1) / 2
    c, s = zoom * cos(roll), zoom * sin(roll)
    return np.array([[c, -s, cx + dx - c * cx + s * cy], [s, c, cy + dy - s * cx - c * cy], [0, 0, 1]])


def times(num_frames: int) -> list[float]:
    return [k / max(num_frames - 1, 1) for k in range(num_frames)]


def clip_flow(spec: SceneSpec, num_frames: int) -> Array:
    """Flow from each frame to the next: (num_frames - 1, height, width, 2), x then y, in pixels."""
    height, width = frame_size(spec.aspect)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    points = np.stack([xs.ravel(), ys.ravel(), np.ones(xs.size)])
    steps = [window(spec, t) for t in times(num_frames)]
    flows = []
    for here, after in itertools.pairwise(steps):
        moved = np.linalg.solve(after, here @ points)[:2] - points[:2]
        flows.append(moved.T.reshape(height, width, 2))
    return np.asarray(flows, np.float32).reshape(max(num_frames - 1, 0), height, width, 2)
