"""Stock pipelines from the weights folder, for samples and benchmarks. Knows nothing of training or serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import MotionAdapter, PIAPipeline, StableDiffusionPipeline
from PIL import Image
from torch.nn import functional as F

from models.sketch.train.paths import as_tensor
from models.sketch.world.follow import followed


class FollowPipeline(PIAPipeline):  # type: ignore[misc]
    """Stock PIA, except that each frame is told the keyframe as the moved camera sees it, and where that is known."""

    camera = "static"

    def prepare_masked_condition(
        self, image: Image.Image, batch_size: int, num_channels_latents: int, num_frames: int, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask (n, 1, frames, h, w) and keyframe latents (n, 4, frames, h, w); n is 2 under guidance, else 1."""
        frames, known = followed(np.asarray(image.convert("RGB")), self.camera, num_frames)
        mask = F.avg_pool2d(torch.from_numpy(known)[:, None], self.vae_scale_factor)
        with torch.no_grad():
            latents = self.vae.encode(as_tensor(frames)).latent_dist.mode() * self.vae.config.scaling_factor
        copies = 2 if self.do_classifier_free_guidance else 1
        both = torch.cat([mask, latents * mask], dim=1).transpose(0, 1)[None].expand(copies, -1, -1, -1, -1)
        return both[:, :1], both[:, 1:]


def image_pipeline(weights: Path, adapter: bool = True) -> StableDiffusionPipeline:
    """The image model in float32, with the IP-Adapter unless told otherwise."""
    pipe = StableDiffusionPipeline.from_pretrained(weights / "image", torch_dtype=torch.float32)
    if adapter:
        pipe.load_ip_adapter(
            str(weights / "ip_adapter"),
            subfolder="",
            weight_name="ip-adapter.safetensors",
            image_encoder_folder="image_encoder",
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def video_pipeline(weights: Path) -> FollowPipeline:
    """The video model in float32."""
    still = StableDiffusionPipeline.from_pretrained(weights / "video", torch_dtype=torch.float32)
    pipe = FollowPipeline(
        vae=still.vae,
        text_encoder=still.text_encoder,
        tokenizer=still.tokenizer,
        unet=still.unet,
        scheduler=still.scheduler,
        motion_adapter=MotionAdapter.from_pretrained(weights / "motion", torch_dtype=torch.float32),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
