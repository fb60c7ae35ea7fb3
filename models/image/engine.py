"""Image requests on a Stable Diffusion type model: from nothing, from an image, or inside a mask; alone or in batches.

The three pipelines share one set of weights, one IP-Adapter and one lane. What differs between SD1.5 and SDXL (classes
and text encoding) is in `stable_diffusion.py` and `stable_diffusion_xl.py`. Knows no job and no artifact.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.diffusion.calls import (
    Lane,
    Progress,
    Recent,
    check_size,
    decode_covering,
    decode_mask,
    failing_as_ours,
    unread_note,
)
from models.diffusion.latents import encode, pack, unpack
from models.diffusion.loading import Loras, check_loras, loading, part, renew_scheduler, scheduler
from models.diffusion.memory import SECOND_TRY, frugal, twice
from models.diffusion.noise import draw_batch, noise_sha256, step_generator
from models.diffusion.placement import exact, free_hooks, place
from models.diffusion.references import ReferenceAdapter, check_references
from models.errors import Cancelled, InvalidRequest, ModelError
from models.interfaces import ImageRequest, ImageResult, StartLatents, Watcher
from models.spec import ImageModelSpec

Outcome = ImageResult | ModelError


class Batch:
    """Requests, their watchers and their outcomes, by index. A Watcher itself."""

    def __init__(self, requests: Sequence[ImageRequest], watchers: Sequence[Watcher]) -> None:
        """Raises ValueError unless there is one watcher per request."""
        self._members = list(zip(requests, watchers, strict=True))
        self._outcomes: list[Outcome | None] = [None] * len(self._members)

    def live(self) -> list[int]:
        """Indices without an outcome yet."""
        return [index for index, outcome in enumerate(self._outcomes) if outcome is None]

    def member(self, index: int) -> tuple[ImageRequest, Watcher]:
        return self._members[index]

    def requests(self) -> list[ImageRequest]:
        """Those of `live`."""
        return [self._members[index][0] for index in self.live()]

    @contextmanager
    def judged(self, index: int) -> Iterator[None]:
        """A ModelError within is the outcome of request `index` and of no other."""
        try:
            yield
        except ModelError as error:
            # Without its traceback, which would keep every tensor of the pass.
            self._outcomes[index] = error.with_traceback(None)

    def settle(self, index: int, outcome: Outcome) -> None:
        """Unless request `index` has an outcome already, as one that was cancelled in the last step."""
        if self._outcomes[index] is None:
            self._outcomes[index] = outcome

    def step(self, done: int, total: int) -> None:
        """Tell every live request's watcher. Raises Cancelled once all are cancelled: the pass goes on for the rest."""
        for index in self.live():
            with self.judged(index):
                self._members[index][1].step(done, total)
        if not self.live():
            raise Cancelled("every request of this batch was cancelled")

    def outcomes(self) -> list[Outcome]:
        """One per request, in order. Raises RuntimeError while one is missing."""
        settled = [outcome for outcome in self._outcomes if outcome is not None]
        if len(settled) < len(self._outcomes):
            raise RuntimeError(f"requests {self.live()} of the batch have no outcome")
        return settled


REMEMBERED_TEXTS = 64

TextEmbedding = tuple[torch.Tensor, ...]
"""What one text becomes; how many tensors is the family's affair."""


