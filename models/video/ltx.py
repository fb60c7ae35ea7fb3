"""Family `ltx`: LTX-Video from 0.9.5 on, which starts from a first frame, ends on a last one, or needs neither.

Given frames become clean tokens: the first in the clip's first latent frame, the last beside the clip at its own time.
Latents are drawn unpacked, (128, frames, height / 32, width / 32). No IP-Adapter exists for it: references reach the
clip through its keyframe. The camera move is folded into the prompt as words.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXConditionPipeline
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

from models.diffusion.calls import Lane, Progress, Recent, check_size, decode_covering, unread_note
from models.diffusion.loading import LOCAL, Loras, check_loras, loading, part, renew_scheduler, scheduler
from models.diffusion.memory import SECOND_TRY, frugal, twice
from models.diffusion.noise import draw_batch, noise_sha256, step_generator
from models.diffusion.placement import exact, free_hooks, place, quantised
from models.diffusion.references import check_references
from models.interfaces import VideoRequest, VideoResult, Watcher
from models.spec import VideoModelSpec
from models.video.camera import camera_words
from models.video.frames import check_frames, check_given_frames, to_uint8

PROMPT_TOKENS = 256
"""What the stock pipeline's call encodes."""
DECODE = {"decode_timestep": 0.05, "decode_noise_scale": 0.025}
"""For VAEs whose decoder takes a last denoising step; the values that its authors use."""
REMEMBERED_TEXTS = 32


class OwnNoise(LTXConditionPipeline):  # type: ignore[misc]
    """Stock pipeline that starts from the noise given as `latents`, which the stock class takes for a clean clip.

    Clean at sigma 0 is untouched. Its generator still serves what is drawn later: the keyframe's posterior, the noise
    that keeps a still keyframe moving, and the decoder's last step.
    """

    def prepare_latents(self, *args: Any, sigma: None, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        prepared: tuple[torch.Tensor, ...] = super().prepare_latents(*args, sigma=torch.zeros(1), **kwargs)
        return prepared


class LTX:
    """VideoModel over LTXConditionPipeline."""

    def __init__(self, spec: VideoModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the parts `main` and `lora-NAME` for each LoRA.

        Raises WeightsError, OutOfMemory, and InvalidRequest for an acceleration that cannot be had.
        """
        self._spec = spec
        with loading(spec) as dtype:
            self._pipeline = OwnNoise.from_pretrained(
                part(spec, folders, "main"), dtype=dtype, **quantised(spec), **LOCAL
            )
            self._pipeline.scheduler = scheduler(spec, self._pipeline.scheduler)
            self._loras = Loras(self._pipeline, spec, folders)
            place(self._pipeline, spec, device)
        self._pipeline.set_progress_bar_config(disable=True)
        logging.getLogger(FlowMatchEulerDiscreteScheduler.__module__).addFilter(_of_interest)
        self._texts: Recent[tuple[torch.Tensor, torch.Tensor]] = Recent(REMEMBERED_TEXTS)
        self._lane = Lane(spec.name)

    def generate(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        """Make one clip of exactly `num_frames` = 8k + 1 frames, from `first_frame` to `last_frame` where given.

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
                inputs = self._condition(request)
                progress.encoded()
                frames = pipeline(
                    **inputs,
                    **DECODE,
                    latents=noise,
                    num_frames=request.num_frames,
                    frame_rate=self._spec.native_fps,
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
            free_hooks(pipeline)
        seconds, timings = progress.finish()
        notes = unread_note(pipeline.tokenizer, self._prompt(request), PROMPT_TOKENS)
        return VideoResult(to_uint8(frames[0]), noise_sha256(noise), seconds, timings, notes)

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        embedding, mask = self._embed(self._prompt(request))
        inputs: dict[str, Any] = {"prompt_embeds": embedding, "prompt_attention_mask": mask}
        frames = ((0, "first", request.first_frame), (request.num_frames - 1, "last", request.last_frame))
        conditions = [
            LTXVideoCondition(decode_covering(frame, f"the {name} frame", request.width, request.height), None, index)
            for index, name, frame in frames
            if frame
        ]
        inputs["conditions"] = conditions or None
        if request.guidance_scale > 1:
            embedding, mask = self._embed(request.negative_prompt)
            inputs |= {"negative_prompt_embeds": embedding, "negative_prompt_attention_mask": mask}
        return inputs

    def _prompt(self, request: VideoRequest) -> str:
        return f"{request.prompt}, {camera_words(self._spec, request.camera)}"

    def _embed(self, text: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self._texts.get(
            f"{self._loras.key}\n{text}",
            lambda: self._pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=PROMPT_TOKENS
            )[:2],
        )

    def _latent_shape(self, request: VideoRequest) -> tuple[int, int, int, int]:
        pipeline = self._pipeline
        space, time = pipeline.vae_spatial_compression_ratio, pipeline.vae_temporal_compression_ratio
        frames = (request.num_frames - 1) // time + 1
        return pipeline.transformer.config.in_channels, request.height // space, request.width // space, frames

    def _check(self, request: VideoRequest) -> None:
        spec, pipeline = self._spec, self._pipeline
        spec.check_pixels(request.width, request.height, request.num_frames)
        multiple = pipeline.vae_spatial_compression_ratio * pipeline.transformer_spatial_patch_size
        check_size(spec.name, request.width, request.height, spec.size_multiple, multiple)
        check_frames(spec, request.num_frames, pipeline.vae_temporal_compression_ratio, spec.max_frames)
        check_references(spec, request)
        check_loras(spec, request.loras)
        camera_words(spec, request.camera)
        check_given_frames(spec, request)


def _of_interest(record: logging.LogRecord) -> bool:
    # Once per call, about timesteps that the stock pipeline itself passes: nothing that a user could change.
    return "`timesteps` were passed without `sigmas`" not in record.getMessage()
