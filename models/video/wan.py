"""Families `wan`, `wan-text` and `wan-vace`: the Wan pipelines of diffusers for clips from frames, texts or references.

`wan` covers Wan 2.1 I2V and FLF2V (with a CLIP image encoder), 2.2 A14B (two transformers, none) and 2.2 TI2V-5B (which
takes no last frame); `wan-text` text-to-video; `wan-vace` references as images, and frames to keep. No IP-Adapter
exists for any of them. The camera move is folded into the prompt as words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import lcm
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import WanImageToVideoPipeline, WanPipeline, WanVACEPipeline
from PIL import Image

from models.diffusion.engine import LatentGrid, SoundOutput, TextEmbedding
from models.diffusion.inputs import decode_whole
from models.diffusion.latents import unpack_all
from models.diffusion.loading import load_pipeline, part
from models.diffusion.references import (
    reference_images,
    reference_notes,
    used_references,
    whole_picture_processor,
)
from models.errors import InvalidRequest
from models.interfaces import VideoRequest
from models.video.engine import VideoEngine, check_given_frames

SIDE_MULTIPLE = 16
"""The stock pipelines refuse other sides."""
GREY = (128, 128, 128)
KEEP, MAKE = 0, 255
"""Values of VACE's mask."""


class WanEngine(VideoEngine):
    """What the three Wan families have in common: the part `main`, and clips of 4k + 1 frames."""

    cached_texts = 32
    prompt_tokens = 512
    """What the stock pipeline's call encodes; its `encode_prompt` alone would take 226."""
    starts_from_latents = True
    stock: ClassVar[Any]
    """The pipeline class of diffusers."""

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        # The VAE stays in float32, as Wan asks.
        return load_pipeline(self.stock, self._spec, folders, {"default": dtype, "vae": torch.float32})

    def _latent_grid(self) -> LatentGrid:
        pipeline = self._pipeline
        side: int = pipeline.vae_scale_factor_spatial
        multiple = lcm(SIDE_MULTIPLE, side * self._transformer().config.patch_size[-1])
        return LatentGrid(pipeline.vae.config.z_dim, side, multiple, pipeline.vae_scale_factor_temporal)

    def _encode_text(self, text: str) -> TextEmbedding:
        options = {"do_classifier_free_guidance": False, "max_sequence_length": self.prompt_tokens}
        return (self._pipeline.encode_prompt(text, **options)[0],)

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        options: dict[str, Any] = {"max_sequence_length": self.prompt_tokens}
        if self._spec.guidance_scale_2 is not None:
            # A request says one scale; the second denoiser's keeps its proportion to it.
            options["guidance_scale_2"] = (
                request.guidance_scale * self._spec.guidance_scale_2 / self._spec.guidance_scale
            )
        return options

    def _transformer(self) -> Any:
        return self._pipeline.transformer or self._pipeline.transformer_2


