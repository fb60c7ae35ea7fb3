"""Family `wan`: Wan image-to-video (first frame, and a last frame where the weights were trained for one).

Covers Wan 2.1 I2V and FLF2V (with a CLIP image encoder), 2.2 A14B (two transformers, none) and 2.2 TI2V-5B (which takes
no last frame). No IP-Adapter exists for it: references reach the clip through its keyframe. The camera move is folded
into the prompt as words; the text encoder reads 512 tokens, so they are not cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import WanImageToVideoPipeline

from models.errors import InvalidRequest
from models.image.lane import Lane, Progress
from models.image.loading import LOCAL, loading, part, renew_scheduler, scheduler
from models.image.pixels import check_size, decode_covering
from models.image.recent import Recent
from models.image.reference_adapter import check_references
from models.interfaces import VideoRequest, VideoResult, Watcher
from models.noise import draw_batch, noise_sha256, step_generator
from models.spec import VideoModelSpec
from models.video.camera import camera_words
from models.video.frames import check_frames, to_uint8

PROMPT_TOKENS = 512
"""What the stock pipeline's call encodes; its `encode_prompt` alone would take 226."""
SIDE_MULTIPLE = 16
"""The stock pipeline refuses other sides."""
REMEMBERED_TEXTS = 32


class Wan:
    """VideoModel over WanImageToVideoPipeline."""

    def __init__(self, spec: VideoModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the part `main`, a pipeline folder; the VAE stays in float32, as Wan asks. Raises WeightsError."""
        self._spec = spec
        with loading(spec) as dtype:
            self._pipeline = WanImageToVideoPipeline.from_pretrained(
                part(spec, folders, "main"), dtype={"default": dtype, "vae": torch.float32}, **LOCAL
            ).to(device)
            self._pipeline.scheduler = scheduler(spec, self._pipeline.scheduler)
        self._pipeline.set_progress_bar_config(disable=True)
        self._texts: Recent[torch.Tensor] = Recent(REMEMBERED_TEXTS)
        self._lane = Lane(spec.name)

    def generate(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        """Make one clip of exactly `num_frames` = 4k + 1 frames from `first_frame` (to `last_frame`).

        Raises InvalidRequest (size, frame count, camera move, references, last frame), Cancelled, InferenceFailed.
        """
        self._check(request)
        with self._lane.turn(watcher, request.num_inference_steps):
            return self._generate(request, watcher)

    def _generate(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        pipeline = self._pipeline
        progress = Progress(watcher)
        noise = draw_batch([request.noise], *self._latent_shape(request))
        renew_scheduler(pipeline)
        try:
            inputs = self._condition(request)
            progress.encoded()
            frames = pipeline(
                **inputs,
                latents=noise,
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
            pipeline.maybe_free_model_hooks()
        seconds, timings = progress.finish()
        return VideoResult(to_uint8(frames[0]), noise_sha256(noise), seconds, timings)

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        size = request.width, request.height
        inputs: dict[str, Any] = {
            "image": decode_covering(request.first_frame, "the first frame", *size),
            "prompt_embeds": self._embed(f"{request.prompt}, {camera_words(self._spec, request.camera)}"),
        }
        if request.guidance_scale > 1:
            inputs["negative_prompt_embeds"] = self._embed(request.negative_prompt)
        if request.last_frame:
            inputs["last_image"] = decode_covering(request.last_frame, "the last frame", *size)
        return inputs

    def _embed(self, text: str) -> torch.Tensor:
        return self._texts.get(
            text,
            lambda: self._pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=PROMPT_TOKENS
            )[0],
        )

    def _latent_shape(self, request: VideoRequest) -> tuple[int, int, int, int]:
        pipeline = self._pipeline
        space, time = pipeline.vae_scale_factor_spatial, pipeline.vae_scale_factor_temporal
        frames = (request.num_frames - 1) // time + 1
        return pipeline.vae.config.z_dim, request.height // space, request.width // space, frames

    def _check(self, request: VideoRequest) -> None:
        spec, pipeline = self._spec, self._pipeline
        transformer = pipeline.transformer or pipeline.transformer_2
        patch = pipeline.vae_scale_factor_spatial * transformer.config.patch_size[-1]
        check_size(spec.name, request.width, request.height, spec.size_multiple, SIDE_MULTIPLE, patch)
        check_frames(spec, request.num_frames, pipeline.vae_scale_factor_temporal, spec.max_frames)
        check_references(spec.name, request.references, spec.references)
        camera_words(spec, request.camera)
        if request.last_frame and not (spec.last_frame and _takes_last_frame(pipeline, transformer)):
            raise InvalidRequest(f"model {spec.name!r} cannot end on a given frame; leave out last_frame")
        if not request.last_frame and transformer.config.pos_embed_seq_len is not None:
            raise InvalidRequest(f"model {spec.name!r} goes from a first to a last frame; give last_frame too")


def _takes_last_frame(pipeline: Any, transformer: Any) -> bool:
    """Wan 2.1 FLF2V and 2.2 A14B do; 2.1 I2V has no place for a second image, and TI2V-5B would ignore it."""
    if transformer.config.image_dim is None:
        return not pipeline.config.expand_timesteps
    return transformer.config.pos_embed_seq_len is not None
