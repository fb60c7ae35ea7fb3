"""One clip on a Wan pipeline: what its families share, from the texts to the frames.

What differs (image-to-video in `wan.py`, text-to-video in `wan_text.py`, VACE in `wan_vace.py`) is the pipeline class,
its conditions, and what a request may hold. The camera move is folded into the prompt as words; the text encoder reads
512 tokens, so they are seldom cut off, and a note says when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.image.lane import Lane, Progress
from models.image.loading import LOCAL, loading, part, renew_scheduler, scheduler
from models.image.pixels import check_size
from models.image.prompt_length import unread_note
from models.image.recent import Recent
from models.image.reference_adapter import check_references
from models.interfaces import VideoRequest, VideoResult, Watcher
from models.lora import Loras, check_loras
from models.memory import SECOND_TRY, frugal, twice
from models.noise import draw_batch, noise_sha256, step_generator
from models.placement import exact, free_hooks, place, quantised
from models.spec import VideoModelSpec
from models.video.camera import camera_words
from models.video.frames import check_frames, to_uint8

PROMPT_TOKENS = 512
"""What the stock pipeline's call encodes; its `encode_prompt` alone would take 226."""
SIDE_MULTIPLE = 16
"""The stock pipelines refuse other sides."""
REMEMBERED_TEXTS = 32


class WanEngine(ABC):
    """A VideoModel over one of diffusers' Wan pipelines."""

    def __init__(self, spec: VideoModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the parts `main` and `lora-NAME` for each LoRA; the VAE stays in float32, as Wan asks.

        Raises WeightsError, OutOfMemory, and InvalidRequest for an acceleration that cannot be had.
        """
        self._spec = spec
        with loading(spec) as dtype:
            self._pipeline = self._stock().from_pretrained(
                part(spec, folders, "main"),
                dtype={"default": dtype, "vae": torch.float32},
                **quantised(spec),
                **LOCAL,
            )
            self._pipeline.scheduler = scheduler(spec, self._pipeline.scheduler)
            self._loras = Loras(self._pipeline, spec, folders)
            place(self._pipeline, spec, device)
        self._pipeline.set_progress_bar_config(disable=True)
        self._texts: Recent[torch.Tensor] = Recent(REMEMBERED_TEXTS)
        self._lane = Lane(spec.name)

    def generate(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        """Make one clip of exactly `num_frames` = 4k + 1 frames.

        Raises InvalidRequest, Cancelled, OutOfMemory, InferenceFailed; none of them touches the next call. A call that
        finds no memory is made again with less at once.
        """
        self._check(request)
        with self._lane.turn(watcher, request.num_inference_steps):
            return twice(
                lambda: self._make(request, watcher),
                lambda: self._make_sparingly(request, watcher),
                self._texts.clear,
                f"{request.num_frames} frames of {request.width}x{request.height}",
            )

    def stats(self) -> dict[str, dict[str, int]]:
        """Hits, misses and entries of the remembered `texts`."""
        return {"texts": self._texts.stats()}

    def _make_sparingly(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        # A deterministic call keeps its bits: only what was freed is new.
        with nullcontext() if request.deterministic else frugal(self._pipeline.vae):
            result = self._make(request, watcher)
        return replace(result, notes=(*result.notes, SECOND_TRY))

    def _make(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        pipeline = self._pipeline
        progress = Progress(watcher)
        noise = draw_batch([request.noise], *self._latent_shape(request))
        renew_scheduler(pipeline)
        try:
            with exact(pipeline, request.deterministic), self._loras.use(request.loras):
                inputs = self._text_inputs(request) | self._condition(request)
                progress.encoded()
                frames = pipeline(
                    **inputs,
                    latents=self._start(noise, request),
                    num_frames=request.num_frames,
                    width=request.width,
                    height=request.height,
                    num_inference_steps=request.num_inference_steps,
                    guidance_scale=request.guidance_scale,
                    generator=step_generator(request.noise),
                    callback_on_step_end=progress,
                    max_sequence_length=PROMPT_TOKENS,
                    output_type="np",
                ).frames
        finally:
            # Also drops the residual caches of the transformer, which a stopped call would leave to the next.
            free_hooks(pipeline)
        seconds, timings = progress.finish()
        return VideoResult(to_uint8(frames[0]), noise_sha256(noise), seconds, timings, self._notes(request))

    def _text_inputs(self, request: VideoRequest) -> dict[str, Any]:
        inputs: dict[str, Any] = {"prompt_embeds": self._embed(self._prompt(request))}
        if request.guidance_scale > 1:
            inputs["negative_prompt_embeds"] = self._embed(request.negative_prompt)
        return inputs

    def _prompt(self, request: VideoRequest) -> str:
        return f"{request.prompt}, {camera_words(self._spec, request.camera)}"

    def _embed(self, text: str) -> torch.Tensor:
        return self._texts.get(
            f"{self._loras.key}\n{text}",
            lambda: self._pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=PROMPT_TOKENS
            )[0],
        )

    def _latent_shape(self, request: VideoRequest) -> tuple[int, int, int, int]:
        """Channels, height, width and frames of the noise."""
        pipeline = self._pipeline
        space, time = pipeline.vae_scale_factor_spatial, pipeline.vae_scale_factor_temporal
        frames = (request.num_frames - 1) // time + 1
        return pipeline.vae.config.z_dim, request.height // space, request.width // space, frames

    def _start(self, noise: torch.Tensor, request: VideoRequest) -> torch.Tensor:
        """The noise in the order of the pipeline's latent frames."""
        return noise

    def _notes(self, request: VideoRequest) -> tuple[str, ...]:
        return unread_note(self._pipeline.tokenizer, self._prompt(request), PROMPT_TOKENS)

    def _check(self, request: VideoRequest) -> None:
        """Raises InvalidRequest for what no Wan pipeline can do."""
        spec, pipeline = self._spec, self._pipeline
        spec.check_pixels(request.width, request.height, request.num_frames)
        patch = pipeline.vae_scale_factor_spatial * self._transformer().config.patch_size[-1]
        check_size(spec.name, request.width, request.height, spec.size_multiple, SIDE_MULTIPLE, patch)
        check_frames(spec, request.num_frames, pipeline.vae_scale_factor_temporal, spec.max_frames)
        check_references(spec, request)
        check_loras(spec, request.loras)
        camera_words(spec, request.camera)

    def _transformer(self) -> Any:
        return self._pipeline.transformer or self._pipeline.transformer_2

    @abstractmethod
    def _stock(self) -> Any:
        """The pipeline class."""

    @abstractmethod
    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        """Arguments of the pipeline call beside the texts."""
