"""The exact optical flow of a clip: where each visible point of a frame is in the next one."""

from __future__ import annotations

import itertools

import numpy as np

from models.sketch.training.world.canvas import Array
from models.sketch.training.world.render import Scene
from models.sketch.training.world.spec import SceneSpec
from models.video.camera import times


def clip_flow(spec: SceneSpec, num_frames: int) -> Array:
    """Flow of what is visible from each frame to the next: (num_frames - 1, height, width, 2), x then y, in pixels."""
    moments = times(num_frames)
    scene = Scene(spec, moments)
    ys, xs = np.mgrid[0 : scene.height, 0 : scene.width].astype(np.float64)
    points = np.stack([xs.ravel(), ys.ravel(), np.ones(xs.size)])
    flows = []
    for here, after in itertools.pairwise(moments):
        flow = np.zeros((scene.height, scene.width, 2), np.float32)
        for index, (_, window) in enumerate(scene.layers):
            moved = np.linalg.solve(window(after), window(here) @ points)
            step = (moved[:2] / moved[2] - points[:2]).T.reshape(scene.height, scene.width, 2)
            visible = scene.visible(index, here)
            flow[visible] = step[visible]
        flows.append(flow)
    return np.asarray(flows, np.float32).reshape(max(num_frames - 1, 0), scene.height, scene.width, 2)
