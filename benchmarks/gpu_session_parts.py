"""The parts of a GPU session in the order of their worth: which model, which request, which rows, which time for each.

All rows of a part share one pipeline's components. What an acceleration leaves on them is taken back after its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline, WanPipeline

from benchmarks import gpu_architectures as architectures
from benchmarks.gpu import FIRST_BLOCK_CACHE, PROMPT
from benchmarks.gpu_measures import Row, StepTimes, measured, stock_call
from benchmarks.gpu_session import Session
from models.diffusion.placement import denoisers
from models.errors import ModelError
from models.interfaces import ImageRequest, NoiseSpec, Unwatched, VideoRequest
from models.registry import load
from models.spec import Acceleration, ImageModelSpec, PictureModelSpec, VideoModelSpec

Request = ImageRequest | VideoRequest
NOWHERE = Path("/held-in-memory")
KEPT_CONFIGURATION = ("is_distilled", "force_zeros_for_empty_prompt", "expand_timesteps", "boundary_ratio")
WARM_STEPS = 2
WARM_FRAMES = 5
"""The first step of a measured call is left out of its seconds per step: it warms what depends on the size."""
IMAGE_STEPS = 10


@dataclass(frozen=True)
class Model:
    """One pipeline with what is asked of it."""

    pipeline: Any
    spec: PictureModelSpec
    request: Request
    device: str

    def warm_up(self) -> Request:
        """A short request with other texts, which are then not remembered; a clip is short in frames too."""
        changes: dict[str, Any] = {"num_inference_steps": WARM_STEPS, "prompt": f"{self.request.prompt}, again"}
        changes["negative_prompt"] = f"{self.request.negative_prompt} again"
        if isinstance(self.request, VideoRequest):
            changes["num_frames"] = WARM_FRAMES
        return self.request.model_copy(update=changes)

    def bare(self, stock_class: Any) -> tuple[Row, Any]:
        """The stock pipeline as diffusers gives it."""
        stock = stock_class.from_pretrained(NOWHERE)
        stock.set_progress_bar_config(disable=True)
        call = partial(stock_call, stock)
        row, output = measured(partial(call, self.request), partial(call, self.warm_up()))
        return self._with_rest(row), (output * 255).round().astype(np.uint8)

    def ours(self, **acceleration: Any) -> tuple[Row, Any]:
        """Our engine over the same components, with these settings of `acceleration`."""
        generate = self.engine(**acceleration).generate
        try:
            row, result = measured(partial(generate, self.request), partial(generate, self.warm_up()))
        finally:
            self._take_back()
        pixels = result.frames if hasattr(result, "frames") else result.image
        return self._with_rest(row | {"notes": list(result.notes)}), pixels

    def batch(self, count: int) -> tuple[Row, None]:
        """`count` pictures that differ in their seeds, in one call."""
        engine = self.engine()

        def call(request: Request, steps: StepTimes) -> Any:
            requests = [request.model_copy(update={"noise": NoiseSpec(seed=seed)}) for seed in range(count)]
            return engine.generate_batch(requests, [steps, *[Unwatched()] * (count - 1)])

        row, outcomes = measured(partial(call, self.request), partial(call, self.warm_up()))
        if failed := [str(outcome) for outcome in outcomes if isinstance(outcome, ModelError)]:
            raise RuntimeError(failed[0])
        return self._with_rest(row) | {"images_per_second": count / row["seconds"]}, None

    def engine(self, **acceleration: Any) -> Any:
        loader: Any = load
        spec = self.spec.model_copy(update={"acceleration": Acceleration(**acceleration)})
        return loader(spec, {"main": NOWHERE}, self.device)

    def _with_rest(self, row: Row) -> Row:
        """Seconds outside of the steps: texts, decoding, and what the first step takes longer than the others."""
        steps = self.request.num_inference_steps
        return row | {"steps": steps, "seconds_outside_steps": row["seconds"] - steps * row["seconds_per_step"]}

    def _take_back(self) -> None:
        for denoiser in denoisers(self.pipeline):
            if getattr(denoiser, "is_cache_enabled", False):
                denoiser.disable_cache()
            denoiser.reset_attention_backend()
            for module in denoiser.modules():
                module._compiled_call_impl = None
        torch.compiler.reset()


@contextmanager
def held(pipeline: Any) -> Iterator[None]:
    """Within, `from_pretrained` of any pipeline class gives one over the components of `pipeline`: no file is read."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    kept = {name: value for name, value in pipeline.config.items() if name in KEPT_CONFIGURATION}

    def over_its_components(kind: Any, /, folder: Path, **settings: Any) -> Any:
        return kind(**pipeline.components, **kept)

    before = DiffusionPipeline.__dict__["from_pretrained"]
    DiffusionPipeline.from_pretrained = classmethod(over_its_components)
    try:
        yield
    finally:
        DiffusionPipeline.from_pretrained = before


def wan(session: Session, part: str, size: architectures.Wan, rows: Callable[[Session, str, Model], None]) -> None:
    """Wan 2.1 text-to-video at 832 x 480, 81 frames, with guidance: two passes a step."""
    width, height, frames = (64, 64, 9) if session.tiny else (832, 480, 81)
    dtype, steps = "float32" if session.tiny else "bfloat16", 3
    pipeline = architectures.wan(
        architectures.TINY_WAN if session.tiny else size, session.device, getattr(torch, dtype)
    )
    pipeline.vae.to(torch.float32)
    _keep_in_float32(pipeline.transformer)
    spec = VideoModelSpec(
        kind="video", name=part, family="wan-text", licence="none", vram_gb=0, dtype=dtype, native_fps=16,
        sizes={"16:9": (width, height)}, num_inference_steps=steps, guidance_scale=5.0, references=0, size_multiple=16,
        max_frames=frames, frame_multiple=4, first_frame="unused",
    )  # fmt: skip
    request = VideoRequest(
        prompt=PROMPT, negative_prompt="blurry", width=width, height=height, num_frames=frames,
        noise=NoiseSpec(seed=1), num_inference_steps=steps, guidance_scale=5.0,
    )  # fmt: skip
    with held(pipeline):
        rows(session, part, Model(pipeline, spec, request, session.device))


