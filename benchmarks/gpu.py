"""Speed and memory on a GPU, with the `models/` layer alone: full-size architectures with random weights.

    python -m benchmarks.gpu [--only sdxl wan-1.3b wan-14b clip] [--json FILE]
    python -m benchmarks.gpu --tiny        rehearsal on a CPU with small configurations: its numbers say nothing

Without a CUDA device nothing is measured, and the exit status says so. Results go to
`benchmarks/results/gpu-DEVICE.json`, with device, versions and date, after every part: a broken-off run keeps its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline, WanPipeline

from benchmarks import gpu_architectures as architectures
from benchmarks.gpu_measures import Row, accelerators, batches, measured, side_by_side, synchronise
from models.interfaces import ImageRequest, NoiseSpec, VideoRequest
from models.spec import ImageModelSpec, VideoModelSpec

RESULTS = Path(__file__).parent / "results"
NEEDED_14B_GB = 60
"""Weights in bfloat16 (29 + 11 for the text encoder), and what 81 frames of 832 x 480 need beside them."""
PROMPT = "a red steel water bottle on a wooden table in morning light, studio photograph"
FIRST_BLOCK_CACHE = {"class": "FirstBlockCacheConfig", "threshold": 0.05}


def sdxl(folder: Path, tiny: bool, device: str) -> dict[str, list[Row]]:
    """SDXL at 1024 x 1024, 30 steps."""
    side, steps = (64, 3) if tiny else (1024, 30)
    dtype = "float32" if tiny else "float16"
    size = architectures.TINY_SDXL if tiny else architectures.SDXL()
    architectures.save_sdxl(folder, size, device, getattr(torch, dtype))
    spec = ImageModelSpec(
        kind="image", name="sdxl", family="stable-diffusion-xl", licence="none", vram_gb=0, dtype=dtype,
        sizes={"1:1": (side, side)}, num_inference_steps=steps, guidance_scale=5.0, references=0,
        batch_pixels=16 * side * side,
    )  # fmt: skip
    request = ImageRequest(
        prompt=PROMPT, negative_prompt="blurry", width=side, height=side, noise=NoiseSpec(seed=1),
        num_inference_steps=steps, guidance_scale=5.0,
    )  # fmt: skip
    settings: dict[str, dict[str, Any]] = {
        "compile": {"compile": "regional"}, "vae_tiling": {"vae_tiling": True}, "offload model": {"offload": "model"},
        "offload group": {"offload": "group"}, "offload sequential": {"offload": "sequential"},
        "together": {"compile": "regional", "vae_tiling": True},
    }  # fmt: skip
    return {
        "side by side": side_by_side(spec, folder, request, StableDiffusionXLPipeline, device),
        "batches": batches(spec, folder, request, (1, 2) if tiny else (1, 2, 4, 8), device),
        "accelerators": accelerators(spec, folder, request, settings, device),
    }


def wan(folder: Path, tiny: bool, device: str, size: architectures.Wan, steps: int) -> dict[str, list[Row]]:
    """Wan 2.1 text-to-video at 832 x 480, 81 frames."""
    width, height, frames = (64, 64, 5) if tiny else (832, 480, 81)
    dtype = "float32" if tiny else "bfloat16"
    architectures.save_wan(folder, architectures.TINY_WAN if tiny else size, device, getattr(torch, dtype))
    spec = VideoModelSpec(
        kind="video", name="wan", family="wan-text", licence="none", vram_gb=0, dtype=dtype, native_fps=16,
        sizes={"16:9": (width, height)}, num_inference_steps=steps, guidance_scale=5.0, references=0, size_multiple=16,
        max_frames=frames, frame_multiple=4, first_frame="unused",
    )  # fmt: skip
    request = VideoRequest(
        prompt=PROMPT, negative_prompt="blurry", width=width, height=height, num_frames=frames,
        noise=NoiseSpec(seed=1), num_inference_steps=steps, guidance_scale=5.0,
    )  # fmt: skip
    settings: dict[str, dict[str, Any]] = {
        "compile": {"compile": "regional"}, "first block cache": {"cache": FIRST_BLOCK_CACHE},
        "flash attention": {"attention_backend": "_native_flash"},
        "cuDNN attention": {"attention_backend": "_native_cudnn"}, "vae_tiling": {"vae_tiling": True},
        "offload group": {"offload": "group"}, "offload model": {"offload": "model"},
        "together": {"compile": "regional", "cache": FIRST_BLOCK_CACHE, "attention_backend": "_native_cudnn"},
    }  # fmt: skip
    return {
        "side by side": side_by_side(spec, folder, request, WanPipeline, device),
        "accelerators": accelerators(spec, folder, request, settings, device),
    }


def wan_14b(folder: Path, tiny: bool, device: str) -> dict[str, list[Row]]:
    if not tiny and torch.cuda.mem_get_info()[0] < NEEDED_14B_GB * 1e9:
        return {"side by side": [{"what": "not run", "reason": f"needs {NEEDED_14B_GB} GB of free device memory"}]}
    return wan(folder, tiny, device, architectures.WAN_14B, 3 if tiny else 4)


def wan_1_3b(folder: Path, tiny: bool, device: str) -> dict[str, list[Row]]:
    return wan(folder, tiny, device, architectures.WAN_1_3B, 3 if tiny else 10)


def clip(folder: Path, tiny: bool, device: str) -> dict[str, list[Row]]:
    """CLIP ViT-L/14 on frames of 224 x 224, as the scorers call it: image features per second."""
    dtype = torch.float32 if tiny else torch.float16
    model = architectures.clip(architectures.TINY_CLIP if tiny else architectures.CLIP_VIT_L, device, dtype)
    rows: list[Row] = []
    for count in (1, 2) if tiny else (1, 16, 81, 256):
        frames = torch.rand(count, 3, 224, 224, device=device, dtype=dtype)
        row, _ = measured(partial(_features, model, frames))
        seconds = row.pop("seconds_per_step")
        rows.append({"what": f"{count} frames", **row, "seconds": seconds, "frames_per_second": count / seconds})
    return {"scoring": rows}


def _features(model: Any, frames: Any, steps: Any) -> None:
    with torch.inference_mode():
        for repetition in range(1, 12):
            model.get_image_features(pixel_values=frames)
            steps.step(repetition, 11)


PARTS: dict[str, Callable[[Path, bool, str], dict[str, list[Row]]]] = {
    "sdxl": sdxl,
    "wan-1.3b": wan_1_3b,
    "wan-14b": wan_14b,
    "clip": clip,
}


def about(tiny: bool) -> dict[str, Any]:
    libraries = {name: _version(name) for name in ("torch", "diffusers", "transformers", "accelerate", "admint")}
    on_gpu = torch.cuda.is_available() and not tiny
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "CPU rehearsal: these numbers say nothing about a GPU",
        "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9 if on_gpu else None,
        "cuda": torch.version.cuda,
        "versions": libraries,
        "date": time.strftime("%Y-%m-%d"),
        "weights": "random",
        "tiny": tiny,
    }


def _version(library: str) -> str | None:
    """None where a library is not installed: on a borrowed GPU the project itself is only on PYTHONPATH."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not (arguments.tiny or torch.cuda.is_available()):
        print("nothing was measured: torch sees no CUDA device (--tiny rehearses on the CPU)", file=sys.stderr)
        return 1
    device = "cpu" if arguments.tiny else "cuda"
    result = about(arguments.tiny)
    path = arguments.json or _results(result["device"], arguments.tiny)
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as scratch:
            result[name] = PARTS[name](Path(scratch), arguments.tiny, device)
            synchronise()
        for group, rows in result[name].items():
            _show(f"{name}: {group}", rows)
        if path:
            path.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _results(device: str, tiny: bool) -> Path | None:
    """A rehearsal leaves no result unless it is told where."""
    return None if tiny else RESULTS / f"gpu-{device.lower().replace(' ', '-')}.json"


def _show(title: str, rows: list[Row]) -> None:
    print(title)
    for row in rows:
        numbers = [f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, int | float)]
        print(f"  {row['what']:20} {'  '.join(numbers) or row.get('refused') or row.get('reason')}")


if __name__ == "__main__":
    raise SystemExit(main())
