"""How layers behind the product follow a camera move: less, the further away they are.

A layer at one distance follows a weaker copy of the move. The ground lies at all distances: it is moved by the
homography that follows the product where it stands and the far layers at its horizon.
"""

from __future__ import annotations

from math import cos, sin

import numpy as np

from models.video.camera import Matrix, motion

FARTHEST = 0.62
"""Share of a move that the sky follows: a true tracking shot would leave it still, and lose what `followed` knows."""
SLIDE = 0.1
"""Share of the width that the sky slides by behind the product in an orbit."""


def _weakened(camera: str, height: int, width: int, t: float, nearness: float) -> tuple[float, float, float, float]:
    zoom, dx, dy, roll = motion(camera, height, width, t)
    share = FARTHEST + (1 - FARTHEST) * nearness
    slide = SLIDE * width * t * (1 - nearness) if camera == "orbit" else 0.0
    return zoom**share, dx * share + slide, dy, roll


def _roll(height: int, width: int, roll: float) -> Matrix:
    cx, cy = (width - 1) / 2, (height - 1) / 2
    c, s = cos(roll), sin(roll)
    return np.array([[c, -s, cx - c * cx + s * cy], [s, c, cy - s * cx - c * cy], [0, 0, 1]])


def layer_window(camera: str, height: int, width: int, t: float, nearness: float) -> Matrix:
    """As `camera.move_window`, for a layer that is `nearness` near: 0 is the sky, 1 the product's own distance."""
    zoom, dx, dy, roll = _weakened(camera, height, width, t, nearness)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    straight = np.array([[zoom, 0, cx + dx - zoom * cx], [0, zoom, cy + dy - zoom * cy], [0, 0, 1]])
    return np.asarray(straight @ _roll(height, width, roll))


def ground_window(
    camera: str, height: int, width: int, t: float, nearness: float, horizon: float, contact: float
) -> Matrix:
    """For the ground: its `horizon` row moves as a layer that is `nearness` near, its `contact` row as the product."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    far, near = (_weakened(camera, height, width, t, n) for n in (nearness, 1.0))
    rows = np.array([(y - cy - m[2]) / m[0] + cy for y, m in ((horizon, far), (contact, near))])
    g = (near[0] - far[0]) / (far[0] * rows[0] - near[0] * rows[1])
    weight = g * rows + 1
    lines = np.stack([rows, np.ones(2)], 1)
    d, e = np.linalg.solve(lines, np.array([horizon, contact]) * weight)
    b, c = np.linalg.solve(lines, np.array([cx + m[1] - m[0] * cx for m in (far, near)]) * weight)
    straight = np.array([[far[0] * weight[0], b, c], [0, d, e], [0, g, 1]])
    return np.asarray(straight @ _roll(height, width, far[3]))