def wan_14b(session: Session, part: str, model: Model) -> None:
    cudnn = _cudnn(session)
    session.row(part, "bare diffusers", 42, partial(model.bare, WanPipeline))
    session.row(part, "ours", 42, model.ours)
    session.row(part, "compile + cuDNN attention", 65, partial(model.ours, compile="regional", **cudnn))
    # The last row: what it rounds stays rounded. A CPU does not multiply in float8.
    rounded = {"to": "int8_weights" if session.tiny else "float8_products", "components": ["transformer"]}
    session.row(
        part, "compile + cuDNN attention + float8 products", 65,
        partial(model.ours, compile="regional", quantisation=rounded, **cudnn),
    )  # fmt: skip


def wan_14b_more(session: Session, part: str, model: Model) -> None:
    """Made again: its weights were rounded. Speed and pixels are held against the part before."""
    cudnn = _cudnn(session)
    session.row(part, "cuDNN attention", 42, partial(model.ours, **cudnn))
    model.pipeline.transformer.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=getattr(torch, model.spec.dtype)
    )
    session.row(part, "cuDNN attention + float8 storage", 45, partial(model.ours, **cudnn))


def wan_1_3b(session: Session, part: str, model: Model) -> None:
    cudnn = _cudnn(session)
    session.row(part, "bare diffusers", 12, partial(model.bare, WanPipeline))
    session.row(part, "ours", 12, model.ours)
    session.row(part, "cuDNN attention", 12, partial(model.ours, **cudnn))
    session.row(part, "compile + cuDNN attention", 40, partial(model.ours, compile="regional", **cudnn))
    void = "first block cache (void: random weights say nothing of it)"
    session.row(part, void, 12, partial(model.ours, cache=FIRST_BLOCK_CACHE))


def sdxl(session: Session) -> None:
    """SDXL at 1024 x 1024."""
    side, dtype = (64, "float32") if session.tiny else (1024, "float16")
    size = architectures.TINY_SDXL if session.tiny else architectures.SDXL()
    pipeline = architectures.sdxl(size, session.device, getattr(torch, dtype))
    spec = ImageModelSpec(
        kind="image", name="sdxl", family="stable-diffusion-xl", licence="none", vram_gb=0, dtype=dtype,
        sizes={"1:1": (side, side)}, num_inference_steps=IMAGE_STEPS, guidance_scale=5.0, references=0,
        batch_pixels=8 * side * side,
    )  # fmt: skip
    request = ImageRequest(
        prompt=PROMPT, negative_prompt="blurry", width=side, height=side, noise=NoiseSpec(seed=1),
        num_inference_steps=IMAGE_STEPS, guidance_scale=5.0,
    )  # fmt: skip
    with held(pipeline):
        model = Model(pipeline, spec, request, session.device)
        session.row("sdxl", "bare diffusers", 10, partial(model.bare, StableDiffusionXLPipeline))
        session.row("sdxl", "ours", 10, model.ours)
        for count in (1, 2) if session.tiny else (1, 4, 8):
            session.row("sdxl", f"batch of {count}", 4 + 1.2 * count, partial(model.batch, count))
        session.row("sdxl", "compile", 40, partial(model.ours, compile="regional"))


def klein(session: Session) -> None:
    """FLUX.2 [klein] 4B at 1024 x 1024, its four steps."""
    side, dtype, steps = (64, "float32", 4) if session.tiny else (1024, "bfloat16", 4)
    size = architectures.TINY_KLEIN if session.tiny else architectures.KLEIN_4B
    pipeline = architectures.klein(size, session.device, getattr(torch, dtype))
    spec = ImageModelSpec(
        kind="image", name="klein", family="flux2-klein", licence="none", vram_gb=0, dtype=dtype,
        sizes={"1:1": (side, side)}, size_multiple=16, num_inference_steps=steps, guidance_scale=1.0, references=3,
    )  # fmt: skip
    request = ImageRequest(
        prompt=PROMPT, width=side, height=side, noise=NoiseSpec(seed=1), num_inference_steps=steps, guidance_scale=1.0
    )
    with held(pipeline):
        model = Model(pipeline, spec, request, session.device)
        session.row("klein", "ours", 10, model.ours)
        session.row("klein", "compile", 35, partial(model.ours, compile="regional"))


def _cudnn(session: Session) -> dict[str, str]:
    """A CPU has no cuDNN: the rehearsal takes another way of torch's that is set alike."""
    return {"attention_backend": "_native_math" if session.tiny else "_native_cudnn"}


def _keep_in_float32(denoiser: Any) -> None:
    """What `from_pretrained` would not have loaded in half precision."""
    names = tuple(denoiser._keep_in_fp32_modules or ())
    for name, parameter in denoiser.named_parameters():
        if any(kept in name.split(".") for kept in names):
            parameter.data = parameter.data.float()


PARTS: dict[str, Callable[[Session], None]] = {
    "wan-14b": partial(wan, part="wan-14b", size=architectures.WAN_14B, rows=wan_14b),
    "sdxl": sdxl,
    "wan-1.3b": partial(wan, part="wan-1.3b", size=architectures.WAN_1_3B, rows=wan_1_3b),
    "klein": klein,
    "wan-14b-more": partial(wan, part="wan-14b", size=architectures.WAN_14B, rows=wan_14b_more),
}
