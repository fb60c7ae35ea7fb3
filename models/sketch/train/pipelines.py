"""Stock pipelines from the weights folder, for samples and benchmarks. Knows nothing of training or serving."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import MotionAdapter, StableDiffusionPipeline

from models.image.stable_diffusion import TextToImage
from models.video.animatediff import KeyframePipeline


def image_pipeline(weights: Path, adapter: bool = True) -> TextToImage:
    """The image model in float32, with the IP-Adapter unless told otherwise; each prompt has references of its own."""
    pipe: TextToImage = TextToImage.from_pretrained(weights / "image", dtype=torch.float32)
    if adapter:
        pipe.load_ip_adapter(
            str(weights / "ip_adapter"),
            subfolder="",
            weight_name="ip-adapter.safetensors",
            image_encoder_folder="image_encoder",
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def video_pipeline(weights: Path) -> KeyframePipeline:
    """The video model in float32."""
    still = StableDiffusionPipeline.from_pretrained(weights / "video", dtype=torch.float32)
    pipe = KeyframePipeline(
        vae=still.vae,
        text_encoder=still.text_encoder,
        tokenizer=still.tokenizer,
        unet=still.unet,
        scheduler=still.scheduler,
        motion_adapter=MotionAdapter.from_pretrained(weights / "motion", dtype=torch.float32),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
