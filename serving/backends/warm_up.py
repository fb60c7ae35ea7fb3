"""The smallest real requests of a model: what runs once before a model counts as ready."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.interfaces import EncodedImage, ImageRequest, NoiseSpec, VideoRequest
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.media import encode_png


def one_step_images(spec: ImageModelSpec) -> tuple[ImageRequest, ...]:
    """One request of one denoising step per size that the model's description names under `warm_up`."""
    return tuple(ImageRequest(**_sampling(spec, width, height)) for width, height in _sizes(spec))


def one_step_clips(spec: VideoModelSpec) -> tuple[VideoRequest, ...]:
    """As `one_step_images`: the model's shortest clip, from a black first frame where it needs one."""
    return tuple(_one_step_clip(spec, width, height) for width, height in _sizes(spec))


def _one_step_clip(spec: VideoModelSpec, width: int, height: int) -> VideoRequest:
    black = EncodedImage(data=encode_png(np.zeros((height, width, 3), dtype=np.uint8)))
    return VideoRequest(
        **_sampling(spec, width, height),
        num_frames=min(spec.frame_multiple + 1, spec.max_frames),
        first_frame=black if spec.first_frame == "required" else None,
        last_frame=black if spec.last_frame else None,
    )


def _sizes(spec: ImageModelSpec | VideoModelSpec) -> tuple[tuple[int, int], ...]:
    """Width and height in pixels; the first size of the description when it names none to warm up."""
    return tuple(spec.sizes[ratio] for ratio in spec.warm_up or tuple(spec.sizes)[:1])


def _sampling(spec: ImageModelSpec | VideoModelSpec, width: int, height: int) -> dict[str, Any]:
    return {
        "prompt": "a bottle on a table",
        "width": width,
        "height": height,
        "noise": NoiseSpec(seed=0),
        "num_inference_steps": 1,
        "guidance_scale": spec.guidance_scale,
    }
