"""What each frame of a PIA-type model is told of its keyframe: five channels, a mask and latents.

`held` is PIA's own way (arXiv 2312.13964): every frame is given the same keyframe, and a mask of how closely to follow
it. `followed` gives each frame the keyframe as the moved camera sees it, and the mask says where that view is known:
the geometry of a move need not be learnt, only what comes into view. Weights are trained for one of the two, as
`VideoModelSpec.keyframe` says. Knows no prompt, noise or sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from diffusers.pipelines.deprecated.pia.pipeline_pia import prepare_mask_coef_by_statistics
from PIL import Image
from torch.nn import functional as F

from models.image.latents import encode
from models.sketch.world.follow import followed as moved_views

SMALL_MOTION = 0
"""PIA's `motion_scale`: mask 1, 0.9, 0.85, 0.85, 0.85, then 0.8. The weights of this family are trained with it."""

Told = Callable[[Any, Image.Image, str, int], torch.Tensor]
"""From a diffusers pipeline, the keyframe, the camera's move and the number of frames to (1, 5, frames, h, w)."""


def held(pipeline: Any, keyframe: Image.Image, camera: str, num_frames: int) -> torch.Tensor:
    """The keyframe's latents in every frame; the move plays no part."""
    latents = encode(pipeline.vae, pipeline.video_processor.preprocess(keyframe)).unsqueeze(2)
    coefficients = prepare_mask_coef_by_statistics(num_frames, 0, SMALL_MOTION)
    mask = latents.new_tensor(coefficients).view(1, 1, -1, 1, 1).expand(1, 1, -1, *latents.shape[-2:])
    return torch.cat([mask, latents.expand(-1, -1, num_frames, -1, -1)], dim=1)


def followed(pipeline: Any, keyframe: Image.Image, camera: str, num_frames: int) -> torch.Tensor:
    """The latents of the keyframe as the camera sees it in each frame, zero where it runs past the keyframe's edge."""
    views, known = moved_views(np.asarray(keyframe), camera, num_frames)
    pixels = torch.cat([pipeline.video_processor.preprocess(Image.fromarray(view)) for view in views])
    latents = encode(pipeline.vae, pixels)
    mask = F.avg_pool2d(torch.from_numpy(known)[:, None], pipeline.vae_scale_factor).to(latents)
    return torch.cat([mask, latents * mask], dim=1).transpose(0, 1).unsqueeze(0)


TOLD: dict[Literal["held", "followed"], Told] = {"held": held, "followed": followed}
