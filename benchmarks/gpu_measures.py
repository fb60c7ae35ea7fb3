"""What is measured of one picture model: bare diffusers beside this project, batches, and each accelerator.

Seconds per step are the median over the steps after the first, each ended by a device synchronisation, for both sides
alike. Memory is the peak that torch allocated on the device, weights included.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from models.diffusion.noise import draw_batch
from models.errors import ModelError
from models.interfaces import ImageRequest, Unwatched, VideoRequest
from models.registry import load
from models.spec import Acceleration, PictureModelSpec

Row = dict[str, Any]


class StepTimes:
    """Watcher and diffusers callback in one: when each step ended."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    def step(self, done: int, total: int) -> None:
        if done:
            synchronise()
            self._ends.append(time.perf_counter())

    def __call__(self, pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self.step(index + 1, pipeline.num_timesteps)
        return {}

    def seconds(self) -> float:
        return median(after - before for before, after in zip(self._ends, self._ends[1:], strict=False))


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measured(call: Callable[[StepTimes], Any], warm: Callable[[StepTimes], Any] | None = None) -> tuple[Row, Any]:
    """Time and peak memory of `call` after one call that warms up (the same unless given); and what it returned."""
    (warm or call)(StepTimes())
    steps = StepTimes()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    synchronise()
    started = time.perf_counter()
    result = call(steps)
    synchronise()
    row: Row = {"seconds": time.perf_counter() - started, "seconds_per_step": steps.seconds()}
    row["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None
    return row, result


def side_by_side(
    spec: PictureModelSpec, folder: Path, request: ImageRequest | VideoRequest, stock: Any, device: str
) -> list[Row]:
    """Ours and the bare stock pipeline on the same folder, noise and settings, in turn in one process."""
    ours, pixels = _ours(spec, folder, request, device)
    bare, output = _stock(spec, folder, request, stock, device)
    ours |= {"overhead": ours["seconds"] / bare["seconds"] - 1} | deviation(pixels, output)
    return [{"what": "bare diffusers", **bare}, {"what": "this project", **ours}]


def batches(
    spec: PictureModelSpec, folder: Path, request: ImageRequest, counts: tuple[int, ...], device: str
) -> list[Row]:
    """Images per second against batch size."""
    engine = _load(spec, folder, device)
    rows = [{"what": f"batch of {count}", **_batch(engine, request, count)} for count in counts]
    del engine
    free()
    return rows


def accelerators(
    spec: PictureModelSpec,
    folder: Path,
    request: ImageRequest | VideoRequest,
    settings: Mapping[str, Mapping[str, Any]],
    device: str,
) -> list[Row]:
    """Each setting of `acceleration` by name, with its deviation from the output without any; refusals are rows too."""
    rows: list[Row] = []
    plain: Any = None
    for name, setting in {"plain": {}, **settings}.items():
        about: Row = {"what": name, "acceleration": dict(setting)}
        accelerated = spec.model_copy(update={"acceleration": Acceleration.model_validate(dict(setting))})
        try:
            row, pixels = _ours(accelerated, folder, request, device)
        except ModelError as error:
            rows.append(about | {"refused": str(error).splitlines()[0]})
            free()
            continue
        plain = pixels if plain is None else plain
        rows.append(about | row | deviation(pixels, plain))
    return rows


def _ours(spec: PictureModelSpec, folder: Path, request: ImageRequest | VideoRequest, device: str) -> tuple[Row, Any]:
    """Time and pixels of our engine, which is gone afterwards."""
    generate = _load(spec, folder, device).generate
    # Warmed with other texts: bare diffusers encodes them in every call, so ours are not to be remembered either.
    texts = {"prompt": f"{request.prompt}, again", "negative_prompt": f"{request.negative_prompt}, again"}
    row, result = measured(partial(generate, request), partial(generate, request.model_copy(update=texts)))
    del generate
    free()
    return row | {"notes": list(result.notes)}, result.frames if hasattr(result, "frames") else result.image


def _stock(
    spec: PictureModelSpec, folder: Path, request: ImageRequest | VideoRequest, stock: Any, device: str
) -> tuple[Row, Any]:
    """Time and pixels of the bare pipeline, which is gone afterwards."""
    pipeline = stock.from_pretrained(folder, dtype=_dtypes(spec), local_files_only=True, use_safetensors=True)
    pipeline.to(device).set_progress_bar_config(disable=True)
    row, output = measured(partial(stock_call, pipeline, request))
    del pipeline
    free()
    return row, (output * 255).round().astype(np.uint8)


def _batch(engine: Any, request: ImageRequest, count: int) -> Row:
    noises = [request.noise.model_copy(update={"seed": seed}) for seed in range(count)]
    requests = [request.model_copy(update={"noise": noise}) for noise in noises]

    def call(steps: StepTimes) -> Any:
        return engine.generate_batch(requests, [steps, *[Unwatched()] * (count - 1)])

    row, outcomes = measured(call)
    made = [outcome for outcome in outcomes if not isinstance(outcome, ModelError)]
    return row | {
        "images_per_second": len(made) / row["seconds"],
        "failed": [str(outcome) for outcome in outcomes if isinstance(outcome, ModelError)],
        "notes": sorted({note for outcome in made for note in outcome.notes}),
    }


def deviation(pixels: Any, plain: Any) -> Row:
    """Mean and largest difference in levels of 255, and the peak signal-to-noise ratio in dB (None: equal).

    None of it for a flat plain output: weights that overflow in half precision would make everything equal.
    """
    if not plain.std():
        return {"deviation": "not known: the plain output is flat"}
    difference = np.abs(pixels.astype(np.float64) - plain.astype(np.float64))
    error = float((difference**2).mean())
    return {
        "mean_deviation": float(difference.mean()),
        "largest_deviation": int(difference.max()),
        "psnr_db": float(10 * np.log10(255**2 / error)) if error else None,
    }


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _load(spec: PictureModelSpec, folder: Path, device: str) -> Any:
    loader: Any = load
    return loader(spec, {"main": folder}, device)


def _dtypes(spec: PictureModelSpec) -> Any:
    dtype = getattr(torch, spec.dtype)
    return {"default": dtype, "vae": torch.float32} if spec.family.startswith("wan") else dtype


def stock_call(pipeline: Any, request: ImageRequest | VideoRequest, steps: StepTimes) -> Any:
    """The stock call with the same noise; its output in 0..1."""
    size = {"width": request.width, "height": request.height}
    with torch.inference_mode():
        if isinstance(request, VideoRequest):
            frames = (request.num_frames - 1) // pipeline.vae_scale_factor_temporal + 1
            factor, channels = pipeline.vae_scale_factor_spatial, pipeline.vae.config.z_dim
            extra: Row = {"num_frames": request.num_frames, "max_sequence_length": 512}
            prompt = f"{request.prompt}, static camera"
        else:
            frames, factor, channels = None, pipeline.vae_scale_factor, 4
            extra, prompt = {}, request.prompt
        noise = draw_batch([request.noise], channels, request.height // factor, request.width // factor, frames)
        output = pipeline(
            prompt=prompt, negative_prompt=request.negative_prompt, num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale, callback_on_step_end=steps, output_type="np", **size, **extra,
            latents=noise.to(pipeline.device, torch.float32 if frames else pipeline.unet.dtype),
        )  # fmt: skip
    return output.frames[0] if frames else output.images[0]