class StableDiffusionEngine(ABC):
    """A BatchingImageModel over the stock text-to-image, image-to-image and inpainting pipelines of one family."""

    def __init__(self, spec: ImageModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the parts `main`, `lora-NAME` for each LoRA and, when the spec takes references, `ip_adapter`.

        Raises WeightsError, OutOfMemory, and InvalidRequest for an acceleration that cannot be had.
        """
        self._spec = spec
        with loading(spec) as dtype:
            self._text_to_image = self._load(part(spec, folders, "main"), dtype)
            self._text_to_image.scheduler = scheduler(spec, self._text_to_image.scheduler)
            self._adapter = self._load_adapter(folders)
            self._loras = Loras(self._text_to_image, spec, folders)
            place(self._text_to_image, spec, device)
            self._image_to_image, self._inpaint = self._share(self._text_to_image)
        self._pipelines = (self._text_to_image, self._image_to_image, self._inpaint)
        for pipeline in self._pipelines:
            pipeline.set_progress_bar_config(disable=True)
        self._texts: Recent[TextEmbedding] = Recent(REMEMBERED_TEXTS)
        self._lane = Lane(spec.name)

    def generate(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        """Make one image. Raises InvalidRequest, Cancelled, OutOfMemory, InferenceFailed; the next call is not touched.

        References need room in the adapter; `start` and `inpaint` exclude each other. The strength decides how many of
        the `num_inference_steps` run, and adapter begin and end count those that run. A call that finds no memory is
        made again with less at once; then a note says so and the steps are reported anew.
        """
        self._check(request)
        with self._lane.turn(watcher, _steps(request)):
            return twice(
                lambda: self._make([request], watcher)[0],
                lambda: self._make_sparingly(request, watcher),
                self._forget,
                _asked(request),
            )

    def batch_key(self, request: ImageRequest) -> str | None:
        """As BatchingImageModel. What a batch shares: size, steps, guidance, LoRAs, and how the references act."""
        self._check(request)
        lonely = request.start or request.inpaint or request.deterministic
        if lonely or not self._spec.batch_pixels or self._spec.acceleration.cache:
            return None  # residual caches decide for a whole batch, so its items would change each other
        shared = request.model_dump(include={"width", "height", "num_inference_steps", "guidance_scale", "loras"})
        if request.references:
            mask = request.adapter.mask
            shared["adapter"] = request.adapter.model_dump(exclude={"mask"})
            shared["mask"] = mask and mask.sha256
            shared["references"] = [(reference.role, reference.weight) for reference in request.references]
        return json.dumps(shared, sort_keys=True)

    def generate_batch(self, requests: Sequence[ImageRequest], watchers: Sequence[Watcher]) -> list[Outcome]:
        """As BatchingImageModel. Noise is bit-equal to each request's alone, pictures are within rounding.

        An invalid or cancelled request does not touch the others. Raises ValueError for requests that may not share a
        batch: a mistake of the caller's.
        """
        batch, keys = Batch(requests, watchers), set()
        for index, request in enumerate(requests):
            with batch.judged(index):
                keys.add(self.batch_key(request))
                if self._adapter:
                    self._adapter.check(request.references)
        valid = batch.live()
        if len(valid) > 1 and (len(keys) > 1 or None in keys):
            raise ValueError(f"these requests cannot share a batch: their keys are {keys}")
        if valid:
            self._run(batch, requests[valid[0]])
        return batch.outcomes()

    def stats(self) -> dict[str, dict[str, int]]:
        """Hits, misses and entries of what is remembered: `texts` and `references`."""
        return {"texts": self._texts.stats()} | ({"references": self._adapter.stats()} if self._adapter else {})

    def _run(self, batch: Batch, like: ImageRequest) -> None:
        try:
            with self._lane.turn(batch, _steps(like)):
                twice(
                    lambda: self._make_together(batch),
                    lambda: self._make_one_by_one(batch),
                    self._forget,
                    _asked(like, len(batch.live())),
                )
        except ModelError as error:
            for index in batch.live():
                batch.settle(index, error.with_traceback(None))

    def _make_together(self, batch: Batch) -> None:
        running = batch.live()
        for index, result in zip(running, self._make(batch.requests(), batch), strict=True):
            batch.settle(index, result)

    def _make_one_by_one(self, batch: Batch) -> None:
        for index in batch.live():
            request, watcher = batch.member(index)
            with batch.judged(index), failing_as_ours(self._spec.name, _asked(request)):
                watcher.step(0, _steps(request))
                batch.settle(index, self._make_sparingly(request, watcher))

    def _make_sparingly(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        # A deterministic call keeps its bits: only what was freed is new.
        with nullcontext() if request.deterministic else frugal(self._text_to_image.vae):
            result = self._make([request], watcher)[0]
        return replace(result, notes=(*result.notes, SECOND_TRY))

    def _make(self, requests: Sequence[ImageRequest], watcher: Watcher) -> list[ImageResult]:
        """One pass; several requests only from noise."""
        first = requests[0]
        progress = Progress(watcher, self._adapter.before_step if self._adapter else None)
        noise = draw_batch([request.noise for request in requests], *self._latent_shape(first))
        precision = self._text_to_image.vae.dtype
        try:
            with exact(self._text_to_image, first.deterministic), self._loras.use(first.loras):
                pipeline, inputs = self._task(first, noise)
                renew_scheduler(pipeline)
                inputs |= self._condition(requests)
                progress.encoded()
                images = pipeline(
                    **inputs,
                    num_inference_steps=first.num_inference_steps,
                    guidance_scale=first.guidance_scale,
                    generator=[step_generator(request.noise) for request in requests],
                    callback_on_step_end=progress,
                    output_type="np",
                ).images
        finally:
            if self._text_to_image.vae.dtype != precision:
                # SDXL decodes in float32, and a stopped call leaves the VAE there.
                self._text_to_image.vae.to(precision)
            free_hooks(*self._pipelines)
            if self._adapter:
                self._adapter.release()
        seconds, timings = progress.finish()
        return [
            ImageResult(
                (images[index] * 255).round().astype("uint8"),
                noise_sha256(noise[index]),
                seconds,
                timings,
                unread_note(self._text_to_image.tokenizer, request.prompt),
                pack(progress.latents[index]) if request.keep_latents and progress.latents is not None else None,
            )
            for index, request in enumerate(requests)
        ]

    def _task(self, request: ImageRequest, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        """The pipeline that serves the request, and what it starts from."""
        on_device = self._on_device(noise)
        size = {"width": request.width, "height": request.height}
        if request.inpaint:
            image = decode_covering(request.inpaint.image, "the image to inpaint", **size)
            clean = self._clean(image)
            mask = decode_mask(request.inpaint.mask, "the mask", **size)
            # The masked image matters to nine-channel UNets only; given as latents, no time is spent on making one.
            start = {"image": clean, "mask_image": mask, "masked_image_latents": clean, "latents": on_device}
            return self._inpaint, {**size, **start, "strength": request.inpaint.strength}
        if request.start and request.start.strength < 1.0:
            self._image_to_image.start_noise = on_device
            return self._image_to_image, {"image": self._start(request), "strength": request.start.strength}
        return self._text_to_image, {**size, "latents": on_device}

    def _start(self, request: ImageRequest) -> torch.Tensor:
        """Clean latents that the request starts from."""
        if isinstance(request.start, StartLatents):
            latents = unpack(request.start.data, self._latent_shape(request))[None]
            # Laid out as the VAE lays them out, or some CPUs' convolutions round the last bit in another way.
            return self._on_device(latents.contiguous(memory_format=torch.channels_last))
        if request.start is None:
            raise ValueError("the request starts from nothing")
        return self._clean(decode_covering(request.start.image, "the start image", request.width, request.height))

    def _clean(self, image: Any) -> torch.Tensor:
        return encode(self._text_to_image.vae, self._text_to_image.image_processor.preprocess(image))

    def _on_device(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.to(self._text_to_image._execution_device, self._text_to_image.unet.dtype)

    def _condition(self, requests: Sequence[ImageRequest]) -> dict[str, Any]:
        """Embeddings of texts and references; guidance as the stock pipelines decide it."""
        first, unet = requests[0], self._text_to_image.unet
        guided = first.guidance_scale > 1 and unet.config.time_cond_proj_dim is None
        texts = [self._text_inputs(each.prompt, each.negative_prompt if guided else None) for each in requests]
        inputs: dict[str, Any] = {name: torch.cat([text[name] for text in texts]) for name in texts[0]}
        if self._adapter:
            references = [request.references for request in requests]
            inputs["ip_adapter_image_embeds"] = self._adapter.begin_batch(references, first.adapter, guided)
            if first.adapter.mask is not None:
                self._adapter.keep_to(first.adapter.mask, first.width, first.height)
        return inputs

    def _remember_text(self, text: str) -> TextEmbedding:
        return self._texts.get(f"{self._loras.key}\n{text}", lambda: self._embed(text))

    def _forget(self) -> None:
        self._texts.clear()
        if self._adapter:
            self._adapter.forget()

    def _check(self, request: ImageRequest) -> None:
        spec = self._spec
        spec.check_pixels(request.width, request.height)
        check_size(spec.name, request.width, request.height, spec.size_multiple, self._text_to_image.vae_scale_factor)
        check_references(spec, request)
        check_loras(spec, request.loras)
        if request.start and request.inpaint:
            raise InvalidRequest("a request has both a start image and an inpainting; give one of them")
        if _steps(request) < 1:
            raise InvalidRequest(
                f"strength {_strength(request)!r} of {request.num_inference_steps} steps runs no step;"
                f" use at least {1 / request.num_inference_steps:.3f} or more steps"
            )

    def _latent_shape(self, request: ImageRequest) -> tuple[int, int, int]:
        factor = self._text_to_image.vae_scale_factor
        channels: int = self._text_to_image.unet.config.in_channels
        return channels, request.height // factor, request.width // factor

    def _load_adapter(self, folders: Mapping[str, Path]) -> ReferenceAdapter | None:
        spec = self._spec
        if not spec.references:
            return None
        folder = part(spec, folders, "ip_adapter")
        return ReferenceAdapter(
            self._text_to_image, folder, spec.adapter_weight_name, spec.image_encoder, spec.references
        )

    @abstractmethod
    def _load(self, folder: Path, dtype: torch.dtype) -> Any:
        """The stock text-to-image pipeline of a folder."""

    @abstractmethod
    def _share(self, pipeline: Any) -> tuple[Any, Any]:
        """Image-to-image and inpainting pipelines over the components of `pipeline`."""

    @abstractmethod
    def _embed(self, text: str) -> TextEmbedding:
        """Encode one text."""

    @abstractmethod
    def _text_inputs(self, prompt: str, negative_prompt: str | None) -> dict[str, Any]:
        """Embedding arguments of the pipeline call; None: no classifier-free guidance."""


def _strength(request: ImageRequest) -> float:
    if request.inpaint:
        return request.inpaint.strength
    return request.start.strength if request.start else 1.0


def _steps(request: ImageRequest) -> int:
    """Steps that run."""
    return int(request.num_inference_steps * _strength(request))


def _asked(request: ImageRequest, count: int = 1) -> str:
    return f"{count} image{'s' if count > 1 else ''} of {request.width}x{request.height}"
