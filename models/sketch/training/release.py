"""From finished stages to what ships: `python -m models.sketch.training.release image ip_adapter …`.

Tensors are stored as float16 (loaders read them as float32) and each folder gets its manifest, which is what makes
weights count. Knows nothing of what the stages reached: whoever calls it has measured.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import MotionAdapter, StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import CLIPModel, CLIPTokenizer

from models.image.stable_diffusion import TextToImage
from models.sketch.training.loop import EXPORTS, WEIGHTS, as_tensor, squash
from models.sketch.training.tokenizer import token_ids
from models.sketch.training.world import COLOURS, SETTINGS, SHAPES, SceneSpec, render
from models.sketch.training.world.spec import COLOUR_WORDS, SETTING_WORDS, SHAPE_WORDS
from models.video.animatediff import KeyframePipeline
from models.weights import EMBEDDED, write_manifest


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


VERSION = "0.1.0"


def halve(path: Path) -> None:
    """Rewrite a safetensors file with float16 in place of float32."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
        metadata = file.metadata()
    small = {k: (v.half() if v.dtype == torch.float32 else v).contiguous() for k, v in tensors.items()}
    path.unlink()
    save_file(small, path, metadata)


def release(name: str) -> int:
    """Copy one exported model into the project, replacing what was there; returns its size in bytes."""
    folder = WEIGHTS / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(EXPORTS / name, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix == ".safetensors":
            halve(path)
        path.chmod(0o644)
    write_manifest(folder, f"{EMBEDDED}{name}", VERSION)
    return sum(path.stat().st_size for path in files)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.sketch.training.release")
    parser.add_argument("names", nargs="+")
    for name in parser.parse_args().names:
        print(name, f"{release(name) / 2**20:.1f} MiB", flush=True)


if __name__ == "__main__":
    main()


VALUES = {"shape": SHAPES, "colour": COLOURS, "setting": SETTINGS}


def plain_caption(spec: SceneSpec) -> str:
    """Names colour, shape and setting, and nothing else."""
    return f"a {COLOUR_WORDS[spec.colour][0]} {SHAPE_WORDS[spec.shape][0]} {SETTING_WORDS[spec.setting][0]}"


def distractors(spec: SceneSpec, rng: np.random.Generator) -> list[SceneSpec]:
    """Nine scenes that differ from this one in one attribute: three in each."""
    out = []
    for name, values in VALUES.items():
        others = [v for v in values if v != getattr(spec, name)]
        chosen: list[dict[str, Any]] = [{name: str(v)} for v in rng.choice(others, 3, replace=False)]
        out += [replace(spec, **change) for change in chosen]
    return out


@torch.no_grad()
def choice_accuracy(clip: CLIPModel, tokenizer: CLIPTokenizer, specs: list[SceneSpec]) -> float:
    """Share of the scenes whose own caption scores highest for their picture."""
    rng = np.random.default_rng(5)
    right = 0
    for spec in specs:
        pixels = squash(as_tensor(np.asarray(render(spec))[None]))
        image = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)[0]
        ids = token_ids(tokenizer, [plain_caption(s) for s in [spec, *distractors(spec, rng)]])
        text = clip.text_projection(clip.text_model(input_ids=ids).pooler_output)
        right += int((F.normalize(text, dim=-1) @ image).argmax() == 0)
    return right / len(specs)
