"""One call through a diffusers pipeline, the same for every image and video family.

    request checked -> turn -> start noise -> task -> texts, references -> pipeline call -> hooks freed -> result

A family is a subclass with its differences only: the pipeline that it loads, how it encodes a text, what its call takes
besides, and what it refuses. Image families extend `models.image.engine.ImageEngine`, video families
`models.video.engine.VideoEngine`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from models.diffusion.calls import CallLock, LruCache, Progress
from models.diffusion.inputs import check_size
from models.diffusion.loading import Loras, check_loras, loading, scheduler
from models.diffusion.memory import SECOND_TRY, low_memory_vae, retry_with_less_memory
from models.diffusion.noise import draw_batch, noise_sha256, step_generator
from models.diffusion.placement import denoisers, exact, free_hooks, place
from models.diffusion.references import check_references
from models.interfaces import ImageRequest, ImageResult, VideoRequest, VideoResult, Watcher
from models.spec import PictureModelSpec

Request = TypeVar("Request", bound=ImageRequest | VideoRequest)
Result = TypeVar("Result", bound=ImageResult | VideoResult)

TextEmbedding = tuple[torch.Tensor, ...]
"""What one text becomes: as many tensors as the engine's `text_inputs` has names."""


@dataclass(frozen=True)
class LatentGrid:
    """How the pixels of a picture or clip are divided into latent cells."""

    channels: int
    side: int
    """Pixels per side of a cell."""
    multiple: int
    """Width and height must be multiples of this many pixels."""
    frames: int = 1
    """Frames per latent frame, except the first, which stands for one."""


@dataclass(frozen=True)
class SoundOutput:
    """The sound of one clip as its pipeline gives it."""

    samples: torch.Tensor
    """Shape (channels, samples)."""
    latents: torch.Tensor
    """Clean ones, a batch of one."""


@dataclass(frozen=True)
class CallOutput:
    """What one pipeline call made of one request."""

    pixels: npt.NDArray[np.uint8]
    latents: torch.Tensor | None
    """Clean latents as the pipeline lays them out, a batch of one."""
    sound: SoundOutput | None
    """What is heard; None from a pipeline that makes no sound."""
    noise_sha256: str
    seconds: float
    timings: dict[str, float]


class Stepwise(Protocol):
    """What acts otherwise in one step of a call than in another."""

    def before_step(self, done: int, total: int) -> None:
        """Prepare step `done` of `total`; the first one was when the call began."""

    def release(self) -> None:
        """Forget the call, also one that was stopped."""


class Adapter(Stepwise, Protocol):
    """The reference adapter of a pipeline, as far as every call handles it alike."""

    def forget(self) -> None:
        """Drop the cached embeddings of reference images."""

    def stats(self) -> dict[str, int]:
        """Hits, misses and entries of the cached embeddings."""
        ...


