"""An engine that draws without weights: one colour that follows from the start noise, at once or slowly.

A file decides the pace, because those who draw are other processes than the test.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from models.interfaces import ImageRequest, ImageResult, VideoRequest, VideoResult, Watcher

SLOW_STEP_SECONDS = 0.2


def pace_file() -> Path:
    """While it exists every step takes SLOW_STEP_SECONDS."""
    return Path(os.environ["ADMINT_HOME"]) / "slow"


class Drawing:
    """An ImageModel and a VideoModel."""

    def generate(self, request: Any, watcher: Watcher) -> Any:
        for done in range(request.num_inference_steps):
            watcher.step(done, request.num_inference_steps)
            if pace_file().exists():
                time.sleep(SLOW_STEP_SECONDS)
        watcher.step(request.num_inference_steps, request.num_inference_steps)
        colour = np.frombuffer(request.noise.seed.to_bytes(8, "little")[:3], dtype=np.uint8)
        still = np.broadcast_to(colour, (request.height, request.width, 3)).copy()
        if isinstance(request, ImageRequest):
            return ImageResult(still, "0" * 64, 0.0)
        assert isinstance(request, VideoRequest)
        return VideoResult(np.repeat(still[None], request.num_frames, axis=0), "0" * 64, 0.0)
