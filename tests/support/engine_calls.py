"""Small requests for the image and video engines, and watchers that stop them: what the engine tests share."""

from typing import Any

import numpy as np
import pytest

from models.errors import Cancelled
from models.interfaces import ImageRequest, NoiseSpec, Reference, Unwatched, VideoRequest
from tests.support import tiny_models

NOISE = NoiseSpec(seed=1, shared_seed=2, shared_strength=0.25)


def image_request(**changes: Any) -> ImageRequest:
    """64 x 64 pixels in four steps."""
    plain = {
        "prompt": "a red bottle", "width": 64, "height": 64, "noise": NOISE, "num_inference_steps": 4,
        "guidance_scale": 4.0,
    }  # fmt: skip
    return ImageRequest.model_validate(plain | changes)


def video_request(**changes: Any) -> VideoRequest:
    """5 frames of 64 x 64 pixels in three steps, from nothing."""
    plain = {
        "prompt": "a bottle", "width": 64, "height": 64, "num_frames": 5, "noise": NOISE, "num_inference_steps": 3,
        "guidance_scale": 4.0,
    }  # fmt: skip
    return VideoRequest.model_validate(plain | changes)


def picture(engine, **changes):
    """Pixels, (height, width, 3)."""
    return engine.generate(image_request(**changes), Unwatched()).image


def clip(engine, **changes):
    """Frames, (frames, height, width, 3)."""
    return engine.generate(video_request(**changes), Unwatched()).frames


def reference(seed, width=64, height=64, **changes):
    return Reference.model_validate({"image": tiny_models.png(seed, width, height), "role": "product"} | changes)


def distance(one, other):
    """Mean difference in levels of 255."""
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32)).mean())


def assert_all_differ(pixels):
    for index, one in enumerate(pixels):
        assert not any(np.array_equal(one, other) for other in pixels[:index]), index


class StopAt:
    """Cancels the call at one step (None: at none); remembers every report."""

    def __init__(self, step=None):
        self.stop, self.reports = step, []

    def step(self, done, total):
        self.reports.append((done, total))
        if done == self.stop:
            raise Cancelled(f"stopped at step {done}")


@pytest.fixture(scope="session")
def small_references():
    """Qwen-Image-Edit's pipeline scales every picture that it looks at to 64 x 64 pixels, not to 1024 x 1024."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE", 64 * 64)
        yield