class DiffusionEngine(ABC, Generic[Request, Result]):
    """One loaded model of one family; an `ImageModel` or a `VideoModel`."""

    cached_texts: ClassVar[int] = 64
    """How many text embeddings are kept."""
    step_tensors: ClassVar[tuple[str, ...]] = ("latents",)
    """What the pipeline shows after every step, of `latents` and `audio_latents`."""
    text_inputs: ClassVar[tuple[str, ...]] = ("prompt_embeds",)
    """Names of a text embedding's tensors in the pipeline call; for the negative prompt after `negative_`."""

    def __init__(self, spec: PictureModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weight parts of `spec` from `folders`, by part name, and place them on `device`.

        Raises WeightsError, OutOfMemory, and InvalidRequest for a scheduler, LoRA or acceleration that cannot be had.
        """
        self._spec = spec
        self._adapter: Adapter | None
        with loading(spec) as dtype:
            self._pipeline = self._load(folders, dtype)
            self._scheduler = self._pipeline.scheduler = scheduler(spec, self._pipeline.scheduler)
            self._adapter = self._load_adapter(folders) if spec.references else None
            self._loras = Loras(self._pipeline, spec, folders)
            place(self._pipeline, spec, device)
            self._pipelines = (self._pipeline, *self._variants())
        for pipeline in self._pipelines:
            pipeline.set_progress_bar_config(disable=True)
        self._grid = self._latent_grid()
        self._stepwise: tuple[Stepwise, ...] = (self._adapter,) if self._adapter else ()
        self._texts: LruCache[TextEmbedding] = LruCache(self.cached_texts)
        self._lock = CallLock(spec.name)

    def generate(self, request: Request, watcher: Watcher) -> Result:
        """Make one picture or clip. A call that finds no memory is run once more with less at once; a note says so.

        Raises InvalidRequest, Cancelled, OutOfMemory, InferenceFailed; none of them touches the next call.
        """
        self._check(request)
        with self._lock.turn(watcher, self._steps(request)):
            return retry_with_less_memory(
                lambda: self._run([request], watcher)[0],
                lambda: self._run_with_less_memory(request, watcher),
                self._forget,
                self._amount(request),
            )

    def stats(self) -> dict[str, dict[str, int]]:
        """Hits, misses and entries of the cached embeddings: `texts` and, with an adapter, `references`."""
        return {"texts": self._texts.stats()} | ({"references": self._adapter.stats()} if self._adapter else {})

    def _run_with_less_memory(self, request: Request, watcher: Watcher) -> Result:
        # A deterministic call keeps its bits: only what was freed before this second try helps it.
        with nullcontext() if request.deterministic else low_memory_vae(self._pipeline.vae):
            (result,) = self._run([request], watcher)
        return replace(result, notes=(*result.notes, SECOND_TRY))

    def _run(self, requests: Sequence[Request], watcher: Watcher) -> list[Result]:
        """One pipeline call; several requests only in families that batch, and only from noise."""
        first, vae = requests[0], self._pipeline.vae
        progress = Progress(watcher, self._steps(first), self._before_step)
        noise = draw_batch([request.noise for request in requests], *self._latent_shape(first))
        generators = [step_generator(request.noise) for request in requests]
        precision = vae.dtype
        try:
            with exact(self._pipeline, first.deterministic), self._loras.use(first.loras):
                for each in self._pipelines:
                    each.scheduler = scheduler(self._spec, self._scheduler, first.loras)
                pipeline, inputs = self._task(first, noise)
                inputs |= self._batch_condition(requests)
                call = {
                    "num_inference_steps": first.num_inference_steps,
                    "guidance_scale": first.guidance_scale,
                    "generator": generators if len(generators) > 1 else generators[0],
                    "output_type": "np",
                }
                progress.encoded()
                with progress.follow(pipeline, denoisers(pipeline), self.step_tensors) as followed:
                    output = pipeline(**call | followed | inputs)
        finally:
            if vae.dtype != precision:
                # SDXL decodes in float32, and a stopped call leaves the VAE there.
                vae.to(precision)
            # Also drops the residual caches of the denoiser, which a stopped call would leave to the next.
            free_hooks(*self._pipelines)
            for each in self._stepwise:
                each.release()
        seconds, timings = progress.finish()
        results = []
        for index, request in enumerate(requests):
            pixels = (output[0][index] * 255).round().astype(np.uint8)
            shown = {name: tensor[index : index + 1] for name, tensor in progress.tensors.items()}
            made = CallOutput(
                pixels,
                shown.get("latents"),
                SoundOutput(output.audio[index], shown["audio_latents"]) if "audio_latents" in shown else None,
                noise_sha256(noise[index]),
                seconds,
                timings,
            )
            results.append(self._result(request, made))
        return results

    def _before_step(self, done: int, total: int) -> None:
        for each in self._stepwise:
            each.before_step(done, total)

    def _batch_condition(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Texts and further conditions of the only request; a family that batches joins those of all."""
        (request,) = requests
        return self._text_inputs(request) | self._condition(request)

    def _text_inputs(self, request: Request) -> dict[str, Any]:
        positive = self._embedding(self._prompt(request))
        inputs = dict(zip(self.text_inputs, positive, strict=True))
        if self._guided(request):
            negative = self._negative_embedding(request, positive)
            inputs |= {f"negative_{name}": tensor for name, tensor in zip(self.text_inputs, negative, strict=True)}
        return inputs

    def _embedding(self, text: str) -> TextEmbedding:
        """`text` encoded under the LoRAs that act now, from the cache where it is known."""
        return self._texts.get(f"{self._loras.key}\n{text}", lambda: self._encode_text(text))

    def _on_device(self, latents: torch.Tensor) -> torch.Tensor:
        """`latents` where and in the precision in which the denoiser works."""
        return latents.to(self._pipeline._execution_device, denoisers(self._pipeline)[0].dtype)

    def _forget(self) -> None:
        self._texts.clear()
        if self._adapter:
            self._adapter.forget()

    # --- what a family must say ---

    @abstractmethod
    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        """The pipeline of diffusers, from the parts in `folders`; inside `loading`."""

    @abstractmethod
    def _latent_grid(self) -> LatentGrid:
        """The grid of the loaded pipeline."""

    @abstractmethod
    def _encode_text(self, text: str) -> TextEmbedding:
        """Encode one text, without its negative prompt."""

    # --- what a family may say otherwise ---

    def _load_adapter(self, folders: Mapping[str, Path]) -> Adapter | None:
        """The adapter of a model that takes references; None when its pipeline takes them as images."""
        return None

    def _variants(self) -> tuple[Any, ...]:
        """Further pipelines over the weights of the first."""
        return ()

    def _prompt(self, request: Request) -> str:
        """The text that stands for the request."""
        domain = self._spec.domain
        return request.prompt if domain is None else domain.own_words(request.prompt)

    def _guided(self, request: Request) -> bool:
        """Whether the call has classifier-free guidance, and so a negative prompt."""
        return request.guidance_scale > 1

    def _negative_embedding(self, request: Request, positive: TextEmbedding) -> TextEmbedding:
        """The embedding of the negative prompt, in the shapes of `positive`."""
        return self._embedding(request.negative_prompt)

    def _condition(self, request: Request) -> dict[str, Any]:
        """Arguments of the pipeline call beside size, noise, strength and texts."""
        return {}

    def _steps(self, request: Request) -> int:
        """How many denoising steps will run."""
        return request.num_inference_steps

    def _check(self, request: Request) -> None:
        """Raises InvalidRequest for what this model cannot do."""
        check_size(self._spec.name, request.width, request.height, self._spec.size_multiple, self._grid.multiple)
        check_references(self._spec, request)
        check_loras(self._spec, request.loras)

    # --- what pictures and clips differ in ---

    @abstractmethod
    def _latent_shape(self, request: Request) -> tuple[int, ...]:
        """Channels, height, width and, in clips, frames of the start noise, in latent cells."""

    @abstractmethod
    def _task(self, request: Request, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        """The pipeline that serves the request, and what it starts from."""

    @abstractmethod
    def _result(self, request: Request, output: CallOutput) -> Result:
        """The result of the request, with its notes."""

    @abstractmethod
    def _amount(self, request: Request, count: int = 1) -> str:
        """What `count` such requests ask for, in words: `2 images of 512x512`."""
