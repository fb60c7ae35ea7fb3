"""Family `ltx`: LTX-Video from 0.9.5 on, which starts from a first frame, ends on a last one, or needs neither.

Given frames become clean tokens: the first in the clip's first latent frame, the last beside the clip at its own time.
Latents are drawn unpacked, (128, frames, height / 32, width / 32). No IP-Adapter exists for it: references reach the
clip through its keyframe. The camera move is folded into the prompt as words.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXConditionPipeline
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition, linear_quadratic_schedule

from models.diffusion.engine import LatentGrid, SoundOutput, TextEmbedding
from models.diffusion.inputs import decode_whole
from models.diffusion.loading import load_pipeline
from models.interfaces import VideoRequest
from models.video.engine import VideoEngine, check_given_frames

DECODE = {"decode_timestep": 0.05, "decode_noise_scale": 0.025}
"""For VAEs whose decoder takes a last denoising step; the values that its authors use."""


class OwnNoise(LTXConditionPipeline):  # type: ignore[misc]
    """Stock pipeline that starts from the noise given as `latents`, which the stock class takes for a clean clip.

    Clean at sigma 0 is untouched. Its generator still serves what is drawn later: the keyframe's posterior, the noise
    that keeps a still keyframe moving, and the decoder's last step.
    """

    def prepare_latents(self, *args: Any, sigma: None, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        """As the stock method, at sigma 0."""
        prepared: tuple[torch.Tensor, ...] = super().prepare_latents(*args, sigma=torch.zeros(1), **kwargs)
        return prepared


class LTX(VideoEngine):
    """VideoModel over LTXConditionPipeline, from the part `main`. Clips have 8k + 1 frames."""

    cached_texts = 32
    starts_from_latents = True
    text_inputs = ("prompt_embeds", "prompt_attention_mask")
    prompt_tokens = 256
    """What the stock pipeline's call encodes."""

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        logging.getLogger(FlowMatchEulerDiscreteScheduler.__module__).addFilter(_is_of_use)
        return load_pipeline(OwnNoise, self._spec, folders, dtype)

    def _latent_grid(self) -> LatentGrid:
        pipeline = self._pipeline
        side: int = pipeline.vae_spatial_compression_ratio
        multiple = side * pipeline.transformer_spatial_patch_size
        channels: int = pipeline.transformer.config.in_channels
        return LatentGrid(channels, side, multiple, pipeline.vae_temporal_compression_ratio)

    def _encode_text(self, text: str) -> TextEmbedding:
        options = {"do_classifier_free_guidance": False, "max_sequence_length": self.prompt_tokens}
        embedding, mask, *_ = self._pipeline.encode_prompt(text, **options)
        return embedding, mask

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        frames = ((0, "first", request.first_frame), (request.num_frames - 1, "last", request.last_frame))
        conditions = [
            LTXVideoCondition(decode_whole(frame, f"the {name} frame", request.width, request.height), None, index)
            for index, name, frame in frames
            if frame
        ]
        options = {"frame_rate": self._spec.native_fps, "max_sequence_length": self.prompt_tokens, **DECODE}
        return {"conditions": conditions or None, **options}

    def _schedule(self, steps: int) -> dict[str, Any]:
        return {"timesteps": linear_quadratic_schedule(steps) * 1000}

    def _clean_latents(
        self, request: VideoRequest, latents: torch.Tensor, sound: SoundOutput | None
    ) -> dict[str, torch.Tensor]:
        _, height, width, frames = self._latent_shape(request)
        # Before the clip's tokens lie those of a given last frame.
        tokens = latents[:, -frames * height * width :]
        sizes = self._pipeline.transformer_spatial_patch_size, self._pipeline.transformer_temporal_patch_size
        return {"latents": self._pipeline._unpack_latents(tokens, frames, height, width, *sizes)[0]}

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        check_given_frames(self._spec, request)


def _is_of_use(record: logging.LogRecord) -> bool:
    # Once per call, about timesteps that the stock pipeline itself passes: nothing that a user could change.
    return "`timesteps` were passed without `sigmas`" not in record.getMessage()
