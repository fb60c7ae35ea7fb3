"""Stock pipelines from the weights folder, as the engines build them, for benchmarks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import MotionAdapter, StableDiffusionPipeline

from models.diffusion.references import ReferenceAdapter
from models.image.stable_diffusion import TextToImage
from models.manifest import read_manifest
from models.sketch.assembly import ASSEMBLY, assemble
from models.video.animatediff import KeyframePipeline, motion_unet

SLOTS = 3


def image_pipeline(weights: Path) -> TextToImage:
    """The image model in float32."""
    pipe: TextToImage = TextToImage.from_pretrained(weights / "image", dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def complete(weights: Path, name: str) -> Iterator[Path]:
    """One model's folder with the files that other folders of `weights` store; gone afterwards where it was made."""
    stored = weights / name
    if not (stored / ASSEMBLY).exists():
        yield stored
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        assemble(stored, tuple(read_manifest(stored).files), folder)
        yield folder


def with_references(pipe: Any, weights: Path) -> ReferenceAdapter:
    """Puts the engines' adapter, with room for three references, on a pipeline."""
    with complete(weights, "ip_adapter") as folder:
        return ReferenceAdapter(pipe, folder, "ip-adapter.safetensors", "image_encoder", SLOTS)


def video_pipeline(weights: Path) -> KeyframePipeline:
    """The video model in float32: the image model's folder and the motion adapter."""
    still = StableDiffusionPipeline.from_pretrained(weights / "image", dtype=torch.float32)
    motion = MotionAdapter.from_pretrained(weights / "motion", dtype=torch.float32)
    pipe = KeyframePipeline(
        vae=still.vae,
        text_encoder=still.text_encoder,
        tokenizer=still.tokenizer,
        unet=motion_unet(still.unet, motion),
        scheduler=still.scheduler,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