class ImageToVideo(WanImageToVideoPipeline):  # type: ignore[misc]
    """Stock image-to-video whose condition is handed over before the first step, to be looked at in another shape."""

    seen: Callable[[torch.Tensor], torch.Tensor] = staticmethod(lambda condition: condition)
    """From the condition to what the denoiser looks at."""

    def prepare_latents(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        """Start latents, the condition and, in some models, a mask."""
        latents, condition, *mask = super().prepare_latents(*args, **kwargs)
        return latents, self.seen(condition), *mask


class WanText(WanEngine):
    """VideoModel over WanPipeline: from texts alone."""

    stock = WanPipeline

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        for name in ("first_frame", "last_frame"):
            if getattr(request, name):
                raise InvalidRequest(
                    f"model {self._spec.name!r} makes clips from text alone; leave out {name}, or choose a model of the"
                    " family wan, wan-vace or ltx"
                )


class Wan(WanEngine):
    """VideoModel over WanImageToVideoPipeline: from a first frame, to a last one where the weights were trained so."""

    stock = ImageToVideo

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        pipeline = super()._load(folders, dtype)
        if pipeline.image_encoder is not None:
            # The published folder's processor cuts out the central square; Wan's authors squeeze the whole frame.
            folder = part(self._spec, folders, "main") / "image_processor"
            pipeline.image_processor = whole_picture_processor(folder, pipeline.image_encoder.config.image_size)
        return pipeline

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        size = request.width, request.height
        given = [("image", "first frame", request.first_frame), ("last_image", "last frame", request.last_frame)]
        frames = {key: decode_whole(frame, f"the {name}", *size) for key, name, frame in given if frame}
        self._pipeline.seen = partial(self._early.begin, channels=self._grid.channels, until=request.cond_lowpass_until)
        return super()._condition(request) | frames

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        name = self._spec.name
        if not request.first_frame:
            raise InvalidRequest(f"model {name!r} starts a clip from its keyframe; give first_frame")
        if request.last_frame and not (self._spec.last_frame and self._takes_last_frame()):
            raise InvalidRequest(f"model {name!r} cannot end on a given frame; leave out last_frame")
        if not request.last_frame and self._transformer().config.pos_embed_seq_len is not None:
            raise InvalidRequest(f"model {name!r} goes from a first to a last frame; give last_frame too")

    def _takes_last_frame(self) -> bool:
        """Wan 2.1 FLF2V and 2.2 A14B do; 2.1 I2V has no place for a second image, and TI2V-5B would ignore it."""
        config = self._transformer().config
        if config.image_dim is None:
            return not self._pipeline.config.expand_timesteps
        return config.pos_embed_seq_len is not None


class WanVACE(WanEngine):
    """VideoModel over WanVACEPipeline: with references as images, and a first and a last frame where given."""

    stock = WanVACEPipeline

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        references = reference_images(request.references, request.adapter)
        inputs = super()._condition(request) | {"reference_images": list(references.values()) or None}
        return inputs | _given_frames(request)

    def _latent_shape(self, request: VideoRequest) -> tuple[int, int, int, int]:
        channels, height, width, frames = super()._latent_shape(request)
        return channels, height, width, frames + _count_references(request)

    def _task(self, request: VideoRequest, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        # The pipeline has the latent frames of the references before the clip; they are drawn after it, so that the
        # clip's noise does not depend on them.
        return super()._task(request, noise.roll(_count_references(request), dims=2))

    def _start(self, request: VideoRequest, data: bytes, shape: tuple[int, ...]) -> torch.Tensor:
        # What the references have become is kept too, so a start wants as many of them.
        count = _count_references(request)
        channels, frames, *cells = shape
        shapes: dict[str, tuple[int, ...]] = {"latents": (channels, frames - count, *cells)}
        if count:
            shapes["reference_latents"] = (channels, count, *cells)
        tensors = unpack_all(data, shapes)
        return torch.cat([tensors[name] for name in ("reference_latents", "latents") if name in tensors], dim=1)

    def _clean_latents(
        self, request: VideoRequest, latents: torch.Tensor, sound: SoundOutput | None
    ) -> dict[str, torch.Tensor]:
        count = _count_references(request)
        kept = {"latents": latents[0, :, count:]}
        return kept | ({"reference_latents": latents[0, :, :count]} if count else {})

    def _notes(self, request: VideoRequest) -> tuple[str, ...]:
        return (*super()._notes(request), *reference_notes(request.references, request.adapter))

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        check_given_frames(self._spec, request)
        references = _count_references(request)
        if references > super()._latent_shape(request)[-1]:
            # diffusers 0.42.1 makes the references' mask from the clip's first latent frames.
            least = (references - 1) * self._grid.frames + 1
            raise InvalidRequest(
                f"{request.num_frames} frames are too few for {references} references; ask for at least {least}"
            )


def _count_references(request: VideoRequest) -> int:
    return len(used_references(request.references, request.adapter))


def _given_frames(request: VideoRequest) -> dict[str, Any]:
    """`video` and `mask` of the frames that the request gives; none when it gives none."""
    size = request.width, request.height
    given = {
        index: decode_whole(frame, f"the {name} frame", *size)
        for index, name, frame in ((0, "first", request.first_frame), (-1, "last", request.last_frame))
        if frame
    }
    if not given:
        return {}
    video = [Image.new("RGB", size, GREY)] * request.num_frames
    mask = [Image.new("L", size, MAKE)] * request.num_frames
    for index, frame in given.items():
        video[index], mask[index] = frame, Image.new("L", size, KEEP)
    return {"video": video, "mask": mask}
