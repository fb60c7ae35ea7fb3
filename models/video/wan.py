"""Family `wan`: Wan image-to-video (first frame, and a last frame where the weights were trained for one).

Covers Wan 2.1 I2V and FLF2V (with a CLIP image encoder), 2.2 A14B (two transformers, none) and 2.2 TI2V-5B (which takes
no last frame). No IP-Adapter exists for it: references reach the clip through its keyframe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import WanImageToVideoPipeline, WanPipeline, WanVACEPipeline
from PIL import Image

from models.diffusion.calls import Lane, Progress, Recent, check_size, decode_covering, unread_note
from models.diffusion.loading import LOCAL, Loras, check_loras, loading, part, renew_scheduler, scheduler
from models.diffusion.memory import SECOND_TRY, frugal, twice
from models.diffusion.noise import draw_batch, noise_sha256, step_generator
from models.diffusion.placement import exact, free_hooks, place, quantised
from models.diffusion.references import check_references, reference_images, reference_notes, used_references
from models.errors import InvalidRequest
from models.interfaces import VideoRequest, VideoResult, Watcher
from models.spec import VideoModelSpec
from models.video.camera import camera_words
from models.video.frames import check_frames, check_given_frames, to_uint8

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


GREY = (128, 128, 128)
KEEP, MAKE = 0, 255


class WanVACE(WanEngine):
    """VideoModel over WanVACEPipeline."""

    def _stock(self) -> Any:
        return WanVACEPipeline

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        references = reference_images(request.references, request.adapter)
        return {"reference_images": list(references.values()) or None} | _given_frames(request)

    def _latent_shape(self, request: VideoRequest) -> tuple[int, int, int, int]:
        channels, height, width, frames = super()._latent_shape(request)
        return channels, height, width, frames + _references(request)

    def _start(self, noise: torch.Tensor, request: VideoRequest) -> torch.Tensor:
        return noise.roll(_references(request), dims=2)

    def _notes(self, request: VideoRequest) -> tuple[str, ...]:
        return (*super()._notes(request), *reference_notes(request.references, request.adapter))

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        check_given_frames(self._spec, request)
        references = _references(request)
        clip = super()._latent_shape(request)[-1]
        if references > clip:
            # diffusers 0.42.1 makes the references' mask from the clip's first latent frames.
            least = (references - 1) * self._pipeline.vae_scale_factor_temporal + 1
            raise InvalidRequest(
                f"{request.num_frames} frames are too few for {references} references; ask for at least {least}"
            )


def _references(request: VideoRequest) -> int:
    return len(used_references(request.references, request.adapter))


def _given_frames(request: VideoRequest) -> dict[str, Any]:
    """`video` and `mask` of the frames that the request gives; none when it gives none."""
    size = request.width, request.height
    given = {
        index: decode_covering(frame, f"the {name} frame", *size)
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


class Wan(WanEngine):
    """VideoModel over WanImageToVideoPipeline."""

    def _stock(self) -> Any:
        return WanImageToVideoPipeline

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        size = request.width, request.height
        given = [("image", "first frame", request.first_frame), ("last_image", "last frame", request.last_frame)]
        return {key: decode_covering(frame, f"the {name}", *size) for key, name, frame in given if frame}

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        spec, transformer = self._spec, self._transformer()
        if not request.first_frame:
            raise InvalidRequest(f"model {spec.name!r} starts a clip from its keyframe; give first_frame")
        if request.last_frame and not (spec.last_frame and self._takes_last_frame()):
            raise InvalidRequest(f"model {spec.name!r} cannot end on a given frame; leave out last_frame")
        if not request.last_frame and transformer.config.pos_embed_seq_len is not None:
            raise InvalidRequest(f"model {spec.name!r} goes from a first to a last frame; give last_frame too")

    def _takes_last_frame(self) -> bool:
        """Wan 2.1 FLF2V and 2.2 A14B do; 2.1 I2V has no place for a second image, and TI2V-5B would ignore it."""
        config = self._transformer().config
        if config.image_dim is None:
            return not self._pipeline.config.expand_timesteps
        return config.pos_embed_seq_len is not None


class WanText(WanEngine):
    """VideoModel over WanPipeline."""

    def _stock(self) -> Any:
        return WanPipeline

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        return {}

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        for name in ("first_frame", "last_frame"):
            if getattr(request, name):
                raise InvalidRequest(
                    f"model {self._spec.name!r} makes clips from text alone; leave out {name}, or choose a model of the"
                    " family wan, wan-vace or ltx"
                )
