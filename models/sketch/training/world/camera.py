"""Camera moves as similarity windows over a larger canvas, and the exact optical flow that follows from them.

Knows nothing of what is drawn. A tracking shot of a flat world has no parallax: `orbit` is a roll about the product
with a slight approach, which is what remains of an orbit in a plane.
"""

from __future__ import annotations

import itertools

import numpy as np

from models.sketch.training.world.drawing import Array
from models.sketch.training.world.spec import SceneSpec, frame_size
from models.video.camera import Matrix, move_window, times

MARGIN = 0.32
"""Canvas beyond the frame on each side, as a share of the frame: what the widest move needs."""


def margins(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of canvas beyond the frame."""
    return round(height * MARGIN), round(width * MARGIN)


def window(spec: SceneSpec, t: float) -> Matrix:
    """3x3 matrix from frame pixels at share `t` of the scene's move to pixels of the frame at rest."""
    return move_window(spec.camera, *frame_size(spec.aspect), t)


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
